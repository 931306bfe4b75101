"""The world of virtual ranks: a simulated clock, messages, and the real schedulers; no MPI, no threads, no waiting."""

import heapq
import itertools
from collections.abc import Callable, Sequence
from typing import Any

from mpidriver.pool._scheduling._instructions import Assign, Batch, Grant, Instruction, Return, Want
from mpidriver.pool._scheduling._scheduler import Scheduler
from mpidriver.pool._simulation._virtual_ranks import Frame, Gangs, Task, VirtualRank, VirtualScope
from mpidriver.pool._transport._messages import ScopeId

__all__ = ["Observer", "World"]


class Observer:
    """Is told what happens to items; this one does not care."""

    def began(self, scope: ScopeId | None, call: int, index: int, rank: int) -> None:
        """Note that a rank has begun an item."""

    def ended(self, scope: ScopeId | None, call: int, index: int, rank: int) -> None:
        """Note that a rank is through with an item."""

    def finished(self, scope: ScopeId, call: int, index: int) -> None:
        """Note that the leader has the result."""


class World:
    """All virtual ranks.

    Parameters
    ----------
    ranks
        How many.
    latency
        Seconds of the next message; called once a message.
    cost
        Expected cost of a mapped task, None if nothing is known.
    root_works
        Whether rank 0 runs tasks too; None means long ones.
    """

    def __init__(
        self,
        ranks: int,
        latency: Callable[[], float] = lambda: 0.0,
        cost: Callable[[Task], float] | None = None,
        *,
        root_works: bool | None = True,
    ) -> None:
        self.now = 0.0
        self.observer = Observer()
        self.check: Callable[[], None] | None = None
        """Called whenever nothing more can happen at the present moment."""
        self.scopes: dict[ScopeId, VirtualScope] = {}
        self._latency, self._cost = latency, cost
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._sequence = itertools.count()
        self._last: dict[tuple[int, int], float] = {}
        self._touched_ranks: dict[VirtualRank, None] = {}
        self._touched_scopes: dict[ScopeId, None] = {}
        self.ranks = [VirtualRank(self, number) for number in range(ranks)]
        main = Frame(None, 0, [])
        self.ranks[0].frames.append(main)
        works = True if ranks == 1 else root_works
        scheduler = Scheduler(0, range(1, ranks), owns_ranks=True, home_works=works)
        self.root = self.ranks[0].open_scope(main, scheduler)
        scheduler.home_waits()

    def run(self, tasks: Sequence[Task]) -> float:
        """Map tasks on the root; return when the last is finished."""
        self.add(self.root, 0, tasks, self.costs_of(tasks))
        return self.run_all()

    def run_all(self) -> float:
        """Let everything happen; return when the root has its last result."""
        self._settle()
        ended = 0.0
        while self._events:
            self.now, _, act, args = heapq.heappop(self._events)
            had = self.root.left
            act(*args)
            if self.root.left < had:
                ended = self.now
            if not self._events or self._events[0][0] > self.now:
                self._settle()
        return ended

    def costs_of(self, tasks: Sequence[Task]) -> list[float] | None:
        """Return the expected costs of tasks."""
        return None if self._cost is None else [self._cost(task) for task in tasks]

    def add(self, scope: VirtualScope, call: int, tasks: Sequence[Task], costs: Sequence[float] | None = None) -> None:
        """Add tasks to a scope, as a new call."""
        scope.calls[call] = tasks
        scope.left += len(tasks)
        order: Sequence[int] = range(len(tasks))
        if costs is not None and len(tasks) > 1:
            order = sorted(order, key=lambda index: -costs[index])
        ranks = tasks.ranks if isinstance(tasks, Gangs) else 1
        scope.scheduler.add(call, 0, order, costs, ranks=ranks)
        self.touch_scope(scope)

    def after(self, seconds: float, act: Callable[..., None], *args: Any) -> None:
        """Let something happen later."""
        self._at(self.now + seconds, act, *args)

    def send(self, sender: VirtualRank, scope: ScopeId | None, event: str, *fields: Any) -> None:
        """Deliver an event to a scope's leader."""
        assert scope is not None
        self._at(self._arrival(sender.number, scope[0]), self._receive, scope, event, fields)

    def touch_rank(self, rank: VirtualRank) -> None:
        """Let a rank look soon what it can do."""
        self._touched_ranks[rank] = None

    def touch_scope(self, scope: VirtualScope) -> None:
        """Let a scope's scheduler decide soon."""
        self._touched_scopes[scope.name] = None

    def _at(self, time: float, act: Callable[..., None], *args: Any) -> None:
        heapq.heappush(self._events, (time, next(self._sequence), act, args))

    def _arrival(self, sender: int, receiver: int) -> float:
        """Return when a message arrives: in order between two ranks, at once at the own rank."""
        if sender == receiver:
            return self.now
        pair = (sender, receiver)
        self._last[pair] = max(self._last.get(pair, 0.0), self.now + self._latency())
        return self._last[pair]

    def _receive(self, name: ScopeId, event: str, fields: tuple[Any, ...]) -> None:
        scope = self.scopes[name]
        self.touch_scope(scope)
        match event:
            case "finished":
                self._finish(scope, scope.scheduler.finished(*fields))
            case "given_back":
                rank, number, kept, leaves = fields
                scope.scheduler.given_back(rank, number, kept, leaves=leaves)
            case "settled":
                (scope.settled,) = fields
            case "want":
                child, serial, tasks, work, need = fields
                scope.scheduler.want(child, tasks, work, need)
                if not (tasks or need.ranks):
                    self.send(scope.rank, child, "settled", serial)
            case "granted":
                ranks, for_gangs = fields
                for rank in ranks:
                    scope.scheduler.granted(rank, for_gangs=rank in for_gangs)
            case _:
                getattr(scope.scheduler, event)(*fields)
        if not scope.left:
            self.touch_rank(scope.rank)

    def _finish(self, scope: VirtualScope, batch: Batch) -> None:
        for span in batch.spans:
            scope.left -= len(span.indexes)
            for index in span.indexes:
                self.observer.finished(scope.name, span.call, index)

    def _settle(self) -> None:
        """Let every rank and every scheduler do what it can at this moment."""
        while self._touched_ranks or self._touched_scopes:
            while self._touched_ranks:
                rank, _ = self._touched_ranks.popitem()
                rank.step()
            touched, self._touched_scopes = self._touched_scopes, {}
            for scope in filter(None, map(self.scopes.get, touched)):
                self.decide(scope)
        if self.check is not None and not (self._events and self._events[0][0] <= self.now):
            self.check()

    def decide(self, scope: VirtualScope) -> None:
        """Let a scope's scheduler decide, and do what it says."""
        for instruction in scope.scheduler.decide():
            self._obey(scope, instruction)
        if scope.closed and scope.scheduler.is_quiet and scope.settled == scope.wants:
            del self.scopes[scope.name]

    def _obey(self, scope: VirtualScope, instruction: Instruction) -> None:
        match instruction:
            case Assign(batch):
                spans = [[(span.call, i, scope.calls[span.call][i]) for i in span.indexes] for span in batch.spans]
                frame = Frame(scope.name, batch.number, spans, batch.members, is_firm=scope.is_gang)
                self._at(self._arrival(scope.rank.number, batch.rank), self.ranks[batch.rank].take, frame)
            case Grant(ranks, child, for_gangs):
                self.send(scope.rank, child, "granted", ranks, for_gangs)
            case Return(rank):
                self.send(scope.rank, scope.parent, "returned", rank, scope.name)
            case Want(tasks, work, need):
                scope.wants += 1
                self.send(scope.rank, scope.parent, "want", scope.name, scope.wants, tasks, work, need)
