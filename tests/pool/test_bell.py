"""The doorbell alone: bells of several ranks in one process."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from mpidriver.pool._transport._bell import DISTRUST_SECONDS, MISSED_IN_A_ROW, Bell
from mpidriver.pool._transport._idle import LAST_LOOKS, Idle
from mpidriver.pool._transport._spin import IN_VAIN, PAUSE, Spin

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
        assert sleeper._main.recv(1) == b""
        with pytest.raises(BlockingIOError):
            sleeper._main.recv(1)


def test_a_ring_ends_a_sleep_that_begins_after_it():
    with bells("a", "a", "a") as (sender, _, sleeper):
        sleeper.lie_down()
        sender.ring(2)
        assert sleeper.sleep(LONG)
        assert sleeper.sleep(LONG)  # until it lies down again
        sleeper.lie_down()
        assert not sleeper.sleep(NO_TIME)


def test_who_is_woken_ahead_is_not_rung_again_before_it_sleeps():
    with bells("a", "a") as (sender, sleeper):
        sender.ring_ahead(1)
        assert not sleeper.sleep(NO_TIME)
        sleeper.lie_down()
        sender.ring_ahead(1)
        sender.ring(1)
        assert sleeper.sleep(NO_TIME)
        sleeper.lie_down()
        assert not sleeper.sleep(NO_TIME)
        sender.ring(1)  # it has found nothing and sleeps again
        assert sleeper.sleep(NO_TIME)


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
        sleeper.lie_down()
        sleeper.get_up()
        near.ring(1)
        assert not sleeper.sleep(NO_TIME)


def test_a_ring_that_nobody_hears_is_no_error():
    with bells("a", "a") as (sender, gone):
        gone.lie_down()
        gone._main.close()
        sender.ring(1)


def test_who_sleeps_may_be_woken_from_within():
    with bells("a") as (bell,):
        bell.wake()
        assert not bell.sleep(NO_TIME)
        bell.lie_down()
        bell.wake()
        assert bell.sleep(NO_TIME)


def test_the_helper_is_rung_while_the_main_thread_computes():
    with bells("a", "a") as (sender, computing):
        computing.listen(listens=True)
        sender.ring(1)
        assert not computing.sleep(NO_TIME)
        assert computing.helper_sleep(NO_TIME)
        sender.ring(1)
        assert not computing.helper_sleep(NO_TIME)


def test_the_main_thread_goes_before_the_helper():
    with bells("a", "a") as (sender, sleeper):
        sleeper.listen(listens=True)
        sleeper.lie_down()
        sender.ring(1)
        assert not sleeper.helper_sleep(NO_TIME)
        assert sleeper.sleep(NO_TIME)


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


def test_a_rank_stays_awake_as_long_as_the_last_wait_needed_but_not_for_long(monkeypatch):
    now, slept = 0.0, []
    monkeypatch.setattr("time.perf_counter", lambda: now)
    monkeypatch.setattr("time.sleep", slept.append)
    idle = Idle()
    for needed, sleeps in ((5e-4, True), (7e-4, False), (5e-3, True), (5e-4, True)):
        slept.clear()
        with idle:
            idle.wait()
            now += needed
            idle.wait()
        assert bool(slept) == sleeps, needed


def test_a_thread_whose_core_others_need_sleeps_at_once_and_tries_again_now_and_then():
    """Answers come only when it sleeps, however long it stays awake."""
    spin, stayed_awake = Spin(1e-4), []
    for _ in range(3 * (IN_VAIN + PAUSE)):
        stayed_awake.append(spin.seconds > 0)
        spin.learn(spin.seconds + 5e-5, slept=True)
    assert stayed_awake[:IN_VAIN] == [True] * IN_VAIN
    assert 2 <= sum(stayed_awake[IN_VAIN:]) <= len(stayed_awake) / PAUSE


def test_a_thread_that_is_answered_awake_stays_awake_again():
    spin = Spin(1e-4)
    for _ in range(IN_VAIN):
        spin.learn(2e-4, slept=True)
    assert not spin.seconds
    spin.learn(5e-5, slept=False)
    assert spin.seconds == 1e-4


def test_long_waits_do_not_tell_that_a_core_is_shared():
    spin = Spin(1e-4)
    for _ in range(2 * IN_VAIN):
        spin.learn(20e-3, slept=True)
    assert spin.seconds == 1e-4
