"""The scheduler alone, driven by virtual ranks."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpidriver.pool._scheduling._instructions import Assign, Grant, Return, Want
from mpidriver.pool._scheduling._scheduler import Scheduler
from mpidriver.pool._simulation._virtual_ranks import Gangs
from mpidriver.pool._simulation._world import Observer, World

SECONDS = st.sampled_from([0.0, 0.5, 1.0, 3.0, 20.0])
LEAVES = st.lists(SECONDS, max_size=2)
TASKS = st.recursive(
    LEAVES, lambda inner: st.lists(st.one_of(SECONDS, st.lists(inner, max_size=5)), max_size=4), max_leaves=40
)


def total_work(task):
    """Return the seconds of a task and all below it."""
    return sum(sum(map(total_work, stage)) if isinstance(stage, list) else stage for stage in task)


def critical_path(task):
    """Return the seconds of a task on infinitely many ranks."""
    return sum(max(map(critical_path, stage), default=0) if isinstance(stage, list) else stage for stage in task)


def count_tasks(task):
    """Return the number of tasks below a task, itself not counted."""
    return sum(1 + count_tasks(inner) for stage in task if isinstance(stage, list) for inner in stage)


class Finished(Observer):
    """Keeps the names of finished items."""

    def __init__(self):
        self.items = []

    def finished(self, scope, call, index):
        self.items.append((scope, call, index))


def make_world(ranks, seed, longest_latency, *, root_works=True):
    source = random.Random(seed)
    return World(ranks, lambda: source.uniform(0, longest_latency), root_works=root_works)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(
    tasks=st.lists(TASKS, max_size=8),
    ranks=st.integers(1, 7),
    seed=st.integers(0, 9),
    latency=st.sampled_from([0.0, 0.01, 2.0]),
)
def test_every_task_runs_once_and_every_rank_comes_back(tasks, ranks, seed, latency):
    """Whatever the tree, the number of ranks and the delays of messages: no deadlock, nothing lost or done twice."""
    world = make_world(ranks, seed, latency)
    world.observer = Finished()
    world.run(tasks)
    assert world.root.left == 0
    assert world.root.scheduler.has_all_ranks
    assert set(world.scopes) <= {world.root.name}
    done = world.observer.items
    assert len(done) == len(set(done)) == count_tasks([tasks])


def with_gangs(inner):
    gangs = st.builds(Gangs, st.integers(1, 7), st.lists(inner, max_size=4))
    return st.lists(st.one_of(SECONDS, st.lists(inner, max_size=4), gangs), max_size=4)


def within_reach(tasks, reach):
    """Return the tasks with no gang larger than the pool that it is made in."""

    def fitted(stage):
        if not isinstance(stage, list):
            return stage
        ranks = min(getattr(stage, "ranks", 1), reach)
        inner = [within_reach(task, ranks if ranks > 1 else reach) for task in stage]
        return Gangs(ranks, inner) if ranks > 1 else inner

    return [fitted(stage) for stage in tasks]


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    task=st.recursive(LEAVES, with_gangs, max_leaves=30),
    ranks=st.integers(1, 7),
    seed=st.integers(0, 9),
    latency=st.sampled_from([0.0, 0.01, 2.0]),
    home_works=st.booleans(),
)
def test_gangs_at_any_depth_come_to_an_end(task, ranks, seed, latency, home_works):
    """Gangs of any size wherever they are made, beside maps of single ranks: no deadlock, nothing lost, ranks back."""
    world = make_world(ranks, seed, latency, root_works=home_works)
    world.observer = Finished()
    fitted = within_reach(task, ranks)
    world.run([fitted])
    assert world.root.left == 0
    assert world.root.scheduler.has_all_ranks
    assert set(world.scopes) <= {world.root.name}
    assert len(world.observer.items) == len(set(world.observer.items)) == count_tasks([[fitted]])


def test_gangs_that_wait_for_each_other_share_their_ranks():
    """Every rank leads a task that wants all ranks: each serves the others while it waits."""
    for ranks in (2, 3, 5):
        world = World(ranks, lambda: 0.01)
        tasks = [[0.1 * i, Gangs(ranks, [[1.0, [[0.5]] * 4]])] for i in range(2 * ranks)]
        world.run(tasks)
        assert world.root.left == 0


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(tasks=st.lists(TASKS, min_size=1, max_size=8), ranks=st.integers(1, 7))
def test_no_rank_is_idle_while_a_task_is_ready(tasks, ranks):
    """With messages that take no time, a rank that leads nothing is idle only when nobody has a ready task."""
    world = World(ranks)

    def check():
        ready = sum(scope.scheduler.ready for scope in world.scopes.values())
        idle = [rank.number for rank in world.ranks if not rank.frames and not rank.inbox]
        assert not (ready and idle), (world.now, ready, idle)

    world.check = check
    world.run(tasks)
    assert world.root.left == 0


def lognormal_tracts(seed):
    """Return twelve tracts of 4 to 64 patches, sigma = 1: scatter, gather, scatter."""
    source = random.Random(seed)

    def patches(count):
        return [[source.lognormvariate(0, 1)] for _ in range(count)]

    sizes = [source.randint(4, 64) for _ in range(12)]
    return [[patches(size), 0.5, patches(size)] for size in sizes]


@pytest.mark.parametrize("ranks", [8, 16])
@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_heavy_tailed_nested_work_comes_near_the_bound(seed, ranks):
    """With costs given, 95 % of what no schedule can beat: work over ranks, or the critical path."""
    tracts = lognormal_tracts(seed)
    bound = max(total_work([tracts]) / ranks, critical_path([tracts]))
    assert bound / World(ranks, lambda: 2e-4, cost=total_work).run(tracts) >= 0.95


def test_without_costs_a_nested_schedule_is_still_greedy():
    """Graham's bound for list scheduling: (work - path) / ranks + path."""
    for seed in range(4):
        tracts = lognormal_tracts(seed)
        work, path = total_work([tracts]), critical_path([tracts])
        assert World(8).run(tracts) <= (work - path) / 8 + path


def test_costliest_tasks_begin_first():
    """Longest first, whatever the order of the items."""
    scheduler = Scheduler(0, [1, 2], owns_ranks=True, home_works=False)
    scheduler.add(1, 1, [2, 0, 1], [2.0, 1.0, 9.0])
    assigned = [list(one.batch.spans[0].indexes) for one in scheduler.decide()]
    assert assigned == [[2], [0]]


def test_the_rank_that_was_busy_last_gets_the_next_task():
    """Its caches are warm, and it still spins for messages."""
    scheduler = Scheduler(0, [1, 2, 3], owns_ranks=True, home_works=False)
    scheduler.add(1, 1, range(3))
    batches = {one.batch.rank: one.batch for one in scheduler.decide()}
    for rank in (1, 3, 2):
        scheduler.finished(rank, batches[rank].number, [0.1])
    scheduler.add(2, 1, range(1))
    assert [one.batch.rank for one in scheduler.decide()] == [2]


def test_home_takes_the_last_task():
    """The leader's own rank is the last to get a task, but a single task need not travel."""
    scheduler = Scheduler(0, [1, 2], owns_ranks=True)
    scheduler.home_waits()
    scheduler.add(1, 1, range(2))
    assert [one.batch.rank for one in scheduler.decide()] == [1, 0]


def test_home_of_many_ranks_works_only_if_tasks_are_long():
    """Between two outcomes of three ranks there must be time enough; before the first nobody knows."""
    for seconds, works in ((0.1, False), (0.2, True)):
        scheduler = Scheduler(0, [1, 2], owns_ranks=True, home_works=None)
        scheduler.home_waits()
        scheduler.add(1, 1, range(9))
        first = scheduler.decide()
        assert [one.batch.rank for one in first] == [1, 2]
        scheduler.finished(1, first[0].batch.number, [seconds])
        assert [one.batch.rank for one in scheduler.decide()] == [1, 0] if works else [1]


def test_home_of_many_ranks_is_lent_to_a_child():
    """The outcomes of its tasks go to the child and leave home alone."""
    scheduler = Scheduler(0, [1], owns_ranks=True, home_works=None)
    scheduler.home_waits()
    scheduler.add(1, 1, range(1))
    assert [one.batch.rank for one in scheduler.decide()] == [1]
    scheduler.want((1, 1), 2, 2.0)
    assert scheduler.decide() == [Grant((0,), (1, 1))]


def test_short_tasks_travel_in_batches_smaller_towards_the_end():
    """About two milliseconds a message, never more than a fair share of the rest, but what a message is worth."""
    scheduler = Scheduler(0, [1], owns_ranks=True, home_works=False)
    scheduler.add(1, 1, range(10_001))
    (first,) = scheduler.decide()
    assert len(first.batch.spans[0].indexes) == 1
    scheduler.finished(1, first.batch.number, [1e-5])
    sizes = []
    pending = scheduler.decide()
    while pending:
        one = pending.pop(0)
        sizes.append(len(one.batch.spans[0].indexes))
        scheduler.finished(1, one.batch.number, [1e-5 * sizes[-1]])
        pending += scheduler.decide()
    assert sum(sizes) == 10_000
    assert max(sizes) in (199, 200)
    assert sizes == sorted(sizes, reverse=True)
    assert min(sizes[:-1]) in (19, 20)


def test_long_tasks_are_not_sent_ahead():
    """Behind a long task an item would wait while another rank may be idle."""
    scheduler = Scheduler(0, [1], owns_ranks=True, home_works=False)
    scheduler.add(1, 1, range(10))
    (first,) = scheduler.decide()
    scheduler.finished(1, first.batch.number, [10.0])
    assert len(scheduler.decide()) == 1


def test_wants_are_announced_when_they_change_much():
    """From and to nothing, and by a factor of two."""
    scheduler = Scheduler(5)
    scheduler.add(1, 1, range(8))
    assert [one.tasks for one in scheduler.decide() if isinstance(one, Want)] == [8]
    scheduler.granted(2)
    granted = scheduler.decide()
    assert [type(one) for one in granted] == [Assign]
    scheduler.cancel(1)
    assert [one.tasks for one in scheduler.decide() if isinstance(one, Want)] == [0]


def test_ranks_go_to_the_child_with_most_work_a_rank_and_back_to_the_parent():
    """Own tasks first, then children, then the parent."""
    scheduler = Scheduler(0, [])
    scheduler.want((7, 1), 4, 8.0)
    scheduler.want((8, 1), 9, 9.0)
    scheduler.decide()
    for rank in (1, 2):
        scheduler.granted(rank)
    grants = [one for one in scheduler.decide() if isinstance(one, Grant)]
    assert [one.child for one in grants] == [(8, 1), (7, 1)]
    scheduler.want((7, 1), 0, 0.0)
    scheduler.want((8, 1), 0, 0.0)
    scheduler.returned(1, grants[0].child if grants[0].ranks == (1,) else grants[1].child)
    assert Return(1) in scheduler.decide()


def test_what_all_ranks_run_together_waits_for_all_and_can_be_cancelled():
    """One item a rank, home included, and nothing else is begun meanwhile."""
    scheduler = Scheduler(0, [1, 2], owns_ranks=True)
    scheduler.add(1, 1, range(1))
    (single,) = scheduler.decide()
    scheduler.add_together(2, 1)
    scheduler.add_together(3, 1)
    scheduler.home_waits()
    scheduler.add(4, 1, range(1))
    assert scheduler.decide() == []
    assert scheduler.cancel(2) == [0, 1, 2]
    scheduler.finished(single.batch.rank, single.batch.number, [1.0])
    batches = [one.batch for one in scheduler.decide()]
    assert [(batch.rank, list(batch.spans[0].indexes), batch.spans[0].call) for batch in batches] == [
        (0, [0], 3),
        (1, [1], 3),
        (2, [2], 3),
    ]


def test_cancelled_tasks_are_not_assigned():
    """What is in flight stays, the rest is gone."""
    scheduler = Scheduler(0, [1], owns_ranks=True, home_works=False)
    scheduler.add(1, 1, range(3))
    scheduler.add(2, 1, range(2))
    (first,) = scheduler.decide()
    assert sorted(scheduler.cancel(1)) == [1, 2]
    scheduler.finished(1, first.batch.number, [1.0])
    (second,) = scheduler.decide()
    assert second.batch.spans[0].call == 2
    assert scheduler.cancel(1) == []


def test_what_a_dead_rank_had_is_sent_alone_and_nothing_behind_it():
    """So that a second death proves which item kills."""
    scheduler = Scheduler(0, [1, 2, 3], owns_ranks=True, home_works=False)
    scheduler.add(1, 1, range(100))
    dead, busy, *_ = [one.batch for one in scheduler.decide()]
    scheduler.cancel(1)
    scheduler.dead.add(dead.rank)
    assert scheduler.lost(dead.rank) == ([dead], {})
    for index in range(5):
        scheduler.add_alone(1, 1, index)
    assert scheduler.decide() == []
    for index in range(5):
        scheduler.finished(busy.rank, busy.number, [1e-6])
        (busy,) = [one.batch for one in scheduler.decide()]
        assert [list(span.indexes) for span in busy.spans] == [[index]]


def test_ranks_lent_to_a_dead_leader_come_back_one_by_one():
    """Those that have died themselves do not; until the last is back the scope is not quiet."""
    scheduler = Scheduler(0, [1, 2, 3, 4], owns_ranks=True, home_works=False)
    scheduler.want((1, 7), 3, 3.0)
    assert {one.ranks for one in scheduler.decide()} <= {(1,), (2,), (3,), (4,)}
    lent = {rank for rank in (1, 2, 3, 4) if scheduler.has_lent(rank, (1, 7))}
    assert len(lent) == 3
    scheduler.dead.add(1)
    _, orphans = scheduler.lost(1)
    assert orphans == {(1, 7): sorted(lent - {1})}
    for rank in orphans[1, 7]:
        assert not scheduler.has_all_ranks
        scheduler.returned(rank, (1, 7))
    assert scheduler.has_all_ranks
    assert not scheduler.has_lent(2, (1, 7))


def test_a_scope_asks_its_parent_again_when_a_rank_has_died():
    """The parent may believe to have lent enough."""
    scheduler = Scheduler(5)
    scheduler.add(1, 1, range(8))
    assert [one.tasks for one in scheduler.decide() if isinstance(one, Want)] == [8]
    assert not scheduler.decide()
    scheduler.lost(3)
    assert [one.tasks for one in scheduler.decide() if isinstance(one, Want)] == [8]


def test_gangs_that_want_more_ranks_than_are_left_are_taken_away():
    scheduler = Scheduler(0, [1, 2, 3], owns_ranks=True)
    scheduler.add(1, 1, range(2), ranks=4)
    scheduler.add(2, 1, range(1), ranks=3)
    scheduler.lost(1)
    assert sorted(gang.index for gang in scheduler.take_larger(3)) == [0, 1]
    assert scheduler.ready == 1


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    ranks=st.integers(0, 3),
    root_works=st.sampled_from([True, False, None]),
    events=st.lists(st.tuples(st.sampled_from(["submit", "map", "finish", "wait", "leave"]), st.integers(0, 9))),
)
def test_assigning_at_once_is_what_adding_and_deciding_does(ranks, root_works, events):
    """Twins that are told the same, one of them by the short way where it is open, do the same."""
    twins = [Scheduler(0, range(1, 1 + ranks), owns_ranks=True, home_works=root_works) for _ in range(2)]
    in_flight = []
    for call, (event, number) in enumerate(events):
        at_once = twins[0].assign_at_once(call, 1, [number]) if event == "submit" else None
        for scheduler in twins[1:] if at_once is not None else twins:
            if event in ("submit", "map"):
                scheduler.add(call, 1, range(1 if event == "submit" else number), [number] * 9)
            elif event == "finish" and in_flight:
                batch = in_flight[number % len(in_flight)]
                scheduler.finished(batch.rank, batch.number, [1e-3 * number] * len(batch.spans))
            elif event in ("wait", "leave"):
                scheduler.home_waits() if event == "wait" else scheduler.home_leaves()
        if event == "finish" and in_flight:
            del in_flight[number % len(in_flight)]
        short = [Assign(at_once)] if at_once is not None else twins[0].decide()
        long = twins[1].decide()
        assert [one.batch.rank for one in short] == [one.batch.rank for one in long]
        assert [[span.indexes for span in one.batch.spans] for one in short] == [
            [span.indexes for span in one.batch.spans] for one in long
        ]
        assert twins[0].census() == twins[1].census()
        in_flight += [one.batch for one in short]
