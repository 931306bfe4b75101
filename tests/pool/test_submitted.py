"""Futures of single tasks, which are finished without a condition where nobody has asked for it."""

import concurrent.futures
import threading

import pytest

from mpidriver.pool import Outcome
from mpidriver.pool._rank._submitted import RankFuture


def begun():
    """Return a future whose task was handed out, and what it will be resolved by."""
    future = RankFuture(None, None)
    future.begin()
    return future, Outcome(0, 1, 5, None, 0.0, 1.0, 1 << 20, 0, "host", "task")


def test_a_future_that_nobody_waits_for_is_finished_at_once():
    future, outcome = begun()
    assert future.running()
    assert future.is_resolved_by(outcome)
    assert (future.result(), future.exception(), future.outcome) == (5, None, outcome)
    assert concurrent.futures.wait([future]).done == {future}
    assert list(concurrent.futures.as_completed([future])) == [future]
    seen = []
    future.add_done_callback(seen.append)
    assert seen == [future]


def test_what_is_hung_on_a_future_runs_when_it_is_resolved_and_not_before():
    future, outcome = begun()
    seen = []
    future.add_done_callback(seen.append)
    assert not future.is_resolved_by(outcome)
    assert not seen
    future.resolve(outcome)
    assert seen == [future]


def test_a_thread_that_waits_as_the_standard_library_does_is_woken():
    future, outcome = begun()
    found = []
    thread = threading.Thread(target=lambda: found.extend(concurrent.futures.wait([future]).done))
    thread.start()
    if not future.is_resolved_by(outcome):  # which of the two comes first does not matter
        future.resolve(outcome)
    thread.join(20)
    assert found == [future]


def test_a_future_cannot_be_resolved_twice():
    future, outcome = begun()
    assert future.is_resolved_by(outcome)
    with pytest.raises(concurrent.futures.InvalidStateError):
        future.resolve(outcome)
