"""Programs in which ranks die, for `test_lost`: run on five ranks with the name of one and a folder for marks."""

import contextlib
import faulthandler
import os
import signal
import sys
import time
from pathlib import Path

from raising import raises

from mpidriver.errors import LeaderLostError, PoolError, TaskError
from mpidriver.pool import current_pool, launch

MARKS = Path(*sys.argv[2:3])  # where the ranks leave marks for each other; the tests that start them leave none


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def mark(name):
    """Return whether this is the first to make a mark."""
    with contextlib.suppress(FileExistsError):
        (MARKS / str(name)).touch(exist_ok=False)
        return True
    return False


def until(*names):
    while not all((MARKS / str(name)).exists() for name in names):
        time.sleep(1e-3)


def square(x):
    return x * x


def die_once(x, victims):
    if x in victims and mark(x):
        die()
    return x * x


def die_always(x, victims):
    if x in victims:
        die()
    return x * x


def die_together(x, victims):
    if x in victims and mark(x):
        until(*victims)
        die()
    return x * x


def lead_and_die(tract):
    """Die in the middle of a map, while others work for it."""
    total = 0
    for outcome in current_pool().stream(square, range(200), buffersize=40):
        total += outcome.value
        if outcome.index > 20 and tract == 2 and mark("leader"):
            die()
    return total


def die_twice(x, victim):
    if x == victim:
        assert mark("death-0") or mark("death-1")
        die()
    return x


def lead_killers(victim):
    """Let others run what kills, never this rank, which leads them."""
    futures = [current_pool().submit(die_twice, x, victim) for x in range(8)]
    until("death-0", "death-1")
    return [future.exception() and future.exception().kind for future in futures]


def lead_for_ever(x):
    """Map until nobody wants the result."""
    pool = current_pool()
    mark(f"began-{x}")
    try:
        while True:
            pool.map(square, range(3))
    except LeaderLostError:
        mark(f"stopped-{x}")
        raise


def die_above(x):
    if not mark("above"):
        until("stopped-0", "stopped-1")
        return "second time"
    futures = [current_pool().submit(lead_for_ever, one) for one in range(2)]
    until("began-0", "began-1")
    die()
    return futures


def gang(x, victim):
    return current_pool().spmd(gang_member, x, victim)


def gang_member(comm, x, victim):
    if x == victim and comm.rank == 1 and mark(f"gang-{x}"):
        die()
    return comm.allreduce(x)


def pid_of(_):
    pool = current_pool()
    mark(f"here-{pool.rank}")
    until(*(f"here-{rank}" for rank in range(1, 5)))
    return pool.rank, os.getpid()


def kill_one(pool):
    """Kill a rank that does nothing."""
    pids = dict(pool.map(pid_of, range(4)))
    assert len(pids) == 4
    os.kill(pids[3], signal.SIGKILL)


def check_map(pool):
    assert pool.map(die_once, range(500), [{17, 300}] * 500) == list(map(square, range(500)))
    assert (pool.alive, pool.size) == (3, 5)
    assert pool.map(square, range(500)) == list(map(square, range(500)))


def check_killer(pool):
    outcomes = pool.map(die_always, range(100), [{17}] * 100, on_error="return")
    assert [outcome.value for outcome in outcomes if outcome.index != 17] == [x * x for x in range(100) if x != 17]
    assert outcomes[17].error.kind == "lost"
    assert pool.alive == 3
    with raises(TaskError, match=r"rank . of .* died while it ran this") as caught:
        pool.map(die_always, [8], [{8}], retries=0)
    assert (caught.value.kind, caught.value.failed, caught.value.item) == ("lost", 1, (8, {8}))
    assert pool.alive == 2


def check_together(pool):
    assert pool.map(die_together, range(40), [(3, 4)] * 40) == list(map(square, range(40)))
    assert pool.alive == 3


def check_leader(pool):
    assert pool.map(lead_and_die, range(6)) == [sum(map(square, range(200)))] * 6
    assert pool.alive == 4


def check_inner_killer(pool):
    assert pool.map(lead_killers, [3]) == [[None] * 3 + ["lost"] + [None] * 4]


def check_gangs(pool):
    assert pool.map(gang, range(8), [5] * 8, ranks=2) == [[2 * x] * 2 for x in range(8)]
    assert pool.alive == 4
    assert pool.map(gang, range(4), [9] * 4, ranks=3) == [[3 * x] * 3 for x in range(4)]
    (outcome,) = pool.map(gang, [10], [10], ranks=4, on_error="return")
    assert (outcome.error.kind, pool.alive) == ("lost", 3)
    with raises(PoolError, match="at most 3 ranks"):
        pool.map(gang, [11], [11], ranks=4)


def check_stream_and_submit(pool):
    streamed = [outcome.value for outcome in pool.stream(die_once, range(60), [{5}] * 60, ordered=True)]
    assert streamed == list(map(square, range(60)))
    futures = [pool.submit(die_once, x, {7}) for x in range(20)]
    assert [future.result() for future in futures] == list(map(square, range(20)))
    assert pool.alive == 3


def check_orphans(pool):
    assert pool.map(die_above, [0]) == ["second time"]


def check_idle(pool):
    kill_one(pool)
    assert pool.map(square, range(300)) == list(map(square, range(300)))


def check_last(pool):
    """All but the root die: it must do the rest itself."""
    assert pool.map(die_together, range(4), [range(4)] * 4) == list(map(square, range(4)))
    assert pool.alive == 1


def check_close(pool):
    kill_one(pool)


def root(pool):
    for x in range(4):
        pool.submit(lead_for_ever, x)
    until("began-0")
    die()


def root_of_long_tasks(pool):
    for _ in range(4):
        pool.submit(sleep_long)
    until("asleep")
    die()


def failing(pool):
    """Fail while all others are busy for long."""
    for _ in range(4):
        pool.submit(sleep_long)
    until("asleep")
    raise RuntimeError("gave up")


def everybody(pool):
    """Let all die at the same moment: nobody is left to end the run with a code."""
    pids = [os.getpid(), *dict(pool.map(pid_of, range(4))).values()]
    for pid in reversed(pids):
        os.kill(pid, signal.SIGKILL)


def sleep_long():
    """Leave one's number, for who looks whether anybody is left."""
    (MARKS / f"pid-{os.getpid()}").touch()
    mark("asleep")
    time.sleep(600)


if __name__ == "__main__":
    faulthandler.dump_traceback_later(int(os.environ.get("DUMP", "45")), exit=True)
    launch(globals()[sys.argv[1]], root_works=False)
    print("done", flush=True)
