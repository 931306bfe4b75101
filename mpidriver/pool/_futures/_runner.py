"""A thread that runs an executor's tasks in this very process."""

import contextlib
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from mpidriver.pool._futures._errand import Errand
from mpidriver.pool._rank._submitted import SubmitCall
from mpidriver.pool._terms import Terms

if TYPE_CHECKING:
    from mpidriver.pool._pool import Pool

__all__ = ["Runner"]

PATIENCE_SECONDS = 20e-3
"""How long ranks may take to come, before the thread begins a task itself."""
LINGER_SECONDS = 50e-3
"""How long it waits for more tasks before it ends, which is how long it may hold up the end of the program."""


class Runner:
    """A thread that is there while there are tasks for it.

    It has a pool of one rank of its own, so that its tasks may map.

    Parameters
    ----------
    changed
        Lock of whoever owns it, notified when there may be something to do.
    take
        Returns a call that nobody has begun and its errand, None if there is none; called with the lock held.
    has_work
        Whether there may be such a call soon.
    terms
        How tasks are run.
    is_alone
        Whether there is nobody else to run tasks.
    """

    def __init__(
        self,
        changed: threading.Condition,
        take: Callable[[], tuple[SubmitCall, Errand] | None],
        has_work: Callable[[], bool],
        terms: Terms,
        *,
        is_alone: bool,
    ) -> None:
        self._changed = changed
        self._take = take
        self._has_work = has_work
        self._terms = terms
        self._patience_seconds = 0.0 if is_alone else PATIENCE_SECONDS
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pool: Pool | None = None
        self._is_awaited = False

    @property
    def is_here(self) -> bool:
        """Whether it is the calling thread."""
        return threading.current_thread() is self._thread

    def wake(self) -> None:
        """Let it look for tasks."""
        with self._starting:
            with self._changed:
                if self._thread is not None:
                    if not self._patience_seconds:
                        self._changed.notify_all()
                    return
                if not threading.main_thread().is_alive():
                    raise RuntimeError("cannot schedule new futures after interpreter shutdown")
                self._is_awaited = False
                self._thread = threading.Thread(target=self._run, name="mpidriver-executor")
            self._thread.start()

    def join(self) -> None:
        """Wait for its end, which comes when there is nothing more to do."""
        with self._starting, self._changed:
            thread, self._is_awaited = self._thread, True
            self._changed.notify_all()
        if thread is not None:
            thread.join()

    def run_until(self, done: Callable[[], bool]) -> None:
        """Run tasks inside the running one, which waits, until there are no more; only on this thread."""
        while not done():
            with self._changed:
                taken = self._take()
                if taken is None:
                    return
                taken[0].begins(range(1))
            self._run_one(*taken)

    def _run(self) -> None:
        from mpidriver.pool._pool import Pool

        taken = self._next(is_patient=bool(self._patience_seconds))
        with contextlib.closing(Pool()) as self._pool:
            while taken is not None:
                self._run_one(*taken)
                taken = None
                taken = self._next(is_patient=False)  # nobody has come before, so nobody will

    def _next(self, *, is_patient: bool) -> tuple[SubmitCall, Errand] | None:
        with self._changed:
            if is_patient:
                self._changed.wait(self._patience_seconds)
            while (taken := self._take()) is None:
                seconds = self._patience_seconds or LINGER_SECONDS
                if self._is_awaited or not (self._changed.wait(seconds) or self._has_work()):
                    self._thread = None
                    return None
            taken[0].begins(range(1))
            return taken

    def _run_one(self, call: SubmitCall, errand: Errand) -> None:
        assert self._pool is not None
        done = self._pool.submit(errand, *call.arguments(0), terms=self._terms)
        done.exception()
        call.future.resolve(done.outcome)
