"""The doorbell alone: bells of several ranks in one process."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from mpidriver.pool._bell import DISTRUST_SECONDS, MISSED_IN_A_ROW, Bell
from mpidriver.pool._idle import LAST_LOOKS, Idle

NO_TIME, LONG = 0.0, 30.0


@contextmanager
def bells(*hosts):
    """Yield a bell for each host named, made as ranks make theirs."""
    barrier, passed = threading.Barrier(len(hosts)), [None] * len(hosts)

    def make(rank):
        def exchange(mine):
            passed[rank] = mine
            barrier.wait()
            everything = list(passed)
            barrier.wait()
            return everything

        return Bell(rank, hosts[rank], exchange)

    with ThreadPoolExecutor(len(hosts)) as threads:
        made = list(threads.map(make, range(len(hosts))))
    yield made
    for bell in made:
        bell.close()


def test_whoever_lies_down_is_rung_once():
    with bells("a", "a") as (sender, sleeper):
        sleeper.lie_down()
        sender.ring(1)
        sender.ring(1)
        assert sleeper._local.recv(1) == b""
        with pytest.raises(BlockingIOError):
            sleeper._local.recv(1)


def test_a_ring_ends_a_sleep_that_begins_after_it():
    with bells("a", "a", "a") as (sender, _, sleeper):
        sleeper.lie_down()
        sender.ring(2)
        assert sleeper.sleep(LONG)
        assert sleeper.sleep(LONG)  # until the messages have been looked for
        sleeper.hush()
        assert not sleeper.sleep(NO_TIME)


def test_nobody_rings_who_is_awake():
    with bells("a", "a") as (sender, awake):
        sender.ring(1)
        awake.lie_down()
        awake.get_up()
        sender.ring(1)
        assert not awake.sleep(NO_TIME)


def test_another_host_rings_whether_one_sleeps_or_not():
    with bells("a", "b", "b") as (sender, sleeper, near):
        if sender._remote is None:
            pytest.skip("this machine has no address but its own")
        sender.ring(1)
        assert sleeper.sleep(1.0)
        sleeper.hush()
        near.ring(1)
        assert not sleeper.sleep(NO_TIME)


def test_a_ring_that_nobody_hears_is_no_error():
    with bells("a", "a") as (sender, gone):
        gone.lie_down()
        gone._local.close()
        sender.ring(1)


def test_other_threads_wake_the_one_that_sleeps():
    with bells("a") as (bell,):
        me = threading.get_ident()
        bell.lie_down()
        bell.wake(me)
        assert not bell.sleep(NO_TIME)
        thread = threading.Thread(target=bell.wake, args=(me,))
        thread.start()
        thread.join()
        assert bell.sleep(NO_TIME)


def test_a_bell_that_keeps_silent_is_not_trusted_for_a_while(monkeypatch):
    now = 0.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    with bells("a") as (bell,):
        for _ in range(MISSED_IN_A_ROW):
            assert bell.is_trusted
            bell.missed()
        assert not bell.is_trusted
        now = DISTRUST_SECONDS
        assert bell.is_trusted


def test_what_came_while_the_thread_lay_down_is_seen_before_it_sleeps(monkeypatch):
    """Lie down, look again, and only then sleep."""
    did = []
    with bells("a") as (bell,):
        monkeypatch.setattr(bell, "lie_down", lambda: did.append("lies"))
        monkeypatch.setattr(bell, "sleep", lambda seconds: did.append("sleeps"))
        with Idle(bell, spins=False) as idle:
            for _ in range(LAST_LOOKS + 1):
                idle.wait()
                did.append("looks")
    assert did == ["lies", *["looks"] * LAST_LOOKS, "sleeps", "looks"]
