"""A batch, as the thread that runs it and the one that gives it back see it, and how long its items travel."""

import pickle

import numpy as np
import pytest

from mpidriver.pool._rank._work import Work, WorkSpan, journey_seconds
from mpidriver.pool._stream import LOOK_AHEAD, LOOK_AHEAD_SHORT, items_ahead
from mpidriver.pool._transport._codec import Failure, pack_each, size_of
from mpidriver.pool._transport._messages import Standing

ALONE = Standing((), 1, is_firm=False, is_together=False, leaders=())


def test_a_batch_that_is_given_back_before_its_first_item_has_no_outcome():
    """Its leader has taken all of it back: it knows no such batch any more."""
    work = Work((0, 1), 7, [WorkSpan(1, None), WorkSpan(2, None)], ALONE)
    work.begin_span(["a", "b"])
    assert work.trim() == [0, 0]
    assert work.is_gone
    assert work.next_span() is None


def test_what_is_begun_of_a_batch_stays():
    work = Work((0, 1), 7, [WorkSpan(1, None), WorkSpan(2, None)], ALONE)
    work.begin_span(["a", "b", "c"]).popleft()
    assert work.trim() == [1, 0]
    assert not work.is_gone
    assert work.trim() is None


ARRAY = np.zeros(100_000)


@pytest.mark.parametrize(
    ("items", "nbytes"),
    [
        ([1.5], 0),
        (["short"] * 3, 0),
        ([(ARRAY, 1), Failure("cannot be pickled", "")], ARRAY.nbytes),
        ([[ARRAY, ARRAY + 1]], 2 * ARRAY.nbytes),
        (["long" * 50_000] * 2, len(pickle.dumps(["long" * 50_000] * 2, protocol=5))),
    ],
)
def test_what_travels_beside_the_message_counts_with_its_size(items, nbytes):
    packed = pack_each(items)
    assert size_of(packed) == nbytes
    assert journey_seconds(packed) == pytest.approx(nbytes / 4e9)


def test_a_long_journey_counts_no_more_than_keeps_its_item_alone():
    """So that whether it is sent ahead of another depends on how long it is worked on."""
    large = np.zeros(10_000_000)
    assert 2e-3 < journey_seconds(pack_each([large])) < 10e-3
    assert journey_seconds(pack_each([(large, 1), (large, 2)])) == 2 * journey_seconds(pack_each([large]))


def test_a_stream_reads_far_ahead_only_of_short_items():
    assert items_ahead(None) == items_ahead(3600.0) == LOOK_AHEAD
    assert items_ahead(0.0) == items_ahead(1e-6) == LOOK_AHEAD_SHORT
    assert LOOK_AHEAD < items_ahead(5e-4) < items_ahead(1e-4) < LOOK_AHEAD_SHORT
