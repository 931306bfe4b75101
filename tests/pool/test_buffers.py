"""Memory that is used again."""

import pickle

import numpy as np
import pytest

from mpidriver.pool._transport._buffers import LARGEST_WASTE, MOST_BYTES, SMALLEST_BYTES, UNUSED_SECONDS, Buffers

SIZE = 4 * SMALLEST_BYTES


def address(buffer):
    return np.frombuffer(buffer, np.uint8).__array_interface__["data"][0]


def test_what_nobody_holds_is_used_again():
    buffers = Buffers()
    first = address(buffers.take(SIZE))
    assert address(buffers.take(SIZE)) == first
    assert address(buffers.take(int(SIZE / LARGEST_WASTE) + 1)) == first
    held = buffers.take(SIZE)
    assert address(held) == first
    assert address(buffers.take(SIZE)) != first


@pytest.mark.parametrize("how", ["array", "view of a view", "memoryview", "unpickled"])
def test_what_somebody_holds_is_not(how):
    buffers = Buffers()
    buffer = buffers.take(SIZE)
    where = address(buffer)
    match how:
        case "array":
            held = np.frombuffer(buffer, np.float64).reshape(-1, 4)
        case "view of a view":
            held = np.frombuffer(buffer, np.float32)[3:][::5][1:2]
        case "memoryview":
            held = memoryview(buffer)[5:6]
        case "unpickled":
            sent = []
            data = pickle.dumps(np.zeros(SIZE // 8), protocol=5, buffer_callback=sent.append)
            held = pickle.loads(data, buffers=[buffer])
    del buffer
    assert address(buffers.take(SIZE)) != where
    del held
    assert where in {address(one) for one in [buffers.take(SIZE), buffers.take(SIZE)]}


def test_memory_is_kept_only_up_to_a_limit_and_for_a_while(monkeypatch):
    now = 0.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    buffers = Buffers()
    held = [buffers.take(MOST_BYTES // 2) for _ in range(5)]
    assert sum(map(len, buffers._kept)) == MOST_BYTES
    held.clear()
    buffers.trim_if_unused()
    assert len(buffers._kept) == 2
    now = 2 * UNUSED_SECONDS
    buffers.trim_if_unused()
    assert not buffers._kept


def test_sizes_that_are_asked_for_are_what_comes():
    buffers = Buffers()
    for nbytes in (0, 1, SMALLEST_BYTES, SIZE, SIZE - 1, SIZE + 1):
        assert len(buffers.take(nbytes)) == nbytes
