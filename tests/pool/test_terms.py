"""Terms: sizes of memory, and combinations that make no sense."""

import pytest

from mpidriver.pool import Terms


@pytest.mark.parametrize(
    ("memory", "nbytes"),
    [("4GiB", 4 << 30), ("500MB", 500_000_000), ("1.5 GiB", 3 << 29), ("64kB", 64_000), ("7", 7), (123, 123)],
)
def test_memory_in_bytes(memory, nbytes):
    assert Terms(isolate=True, memory=memory).memory_bytes == nbytes
    assert Terms(isolate=True, memory=memory).with_more_memory().memory_bytes == 2 * nbytes


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"ranks": 0}, "ranks must be at least 1, got 0"),
        ({"retries": -1}, "retries must not be negative, got -1"),
        ({"isolate": True, "timeout": 0.0}, "timeout must be a positive number"),
        ({"isolate": True, "timeout": float("nan")}, "timeout must be a positive number"),
        ({"isolate": True, "memory": "4 gigs"}, "'4GiB' or '500MB', got '4 gigs'"),
        ({"isolate": True, "memory": 0}, "at least 1 byte"),
        ({"memory": "1GiB"}, "need isolate=True"),
        ({"timeout": 1.0}, "need isolate=True"),
        ({"isolate": True, "ranks": 2}, "no ranks=2"),
    ],
)
def test_nonsense_is_refused(terms, message):
    with pytest.raises(ValueError, match=message):
        Terms(**terms)
