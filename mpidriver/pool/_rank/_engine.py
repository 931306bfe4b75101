"""A rank: worker for whoever sends it tasks, and leader of what its running task scatters.

Only the main thread runs tasks. While it waits it drives the messages itself; while it runs a task, or the code
between two waits, a progress thread drives them instead if this rank leads anything. One lock guards everything
here, the wire included; what users hang on futures runs without it.

A rank that waits runs only tasks of the subtree it waits for (leapfrogging, Wagner & Calder 1993), so that no foreign
long task ever sits on top of a wait that is over.
"""

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from mpidriver.errors import PoolError
from mpidriver.pool._futures._callbacks import Callbacks
from mpidriver.pool._isolated._isolation import Isolation
from mpidriver.pool._rank._calls import Call, SubmitCall
from mpidriver.pool._rank._communicators import Communicators
from mpidriver.pool._rank._context import Context, MainThread
from mpidriver.pool._rank._farewell import Farewell
from mpidriver.pool._rank._leader import Leader
from mpidriver.pool._rank._progress import Progress
from mpidriver.pool._rank._recovery import Recovery
from mpidriver.pool._rank._scope import Scope
from mpidriver.pool._rank._stopping import Stopping
from mpidriver.pool._rank._work import Work
from mpidriver.pool._rank._worker import Worker
from mpidriver.pool._scheduling._scheduler import Scheduler
from mpidriver.pool._terms import PLAIN, Terms
from mpidriver.pool._transport._idle import Idle
from mpidriver.pool._transport._messages import Message
from mpidriver.pool._transport._post import Handler, Post, Wire
from mpidriver.pool._values import _held
from mpidriver.pool._values._held_values import HeldValues
from mpidriver.pool._values._shared import SharedValues
from mpidriver.pool._watching._observing import Observer
from mpidriver.pool._watching._trace import Trace

__all__ = ["Engine", "name_of"]

TRACE_SECONDS = 20.0
"""How long the root waits for the other ranks' parts of the trace."""

CallT = TypeVar("CallT", bound=Call)


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
        mourners = (self.communicators.lost, self.held.lost)
        self._recovery = Recovery(self._post, self._leader, self._worker, self.main, mourners)
        self._handlers: dict[int, Handler] = {
            **self._farewell.handlers,
            **self._stopping.handlers,
            **self._recovery.guarded(self._leader.handlers),
            **self._recovery.handlers,
            **self._worker.handlers,
            **self.shared.handlers,
            **self.communicators.handlers,
            **self.held.handlers,
        }
        if trace is not None:
            self._leader.trace = Trace(self._post, trace, clock_offsets)
            self._handlers |= self._leader.trace.handlers
        self._over: deque[tuple[Scope, Call]] = deque()
        self._idle = Idle(wire.bell)
        self._was_called = False
        self._main_ident = threading.get_ident()
        self._long_work: Work | None = None
        self._progress: Progress | None = None

    @property
    def alive(self) -> int:
        """Number of ranks that live, as far as this one knows."""
        return self.size - len(self._post.dead)

    # Starting and ending

    def start_progress(self) -> None:
        """Start the progress thread."""
        if self.wire.bell is not None:
            self._progress = Progress(self, self.wire.bell, self.give_up)
            self._progress.start()

    def stop_progress(self) -> None:
        """Stop the progress thread."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

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
                self._flush()
        self._wake_main()

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
            self._cancel_all(context.scope)
        self.callbacks.finish()
        while not (cancel and self.size == 1) and not scheduler.has_all_ranks:
            if not self.wait_until(context, lambda: scheduler.has_all_ranks, patience_seconds):
                self._write_trace(patience_seconds=0.0)
                return False
        with self.lock:
            self.main.leaves(context)
            self.shared.close()
            self.communicators.close()
            self.held.close()
            self._farewell.begin()
        self._wait_elsewhere(lambda: self._farewell.all_have_answered, None)
        with self.lock:
            self._farewell.end()
        self._write_trace(patience_seconds=0.0 if self.wire.outlives_deaths else TRACE_SECONDS)
        return True

    def _write_trace(self, *, patience_seconds: float) -> None:
        """Write the trace with what the other ranks send of it in time."""
        trace = self._leader.trace
        if trace is not None:
            self._main_waits()
            self._work_until(lambda: trace.is_complete, time.perf_counter() + patience_seconds)
            trace.write()

    def serve(self) -> None:
        """Be a worker until the root says stop."""
        self._main_waits()
        self._work_until(lambda: self._farewell.is_over, None)
        self.shared.close()
        self.communicators.close()
        self.held.close()

    def is_main_thread(self) -> bool:
        """Whether the caller is the thread that runs tasks."""
        return threading.get_ident() == self._main_ident

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
                self._flush()
        return context.scope

    def acting_context(self, context: Context) -> Context:
        """Return the task on whose behalf a pool is used: the running one, except in callbacks and other threads."""
        if threading.get_ident() != self._main_ident or self.callbacks.are_running_here or not self.main.contexts:
            return context
        innermost = self.main.contexts[-1]
        return context if context.opener is innermost else innermost

    def start(
        self,
        scope: Scope,
        function: Callable[..., Any],
        make: Callable[[int], CallT],
        *,
        terms: Terms = PLAIN,
        name: str | None = None,
        keywords: bool = False,
    ) -> CallT:
        """Make a call, without items yet.

        Raises
        ------
        PoolError
            If its items want more ranks than there are, or its function cannot be sent to them.

        Parameters
        ----------
        function, terms, keywords
            For `Scope.function`.
        make
            Makes the call from the function's key.
        name
            What its outcomes are named; None means after the function.
        """
        self._stopping.check()
        if terms.ranks > scope.most_ranks:
            raise PoolError(f"ranks={terms.ranks}: an item can have at most {scope.most_ranks} ranks of this pool")
        with self.lock:
            call = make(scope.function(function, terms, keywords=keywords))
            call.name = name or name_of(function)
            self._leader.begin(scope, call)
        return call

    def add(
        self, scope: Scope, call: Call, indexes: Sequence[int], costs: Any = None, *, then_waits: bool = False
    ) -> None:
        """Add items to a call.

        Parameters
        ----------
        indexes, costs
            For `Scheduler.add`.
        then_waits
            The caller waits for them at once: they are handed out when it does, to its own rank too.
        """
        with self.lock:
            if self._leader.observer is not None and scope.parent is None:
                self._leader.observer.grow(len(indexes))
            self._put(scope, call, indexes, costs)
            self._leader.touch(scope)
            if then_waits:
                return
            self._flush()
        self._wake_main()
        self.listen(has_work=True)

    def add_together(self, scope: Scope, call: Call) -> None:
        """Let all ranks of a scope run one item each of a call at the same time."""
        with self.lock:
            if scope.is_crippled:
                raise PoolError("a rank of this gang has died")
            call.left += len(scope.scheduler.own)
            scope.has_communicator = True
            scope.scheduler.add_together(call.serial, call.function)
            self._leader.touch(scope)

    def split(self, context: Context, count: int) -> list[Context]:
        """Split the ranks of a task into parts, when nothing of it is in flight any more."""
        scope = self.scope_of(context)
        scheduler = scope.scheduler
        self.wait_until(context, lambda: scheduler.has_all_ranks)
        parts = []
        with self.lock:
            for number, ranks in enumerate(scheduler.split(count)):
                part = Context(self, None)
                part.opener = context
                has_home = number == 0 and scheduler.own[0] == self.rank
                inner = Scheduler(self.rank, ranks, owns_ranks=True, home_works=scheduler.home_works, has_home=has_home)
                part.scope = self._leader.open(scope.name, inner, len(inner.own))
                parts.append(part)
        return parts

    def join(self, context: Context, parts: Sequence[Context], *, cancel: bool) -> None:
        """Finish what the parts of a task have to do, or drop it, and make them one again."""
        assert context.scope is not None
        ranks = [rank for part in parts if part.scope is not None for rank in part.scope.scheduler.own]
        for part in parts:
            self.end_scope(part, cancel=cancel)
            part.closed = True
            context.inner_busy_seconds += part.inner_busy_seconds
            if context.scope.idle_clock is not None:
                context.scope.idle_clock.add(*part.inner_idle_seconds)
            context.waited_seconds += part.waited_seconds
        with self.lock:
            context.scope.scheduler.joined(rank for rank in ranks if rank != self.rank)
            self._leader.touch(context.scope)
            self._flush()

    def extend(self, scope: Scope, call: Call, index: int) -> None:
        """Add an item to a call because another has its result, unless nobody wants it any more."""
        if call.serial not in scope.abandoned:
            self._put(scope, call, [index])

    def _put(self, scope: Scope, call: Call, indexes: Sequence[int], costs: Any = None) -> None:
        """Put items of a call into the backlog, each where its held arguments are."""
        call.left += len(indexes)
        ranks = scope.functions[call.function].terms.ranks
        places = self.held.places(call, indexes) if _held.exist() else None
        scope.scheduler.add(call.serial, call.function, indexes, costs, places, ranks=ranks)

    def finish(self, scope: Scope, call: Call) -> None:
        """Drop a call whose results were taken, or are not wanted any more."""
        with self.lock:
            self._leader.drop(scope, call)
            self._flush()

    def check_result(self, call: Call) -> None:
        """Raise `PoolStopped` if items of a call stayed undone."""
        self._stopping.check_result(call)

    def has_drained(self, scope: Scope) -> bool:
        """Whether the pool stops early and nothing of a scope runs any more."""
        return self._stopping.has_drained(scope)

    def abandon(self, scope: Scope, call: Call) -> None:
        """Drop a call soon: the end of a generator may come from the garbage collector, in the middle of anything."""
        self._over.append((scope, call))

    def withdraw(self, scope: Scope, call: SubmitCall) -> bool:
        """Take a submitted task out of the backlog; false if it was handed out."""
        with self.lock:
            if call.future.running() or not scope.cancel_ready(call):
                return False
            self._leader.end(scope, call)
            self._leader.touch(scope)
            self._flush()
        return True

    def cancel(self, scope: Scope, call: SubmitCall) -> bool:
        """Cancel a submitted task and its future; false if it was handed out."""
        if not self.withdraw(scope, call):
            return False
        call.future.cancel_now()
        self.future_has_changed()
        return True

    def future_has_changed(self) -> None:
        """Let those who wait look again: a future became done by other means than a message."""
        self.callbacks.resolved += 1
        self._wake_main()

    def wait_until(self, context: Context, done: Callable[[], bool], timeout: float | None = None) -> bool:
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
        if self.callbacks.are_running_here:
            raise PoolError("a done callback waits for tasks: that would hold up everybody; submit and return instead")
        began = time.perf_counter()
        deadline = None if timeout is None else began + timeout
        if not self.is_main_thread():
            return self._wait_elsewhere(done, deadline, context)
        scope = context.scope or self.scope_of(context)
        self._enter_wait(scope)
        try:
            return self._work_until(done, deadline, context)
        finally:
            self._leave_wait(scope)
            context.waited_seconds += time.perf_counter() - began

    def drive_until(self, done: Callable[[], bool]) -> None:
        """Wait for a message without running any task: the running one needs it to go on."""
        if not self.is_main_thread() or self.main.waits:
            self._wait_elsewhere(done, None)
            return
        with self.lock:
            self.main.waits = self.main.only_drives = True
            if self.wire.bell is not None:
                self.wire.bell.listen(listens=False)
        try:
            self._work_until(done, None)
        finally:
            with self.lock:
                self.main.waits = self.main.only_drives = False
            self.listen()

    def help_until(self, context: Context, done: Callable[[], bool], timeout: float | None = None) -> float | None:
        """Wait and work if this is the main thread; return the time that a wait without work may still take."""
        if not self.is_main_thread():
            return timeout
        self.wait_until(self.acting_context(context), done, timeout)
        return 0.0

    def end_scope(self, context: Context, *, cancel: bool) -> None:
        """End what a task has scattered: nothing of it outlives the task."""
        scope = context.scope
        assert scope is not None
        context.end_executors(cancel=cancel)
        if cancel and not context.is_orphan:
            self._cancel_all(scope)
        self.callbacks.finish()
        while not context.is_orphan and scope.awaits_results:
            self.wait_until(context, lambda: context.is_orphan or not scope.awaits_results)
        if scope.scheduler.owns_ranks:  # they go back together, with the outcome of the task
            self.wait_until(context, lambda: context.is_orphan or scope.scheduler.has_all_ranks)
        with self.lock:
            if not context.is_orphan:
                self._leader.close(scope)
            self.shared.end(scope.name)
            self.held.end(scope.name)
            self._flush()
        context.inner_busy_seconds += scope.busy_seconds
        if scope.idle_clock is not None:
            _, dependency, straggler = scope.idle_clock.totals()
            before = context.inner_idle_seconds
            context.inner_idle_seconds = (before[0] + dependency, before[1] + straggler)
        context.scope = None

    # Driving

    def drive(self) -> bool:
        """Receive, decide, send, and run what is due; return whether anything happened."""
        with self.lock:
            messages = self.wire.receive()
            for message in messages:
                self._handle(message)
            self._flush()
        if not (self.callbacks.run() or messages):
            return False
        self._wake_main()
        return True

    def listen(self, *, again: bool = False, has_work: bool = False) -> None:
        """Let messages wake the progress thread if this rank leads something and its main thread computes.

        Parameters
        ----------
        again
            The progress thread was woken since, and does not listen any more.
        has_work
            It is known already that messages may arrive.
        """
        bell = self.wire.bell
        if self._progress is None or bell is None or (bell.helper_listens and not again):
            return
        with self.lock:
            listens = not self.main.waits and (has_work or self.has_open_work())
            if not (listens or bell.helper_listens):
                return
            bell.listen(listens=listens)
            is_late = listens and self.wire.has_message()
        if is_late:
            self.drive()  # what has come meanwhile has rung nobody

    def has_open_work(self) -> bool:
        """Whether messages may arrive that somebody waits for."""
        with self.lock:
            is_asked = bool(self.callbacks or self._over) or self.shared.are_owned or self.held.are_here
            return is_asked or not self._leader.is_quiet

    def rescue(self) -> None:
        """Give back what waits behind a task that has been running since the last call."""
        with self.lock:
            work = self.main.innermost.work if self.main.innermost is not None and not self.main.waits else None
        if work is None or work is not self._long_work:
            self._long_work = work
            return
        self.drive()
        with self.lock:
            if not self.main.waits:
                self._worker.release_inbox()
                self._worker.trim(work)
                self._flush()

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

    # Waiting

    def _enter_wait(self, scope: Scope) -> None:
        with self.lock:
            self._main_waits()
            scope.scheduler.home_waits()
            if scope.scheduler.has_work:
                self._leader.touch(scope)
                self._flush()
            elif scope.idle_clock is not None:
                scope.idle_clock.look(scope.scheduler, time.perf_counter())

    def _main_waits(self) -> None:
        """Note that the main thread drives messages from here on."""
        self.main.waits = True
        if self.wire.bell is not None:
            self.wire.bell.listen(listens=False)

    def _leave_wait(self, scope: Scope) -> None:
        with self.lock:
            self.main.waits = False
            scope.scheduler.home_leaves()
            if scope.idle_clock is not None:
                scope.idle_clock.look(scope.scheduler, time.perf_counter())
            self._worker.release_inbox()
            self._flush()
        self.listen()
        self.callbacks.finish()

    def _work_until(self, done: Callable[[], bool], deadline: float | None, context: Context | None = None) -> bool:
        with self._idle as idle:
            while not done():
                if context is not None and context.is_orphan:
                    context.check()
                self._was_called = False
                moved = self.drive()
                if done():
                    break
                moved = (not self.main.only_drives and self._run_next()) or moved
                if deadline is not None and time.perf_counter() >= deadline:
                    return done()
                idle.reset() if moved else idle.wait(self._look, in_transit=self.wire.is_moving, until=deadline)
        return True

    def _look(self) -> bool:
        """Whether there is something to do for the main thread, which may have been told so by another one."""
        with self.lock:
            return self._was_called or self.wire.has_message()

    def _wait_elsewhere(self, done: Callable[[], bool], deadline: float | None, context: Context | None = None) -> bool:
        """Wait on a thread that cannot run tasks."""
        idle = Idle(spins=False)
        while not done():
            if context is not None:
                context.check()
            if deadline is not None and time.perf_counter() >= deadline:
                return False
            idle.reset() if self.drive() else idle.wait()
        return True

    def _run_next(self) -> bool:
        """Run one received batch, if there is one and the last results are on their way."""
        if not self._worker.has_batches:
            return False
        with self.lock:
            work = self._worker.take()
            if work is None:
                return False
            context = Context(self, work)
            self.main.enters(context)
            self.main.waits = False
        self._idle.get_up()
        self.listen()
        try:
            reports = self._worker.run(context, work)
            self._worker.send_outcome(work, reports, context.busy_seconds, context.inner_idle_seconds)
        except BaseException as error:
            if not self.must_stop_for(error):
                self.give_up()  # a task below that waits would take it for a failure of its own
            raise
        finally:
            with self.lock:
                self._long_work = None  # it would keep its items
                self.main.leaves(context)
                self._main_waits()
                self._recovery.settle()
        return True

    # Bookkeeping

    def _handle(self, message: Message) -> None:
        self._handlers[message[0]](*message[1:])

    def _hand_over(self) -> None:
        if self._leader.trace is not None:
            self._leader.trace.send()

    def _flush(self) -> None:
        """Let all decide and do what they say, until they are content."""
        while self._over:
            self._leader.drop(*self._over.popleft())
        self.shared.release_dropped()
        self.held.release_dropped()
        touched, to_self = self._leader.touched, self._post.to_self
        while to_self or touched:
            while to_self:
                self._handle(to_self.popleft())
            if touched:
                self._leader.decide()

    def _cancel_all(self, scope: Scope) -> None:
        for call in list(scope.calls.values()):
            if not (isinstance(call, SubmitCall) and call.future.cancel()):
                with self.lock:
                    scope.cancel_ready(call)

    def _wake_main(self) -> None:
        """Let the main thread look if it sleeps: another thread may have changed what it waits for."""
        if threading.get_ident() != self._main_ident and self.wire.bell is not None:
            self._was_called = True
            self.wire.bell.wake()


def name_of(function: Callable[..., Any]) -> str:
    """Return what a call of a function is named if nobody says."""
    return str(getattr(function, "__qualname__", type(function).__qualname__))
