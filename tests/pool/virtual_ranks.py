"""Virtual ranks that drive the real schedulers with a simulated clock: no MPI, no threads, no waiting.

A task is a list of stages: a number is seconds of its own work, a list is tasks that it maps.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Callable

from mpidriver.pool._instructions import Assign, Grant, Return, Want
from mpidriver.pool._scheduler import Scheduler

Task = list


def total_work(task: Task) -> float:
    """Return the seconds of a task and all below it."""
    return sum(sum(map(total_work, stage)) if isinstance(stage, list) else stage for stage in task)


def critical_path(task: Task) -> float:
    """Return the seconds of a task on infinitely many ranks."""
    return sum(max(map(critical_path, stage), default=0) if isinstance(stage, list) else stage for stage in task)


def count_tasks(task: Task) -> int:
    """Return the number of tasks below a task, itself not counted."""
    return sum(1 + count_tasks(inner) for stage in task if isinstance(stage, list) for inner in stage)


class VirtualScope:
    """What one running task maps."""

    def __init__(self, name, parent, scheduler, rank):
        self.name, self.parent, self.scheduler, self.rank = name, parent, scheduler, rank
        self.calls, self.left, self.finished = {}, 0, 0
        self.wants = self.settled = 0
        self.closed = False


class Frame:
    """A batch being run, or the main program at the bottom of the root's stack."""

    def __init__(self, scope, number, tasks):
        self.task_scope, self.number, self.totals = scope, number, [len(span) for span in tasks]
        self.todo = deque((span, task) for span, tasks_of_span in enumerate(tasks) for task in tasks_of_span)
        self.seconds = [0.0] * len(tasks)
        self.stages = None
        self.began = 0.0
        self.span = 0
        self.scope = None
        self.working = False


class VirtualRank:
    """One rank: the rules of the engine, with a clock instead of time."""

    def __init__(self, world, number):
        self.world, self.number = world, number
        self.frames, self.inbox, self.names = [], deque(), itertools.count(1)

    @property
    def waits(self):
        """Whether its main thread could take a task."""
        return not self.frames or (self.frames[-1].scope is not None and not self.frames[-1].working)

    def works_for(self, scope):
        return any(frame.task_scope == scope for frame in self.frames)

    def accepts(self, scope):
        if not self.frames:
            return True
        if self.frames[-1].scope is None:
            return scope == self.frames[-1].task_scope
        return self.waits and not self.works_for(scope)

    def open_scope(self, frame, scheduler):
        name = (self.number, next(self.names))
        frame.scope = VirtualScope(name, frame.task_scope, scheduler, self)
        self.world.scopes[name] = frame.scope
        self.release_inbox()
        if frame.todo:
            kept = list(frame.totals)
            for span, _ in frame.todo:
                kept[span] -= 1
            frame.todo.clear()
            self.world.send(self, frame.task_scope, "given_back", self.number, frame.number, kept, False)

    def release_inbox(self):
        while self.inbox:
            scope, number, tasks = self.inbox.popleft()
            self.refuse(scope, number, len(tasks))

    def refuse(self, scope, number, spans):
        leaves = scope[0] != self.number and not self.works_for(scope)
        self.world.send(self, scope, "given_back", self.number, number, [0] * spans, leaves)

    def step(self):
        """Advance as far as possible without time passing."""
        while True:
            if self.frames and self.frames[-1].working:
                return
            frame = self.frames[-1] if self.frames else None
            if frame is not None and frame.scope is not None and not frame.scope.left:
                self.end_wait(frame)
            elif frame is not None and frame.scope is None:
                self.next_stage(frame)
            elif self.inbox:
                scope, number, tasks = self.inbox.popleft()
                self.frames.append(Frame(scope, number, tasks))
            else:
                return

    def next_stage(self, frame):
        if frame.stages is None:
            if not frame.todo:
                self.frames.remove(frame)
                self.world.send(self, frame.task_scope, "finished", self.number, frame.number, frame.seconds)
                return
            frame.span, task = frame.todo.popleft()
            frame.stages, frame.began = deque(task), self.world.now
        if not frame.stages:
            frame.seconds[frame.span] += self.world.now - frame.began
            frame.stages = None
            return
        stage = frame.stages.popleft()
        if isinstance(stage, list):
            self.begin_map(frame, stage)
        elif stage > 0:
            frame.working = True
            self.world.after(stage, self.worked, frame)

    def worked(self, frame):
        frame.working = False

    def begin_map(self, frame, tasks):
        self.open_scope(frame, Scheduler(self.number))
        self.world.add(frame.scope, tasks, self.world.cost and list(map(self.world.cost, tasks)))
        frame.scope.scheduler.home_waits()

    def end_wait(self, frame):
        scope, frame.scope = frame.scope, None
        scope.scheduler.home_leaves()
        self.release_inbox()
        scope.closed = True
        if frame.task_scope is None:
            self.frames.remove(frame)


class World:
    """All virtual ranks.

    Parameters
    ----------
    ranks
        How many.
    latency
        Seconds of the next message; called once a message.
    cost
        Expected cost of a task, None if nothing is known.
    """

    def __init__(
        self, ranks: int, latency: Callable[[], float] = lambda: 0.0, cost: Callable[[Task], float] | None = None
    ):
        self.cost = cost
        self.now = 0.0
        self.latency = latency
        self.events, self.sequence, self.last = [], itertools.count(), {}
        self.scopes, self.runs = {}, []
        self.check = lambda: None
        self.ranks = [VirtualRank(self, number) for number in range(ranks)]
        root = Frame(None, 0, [])
        self.ranks[0].frames.append(root)
        self.ranks[0].open_scope(root, Scheduler(0, range(1, ranks), is_root=True))
        self.root = root.scope
        self.root.scheduler.home_waits()

    def run(self, tasks: list[Task]) -> float:
        """Map tasks on the root; return when the last is finished."""
        self.add(self.root, tasks, self.cost and list(map(self.cost, tasks)))
        self.settle()
        ended = 0.0
        while self.events:
            self.now, _, act, args = heapq.heappop(self.events)
            act(*args)
            if not self.events or self.events[0][0] > self.now:
                self.settle()
                if not self.events or self.events[0][0] > self.now:
                    self.check()
            if self.root.left:
                ended = self.now
        return max(ended, self.now if not self.root.left else ended)

    @property
    def handed_out_once(self):
        """How many tasks were run, each counted once; an error if one was run twice."""
        assert len(self.runs) == len(set(self.runs))
        return len(self.runs)

    def add(self, scope, tasks, costs=None):
        call = len(scope.calls)
        scope.calls[call] = tasks
        scope.left += len(tasks)
        order = range(len(tasks)) if costs is None else sorted(range(len(tasks)), key=lambda i: -costs[i])
        scope.scheduler.add(call, 0, order, costs)

    def after(self, seconds, act, *args):
        heapq.heappush(self.events, (self.now + seconds, next(self.sequence), act, args))

    def send(self, sender, scope, event, *fields):
        """Deliver an event to a scope's leader, in order between two ranks."""
        pair = (sender.number, scope[0])
        arrives = max(self.last.get(pair, 0.0), self.now + (self.latency() if pair[0] != pair[1] else 0.0))
        self.last[pair] = arrives
        heapq.heappush(self.events, (arrives, next(self.sequence), self.receive, (scope, event, fields)))

    def receive(self, name, event, fields):
        scope = self.scopes[name]
        scheduler = scope.scheduler
        if event == "finished":
            batch = scheduler.finished(*fields)
            done = [(name, span.call, index) for span in batch.spans for index in span.indexes]
            scope.left -= len(done)
            self.runs += done
        elif event == "given_back":
            rank, number, kept, leaves = fields
            scheduler.given_back(rank, number, kept, leaves=leaves)
        elif event == "settled":
            scope.settled = fields[0]
        elif event == "want":
            child, serial, tasks, work = fields
            scheduler.want(child, tasks, work)
            if not tasks:
                self.send(scope.rank, child, "settled", serial)
        else:
            getattr(scheduler, event)(*fields)

    def give(self, scope, batch, tasks):
        rank = self.ranks[batch.rank]
        if rank.accepts(scope):
            rank.inbox.append((scope, batch.number, tasks))
        else:
            rank.refuse(scope, batch.number, len(tasks))

    def settle(self):
        """Let every rank and every scheduler do what it can at this moment."""
        changed = True
        while changed:
            for rank in self.ranks:
                rank.step()
            changed = False
            for scope in list(self.scopes.values()):
                for instruction in scope.scheduler.decide():
                    changed = True
                    self.obey(scope, instruction)
                if scope.closed and scope.scheduler.is_quiet and scope.settled == scope.wants:
                    del self.scopes[scope.name]

    def obey(self, scope, instruction):
        match instruction:
            case Assign(batch):
                tasks = [[scope.calls[span.call][index] for index in span.indexes] for span in batch.spans]
                pair = (scope.rank.number, batch.rank)
                delay = self.latency() if pair[0] != pair[1] else 0.0
                arrives = max(self.last.get(pair, 0.0), self.now + delay)
                self.last[pair] = arrives
                heapq.heappush(self.events, (arrives, next(self.sequence), self.give, (scope.name, batch, tasks)))
            case Grant(rank, child):
                self.send(scope.rank, child, "granted", rank)
            case Return(rank):
                self.send(scope.rank, scope.parent, "returned", rank, scope.name)
            case Want(tasks, work):
                scope.wants += 1
                self.send(scope.rank, scope.parent, "want", scope.name, scope.wants, tasks, work)
