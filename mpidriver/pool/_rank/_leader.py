"""What a rank leads: the scopes of its running tasks, their messages, and carrying out what their schedulers decide."""

import time
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from mpidriver.errors import LeaderLostError
from mpidriver.pool._futures._callbacks import Callbacks
from mpidriver.pool._rank._calls import Call
from mpidriver.pool._rank._retrying import retry
from mpidriver.pool._rank._scope import Function, Scope
from mpidriver.pool._rank._work import unpack_report
from mpidriver.pool._scheduling._gangs import Need
from mpidriver.pool._scheduling._instructions import Assign, Batch, Grant, Return, Want
from mpidriver.pool._scheduling._scheduler import Scheduler
from mpidriver.pool._transport import _messages as kind
from mpidriver.pool._transport._codec import pack_each
from mpidriver.pool._transport._messages import ScopeId
from mpidriver.pool._transport._post import Handler, Post
from mpidriver.pool._watching._observing import Observer, telling
from mpidriver.pool._watching._trace import Trace

__all__ = ["Leader"]

_is_quiet = attrgetter("is_quiet")


class Leader:
    """The scopes that one rank leads.

    Parameters
    ----------
    post
        Sends messages.
    callbacks
        Takes what futures want done.
    """

    def __init__(self, post: Post, callbacks: Callbacks) -> None:
        self._post = post
        self._callbacks = callbacks
        self.scopes: dict[ScopeId, Scope] = {}
        self.touched: dict[ScopeId, None] = {}
        """Scopes in which something has happened since their schedulers decided."""
        self.unlooked: dict[ScopeId, Scope] = {}
        """Scopes whose idle clocks have not looked since then: it can wait until results are taken on."""
        self._scopes_made = 0
        self._calls_made = 0
        self._stopped: str | None = None
        self.trace: Trace | None = None
        """Takes down what came back."""
        self.observer: Observer | None = None
        """Is told what became of the main program's items."""
        self.longest_seconds = 0.0
        """Of all items, or batches of short ones, that came back here."""
        self.handlers: dict[int, Handler] = {
            kind.OUTCOME: self._on_outcome,
            kind.GIVEBACK: self._on_giveback,
            kind.WANT: self._on_want,
            kind.SETTLED: self._on_settled,
            kind.GRANT: self._on_grant,
            kind.RETURN: self._on_return,
        }

    # Scopes and calls

    def open(self, parent: ScopeId | None, scheduler: Scheduler, reach: int, above: tuple[int, ...] = ()) -> Scope:
        """Open a scope whose tasks can have so many ranks; without a parent, and leaders above, it is the root's."""
        self._scopes_made += 1
        name = (self._post.rank, self._scopes_made)
        leaders, travels = (*above, self._post.rank), self._post.size > 1
        scope = self.scopes[name] = Scope(name, parent, scheduler, reach=reach, leaders=leaders, travels=travels)
        scheduler.dead = self._post.dead
        return scope

    def close(self, scope: Scope) -> None:
        """Close a scope whose calls have all their results; it stays until its ranks are back."""
        for call in list(scope.calls.values()):
            self.end(scope, call)
        self._forget(scope, [function for function in scope.functions.values() if function.ranks])
        for rank in scope.scheduler.own if scope.has_communicator else ():
            self._post.send(rank, kind.PART, scope.name)
        scope.closed = True
        self.touch(scope)

    def wake_next(self, scope: Scope) -> None:
        """Let the rank wake that will be given the next items, while these are prepared; no lock is needed."""
        rank = scope.scheduler.next_rank
        if rank is not None:
            self._post.wake(rank)

    def begin(self, scope: Scope, call: Call) -> None:
        """Begin a call."""
        self._calls_made += 1
        scope.begin(call, self._calls_made)

    def hand_out_at_once(self, scope: Scope, call: Call, costs: Any) -> bool:
        """Hand out the only item of a new call without a decision, if that can be only one; return whether it was.

        It is sent as it would be if it was added and the scheduler decided, only sooner.
        """
        if self.touched or self._post.to_self or self._stopped is not None or self.observer is not None:
            return False
        batch = scope.scheduler.assign_at_once(call.serial, call.function, costs)
        if batch is None:
            return False
        call.left = 1
        self._assign(scope, batch)
        self.unlooked[scope.name] = scope
        return True

    def end(self, scope: Scope, call: Call) -> None:
        """End a call; nothing of it is in flight."""
        function = scope.end(call)
        if function is not None and function.ranks:
            self._forget(scope, [function])

    def drop(self, scope: Scope, call: Call) -> None:
        """End a call now, or when what is in flight of it has come back; nobody takes its results."""
        if call.left:
            scope.cancel_ready(call)
            self.touch(scope)
        if call.left:
            scope.abandoned.add(call.serial)
        else:
            self.end(scope, call)

    def forsake(self, scope: Scope) -> None:
        """Drop a scope whose results nobody waits for any more: a leader above has died."""
        del self.scopes[scope.name]
        for call in scope.calls.values():
            due = call.fail(LeaderLostError())
            if due is not None:
                self._callbacks.add(due)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing happens in any scope unless some task starts something."""
        return all(map(_is_quiet, self.scopes.values()))

    # Deciding

    def touch(self, scope: Scope) -> None:
        """Let a scope's scheduler decide soon: something has happened."""
        self.touched[scope.name] = None

    def decide(self) -> None:
        """Let the scheduler of one touched scope decide, and do what it says."""
        scope = self.scopes.get(self.touched.popitem()[0])
        if scope is None:
            return
        if self._stopped is not None:
            self._leave_undone_in(scope, self._stopped)
        for instruction in scope.scheduler.decide():
            match instruction:
                case Assign(batch):
                    self._assign(scope, batch)
                case Grant(ranks, child, for_gangs):
                    self._post.send(child[0], kind.GRANT, child, ranks, for_gangs)
                case Return(rank):
                    self._send_to_parent(scope, kind.RETURN, scope.name, rank)
                case Want(tasks, work, need):
                    self._send_to_parent(scope, kind.WANT, scope.name, scope.wants(), tasks, work, need)
        self.unlooked[scope.name] = scope
        if scope.closed and scope.is_quiet:
            del self.scopes[scope.name]

    def look(self) -> None:
        """Let idle clocks see how things stand after what was decided."""
        now = time.perf_counter()
        while self.unlooked:
            scope = self.unlooked.popitem()[1]
            if scope.idle_clock is not None:
                scope.idle_clock.look(scope.scheduler, now)

    def leave_undone(self, reason: str) -> None:
        """Hand out nothing more: what is in the backlog, or comes back into it, stays undone."""
        self._stopped = reason
        for scope in self.scopes.values():
            self.touch(scope)

    def _leave_undone_in(self, scope: Scope, reason: str) -> None:
        for call in list(scope.calls.values()):
            indexes = scope.cancel_ready(call)
            if indexes:
                self.conclude(scope, call, call.leave(indexes, reason))

    def conclude(self, scope: Scope, call: Call, due: Callable[[], None] | None) -> None:
        """Let be done what is due about a call, and end it if nobody waits for it."""
        if due is not None:
            self._callbacks.add(due)
        if not call.left and (call.ends_itself or call.serial in scope.abandoned):
            self._callbacks.resolved += 1
            self.end(scope, call)

    def _assign(self, scope: Scope, batch: Batch) -> None:
        spans: list[tuple[Any, ...]] = []
        is_home = batch.rank == self._post.rank
        for span in batch.spans:
            call = scope.calls[span.call]
            call.begins(span.indexes)
            items = call.arguments_of(span.indexes)
            known = scope.functions[span.function]
            function = None if batch.rank in known.ranks else known.for_rank(batch.rank, is_home=is_home)
            packed = items if is_home else pack_each(items)
            spans.append((span.function, function, packed, call.bare, call.timed))
        standing = (batch.members, scope.reach, scope.is_gang, batch.is_together, scope.leaders)
        self._post.send(batch.rank, kind.TASK, scope.name, batch.number, spans, standing)

    def _send_to_parent(self, scope: Scope, message: int, *fields: Any) -> None:
        assert scope.parent is not None
        self._post.send(scope.parent[0], message, scope.parent, *fields)

    def _forget(self, scope: Scope, functions: list[Function]) -> None:
        keys: dict[int, list[int]] = {}
        for function in functions:
            for rank in sorted(function.ranks):
                keys.setdefault(rank, []).append(function.key)
        for rank, forgotten in keys.items():
            self._post.send(rank, kind.FORGET, scope.name, forgotten)

    # Messages

    def _on_outcome(
        self, name: ScopeId, number: int, rank: int, reports: list[Any], spent: tuple[float, float, float]
    ) -> None:
        scope = self.scopes[name]
        read = reports if rank == self._post.rank else list(map(unpack_report, reports))
        batch = scope.scheduler.finished(rank, number, [report.total_seconds for report in read])
        busy_seconds, dependency, straggler = spent
        scope.busy_seconds += busy_seconds
        if scope.idle_clock is not None and (dependency or straggler):
            scope.idle_clock.add(dependency, straggler)
        for span, report in zip(batch.spans, read, strict=False):
            call = scope.calls[span.call]
            indexes: Sequence[int] = span.indexes
            if self.trace is not None:
                self.trace.note(scope, call, span, report)
            if report.has_failures and call.serial not in scope.abandoned:
                indexes, report = retry(scope, call, span, report, frozenset((rank, *batch.members)))
                if not indexes:
                    continue
            if call.learner is not None:
                call.learn(indexes, report)
            seconds = report.marks[-1] - report.marks[0]
            if seconds > self.longest_seconds:
                self.longest_seconds = seconds
            if self.observer is not None and scope.parent is None:
                self._callbacks.add(telling(self.observer, call.name, report))
            self.conclude(scope, call, call.deliver(indexes, report))
        if scope.closed or not scope.scheduler.is_content:
            self.touch(scope)
        else:
            self.unlooked[name] = scope

    def _on_giveback(self, name: ScopeId, number: int, rank: int, kept: list[int], leaves: bool) -> None:
        scope = self.scopes[name]
        scope.scheduler.given_back(rank, number, kept, leaves=leaves)
        self.touch(scope)

    def _on_want(self, name: ScopeId, child: ScopeId, serial: int, count: int, work: float, need: Need) -> None:
        scope = self.scopes[name]
        scope.scheduler.want(child, count, work, need)
        self.touch(scope)
        if not (count or need.ranks):
            self._post.send(child[0], kind.SETTLED, child, serial)

    def _on_settled(self, name: ScopeId, serial: int) -> None:
        scope = self.scopes[name]
        scope.settled(serial)
        self.touch(scope)

    def _on_grant(self, name: ScopeId, ranks: tuple[int, ...], for_gangs: tuple[int, ...]) -> None:
        scope = self.scopes[name]
        for rank in ranks:
            scope.scheduler.granted(rank, for_gangs=rank in for_gangs)
        self.touch(scope)

    def _on_return(self, name: ScopeId, child: ScopeId, rank: int) -> None:
        scope = self.scopes[name]
        scope.scheduler.returned(rank, child)
        self.touch(scope)
