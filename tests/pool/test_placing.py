"""Tasks run where their arguments are, unless waiting would cost more than moving them."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_scheduler import TASKS, Finished, count_tasks

from mpidriver.pool._scheduling._instructions import Assign
from mpidriver.pool._scheduling._scheduler import Scheduler
from mpidriver.pool._simulation._world import World

GIGABYTE = 10**9


class PlacingWorld(World):
    """Virtual ranks on which most tasks have a random place."""

    def add(self, scope, call, tasks, costs=None):
        source = random.Random(len(tasks))
        ranks = [source.randrange(len(self.ranks)) for _ in tasks]
        places = {i: (rank, source.choice([0, GIGABYTE])) for i, rank in enumerate(ranks) if source.random() < 0.7}
        add = scope.scheduler.add
        scope.scheduler.add = lambda *args, **how: add(*args, places=places, **how)
        super().add(scope, call, tasks, costs)
        scope.scheduler.add = add


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(
    tasks=st.lists(TASKS, max_size=8),
    ranks=st.integers(1, 5),
    seed=st.integers(0, 9),
    latency=st.sampled_from([0.0, 0.01, 2.0]),
)
def test_every_placed_task_runs_once_and_every_rank_comes_back(tasks, ranks, seed, latency):
    """Wherever the arguments are, on ranks that are lent to others too."""
    source = random.Random(seed)
    world = PlacingWorld(ranks, lambda: source.uniform(0, latency))
    world.observer = Finished()
    world.run(tasks)
    assert world.root.left == 0
    assert world.root.scheduler.has_all_ranks
    assert len(world.observer.items) == len(set(world.observer.items)) == count_tasks([tasks])


def root(ranks):
    scheduler = Scheduler(0, range(1, ranks), owns_ranks=True)
    scheduler.home_waits()
    return scheduler


def assigned(scheduler):
    """Return the indexes that each rank gets, in the order of the ranks."""
    batches = [one.batch for one in scheduler.decide() if isinstance(one, Assign)]
    return {batch.rank: [list(span.indexes) for span in batch.spans] for batch in sorted(batches, key=lambda b: b.rank)}


def test_an_idle_rank_takes_first_what_is_placed_on_it():
    scheduler = root(3)
    scheduler.add(1, 1, range(2))
    scheduler.add(2, 1, range(3), places={i: (i, 8) for i in range(3)})
    assert assigned(scheduler) == {0: [[0]], 1: [[1]], 2: [[2]]}
    assert scheduler.ready == 2


@pytest.mark.parametrize(("seconds", "nbytes", "moves"), [(1.0, GIGABYTE // 2, True), (0.1, GIGABYTE // 2, False)])
def test_a_task_moves_if_its_rank_is_busy_for_longer_than_that_takes(seconds, nbytes, moves):
    scheduler = root(2)
    places = {0: (1, nbytes), 1: (1, nbytes)}
    scheduler.add(1, 1, [0])
    assert assigned(scheduler) == {0: [[0]]}
    scheduler.finished(0, 1, [seconds])
    scheduler.add(1, 1, [1, 0], places=places)
    assert assigned(scheduler) == ({0: [[0]], 1: [[1]]} if moves else {1: [[1]]})
    assert scheduler.ready == (0 if moves else 1)


def test_a_task_runs_anywhere_if_its_rank_is_lent():
    scheduler = root(3)
    scheduler.add(1, 1, range(2), places={0: (1, 0), 1: (2, 0)})
    assert assigned(scheduler) == {1: [[0]], 2: [[1]]}
    scheduler.want((1, 1), 1, 1.0)
    scheduler.finished(2, 2, [0.001])
    scheduler.home_leaves()
    scheduler.decide()
    scheduler.home_waits()
    scheduler.add(2, 2, [0], places={0: (2, 100 * GIGABYTE)})
    assert assigned(scheduler) == {0: [[0]]}


def test_what_is_given_back_keeps_its_place_and_can_be_cancelled():
    scheduler = root(2)
    scheduler.add(1, 1, range(3), places=dict.fromkeys(range(3), (1, GIGABYTE)))
    assert assigned(scheduler) == {1: [[0]]}
    scheduler.given_back(1, 1, [0])
    assert scheduler.ready == 3
    assert assigned(scheduler) == {1: [[1]]}
    assert sorted(scheduler.cancel(1)) == [0, 2]
    assert scheduler.ready == 0
