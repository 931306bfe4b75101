"""A rank: worker for whoever sends it tasks, and leader of what its running task scatters.

Only the main thread runs tasks. Messages are driven by whichever thread has time (`_traffic`); what the main thread
does while it waits stands in `_waiting`. One lock guards everything here, the wire included; what users hang on futures
runs without it.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping

from mpidriver.pool._futures._callbacks import Callbacks
from mpidriver.pool._isolated._isolation import Isolation
from mpidriver.pool._rank._communicators import Communicators
from mpidriver.pool._rank._context import Context, MainThread
from mpidriver.pool._rank._farewell import Farewell
from mpidriver.pool._rank._leader import Leader
from mpidriver.pool._rank._parts import Parts
from mpidriver.pool._rank._recovery import Recovery
from mpidriver.pool._rank._scattering import Scattering
from mpidriver.pool._rank._scope import Scope
from mpidriver.pool._rank._stopping import Stopping
from mpidriver.pool._rank._traffic import Traffic
from mpidriver.pool._rank._waiting import Waiting
from mpidriver.pool._rank._work import PeakMemory
from mpidriver.pool._rank._worker import Worker
from mpidriver.pool._scheduling._scheduler import Scheduler
from mpidriver.pool._transport._post import Handler, Post, Wire
from mpidriver.pool._values._held_values import HeldValues
from mpidriver.pool._values._shared import SharedValues
from mpidriver.pool._watching._observing import Observer
from mpidriver.pool._watching._trace import Trace

__all__ = ["Engine"]

TRACE_SECONDS = 20.0
"""How long the root waits for the other ranks' parts of the trace."""


class Engine:
    """One rank of the pool.

    Parameters
    ----------
    wire
        The way to the other ranks.
    root_works
        Whether rank 0 runs tasks while its main program waits; None means long ones.
    isolation
        Runs what is to be run in child processes.
    give_up
        Called in an exception handler when the pool itself fails, which no rank survives.
    trace, clock_offsets
        File for the trace, None for none; and for `Trace`.
    """

    def __init__(
        self,
        wire: Wire,
        *,
        root_works: bool | None = True,
        isolation: Isolation | None = None,
        give_up: Callable[[], None] = lambda: None,
        trace: str | os.PathLike[str] | None = None,
        clock_offsets: Mapping[int, float] | None = None,
    ) -> None:
        self.wire = wire
        self.rank, self.size, self.host = wire.rank, wire.size, wire.host
        self.lock = threading.RLock()
        self.main = MainThread()
        self.callbacks = Callbacks()
        self.peak_memory = PeakMemory()
        self.isolation = isolation or Isolation()
        self.isolation.meet_neighbours(wire.bell.host_file if wire.bell is not None else None)
        self.give_up = give_up
        self._root_works = True if wire.size == 1 else root_works
        self._post = Post(wire)
        self._leader = Leader(self._post, self.callbacks)
        self._worker = Worker(self, self._post, self.main)
        self.shared = SharedValues(self, self._post)
        self._stopping = Stopping(self._post, self._leader, self._worker)
        self.communicators = Communicators(wire, self.lock)
        self.held = HeldValues(self, self._post)
        self._farewell = Farewell(self._post, self._hand_over)
        mourners = (self.communicators.lost, self.held.lost, self.shared.lost)
        self._recovery = Recovery(self._post, self._leader, self._worker, self.main, mourners)
        values = (self.shared, self.held)
        self.traffic = Traffic(self._post, self.lock, self.main, self._leader, self._worker, values, self.callbacks)
        if trace is not None:
            self._leader.trace = Trace(self._post, trace, clock_offsets)
        self.traffic.handlers = self._handlers()
        self.waiting = Waiting(self, self._leader, self._worker, self._recovery)
        self.scattering = Scattering(self, self._leader, self._stopping)
        self.parts = Parts(self, self._leader)

    def _handlers(self) -> dict[int, Handler]:
        """Return who takes which message."""
        handlers = self._recovery.guarded(self._leader.handlers)
        others = (self._farewell, self._stopping, self._recovery, self._worker)
        for part in (*others, self.shared, self.communicators, self.held):
            handlers |= part.handlers
        return handlers | (self._leader.trace.handlers if self._leader.trace is not None else {})

    @property
    def alive(self) -> int:
        """Number of ranks that live, as far as this one knows."""
        return self.size - len(self._post.dead)

    # Starting and ending

    def open_root(self) -> Context:
        """Begin the root's main program: it leads all ranks."""
        context = Context(self, None)
        others = [rank for rank in range(self.size) if rank != self.rank]
        scheduler = Scheduler(self.rank, others, owns_ranks=True, home_works=self._root_works)
        with self.lock:
            context.scope = self._leader.open(None, scheduler, self.size)
            if context.scope.idle_clock is not None:
                context.scope.idle_clock.look(scheduler, time.perf_counter())
            self.main.enters(context)
        return context

    @property
    def stopping(self) -> str | None:
        """Why the pool stops early, None as long as it goes on."""
        return self._stopping.reason

    @property
    def longest_seconds(self) -> float:
        """How long the longest item took that this rank had scattered."""
        return self._leader.longest_seconds

    def observe(self, observer: Observer | None) -> None:
        """Tell somebody of each item that this rank's main program scatters."""
        self._leader.observer = observer

    def stop(self, reason: str, *, in_handler: bool = False) -> None:
        """Begin nothing more, on any rank; what runs is finished.

        Parameters
        ----------
        reason
            What `PoolStopped` says.
        in_handler
            Whether this is a signal handler, in the middle of anything: the main thread then sees to the rest when it
            drives next.
        """
        with self.lock:
            self._stopping.begin(reason)
            if not in_handler:
                self.traffic.flush()
        self.traffic.call_main()

    def close_root(self, context: Context, *, cancel: bool, patience_seconds: float | None = None) -> bool:
        """End the root's main program and stop the other ranks.

        Parameters
        ----------
        cancel
            Drop the tasks that are not handed out instead of doing them.
        patience_seconds
            How long to wait for running tasks, None for ever.

        Returns
        -------
        stopped
            False if some rank still runs a task; then nobody was stopped.
        """
        assert context.scope is not None
        context.end_executors(cancel=cancel)
        scheduler = context.scope.scheduler
        if cancel:
            scheduler.home_works = False
            self.scattering.cancel_all(context.scope)
        self.callbacks.finish()
        while not (cancel and self.size == 1) and not scheduler.has_all_ranks:
            if not self.waiting.until(context, lambda: scheduler.has_all_ranks, patience_seconds):
                self._write_trace(patience_seconds=0.0)
                return False
        with self.lock:
            self.main.leaves(context)
            self.shared.close()
            self.communicators.close()
            self.held.close()
            self._farewell.begin()
        self.waiting.elsewhere(lambda: self._farewell.all_have_answered)
        with self.lock:
            self._farewell.end()
        self._write_trace(patience_seconds=0.0 if self.wire.outlives_deaths else TRACE_SECONDS)
        return True

    def _write_trace(self, *, patience_seconds: float) -> None:
        """Write the trace with what the other ranks send of it in time."""
        trace = self._leader.trace
        if trace is not None:
            self.waiting.as_worker(lambda: trace.is_complete, time.perf_counter() + patience_seconds)
            trace.write()

    def serve(self) -> None:
        """Be a worker until the root says stop."""
        self.waiting.as_worker(lambda: self._farewell.is_over)
        self.shared.close()
        self.communicators.close()
        self.held.close()

    # What tasks ask for

    def scope_of(self, context: Context) -> Scope:
        """Return what a task scatters, opening it at the first use."""
        context.check()
        if context.scope is None:
            assert context.work is not None
            members = context.work.standing.members
            with self.lock:
                context.check()
                scheduler = Scheduler(self.rank, members, owns_ranks=bool(members))
                reach, leaders = min(context.reach, self.alive), context.work.standing.leaders
                context.scope = self._leader.open(context.work.scope, scheduler, reach, leaders)
                self._recovery.meet(context.scope)
                self._worker.release_inbox()
                self._worker.trim(context.work)
                self.traffic.flush()
        return context.scope

    def acting_context(self, context: Context) -> Context:
        """Return the task on whose behalf a pool is used: the running one, except in callbacks and other threads."""
        innermost = self.main.innermost
        if innermost is context or innermost is None or not self.main.is_here or self.callbacks.are_running_here:
            return context
        return context if context.opener is innermost else innermost

    def has_drained(self, scope: Scope) -> bool:
        """Whether the pool stops early and nothing of a scope runs any more."""
        return self._stopping.has_drained(scope)

    def end_scope(self, context: Context, *, cancel: bool) -> None:
        """End what a task has scattered: nothing of it outlives the task."""
        scope = context.scope
        assert scope is not None
        context.end_executors(cancel=cancel)
        if cancel and not context.is_orphan:
            self.scattering.cancel_all(scope)
        self.callbacks.finish()
        while not context.is_orphan and scope.awaits_results:
            self.waiting.until(context, lambda: context.is_orphan or not scope.awaits_results)
        if scope.scheduler.owns_ranks:  # they go back together, with the outcome of the task
            self.waiting.until(context, lambda: context.is_orphan or scope.scheduler.has_all_ranks)
        with self.lock:
            if not context.is_orphan:
                self._leader.close(scope)
            self.shared.end(scope.name)
            self.held.end(scope.name)
            self.traffic.flush()
        context.inner_busy_seconds += scope.busy_seconds
        if scope.idle_clock is not None:
            _, dependency, straggler = scope.idle_clock.totals()
            before = context.inner_idle_seconds
            context.inner_idle_seconds = (before[0] + dependency, before[1] + straggler)
        context.scope = None

    def interrupt(self) -> None:
        """Note that the KeyboardInterrupt raised next is meant for the program."""
        self._worker.interrupts.seen = True

    def must_stop_for(self, error: BaseException) -> bool:
        """Whether an exception out of a task is meant for the program: Ctrl-C, or the debugger's quit."""
        if self.size > 1:
            return False
        if isinstance(error, KeyboardInterrupt):
            return self._worker.interrupts.seen
        debugger = sys.modules.get("bdb")
        return debugger is not None and isinstance(error, debugger.BdbQuit)

    # Bookkeeping

    def _hand_over(self) -> None:
        if self._leader.trace is not None:
            self._leader.trace.send()
