"""What a rank does while one of its threads waits: the main thread runs tasks meanwhile, the others drive messages.

A rank that waits runs only tasks of the subtree it waits for (leapfrogging, Wagner & Calder 1993), so that no foreign
long task ever sits on top of a wait that is over.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from mpidriver.errors import PoolError
from mpidriver.pool._rank._context import Context
from mpidriver.pool._transport._idle import Idle

if TYPE_CHECKING:
    from mpidriver.pool._rank._engine import Engine
    from mpidriver.pool._rank._leader import Leader
    from mpidriver.pool._rank._recovery import Recovery
    from mpidriver.pool._rank._scope import Scope
    from mpidriver.pool._rank._worker import Worker

__all__ = ["Waiting"]


class Waiting:
    """The waits of one rank.

    Parameters
    ----------
    engine
        Engine of the rank, whose traffic is driven.
    leader, worker, recovery
        Its parts.
    """

    def __init__(self, engine: "Engine", leader: "Leader", worker: "Worker", recovery: "Recovery") -> None:
        self._engine = engine
        self._leader = leader
        self._worker = worker
        self._recovery = recovery
        self._lock, self._main, self._traffic = engine.lock, engine.main, engine.traffic
        self._wire, self._bell = engine.wire, engine.wire.bell
        self._idle = Idle(self._bell)

    def until(self, context: Context, done: Callable[[], bool], timeout: float | None = None) -> bool:
        """Wait, and work meanwhile; return false if the time is over first.

        Parameters
        ----------
        context
            The task that waits.
        done
            Whether the wait is over; it may change only when an item of the scope gets its result, or a rank
            comes back.
        """
        if done():
            return True
        if self._engine.callbacks.are_running_here:
            raise PoolError("a done callback waits for tasks: that would hold up everybody; submit and return instead")
        began = time.perf_counter()
        deadline = None if timeout is None else began + timeout
        if not self._main.is_here:
            return self.elsewhere(done, deadline, context)
        scope = context.scope or self._engine.scope_of(context)
        self._enter(scope)
        try:
            return self._work_until(done, deadline, context)
        finally:
            self._leave(scope)
            context.waited_seconds += time.perf_counter() - began

    def driving(self, done: Callable[[], bool]) -> None:
        """Wait for a message without running any task: the running one needs it to go on."""
        if not self._main.is_here or self._main.waits:
            self.elsewhere(done)
            return
        with self._lock:
            self._main.only_drives = True
            self._main_waits()
        try:
            self._work_until(done, None)
        finally:
            with self._lock:
                self._main.waits = self._main.only_drives = False
            self._traffic.listen()

    def helping(self, context: Context, done: Callable[[], bool], timeout: float | None = None) -> float | None:
        """Wait and work if this is the main thread; return the time that a wait without work may still take."""
        if not self._main.is_here:
            return timeout
        self.until(self._engine.acting_context(context), done, timeout)
        return 0.0

    def as_worker(self, done: Callable[[], bool], deadline: float | None = None) -> None:
        """Wait on behalf of no task, as a worker does that has nothing to do."""
        self._main_waits()
        self._work_until(done, deadline)

    def elsewhere(
        self, done: Callable[[], bool], deadline: float | None = None, context: Context | None = None
    ) -> bool:
        """Wait on a thread that cannot run tasks."""
        idle = Idle(spins=False)
        while not done():
            if context is not None:
                context.check()
            if deadline is not None and time.perf_counter() >= deadline:
                return False
            idle.reset() if self._traffic.drive() else idle.wait()
        return True

    # The main thread

    def _enter(self, scope: "Scope") -> None:
        with self._lock:
            self._main_waits()
            scope.scheduler.home_waits()
            if scope.scheduler.has_work:
                self._leader.touch(scope)
            self._leader.unlooked[scope.name] = scope
            self._traffic.flush()

    def _main_waits(self) -> None:
        """Note that the main thread drives messages from here on."""
        self._main.waits = True
        if self._bell is not None:
            self._bell.listen(listens=False)

    def _leave(self, scope: "Scope") -> None:
        with self._lock:
            self._main.waits = False
            scope.scheduler.home_leaves()
            self._leader.unlooked[scope.name] = scope
            if self._worker.has_batches:
                self._worker.release_inbox()
            self._traffic.flush()
        self._traffic.listen()
        self._engine.callbacks.finish()

    def _work_until(self, done: Callable[[], bool], deadline: float | None, context: Context | None = None) -> bool:
        with self._idle as idle:
            while not done():
                if context is not None and context.is_orphan:
                    context.check()
                self._traffic.main_is_called = False
                moved = self._traffic.drive()
                if done():
                    break
                if self._leader.unlooked:
                    with self._lock:
                        self._leader.look()
                moved = (not self._main.only_drives and self._run_next()) or moved
                if deadline is not None and time.perf_counter() >= deadline:
                    return done()
                idle.reset() if moved else idle.wait(self._look, in_transit=self._wire.is_moving, until=deadline)
        return True

    def _look(self) -> bool:
        """Whether there is something to do for the main thread, which may have been told so by another one."""
        with self._lock:
            return self._traffic.main_is_called or self._wire.has_message()

    def _run_next(self) -> bool:
        """Run one received batch, if there is one and the last results are on their way."""
        if not self._worker.has_batches:
            return False
        with self._lock:
            work = self._worker.take()
            if work is None:
                return False
            context = Context(self._engine, work)
            self._main.enters(context)
            self._main.waits = False
        self._idle.get_up()
        self._traffic.listen()
        try:
            reports = self._worker.run(context, work)
            self._worker.send_outcome(work, reports, context.busy_seconds, context.inner_idle_seconds)
        except BaseException as error:
            if not self._engine.must_stop_for(error):
                self._engine.give_up()  # a task below that waits would take it for a failure of its own
            raise
        finally:
            with self._lock:
                self._traffic.forget_long_work()
                self._main.leaves(context)
                self._main_waits()
                self._recovery.settle()
        return True
