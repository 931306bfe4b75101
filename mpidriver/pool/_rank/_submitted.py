"""Single tasks: their futures, and the calls that resolve these."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED, PENDING, RUNNING
from typing import TYPE_CHECKING, Any

from mpidriver.errors import PoolError, PoolStopped
from mpidriver.pool._outcome import Outcome
from mpidriver.pool._rank._calls import Call, Report
from mpidriver.pool._transport._codec import UNDONE, Failure

if TYPE_CHECKING:
    from mpidriver.pool._rank._context import Context
    from mpidriver.pool._rank._scope import Scope

__all__ = ["PoolFuture", "RankFuture", "SubmitCall", "TaskFuture"]

_DONE = (FINISHED, CANCELLED, CANCELLED_AND_NOTIFIED)

_deciding = threading.Lock()
"""Decides whether a future is finished before its condition is made or after."""


class PoolFuture(Future[Any]):
    """The future of a task of a pool.

    Few are waited for on another thread, so that the condition, which takes longer to make than all the rest, is made
    for those that are.
    """

    undone_because: str | None = None
    """Why its task stays undone, None unless the pool stops."""

    def __init__(self) -> None:  # all that the base class does but for the condition
        self._made: threading.Condition | None = None
        self._state = PENDING
        self._result = self._exception = None
        self._waiters: list[Any] = []
        self._done_callbacks: list[Any] = []

    @property
    def _condition(self) -> threading.Condition:  # type: ignore[override]
        """What the base class locks, and waits for."""
        if self._made is None:
            with _deciding:
                self._made = self._made or threading.Condition()
        return self._made

    def _is_finished_by(self, result: Any) -> bool:
        """Give the future its result if nobody has asked for the condition; return whether it has it."""
        with _deciding:
            if self._made is not None or self._state != RUNNING:
                return False
            self._result = result  # first: whoever sees the state sees the result
            self._state = FINISHED
            return True

    def result(self, timeout: float | None = None) -> Any:
        """Return the value, or raise the task's error; wait for it if need be."""
        rest = timeout if self._state in _DONE else self._wait(timeout)
        if self._state == FINISHED and self._exception is None:  # set before the state is: no lock is needed
            return self._result
        try:
            return super().result(rest)
        except CancelledError:
            raise self._why_undone() from None
        finally:
            del self  # the error's traceback would keep the future, which keeps the error

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return the task's error, None if it has none; wait for it if need be."""
        rest = timeout if self._state in _DONE else self._wait(timeout)
        try:
            return super().exception(rest)
        except CancelledError:
            raise self._why_undone() from None

    def done(self) -> bool:
        """Whether the task is finished or cancelled: asked often, and one look needs no lock."""
        return self._state in _DONE

    def running(self) -> bool:
        """Whether the task was handed out and is not done."""
        return self._state == RUNNING

    def begin(self) -> None:
        """Let nobody cancel it any more. Those who wait need not know, and who cancels holds the engine's lock."""
        if self._state == PENDING:
            self._state = RUNNING

    def cancel_now(self) -> None:
        """Be cancelled, and tell those who wait."""
        super().cancel()
        self.set_running_or_notify_cancel()

    def leave(self, reason: str) -> None:
        """Be cancelled because the pool stops; a task that was begun in vain ends with `PoolStopped`."""
        self.undone_because = reason
        if super().cancel():
            self.set_running_or_notify_cancel()
        else:
            self.set_exception(PoolStopped(reason))

    def _why_undone(self) -> Exception:
        return CancelledError() if self.undone_because is None else PoolStopped(self.undone_because)

    def is_resolved_by(self, outcome: Outcome) -> bool:
        """Make the future done if nothing that users have hung on it runs because of that; return whether it is."""
        return False

    def resolve(self, outcome: Outcome) -> None:
        """Make the future done."""
        raise NotImplementedError

    def _wait(self, timeout: float | None) -> float | None:
        """Help, if this is a thread that can; return the time that a wait without help may still take."""
        raise NotImplementedError


class TaskFuture(PoolFuture):
    """The future of a submitted task.

    Waiting for it on the rank's main thread helps: that thread runs tasks meanwhile.
    """

    _outcome: Outcome | None = None

    @property
    def outcome(self) -> Outcome:
        """What is known of the finished task, also if it failed."""
        if self._outcome is None:
            raise RuntimeError("the future has no outcome: its task is not done or was cancelled")
        return self._outcome

    def resolve(self, outcome: Outcome) -> None:
        """Make the future done."""
        self._outcome = outcome
        if outcome.error is not None:
            self.set_exception(outcome.error)
        else:
            self.set_result(outcome.value)


class RankFuture(TaskFuture):
    """The future of a task that this rank's running task has submitted.

    Parameters
    ----------
    context, scope
        The task that has submitted it, and what that scatters.
    """

    call: "SubmitCall | None" = None
    """Its call, which knows the future and its arguments; None once it is done."""

    def __init__(self, context: "Context", scope: "Scope") -> None:
        super().__init__()
        self._context: Context | None = context
        self._scope = scope

    def cancel(self) -> bool:
        """Cancel the task unless it was handed out."""
        call, context = self.call, self._context
        if self._state in _DONE or call is None or context is None:
            return self.cancelled()
        return context.engine.scattering.cancel(self._scope, call)

    def is_resolved_by(self, outcome: Outcome) -> bool:
        """Make the future done if nothing that users have hung on it runs because of that; return whether it is."""
        self._outcome = outcome
        if outcome.error is not None or not self._is_finished_by(outcome.value):
            return False
        self.call = self._context = None  # a future that is kept keeps nothing of its task
        return True

    def resolve(self, outcome: Outcome) -> None:
        """Make the future done."""
        self.call = self._context = None
        super().resolve(outcome)

    def _wait(self, timeout: float | None) -> float | None:
        context = self._context
        return timeout if context is None else context.engine.waiting.helping(context, self.done, timeout)


class SubmitCall(Call):
    """One submitted task; it learns the key of its function when it begins."""

    ends_itself = True

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any], future: PoolFuture) -> None:
        super().__init__(-1)
        self._args = args
        self._kwargs = kwargs
        self.future = future

    def arguments(self, index: int) -> tuple[Any, ...]:
        """Return the arguments of the task."""
        return (self._args, self._kwargs) if self._kwargs else self._args

    def arguments_of(self, indexes: Sequence[int]) -> Sequence[Any]:
        """Return the arguments of the task, as they travel."""
        return [(self._args, self._kwargs) if self._kwargs else self._args]

    def learn(self, indexes: Sequence[int], report: Report) -> None:
        """Tell the learner how long the task took; keywords do not count."""
        if self.learner is not None and type(report.values[0]) is not Failure:
            self.learner.learn(self._args, report.seconds)

    def begins(self, indexes: Sequence[int]) -> None:
        """Let nobody cancel it any more."""
        self.future.begin()

    def deliver(self, indexes: Sequence[int], report: Report) -> Callable[[], None] | None:
        """Resolve the future if nobody has anything to do with that, else return what does."""
        self.left -= 1
        value = report.values[0]
        if type(value) is Failure and value.kind == UNDONE:
            return self.leave(indexes, value.cause)
        if type(value) is Failure:
            outcome = self._outcome(0, report, 0)
        else:
            item, seconds = self._args[0] if len(self._args) == 1 else self._args, report.marks[-1] - report.marks[0]
            spent = (report.started, seconds, report.peak_rss_bytes, report.rank, report.host)
            outcome = Outcome(0, item, value, None, *spent, self.name)
        return None if self.future.is_resolved_by(outcome) else lambda: self.future.resolve(outcome)

    def leave(self, indexes: Sequence[int], reason: str) -> Callable[[], None]:
        """Return what cancels the future."""
        super().leave(indexes, reason)
        return lambda: self.future.leave(reason)

    def fail(self, error: PoolError) -> Callable[[], None] | None:
        """Return what gives the future the error."""
        return None if self.future.done() else lambda: self.future.set_exception(error)

    def _item(self, index: int) -> Any:
        return self._args[0] if len(self._args) == 1 else self._args
