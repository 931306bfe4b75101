"""Single tasks: their futures, and the calls that resolve these."""

from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED, PENDING, RUNNING
from typing import Any

from mpidriver.errors import PoolError, PoolStopped
from mpidriver.pool._outcome import Outcome
from mpidriver.pool._rank._calls import Call, Report
from mpidriver.pool._transport._codec import UNDONE, Failure

__all__ = ["PoolFuture", "SubmitCall", "TaskFuture"]

_DONE = (FINISHED, CANCELLED, CANCELLED_AND_NOTIFIED)


class PoolFuture(Future[Any]):
    """The future of a task of a pool."""

    undone_because: str | None = None
    """Why its task stays undone, None unless the pool stops."""

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

    def resolve(self, outcome: Outcome) -> None:
        """Make the future done."""
        raise NotImplementedError

    def _wait(self, timeout: float | None) -> float | None:
        """Help, if this is a thread that can; return the time that a wait without help may still take."""
        raise NotImplementedError


class TaskFuture(PoolFuture):
    """The future of a submitted task.

    Waiting for it on the rank's main thread helps: that thread runs tasks meanwhile.

    Parameters
    ----------
    wait
        Called with the future and a timeout; helps if the calling thread can, and returns the time that a wait without
        help may still take.
    cancel
        Called to cancel the task while it is in the backlog; false if it was handed out already.
    """

    _outcome: Outcome | None = None

    def __init__(self, wait: Callable[["TaskFuture", float | None], float | None], cancel: Callable[[], bool]) -> None:
        super().__init__()
        self._help = wait
        self._cancel = cancel

    @property
    def outcome(self) -> Outcome:
        """What is known of the finished task, also if it failed."""
        if self._outcome is None:
            raise RuntimeError("the future has no outcome: its task is not done or was cancelled")
        return self._outcome

    def cancel(self) -> bool:
        """Cancel the task unless it was handed out."""
        return self.cancelled() or self._cancel()

    def resolve(self, outcome: Outcome) -> None:
        """Make the future done."""
        self._help, self._cancel = _no_help, _too_late  # which know the call, which knows the future and its arguments
        self._outcome = outcome
        if outcome.error is not None:
            self.set_exception(outcome.error)
        else:
            self.set_result(outcome.value)

    def _wait(self, timeout: float | None) -> float | None:
        return self._help(self, timeout)


def _no_help(future: TaskFuture, timeout: float | None) -> float | None:
    return timeout


def _too_late() -> bool:
    return False


class SubmitCall(Call):
    """One submitted task."""

    def __init__(self, function: int, args: tuple[Any, ...], kwargs: dict[str, Any], future: PoolFuture) -> None:
        super().__init__(function)
        self._args = args
        self._kwargs = kwargs
        self.future = future

    def arguments(self, index: int) -> tuple[Any, ...]:
        """Return the arguments of the task."""
        return (self._args, self._kwargs) if self._kwargs else self._args

    def arguments_of(self, indexes: Sequence[int]) -> Sequence[Any]:
        """Return the arguments of the task, as they travel."""
        return [self.arguments(0)]

    def learn(self, indexes: Sequence[int], report: Report) -> None:
        """Tell the learner how long the task took; keywords do not count."""
        if self.learner is not None and type(report.values[0]) is not Failure:
            self.learner.learn(self._args, report.seconds)

    def begins(self, indexes: Sequence[int]) -> None:
        """Let nobody cancel it any more."""
        self.future.begin()

    def deliver(self, indexes: Sequence[int], report: Report) -> Callable[[], None]:
        """Return what resolves the future."""
        self.left -= 1
        value = report.values[0]
        if type(value) is Failure and value.kind == UNDONE:
            return self.leave(indexes, value.cause)
        outcome = self._outcome(0, report, 0)
        return lambda: self.future.resolve(outcome)

    def leave(self, indexes: Sequence[int], reason: str) -> Callable[[], None]:
        """Return what cancels the future."""
        super().leave(indexes, reason)
        return lambda: self.future.leave(reason)

    def fail(self, error: PoolError) -> Callable[[], None] | None:
        """Return what gives the future the error."""
        return None if self.future.done() else lambda: self.future.set_exception(error)

    def _item(self, index: int) -> Any:
        return self._args[0] if len(self._args) == 1 else self._args
