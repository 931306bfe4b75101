"""A rank: worker for whoever sends it tasks, and leader of what its running task scatters.

Only the main thread runs tasks. While it waits it drives the messages itself; while it runs a task, or the code
between two waits, a progress thread drives them instead if this rank leads anything. One lock guards everything
here, the wire included; what users hang on futures runs without it.

A rank that waits runs only tasks of the subtree it waits for (leapfrogging, Wagner & Calder 1993), so that no foreign
long task ever sits on top of a wait that is over. Batches it has received from further out are given back as soon
as its task scatters; so are batches that wait behind a task that turns out long.
"""

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from mpidriver.errors import PoolError
from mpidriver.pool import _messages as kind
from mpidriver.pool._calls import Call, Report, SubmitCall
from mpidriver.pool._codec import Broken, Failure, Packed, pack_each, unpack_each, unpack_or_fail
from mpidriver.pool._idle import Idle
from mpidriver.pool._messages import Message, ScopeId
from mpidriver.pool._progress import Progress
from mpidriver.pool._scheduler import Assign, Batch, Grant, Return, Scheduler, Want
from mpidriver.pool._scope import Function, Scope
from mpidriver.pool._serial import InterruptWatch
from mpidriver.pool._work import Work, WorkSpan, pack_report, run_span, unpack_report

__all__ = ["Context", "Engine", "Wire", "active_contexts"]

CallT = TypeVar("CallT", bound=Call)

active_contexts: "list[Context]" = []
"""The tasks that this process is in the middle of, outermost first, with the root's main program below them."""


class Wire(Protocol):
    """What the engine needs of a way to send messages; `MpiWire` and `SerialWire` are such."""

    rank: int
    size: int
    host: str

    @property
    def holds_large_sends(self) -> bool:
        """Whether large results are still to be fetched from this rank."""

    def send(self, rank: int, message: Message, *, holds_up: bool = False) -> None:
        """Send without blocking."""

    def receive(self) -> list[Message]:
        """Return what has arrived."""

    def finish_sends(self) -> None:
        """Wait until everything sent has left."""

    def close(self) -> None:
        """End the connection."""


class Context:
    """A task while it runs, or the root's main program.

    Parameters
    ----------
    engine
        Engine of its rank.
    work
        Batch it belongs to, None for the main program.
    """

    def __init__(self, engine: "Engine", work: Work | None) -> None:
        self.engine = engine
        self.work = work
        self.scope: Scope | None = None
        """What it scatters, from its first use of the pool on."""
        self.closed = False
        self.waited_seconds = 0.0
        self.inner_busy_seconds = 0.0
        self.began = time.perf_counter()

    @property
    def busy_seconds(self) -> float:
        """Seconds of work until now: its own outside of waits, and all that was done for it."""
        inner = self.inner_busy_seconds + (self.scope.busy_seconds if self.scope is not None else 0.0)
        return time.perf_counter() - self.began - self.waited_seconds + inner


class Engine:
    """One rank of the pool.

    Parameters
    ----------
    wire
        The way to the other ranks.
    root_works
        Whether rank 0 runs tasks while its main program waits.
    """

    def __init__(self, wire: Wire, *, root_works: bool = True) -> None:
        self.wire = wire
        self.rank, self.size, self.host = wire.rank, wire.size, wire.host
        self.lock = threading.RLock()
        self.main_waits = False
        self.resolved = 0
        """Grows whenever a future may have become done."""
        self._root_works = root_works or wire.size == 1
        self._contexts: list[Context] = []
        self._scopes: dict[ScopeId, Scope] = {}
        self._functions: dict[tuple[ScopeId, int], Any] = {}
        self._inbox: deque[Work] = deque()
        self._to_self: deque[Message] = deque()
        self._dirty: dict[ScopeId, None] = {}
        self._over: deque[tuple[Scope, Call]] = deque()
        self._due: deque[Callable[[], None]] = deque()
        self._due_lock = threading.Lock()
        self._in_callback = threading.local()
        self._serials = 0
        self._stopped = False
        self._long_work: Work | None = None
        self._interrupts = InterruptWatch()
        self._progress: Progress | None = None
        self._handlers = (
            self._on_task,
            self._on_outcome,
            self._on_giveback,
            self._on_forget,
            self._on_want,
            self._on_settled,
            self._on_grant,
            self._on_return,
            self._on_stop,
        )

    # Starting and ending

    def start_progress(self, on_error: Callable[[], None]) -> None:
        """Start the progress thread; `on_error` is called when it fails."""
        self._progress = Progress(self, on_error)
        self._progress.start()

    def stop_progress(self) -> None:
        """Stop the progress thread."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def open_root(self) -> Context:
        """Begin the root's main program: it leads all ranks."""
        context = Context(self, None)
        name = self._new_name()
        others = [rank for rank in range(self.size) if rank != self.rank]
        scheduler = Scheduler(self.rank, others, is_root=True, home_works=self._root_works)
        context.scope = self._scopes[name] = Scope(name, None, scheduler, travels=self.size > 1)
        self._push(context)
        return context

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
        scheduler = context.scope.scheduler
        if cancel:
            scheduler.home_works = False
            self._cancel_all(context.scope)
        self._finish_callbacks()
        while not (cancel and self.size == 1) and not scheduler.has_all_ranks:
            if not self.wait_until(context, lambda: scheduler.has_all_ranks, patience_seconds):
                return False
        context.closed = True
        self._pop(context)
        with self.lock:
            for rank in range(self.size):
                if rank != self.rank:
                    self.wire.send(rank, (kind.STOP,))
        return True

    def serve(self) -> None:
        """Be a worker until the root says stop."""
        idle = Idle()
        self.main_waits = True
        while not self._stopped:
            moved = self.drive()
            moved = self._run_next() or moved
            if moved:
                idle.reset()
            else:
                idle.wait()

    # What tasks ask for

    def scope_of(self, context: Context) -> Scope:
        """Return what a task scatters, opening it at the first use."""
        if context.scope is None:
            assert context.work is not None
            with self.lock:
                name = self._new_name()
                scheduler = Scheduler(self.rank)
                scope = Scope(name, context.work.scope, scheduler, travels=self.size > 1)
                context.scope = self._scopes[name] = scope
                self._release_inbox()
                self._trim(context.work)
                self._flush()
        return context.scope

    def acting_context(self, context: Context) -> Context:
        """Return the task on whose behalf a pool is used: the running one, except in callbacks and other threads."""
        if self.in_callback or threading.current_thread() is not threading.main_thread() or not self._contexts:
            return context
        return self._contexts[-1]

    @property
    def in_callback(self) -> bool:
        """Whether this thread runs a done callback."""
        return getattr(self._in_callback, "is_set", False)

    def start(self, scope: Scope, function: Callable[..., Any], make: Callable[[int], CallT], **options: bool) -> CallT:
        """Make a call, without items yet.

        Parameters
        ----------
        function, options
            For `Scope.function`.
        make
            Makes the call from the function's key.
        """
        with self.lock:
            call = make(scope.function(function, **options))
            self._serials += 1
            scope.begin(call, self._serials)
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
            call.left += len(indexes)
            scope.scheduler.add(call.serial, call.function, indexes, costs)
            self._touch(scope)
            if then_waits:
                return
            self._flush()
        self._wake_progress()

    def finish(self, scope: Scope, call: Call) -> None:
        """Drop a call whose results were taken, or are not wanted any more."""
        with self.lock:
            self._drop(scope, call)
            self._flush()

    def abandon(self, scope: Scope, call: Call) -> None:
        """Drop a call soon: the end of a generator may come from the garbage collector, in the middle of anything."""
        self._over.append((scope, call))

    def withdraw(self, scope: Scope, call: SubmitCall) -> bool:
        """Take a submitted task out of the backlog and cancel its future; false if it was handed out."""
        with self.lock:
            if call.future.running() or not scope.cancel_ready(call):
                return False
            self._end(scope, call)
            self._touch(scope)
            self._flush()
        call.future.cancel_now()
        self.resolved += 1
        return True

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
        if self.in_callback:
            raise PoolError("a done callback waits for tasks: that would hold up everybody; submit and return instead")
        deadline = None if timeout is None else time.perf_counter() + timeout
        if threading.current_thread() is not threading.main_thread():
            return self._wait_elsewhere(done, deadline)
        began = time.perf_counter()
        scope = self.scope_of(context)
        self._enter_wait(scope)
        try:
            return self._wait(done, deadline)
        finally:
            self._leave_wait(scope)
            context.waited_seconds += time.perf_counter() - began

    def end_scope(self, context: Context, *, cancel: bool) -> None:
        """End what a task has scattered: nothing of it outlives the task."""
        scope = context.scope
        assert scope is not None
        if cancel:
            self._cancel_all(scope)
        self._finish_callbacks()
        while any(call.left for call in scope.calls.values()):
            self.wait_until(context, lambda: not any(call.left for call in scope.calls.values()))
        with self.lock:
            for call in list(scope.calls.values()):
                self._end(scope, call)
            self._forget(scope, [function for function in scope.functions.values() if function.ranks])
            scope.closed = True
            self._touch(scope)
            self._flush()
        context.inner_busy_seconds += scope.busy_seconds
        context.scope = None

    # Driving

    def drive(self) -> bool:
        """Receive, decide, send, and run what is due; return whether anything happened."""
        with self.lock:
            messages = self.wire.receive()
            for message in messages:
                self._handlers[message[0]](*message[1:])
            self._flush()
        return self._run_due() or bool(messages)

    def has_open_work(self) -> bool:
        """Whether messages may arrive that somebody waits for."""
        with self.lock:
            return bool(self._due or self._over) or any(not scope.is_quiet for scope in self._scopes.values())

    def rescue(self) -> None:
        """Give back what waits behind a task that has been running since the last call."""
        with self.lock:
            work = self._contexts[-1].work if self._contexts and not self.main_waits else None
        if work is None or work is not self._long_work:
            self._long_work = work
            return
        self.drive()
        with self.lock:
            if not self.main_waits:
                self._release_inbox()
                self._trim(work)
                self._flush()

    def must_stop_for(self, error: BaseException) -> bool:
        """Whether an exception out of a task is meant for the program: Ctrl-C, or the debugger's quit."""
        if self.size > 1:
            return False
        if isinstance(error, KeyboardInterrupt):
            return self._interrupts.seen
        debugger = sys.modules.get("bdb")
        return debugger is not None and isinstance(error, debugger.BdbQuit)

    # Waiting

    def _enter_wait(self, scope: Scope) -> None:
        with self.lock:
            self.main_waits = True
            scope.scheduler.home_waits()
            self._touch(scope)
            self._flush()

    def _leave_wait(self, scope: Scope) -> None:
        with self.lock:
            self.main_waits = False
            scope.scheduler.home_leaves()
            self._release_inbox()
            self._touch(scope)
            self._flush()
        self._wake_progress()
        self._finish_callbacks()

    def _finish_callbacks(self) -> None:
        """Let the callbacks of what is done be over, those that another thread runs right now too."""
        with self._due_lock:
            pass
        self._run_due()

    def _wait(self, done: Callable[[], bool], deadline: float | None) -> bool:
        idle = Idle()
        while not done():
            moved = self.drive()
            if done():
                break
            if self._run_next():
                moved = True
            if deadline is not None and time.perf_counter() >= deadline:
                return done()
            if moved:
                idle.reset()
            else:
                idle.wait()
        return True

    def _wait_elsewhere(self, done: Callable[[], bool], deadline: float | None) -> bool:
        """Wait on a thread that cannot run tasks."""
        idle = Idle(spins=False)
        while not done():
            if deadline is not None and time.perf_counter() >= deadline:
                return False
            if self.drive():
                idle.reset()
            else:
                idle.wait()
        return True

    # Working

    def _run_next(self) -> bool:
        """Run one received batch, if there is one and the last results are on their way."""
        with self.lock:
            if not self._inbox or self.wire.holds_large_sends:
                return False
            work = self._inbox.popleft()
            context = Context(self, work)
            self._push(context)
            self.main_waits = False
        self._wake_progress()
        try:
            reports = self._run(context, work)
            self._send_outcome(work, reports, context.busy_seconds)
        finally:
            with self.lock:
                self._pop(context)
                self.main_waits = True
        return True

    def _run(self, context: Context, work: Work) -> list[Report]:
        reports = []
        with self._interrupts_watched():
            while (span := work.next_span()) is not None:
                function = self._function(work.scope, span.function)
                items = self._items(work.scope, span)
                with self.lock:
                    todo = work.begin_span(items)
                if todo is None:
                    break
                reports.append(run_span(context, function, todo))
        return reports

    def _interrupts_watched(self) -> Any:
        return self._interrupts if self.size == 1 and not self._interrupts.is_on else _Nothing()

    def _function(self, scope: ScopeId, key: int) -> Callable[..., Any]:
        if scope[0] == self.rank:
            return self._scopes[scope].functions[key].call
        function = self._functions[scope, key]
        if isinstance(function, Packed):
            function = unpack_or_fail(function)
            self._functions[scope, key] = function = Broken(function) if isinstance(function, Failure) else function
        return function  # type: ignore[no-any-return]

    def _items(self, scope: ScopeId, span: WorkSpan) -> list[Any]:
        if self.size == 1:
            return list(span.items)
        items = _local_arguments(span.items) if scope[0] == self.rank else unpack_each(span.items)
        return [Broken(item) if isinstance(item, Failure) else item for item in items]

    def _send_outcome(self, work: Work, reports: list[Report], busy_seconds: float) -> None:
        leader = work.scope[0]
        if leader == self.rank:
            sent: list[Any] = [_checked(report) for report in reports] if self.size > 1 else reports
        else:
            sent = [pack_report(report) for report in reports]
        with self.lock:
            self._send(leader, (kind.OUTCOME, work.scope, work.number, self.rank, sent, busy_seconds))
            self._flush()

    # Messages

    def _on_task(self, scope: ScopeId, number: int, spans: list[tuple[int, Packed | None, Any]]) -> None:
        for key, function, _ in spans:
            if function is not None:
                self._functions[scope, key] = function
        self._receive_work(Work(scope, number, [WorkSpan(key, items) for key, _, items in spans]))

    def _receive_work(self, work: Work) -> None:
        if self._accepts(work.scope):
            self._inbox.append(work)
        else:
            self._refuse(work)

    def _accepts(self, scope: ScopeId) -> bool:
        if not self._contexts:
            return True
        inner = self._contexts[-1]
        if inner.scope is None:
            return scope == (inner.work and inner.work.scope)
        return self.main_waits and not self._works_for(scope)

    def _works_for(self, scope: ScopeId) -> bool:
        """Whether this rank is in the middle of a task of that scope."""
        return any(context.work is not None and context.work.scope == scope for context in self._contexts)

    def _on_outcome(self, name: ScopeId, number: int, rank: int, reports: list[Any], busy_seconds: float) -> None:
        scope = self._scopes[name]
        read = [report if isinstance(report, Report) else unpack_report(report) for report in reports]
        seconds = [report.seconds for report in read]
        batch = scope.scheduler.finished(rank, number, seconds)
        scope.busy_seconds += busy_seconds
        for span, report in zip(batch.spans, read, strict=False):
            call = scope.calls[span.call]
            due = call.deliver(span.indexes, report)
            if due is not None:
                self._due.append(due)
            if not call.left and (due is not None or call.serial in scope.abandoned):
                self._end(scope, call)
        self._touch(scope)

    def _on_giveback(self, name: ScopeId, number: int, rank: int, kept: list[int], leaves: bool) -> None:
        scope = self._scopes[name]
        scope.scheduler.given_back(rank, number, kept, leaves=leaves)
        self._touch(scope)

    def _on_forget(self, name: ScopeId, keys: list[int]) -> None:
        for key in keys:
            self._functions.pop((name, key), None)

    def _on_want(self, name: ScopeId, child: ScopeId, serial: int, count: int, work: float) -> None:
        scope = self._scopes[name]
        scope.scheduler.want(child, count, work)
        self._touch(scope)
        if not count:
            self._send(child[0], (kind.SETTLED, child, serial))

    def _on_settled(self, name: ScopeId, serial: int) -> None:
        scope = self._scopes[name]
        scope.settled(serial)
        self._touch(scope)

    def _on_grant(self, name: ScopeId, rank: int) -> None:
        scope = self._scopes[name]
        scope.scheduler.granted(rank)
        self._touch(scope)

    def _on_return(self, name: ScopeId, child: ScopeId, rank: int) -> None:
        scope = self._scopes[name]
        scope.scheduler.returned(rank, child)
        self._touch(scope)

    def _on_stop(self) -> None:
        self._stopped = True

    # Instructions

    def _flush(self) -> None:
        """Carry out what the schedulers decide, until they are content."""
        while self._over:
            self._drop(*self._over.popleft())
        while self._dirty or self._to_self:
            while self._to_self:
                message = self._to_self.popleft()
                self._handlers[message[0]](*message[1:])
            if self._dirty:
                self._decide(self._scopes.get(self._dirty.popitem()[0]))

    def _drop(self, scope: Scope, call: Call) -> None:
        if call.left:
            scope.cancel_ready(call)
            self._touch(scope)
        if call.left:
            scope.abandoned.add(call.serial)
        else:
            self._end(scope, call)

    def _decide(self, scope: Scope | None) -> None:
        if scope is None:
            return
        for instruction in scope.scheduler.decide():
            match instruction:
                case Assign(batch):
                    self._assign(scope, batch)
                case Grant(rank, child):
                    self._send(child[0], (kind.GRANT, child, rank))
                case Return(rank):
                    self._send_to_parent(scope, kind.RETURN, scope.name, rank)
                case Want(tasks, work):
                    self._send_to_parent(scope, kind.WANT, scope.name, scope.wants(), tasks, work)
        if scope.closed and scope.is_quiet:
            del self._scopes[scope.name]

    def _assign(self, scope: Scope, batch: Batch) -> None:
        spans: list[tuple[int, Packed | None, Any]] = []
        is_home = batch.rank == self.rank
        for span in batch.spans:
            call = scope.calls[span.call]
            call.begins(span.indexes)
            items = [call.arguments(index) for index in span.indexes]
            if is_home:
                spans.append((span.function, None, items))
            else:
                packed = scope.functions[span.function].packed_for(batch.rank)
                spans.append((span.function, packed, pack_each(items, are_tuples=True)))
        self._send(batch.rank, (kind.TASK, scope.name, batch.number, spans))

    def _send(self, rank: int, message: Message) -> None:
        if rank == self.rank:
            self._to_self.append(message)
        else:
            self.wire.send(rank, message, holds_up=message[0] == kind.OUTCOME)

    def _send_to_parent(self, scope: Scope, message: int, *fields: Any) -> None:
        assert scope.parent is not None
        self._send(scope.parent[0], (message, scope.parent, *fields))

    # Giving back

    def _release_inbox(self) -> None:
        """Give back every batch that is not begun."""
        while self._inbox:
            self._refuse(self._inbox.popleft())

    def _refuse(self, work: Work) -> None:
        leaves = work.scope[0] != self.rank and not self._works_for(work.scope)
        self._give_back(work, [0] * len(work.spans), leaves=leaves)

    def _trim(self, work: Work) -> None:
        """Give back what is not begun of the running batch."""
        kept = work.trim() if self.size > 1 else None
        if kept is not None:
            self._give_back(work, kept, leaves=False)

    def _give_back(self, work: Work, kept: list[int], *, leaves: bool) -> None:
        self._send(work.scope[0], (kind.GIVEBACK, work.scope, work.number, self.rank, kept, leaves))

    # Bookkeeping

    def _new_name(self) -> ScopeId:
        self._serials += 1
        return (self.rank, self._serials)

    def _touch(self, scope: Scope) -> None:
        self._dirty[scope.name] = None

    def _push(self, context: Context) -> None:
        with self.lock:
            self._contexts.append(context)
            active_contexts.append(context)

    def _pop(self, context: Context) -> None:
        with self.lock:
            context.closed = True
            self._contexts.remove(context)
            active_contexts.remove(context)

    def _end(self, scope: Scope, call: Call) -> None:
        function = scope.end(call)
        if function is not None and function.ranks:
            self._forget(scope, [function])

    def _forget(self, scope: Scope, functions: list[Function]) -> None:
        keys: dict[int, list[int]] = {}
        for function in functions:
            for rank in sorted(function.ranks):
                keys.setdefault(rank, []).append(function.key)
        for rank, forgotten in keys.items():
            self._send(rank, (kind.FORGET, scope.name, forgotten))

    def _cancel_all(self, scope: Scope) -> None:
        for call in list(scope.calls.values()):
            if not (isinstance(call, SubmitCall) and call.future.cancel()):
                with self.lock:
                    scope.cancel_ready(call)

    def _wake_progress(self) -> None:
        if self._progress is not None and not self.main_waits:
            self._progress.wake()

    def _run_due(self) -> bool:
        """Run what futures want done, on one thread at a time."""
        ran = False
        while self._due and self._due_lock.acquire(blocking=False):
            self._in_callback.is_set = True
            try:
                while self._due:
                    self._due.popleft()()
                    self.resolved += 1
                    ran = True
            finally:
                self._in_callback.is_set = False
                self._due_lock.release()
        return ran


class _Nothing:
    """A context that does nothing."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc_info: object) -> None:
        pass


def _local_arguments(items: list[tuple[Any, ...]]) -> list[Any]:
    """Return arguments for this very rank, those that could not travel as failures.

    Their pickles are dropped: whether an item can be sent must not depend on who happens to run it.
    """
    packed = pack_each(items, are_tuples=True)
    if isinstance(packed, Packed):
        return items
    return [one if isinstance(one, Failure) else item for item, one in zip(items, packed, strict=True)]


def _checked(report: Report) -> Report:
    """Let results of this very rank that could not travel fail as they would elsewhere."""
    packed = pack_each(report.values)
    if isinstance(packed, Packed):
        return report
    for position, one in enumerate(packed):
        if isinstance(one, Failure):
            report.values[position] = one
            report.has_failures = True
    return report
