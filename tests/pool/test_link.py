"""The connection to a child process: what is sent arrives, and memory is not written again while it is in use."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpidriver.pool._isolated._link import LARGEST_FRAME_BYTES, Link, LinkLostError
from mpidriver.pool._isolated._segments import MOST_FREE, MOST_MAPS
from mpidriver.pool._transport._codec import Packed, pack, unpack


@pytest.fixture
def ends():
    ours, theirs = map(Link, Link.pair())
    yield ours, theirs
    ours.close()
    theirs.close()


def pass_on(ends, thing):
    """Send a thing there and back, as it came."""
    ours, theirs = ends
    ours.send("there", pack(thing))
    word, packed = theirs.receive()
    theirs.send(word, packed)
    del packed
    _, packed = ours.receive()
    return unpack(packed)


def same(one, other):
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return (
        type(one) is type(other)
        and np.array_equal(one, other)
        and getattr(one, "dtype", 0) == getattr(other, "dtype", 0)
    )


THINGS = [
    None,
    "text",
    b"x" * (5 * LARGEST_FRAME_BYTES),
    bytearray(50_000),
    "x" * 300_000,
    list(range(100_000)),
    np.arange(100_000.0),
    np.arange(100_000.0).reshape(100, 1000)[::3, ::2],
    np.zeros((0, 5)),
    [np.full(5000, i) for i in range(2000)],
    [np.arange(9000), b"y" * 40_000, "z"],
]


@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: type(thing).__name__)
def test_everything_arrives(ends, thing):
    assert same(pass_on(ends, thing), thing)


def test_arrays_may_be_written_to_and_bytes_may_not(ends):
    array, fixed = pass_on(ends, [np.arange(9000), np.frombuffer(b"y" * 40_000, np.uint8)])
    array[:] = 1
    assert not fixed.flags.writeable


@settings(deadline=None, max_examples=30, derandomize=True, database=None)
@given(st.lists(st.tuples(st.integers(40_000, 400_000), st.integers(0, 5)), max_size=60))
def test_what_is_held_does_not_change(steps):
    """Whatever is sent meanwhile, and however long results are kept."""
    ends = tuple(map(Link, Link.pair()))
    held = []
    for number, (nbytes, dropped) in enumerate(steps):
        held.append((number, pass_on(ends, np.full(nbytes, number % 251, np.uint8))))
        del held[:dropped]
        assert all((array == number % 251).all() for number, array in held)
    for end in ends:
        end.close()


def test_what_is_held_needs_few_descriptors(ends):
    ours, theirs = ends
    held = [pass_on(ends, np.full(40_000, i, np.uint8)) for i in range(3 * MOST_MAPS)]
    assert len(ours._maps._maps) <= MOST_MAPS + 1
    assert [int(array[-1]) for array in held] == list(range(3 * MOST_MAPS))
    del held
    for _ in range(3):
        pass_on(ends, np.zeros(40_000))
    assert len(theirs._segments._segments) <= MOST_FREE + 2


def test_what_came_from_elsewhere_is_sent_on_without_numpy(ends):
    """Buffers that were received over MPI are numpy arrays here; the child should not need numpy for them."""
    packed = pack([np.arange(9000), list(range(20_000))])
    as_received = Packed(
        np.frombuffer(packed.data, np.uint8), [np.frombuffer(buffer, np.uint8) for buffer in packed.buffers]
    )
    ends[0].send("there", as_received)
    _, arrived = ends[1].receive()
    assert {type(buffer) for buffer in [arrived.data, *arrived.buffers]} == {pickle.PickleBuffer}
    assert same(unpack(arrived), [np.arange(9000), list(range(20_000))])


def test_an_end_that_is_gone_is_noticed(ends):
    ours, theirs = ends
    theirs.close()
    with pytest.raises(LinkLostError):
        ours.send("hello")
    with pytest.raises(LinkLostError):
        ours.receive()
