"""What a program shows of itself: the trace, why ranks were idle, how far it is."""

import collections
import itertools
import json
import math

import pytest
from test_contract import run_on_ranks

from mpidriver.errors import TaskError
from mpidriver.pool import Pool, current_pool, launch
from mpidriver.pool._scheduling._scheduler import Scheduler
from mpidriver.pool._watching._trace import Event, trace_events
from mpidriver.pool._watching._usage import IdleClock, usage_of

TRACED = """
import sys, time
from mpidriver.pool import current_pool, launch

def leaf(number):
    time.sleep(0.003)
    return 1 // number

def branch(number):
    return len(current_pool().map(leaf, range(1, number), name="leaves"))

def main(pool):
    pool.map(branch, range(3, 9))
    pool.map(abs, range(10_000))
    pool.map(leaf, [0, 1], on_error="return")

launch(main, trace=sys.argv[1])
"""


@pytest.mark.parametrize("ranks", [pytest.param(n, marks=pytest.mark.mpi) for n in (1, 2, 3)])
def test_a_trace_loads_and_its_spans_nest(ranks, tmp_path):
    path, script = tmp_path / "trace.json", tmp_path / "traced.py"
    script.write_text(TRACED)
    finished = run_on_ranks(ranks, script, path)
    assert finished.returncode == 0, finished.stderr
    trace = json.loads(path.read_text())
    assert trace["otherData"] == {"program": "mpidriver", "ranks": ranks, "dropped": 0}
    events = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    counts = collections.Counter()
    for event in events:
        counts[event["name"]] += event["args"].get("count", 1)
    assert counts == {"main program": 1, "branch": 6, "leaves": 27, "abs": 10_000, "leaf": 2}
    names = {event["tid"]: event["args"]["name"] for event in trace["traceEvents"] if event["name"] == "thread_name"}
    assert names == {rank: f"rank {rank}" for rank in range(ranks)}
    for _, of_rank in itertools.groupby(events, key=lambda event: event["tid"]):
        check_nesting(list(of_rank))
    by_name = {event["name"]: event for event in events}
    assert {by_name[name]["args"]["depth"] for name in ("branch", "abs")} == {1}
    assert by_name["leaves"]["args"]["depth"] == 2
    assert by_name["leaves"]["args"]["peak_rss_bytes"] > 1 << 20
    (failed,) = (event for event in events if "error" in event["args"])
    assert (failed["args"]["item"], failed["args"]["index"]) == ("0", 0)
    assert "ZeroDivisionError" in failed["args"]["error"]
    assert by_name["leaves"]["dur"] >= 3000
    assert list(tmp_path.glob(".*")) == []


def check_nesting(events):
    """Check that each begins after the one before, and ends within those that it began in."""
    open_until, began = [math.inf], -math.inf
    for event in events:
        assert event["ts"] >= began
        began = event["ts"]
        while open_until[-1] <= began:
            open_until.pop()
        ended = round(began + event["dur"], 3)
        assert ended <= open_until[-1] + 0.002
        open_until.append(ended)


def test_a_trace_keeps_the_newest_and_says_how_many_are_gone(tmp_path, monkeypatch):
    monkeypatch.setattr("mpidriver.pool._watching._trace.EVENTS_A_RANK", 5)
    path = tmp_path / "trace.json"

    def main(pool):
        for number in range(20):
            pool.map(abs, [number])

    launch(main, trace=path)
    trace = json.loads(path.read_text())
    assert trace["otherData"]["dropped"] == 15
    assert [event["args"].get("item") for event in trace["traceEvents"][3:]] == [None, *map(str, range(15, 20))]


def test_a_program_that_fails_leaves_its_trace(tmp_path):
    def main(pool):
        pool.map(abs, [-1])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        launch(main, trace=tmp_path / "trace.json")
    assert "abs" in (tmp_path / "trace.json").read_text()


def test_a_trace_that_cannot_be_written_is_told_and_ends_nothing(tmp_path, capsys):
    assert launch(lambda pool: 7, trace=tmp_path / "absent" / "trace.json") == 7
    assert "trace.json: the trace was not written: " in capsys.readouterr().err


def test_clocks_of_other_hosts_are_set_by_the_root_s():
    began = {0: 12.0, 1: 512.0}
    events = [Event("a", (0, 1), None, rank, began[rank], began[rank] + 1.0, 0, 1, None, None, 0) for rank in began]
    made = list(trace_events(events, {0: "north", 1: "south"}, {1: -500.0}, began=10.0))
    assert [(event["pid"], event["ts"]) for event in made if event["ph"] == "X"] == [(0, 2e6), (1, 2e6)]
    assert [event["args"]["name"] for event in made if event["name"] == "process_name"] == ["north", "south"]


OFFSETS = """
import socket
from mpi4py import MPI
socket.gethostname = lambda: f"host {MPI.COMM_WORLD.rank % 2}"
from mpidriver.pool._transport._joining import connect
wire = connect(None, None)
offsets = wire.clock_offsets()
assert sorted(offsets) == ([1, 3] if wire.rank == 0 else []), offsets
assert all(abs(offset) < 0.5 for offset in offsets.values()), offsets
wire.close()
"""


@pytest.mark.mpi
def test_the_clocks_of_other_hosts_are_measured():
    """On hosts by name only, whose clocks are one."""
    finished = run_on_ranks(4, "-c", OFFSETS)
    assert finished.returncode == 0, finished.stderr


def test_why_ranks_are_idle():
    """The main program computes; then one of three tasks makes a fourth ready; then the last one runs alone."""
    scheduler, clock, numbers = Scheduler(0, [1, 2], owns_ranks=True), IdleClock(0.0), {}

    def decide(now):
        for instruction in scheduler.decide():
            numbers[instruction.batch.rank] = instruction.batch.number
        clock.look(scheduler, now)

    decide(0.0)
    scheduler.add(1, 1, [0, 1, 2])
    scheduler.home_waits()
    decide(10.0)
    assert clock.totals() == (20.0, 0.0, 0.0)  # two ranks, while the main program computed
    scheduler.finished(1, numbers[1], [1.0])
    decide(11.0)
    scheduler.add(1, 1, [3])
    decide(15.0)
    assert clock.totals() == (20.0, 4.0, 0.0)  # one rank, until its task was ready
    for rank in (0, 2):
        scheduler.finished(rank, numbers[rank], [1.0])
        decide(16.0)
    scheduler.finished(1, numbers[1], [1.0])
    decide(18.0)
    scheduler.home_leaves()
    clock.look(scheduler, 18.0)
    assert clock.totals() == (20.0, 4.0, 4.0)  # two ranks, while the last task ran


def test_shares_of_time_add_up_to_one():
    usage = usage_of(100.0, 60.0, 10.0, 5.0, 15.0)
    assert (usage.busy, usage.serial, usage.dependency, usage.straggler) == (0.6, 0.1, 0.05, 0.15)
    assert usage.latency == pytest.approx(0.1)
    over = usage_of(100.0, 99.0, 1.0, 1.0, 1.0)
    assert sum(vars(over).values()) == pytest.approx(1.0)


class Watcher:
    """Counts."""

    def __init__(self):
        self.expected = 0
        self.seen = collections.Counter()

    def grow(self, count):
        """Count what is to come."""
        self.expected += count

    def advance(self, name, status, count):
        """Count what is there."""
        self.seen[name, status] += count


def test_an_observer_hears_of_the_main_program_s_items():
    def outer(number):
        return sum(current_pool().map(abs, range(number)))

    def fail(number):
        raise ValueError(number)

    watcher = Watcher()
    with Pool() as pool:
        pool.observe(watcher)
        pool.map(outer, range(5), name="outer")
        pool.map(fail, range(2), on_error="return", name="fail")
        list(pool.stream(abs, range(100)))
        pool.observe(None)
        pool.map(abs, [1])
    assert watcher.expected == 107
    assert watcher.seen == {("outer", "done"): 5, ("fail", "failed"): 2, ("abs", "done"): 100}


def test_tasks_are_not_for_observers():
    with Pool() as pool, pytest.raises(TaskError, match=r"pool\.observe is for the main program"):
        pool.map(lambda _: current_pool().observe(None), [1])
