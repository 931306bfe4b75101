"""A pool as an executor of the standard library."""

import concurrent.futures
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures._base import LOGGER
from functools import partial
from typing import Any, TypeVar

from mpidriver.errors import PoolStopped
from mpidriver.pool._futures._errand import (
    BrokenPoolError,
    Errand,
    Setup,
    arguments_of,
    error_of,
    is_of_setup,
    value_of,
)
from mpidriver.pool._futures._results import check_map, chunks_of, each_of, results
from mpidriver.pool._futures._runner import Runner
from mpidriver.pool._outcome import Outcome
from mpidriver.pool._rank._context import Context
from mpidriver.pool._rank._scope import Scope
from mpidriver.pool._rank._submitted import PoolFuture, SubmitCall
from mpidriver.pool._terms import PLAIN, Terms

__all__ = ["PoolExecutor"]

T = TypeVar("T")


class _Future(PoolFuture):
    """The future of an executor's task: its error is the exception that the task has raised."""

    def __init__(self, executor: "PoolExecutor") -> None:
        super().__init__()
        self._executor: PoolExecutor | None = executor
        self.call: _Call | None = None

    def cancel(self) -> bool:
        """Cancel the task unless it was handed out."""
        call, executor = self.call, self._executor
        return self.cancelled() or (call is not None and executor is not None and executor._cancel(call))

    def resolve(self, outcome: Outcome) -> None:
        """Make the future done, and let the next task go."""
        executor, call = self._executor, self.call
        assert executor is not None
        assert call is not None
        executor._settle(call, outcome)

    def leave(self, reason: str) -> None:
        """Be cancelled because the pool stops, and so let the others."""
        executor, call = self._executor, self.call
        super().leave(reason)
        if executor is not None and call is not None:
            executor._forget(call)
            executor._hand_out()

    def forget(self) -> None:
        """Keep nothing of its task, which is done."""
        self.call = self._executor = None

    def _wait(self, timeout: float | None) -> float | None:
        executor = self._executor
        return timeout if self.done() or executor is None else executor._help_until(self.done, timeout)


class _Call(SubmitCall):
    """One task of an executor."""

    def __init__(self, errand: Errand, args: tuple[Any, ...], future: _Future) -> None:
        super().__init__(args, {}, future)
        self.errand = errand
        self._own_future = future
        future.call = self

    def stays_undone(self, reason: str) -> None:
        """Let its future be cancelled because the pool stops."""
        PoolFuture.leave(self._own_future, reason)

    def forget(self) -> None:
        """Keep nothing: it is done."""
        self._args = ()
        self._own_future.forget()


class PoolExecutor(concurrent.futures.Executor):
    """The ranks of a pool, or this process if it has one rank, as `concurrent.futures` knows executors.

    A task waits here until fewer than `max_workers` are in progress, then in the backlog of the pool. With one rank a
    thread of the executor runs the tasks. In a task of several ranks such a thread runs what no rank has taken for a
    moment, so that even waits that do not help come to an end.

    Parameters
    ----------
    context, scope
        The task that the executor belongs to, and what it scatters.
    max_workers, initializer, initargs
        As for `Pool.executor`.
    terms
        How tasks are run.
    """

    def __init__(
        self,
        context: Context,
        scope: Scope,
        max_workers: int | None = None,
        *,
        initializer: Callable[..., Any] | None = None,
        initargs: tuple[Any, ...] = (),
        terms: Terms = PLAIN,
    ) -> None:
        if max_workers is not None and max_workers <= 0:
            raise ValueError(f"max_workers must be greater than 0, got {max_workers}")
        if initializer is not None and not callable(initializer):
            raise TypeError(f"initializer must be a callable, got {initializer!r}")
        self._context, self._scope, self._engine = context, scope, context.engine
        self._terms = terms
        self._reach = context.reach
        self._limit = max_workers or self._reach
        self._is_alone = self._engine.size == 1
        self._travels = not self._is_alone or terms.isolate
        self._setup = Setup(initializer, initargs, travels=self._travels) if initializer is not None else None
        self._changed = threading.Condition()
        self._waiting: OrderedDict[_Call, None] = OrderedDict()
        self._given: dict[_Call, None] = {}
        self._shutdown = False
        self._broken: str | None = None
        self._breaks = False
        self._runner: Runner | None = None
        self._task = context
        while self._task.opener is not None:
            self._task = self._task.opener
        if self._is_alone or self._task.work is not None or self._task is not context:
            self._runner = Runner(self._changed, self._take, self._has_tasks, terms, is_alone=self._is_alone)
        context.executors.add(self)

    @property
    def num_workers(self) -> int:
        """How many tasks can run at once beside this one; 0 once it is shut down or broken."""
        return 0 if self._shutdown or self._broken else min(self._limit, max(1, self._reach - 1))

    _max_workers = num_workers  # what dask asks executors for

    # What users call

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[T]:
        """Have a function called, as `concurrent.futures.Executor.submit` does.

        Where tasks travel, a function or arguments that cannot be pickled are the future's exception.
        """
        self._check_open()
        try:
            errand = self._errand(fn)
        except BaseException as error:
            return _failed(error)
        return self._submit(errand, args, kwargs)

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
        unordered: bool = False,
    ) -> Iterator[T]:
        """Apply a function to every item, as `concurrent.futures.Executor.map` does.

        Parameters
        ----------
        fn, iterables
            The function and the items.
        timeout
            Seconds from now until the last result.
        chunksize
            Items that make one task; short tasks travel together in any case.
        buffersize
            How many tasks are submitted ahead of the results, None for all.
        unordered
            Whether to yield results as they come.
        """
        items = zip(*iterables, strict=False)
        return self.starmap(fn, items, timeout, chunksize, buffersize=buffersize, unordered=unordered)

    def starmap(
        self,
        fn: Callable[..., T],
        iterable: Iterable[Iterable[Any]],
        timeout: float | None = None,
        chunksize: int = 1,
        *,
        buffersize: int | None = None,
        unordered: bool = False,
    ) -> Iterator[T]:
        """Do as `map` does for items that are the arguments of a call each."""
        check_map(chunksize, buffersize, unordered=unordered)
        self._check_open()
        until = None if timeout is None else time.monotonic() + timeout
        is_chunk = chunksize > 1
        errand = self._errand(fn, is_chunk=is_chunk)

        items = map(tuple, iterable)
        calls = chunks_of(items, chunksize) if is_chunk else items
        submit = partial(self._submit, errand, kwargs={})
        found = results(submit, calls, until=until, buffersize=buffersize, unordered=unordered)
        return each_of(found) if is_chunk else found

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no further tasks, as `concurrent.futures.Executor.shutdown` does."""
        with self._changed:
            self._shutdown = True
        if cancel_futures:
            self._cancel_all()
        if wait:
            self._finish()
        if not self._has_tasks():
            self._context.executors.discard(self)

    def bootup(self, wait: bool = True) -> "PoolExecutor":
        """Return the executor: its ranks run already. For programs that were written for mpi4py.futures."""
        self._check_open()
        return self

    def end(self, *, cancel: bool) -> None:
        """Shut down because the task that it belongs to ends, or the pool closes."""
        is_main_program = self._task.work is None
        self.shutdown(wait=not (cancel and is_main_program), cancel_futures=cancel)
        self._broken = self._broken or "the pool of this executor is closed: its task or main program has ended"
        self._context.executors.discard(self)

    # The way of a task

    def _check_open(self) -> None:
        if self._broken:
            raise BrokenPoolError(self._broken)
        if self._shutdown:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if self._engine.stopping is not None:
            raise PoolStopped(self._engine.stopping)

    def _errand(self, fn: Callable[..., Any], *, is_chunk: bool = False) -> Errand:
        return Errand(fn, self._setup, is_chunk=is_chunk, travels=self._travels)

    def _submit(self, errand: Errand, args: tuple[Any, ...], kwargs: dict[str, Any]) -> concurrent.futures.Future[Any]:
        try:
            packed = arguments_of(args, kwargs, travels=self._travels)
        except BaseException as error:
            return _failed(error)
        future = _Future(self)
        call = _Call(errand, packed, future)
        with self._changed:
            self._check_open()
            self._waiting[call] = None
        self._hand_out()
        return future

    def _hand_out(self) -> None:
        """Give tasks to the pool, as many as may be in progress, or let the thread look for them."""
        while not self._is_alone and (call := self._next_waiting()) is not None:
            self._give(call)
        if self._engine.stopping is not None:
            self._leave_waiting(self._engine.stopping)
        if self._runner is not None and self._has_tasks():
            self._runner.wake()

    def _give(self, call: _Call) -> None:
        engine, scope, errand = self._engine, self._scope, call.errand
        try:
            engine.scattering.submit(scope, call, errand, terms=self._terms, name=errand.__qualname__)
        except PoolStopped as stopped:
            call.stays_undone(stopped.reason)
            self._forget(call)

    def _leave_waiting(self, reason: str) -> None:
        """Let what waits stay undone, because the pool stops."""
        with self._changed:
            calls = list(self._waiting)
            self._waiting.clear()
        for call in calls:
            call.stays_undone(reason)
            self._forget(call)

    def _next_waiting(self) -> _Call | None:
        with self._changed:
            if not self._waiting or (len(self._given) >= self._limit < self._reach):
                return None
            call, _ = self._waiting.popitem(last=False)
            self._given[call] = None
            return call

    def _take(self) -> tuple[SubmitCall, Errand] | None:
        """Return a task for the thread, which holds the lock."""
        if self._is_alone:
            alone = self._next_waiting()
            return None if alone is None else (alone, alone.errand)
        main = self._engine.main
        if main.waits or main.innermost is not self._task:
            return None  # it works for this executor itself
        for call in self._given:
            if not call.future.running() and self._engine.scattering.withdraw(self._scope, call):
                return call, call.errand
        return None

    def _has_tasks(self) -> bool:
        return bool(self._waiting or self._given)

    def _settle(self, call: _Call, outcome: Outcome) -> None:
        """Make the future of a task done, and let the next one go."""
        error = error_of(outcome)
        if error is not None and is_of_setup(outcome):
            self._break(error)
        if error is None:
            try:
                call.future.set_result(value_of(outcome))
            except BrokenPoolError as unreadable:
                error = unreadable
        if error is not None:
            call.future.set_exception(error)
        self._forget(call)
        self._hand_out()

    def _forget(self, call: _Call) -> None:
        """Forget a task that is done."""
        call.forget()
        with self._changed:
            self._given.pop(call, None)
            if not self._has_tasks():
                self._changed.notify_all()
        self._engine.scattering.future_has_changed()

    # Waiting and ending

    def _help_until(self, done: Callable[[], bool], timeout: float | None = None) -> float | None:
        """Work, if this is a thread that can, and wait; return the time that a wait without help may still take.

        With a timeout nobody helps: the task in hand might take longer.
        """
        if timeout is not None:
            return timeout
        if self._runner is not None and self._runner.is_here:
            self._runner.run_until(done)
        return None if self._is_alone else self._engine.waiting.helping(self._context, done)

    def _finish(self) -> None:
        """Wait until all tasks are done."""
        self._help_until(lambda: not self._has_tasks())
        if self._runner is not None and self._runner.is_here:
            return
        with self._changed:
            self._changed.wait_for(lambda: not self._has_tasks())
        if self._runner is not None:
            self._runner.join()

    def _cancel(self, call: _Call) -> bool:
        if not self._withdraw(call):
            return False
        call.future.cancel_now()
        self._forget(call)
        self._hand_out()
        return True

    def _withdraw(self, call: _Call) -> bool:
        """Take a task back that nobody has begun."""
        with self._changed:
            if call in self._waiting:
                del self._waiting[call]
                return True
            is_given = call in self._given
        return is_given and not self._is_alone and self._engine.scattering.withdraw(self._scope, call)

    def _cancel_all(self) -> None:
        with self._changed:
            calls = [*reversed(self._waiting), *reversed(self._given)]
        for call in calls:
            self._cancel(call)

    def _break(self, error: BaseException) -> None:
        """Run nothing more: the initializer has failed."""
        with self._changed:
            was_known, self._breaks = self._breaks, True
        if was_known:
            return
        LOGGER.critical("%s%s", error, error.__cause__ or "")
        with self._changed:
            self._broken = str(error)
            calls = [*self._waiting, *self._given]
        for call in calls:
            if self._withdraw(call):
                call.future.set_running_or_notify_cancel()
                call.future.set_exception(BrokenPoolError(self._broken))
                self._forget(call)


def _failed(error: BaseException) -> concurrent.futures.Future[Any]:
    """Return the future of a task that could not be packed."""
    future: concurrent.futures.Future[Any] = concurrent.futures.Future()
    future.set_running_or_notify_cancel()
    future.set_exception(error)
    return future
