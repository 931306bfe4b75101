"""Virtual ranks that drive the real schedulers with a simulated clock: no MPI, no threads, no waiting.

A virtual task is a sequence of stages: a number is seconds of its own work, a sequence is tasks that it maps, `Gangs`
are tasks that it maps with several ranks each. Ranks keep the rules of the engine; what the schedulers decide is theirs
alone.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from mpidriver.pool._scheduling._instructions import Assign, Batch, Grant, Instruction, Return, Want
from mpidriver.pool._scheduling._scheduler import Scheduler
from mpidriver.pool._transport._messages import ScopeId

__all__ = ["Frame", "Gangs", "VirtualRank", "VirtualScope", "World"]

Task = Sequence[Any]


class Gangs(list[Task]):
    """Tasks that get several ranks each."""

    def __init__(self, ranks: int, tasks: Sequence[Task]) -> None:
        super().__init__(tasks)
        self.ranks = ranks


HELD_UP_SECONDS = 0.3
"""After so long a task, what waits behind it on its rank is given back."""


class VirtualScope:
    """What one running task maps.

    Parameters
    ----------
    name, parent
        As of a real scope.
    scheduler
        Its scheduler.
    rank
        Rank that leads it.
    """

    def __init__(self, name: ScopeId, parent: ScopeId | None, scheduler: Scheduler, rank: "VirtualRank") -> None:
        self.name, self.parent, self.scheduler, self.rank = name, parent, scheduler, rank
        self.calls: dict[int, Sequence[Task]] = {}
        self.left = 0
        self.wants = self.settled = 0
        self.closed = False

    @property
    def is_gang(self) -> bool:
        """Whether its ranks were lent to it for as long as it lasts."""
        return self.scheduler.owns_ranks and self.parent is not None

    @property
    def is_over(self) -> bool:
        """Whether the wait for it is over."""
        return not self.left and (not self.is_gang or self.scheduler.has_all_ranks)


class Frame:
    """A batch being run, or the main program at the bottom of the root's stack.

    Parameters
    ----------
    task_scope, number
        Scope and number of the batch; no scope for the main program.
    spans
        Call, index and task of each item, by span.
    members, is_firm
        As of `Standing`.
    """

    def __init__(
        self,
        task_scope: ScopeId | None,
        number: int,
        spans: list[list[tuple[int, int, Task]]],
        members: tuple[int, ...] = (),
        *,
        is_firm: bool = False,
    ) -> None:
        self.task_scope, self.number = task_scope, number
        self.members, self.is_firm = members, is_firm
        self.kept = [len(span) for span in spans]
        self.todo = deque((place, *item) for place, span in enumerate(spans) for item in span)
        self.seconds = [0.0] * len(spans)
        self.item: tuple[int, int, int, Task] | None = None
        self.stages: deque[Any] = deque()
        self.began = 0.0
        self.scope: VirtualScope | None = None
        self.working = False
        self.turns = 0
        """Grows with each stage of work."""

    def drop_rest(self) -> bool:
        """Take away what is not begun; return whether there was anything."""
        for place, *_ in self.todo:
            self.kept[place] -= 1
        dropped = bool(self.todo)
        self.todo.clear()
        return dropped


class VirtualRank:
    """One rank.

    Parameters
    ----------
    world, number
        Where it is.
    """

    def __init__(self, world: "World", number: int) -> None:
        self.world, self.number = world, number
        self.frames: list[Frame] = []
        self.inbox: deque[Frame] = deque()
        self._scopes_made = 0

    def take(self, batch: Frame) -> None:
        """Take a batch that has arrived, or refuse it."""
        if not (self._accepts(batch.task_scope) or self._must_keep(batch)):
            self._refuse(batch)
            return
        self.inbox.append(batch)
        self.world.touch_rank(self)
        if self.frames:
            self._look_later(self.frames[-1])

    def open_scope(self, frame: Frame, scheduler: Scheduler) -> VirtualScope:
        """Begin to lead: the task at the top of the stack maps."""
        self._scopes_made += 1
        scope = VirtualScope((self.number, self._scopes_made), frame.task_scope, scheduler, self)
        frame.scope = self.world.scopes[scope.name] = scope
        self._give_back_rest(frame)
        return scope

    def step(self) -> None:
        """Advance as far as possible without time passing."""
        while True:
            frame = self.frames[-1] if self.frames else None
            if frame is not None and frame.working:
                return
            if frame is not None and frame.scope is not None and frame.scope.is_over:
                self._end_wait(frame)
            elif frame is not None and frame.scope is None:
                self._go_on(frame)
            elif self.inbox:
                self.frames.append(self.inbox.popleft())
            else:
                return

    def _go_on(self, frame: Frame) -> None:
        if frame.stages:
            stage = frame.stages.popleft()
            if isinstance(stage, Sequence):
                self._begin_map(frame, stage)
            elif stage > 0:
                self._begin_work(frame, stage)
        elif frame.item is not None:
            place, call, index, _ = frame.item
            frame.seconds[place] += self.world.now - frame.began
            frame.item = None
            self.world.observer.ended(frame.task_scope, call, index, self.number)
        elif frame.todo:
            frame.item = frame.todo.popleft()
            _, call, index, task = frame.item
            frame.stages, frame.began = deque(task), self.world.now
            self.world.observer.began(frame.task_scope, call, index, self.number)
        else:
            self.frames.remove(frame)
            self.world.send(self, frame.task_scope, "finished", self.number, frame.number, frame.seconds)

    def _begin_work(self, frame: Frame, seconds: float) -> None:
        frame.working = True
        frame.turns += 1
        self.world.after(seconds, self._worked, frame)
        if seconds > HELD_UP_SECONDS and (frame.todo or self.inbox):
            self._look_later(frame)

    def _worked(self, frame: Frame) -> None:
        frame.working = False
        self.world.touch_rank(self)

    def _look_later(self, frame: Frame) -> None:
        if frame.working:
            self.world.after(HELD_UP_SECONDS, self._rescue, frame, frame.turns)

    def _rescue(self, frame: Frame, turn: int) -> None:
        """Give back what waits behind a long task."""
        if frame.working and frame.turns == turn:
            self._give_back_rest(frame)

    def _begin_map(self, frame: Frame, tasks: Sequence[Task]) -> None:
        scope = self.open_scope(frame, Scheduler(self.number, frame.members, owns_ranks=bool(frame.members)))
        self.world.add(scope, len(scope.calls), tasks, self.world.costs_of(tasks))
        scope.scheduler.home_waits()

    def _end_wait(self, frame: Frame) -> None:
        scope, frame.scope = frame.scope, None
        assert scope is not None
        scope.scheduler.home_leaves()
        self._release_inbox()
        scope.closed = True
        self.world.decide(scope)  # before the task's outcome is sent
        if frame.task_scope is None:
            self.frames.remove(frame)

    # Batches from others

    def _accepts(self, scope: ScopeId | None) -> bool:
        if not self.frames:
            return True
        top = self.frames[-1]
        if top.scope is None:
            return scope == top.task_scope
        return not top.working and not self._works_for(scope)

    def _works_for(self, scope: ScopeId | None) -> bool:
        return any(frame.task_scope == scope for frame in self.frames)

    def _give_back_rest(self, frame: Frame) -> None:
        self._release_inbox()
        if frame.drop_rest():
            self._give_back(frame, leaves=False)

    def _release_inbox(self) -> None:
        for batch in list(self.inbox):
            if not self._must_keep(batch):
                self.inbox.remove(batch)
                self._refuse(batch)

    def _must_keep(self, batch: Frame) -> bool:
        assert batch.task_scope is not None
        for frame in self.frames:
            scope = frame.scope
            if scope is not None and scope.name == batch.task_scope and scope.scheduler.home_waits_for_work:
                return True
        is_of_gang = batch.is_firm or bool(batch.members)
        return is_of_gang and batch.task_scope[0] != self.number and not self._works_for(batch.task_scope)

    def _refuse(self, batch: Frame) -> None:
        assert batch.task_scope is not None
        batch.drop_rest()
        self._give_back(batch, leaves=batch.task_scope[0] != self.number and not self._works_for(batch.task_scope))

    def _give_back(self, batch: Frame, *, leaves: bool) -> None:
        self.world.send(self, batch.task_scope, "given_back", self.number, batch.number, list(batch.kept), leaves)


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
