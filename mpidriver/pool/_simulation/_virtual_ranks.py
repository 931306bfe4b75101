"""Virtual ranks: what each does with the batches that it is sent, and what its tasks map.

A virtual task is a sequence of stages: a number is seconds of its own work, a sequence is tasks that it maps, `Gangs`
are tasks that it maps with several ranks each. Ranks keep the rules of the engine; what the schedulers decide is theirs
alone.
"""

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mpidriver.pool._scheduling._scheduler import Scheduler
from mpidriver.pool._transport._messages import ScopeId

if TYPE_CHECKING:
    from mpidriver.pool._simulation._world import World

__all__ = ["Frame", "Gangs", "Task", "VirtualRank", "VirtualScope"]

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
