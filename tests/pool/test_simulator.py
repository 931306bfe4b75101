"""The simulator: known cases, bounds that no schedule beats, and what a run is said to wait for."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpidriver.pool import Job, simulate
from mpidriver.pool._simulation._workload import critical_path


@st.composite
def workloads(draw):
    """Draw jobs that need some of those before them."""
    jobs = []
    for number in range(draw(st.integers(1, 25))):
        needs = draw(st.sets(st.integers(0, number - 1), max_size=3)) if number else set()
        seconds = draw(st.sampled_from([0.0, 0.001, 0.5, 1.0, 7.0]))
        jobs.append(Job(f"stage {number % 4}", seconds, tuple(sorted(needs)), draw(st.integers(0, 3))))
    return jobs


def work(jobs):
    return sum(job.seconds for job in jobs)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(workloads())
def test_one_rank_takes_the_work_and_many_take_the_longest_chain(jobs):
    """Without latency both are exact."""
    alone = simulate(jobs, 1, latency_seconds=0.0)
    assert alone.wall_seconds == pytest.approx(work(jobs))
    assert alone.efficiency == pytest.approx(1.0)
    many = simulate(jobs, len(jobs) + 1, latency_seconds=0.0)
    assert many.wall_seconds == pytest.approx(critical_path(jobs), abs=1e-9)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(workloads(), st.integers(1, 6), st.sampled_from([0.0, 1e-3, 0.1]))
def test_no_prediction_beats_the_bound_and_its_parts_add_up(jobs, ranks, latency):
    """Work and idle time are all the time of all ranks; so is the chain that decides, but for messages."""
    made = simulate(jobs, ranks, latency_seconds=latency)
    assert made.wall_seconds >= made.bound_seconds - 1e-9
    assert sum(stage.work_seconds for stage in made.stages) == pytest.approx(work(jobs))
    idle = sum(stage.idle_seconds for stage in made.stages)
    assert work(jobs) + idle == pytest.approx(ranks * made.wall_seconds, abs=1e-6)
    chain = sum(stage.chain_seconds for stage in made.stages)
    assert chain <= made.wall_seconds + 1e-9
    if not latency:  # Graham's bound for list scheduling
        assert chain == pytest.approx(made.wall_seconds)
        assert made.wall_seconds <= (work(jobs) - critical_path(jobs)) / ranks + critical_path(jobs) + 1e-9


def test_the_longest_chain_begins_first():
    """Two ranks: a chain of three, and three single jobs as long; a bad order takes five."""
    jobs = [Job("single", 1.0)] * 3 + [Job("chain", 1.0), Job("chain", 1.0, (3,)), Job("chain", 1.0, (4,))]
    assert simulate(jobs, 2, latency_seconds=0.0).wall_seconds == pytest.approx(3.0)


def test_the_order_follows_what_is_expected_and_not_what_comes():
    """A job that turns out long although nobody knew begins last."""
    known = [Job("a", 1.0), Job("a", 1.0), Job("a", 2.0)]
    unknown = [Job("a", job.seconds, expected_seconds=1.0) for job in known]
    assert simulate(known, 2, latency_seconds=0.0).wall_seconds == pytest.approx(2.0)
    assert simulate(unknown, 2, latency_seconds=0.0).wall_seconds == pytest.approx(3.0)


def test_the_stage_that_ranks_wait_for_is_named():
    """Eight quick jobs, then one slow one on which everything waits."""
    jobs = [Job("quick", 1.0)] * 8 + [Job("slow", 10.0, tuple(range(8)))]
    made = simulate(jobs, 4, latency_seconds=0.0)
    assert made.limiting.stage == "slow"
    assert made.limiting.idle_seconds == pytest.approx(30.0)
    assert {stage.stage: stage.chain_seconds for stage in made.stages} == pytest.approx({"quick": 2.0, "slow": 10.0})


def test_memory_is_what_runs_together_on_a_node():
    """Four jobs of different memory on two nodes of two ranks, one after the other on one rank."""
    jobs = [Job("a", 4.0, memory_bytes=1), Job("a", 3.0, memory_bytes=2)]
    jobs += [Job("a", 2.0, memory_bytes=4), Job("a", 1.0, memory_bytes=8)]
    assert simulate(jobs, 4, latency_seconds=0.0).node_memory_bytes == 15
    assert simulate(jobs, 1, latency_seconds=0.0).node_memory_bytes == 8
    spread = simulate(jobs, 4, ranks_per_node=2, latency_seconds=0.0).node_memory_bytes
    assert spread in {12, 10, 9}  # whichever share a node, the largest pair that this leaves
    assert simulate(jobs, 4, ranks_per_node=1, latency_seconds=0.0).node_memory_bytes == 8


def test_latency_costs_a_round_trip_a_link_of_a_chain_at_most():
    """What does not leave its rank takes no time to arrive."""
    chain = [Job("a", 1.0, (number - 1,) if number else ()) for number in range(5)]
    assert simulate(chain, 2, latency_seconds=0.1).wall_seconds == pytest.approx(5.0)
    assert simulate(chain, 2, latency_seconds=0.1, root_works=False).wall_seconds == pytest.approx(6.0)


def test_nothing_takes_no_time():
    made = simulate([], 3)
    assert (made.wall_seconds, made.efficiency, made.limiting) == (0.0, 1.0, None)


@pytest.mark.parametrize(
    "jobs",
    [
        [Job("a", -1.0)],
        [Job("a", float("nan"))],
        [Job("a", 1.0, (0,))],
        [Job("a", 1.0, (1,)), Job("b", 1.0)],
        [Job("a", 1.0, (), -5)],
    ],
    ids=["negative time", "no time", "itself", "a later one", "negative memory"],
)
def test_what_is_no_workload_is_refused(jobs):
    with pytest.raises(ValueError, match="job 0"):
        simulate(jobs, 2)
