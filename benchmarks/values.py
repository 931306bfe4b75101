"""What it saves that values stay where they are: shared against sent with every call, held against sent back and forth.

    python benchmarks/values.py [ranks]

prints seconds, the best of three, and their ratios; and how much memory all ranks together need for one shared value.
"""

import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from mpidriver.pool import Pool, Shared, current_pool, launch

MEGABYTE = 1 << 20


def read_all(array: np.ndarray, _: int) -> float:
    """Look at a little of every page."""
    return float(array[:: 4096 // array.itemsize].sum())


def read_shared(shared: Shared, i: int) -> float:
    """Do so with a shared array."""
    return read_all(shared.array, i)


def make(megabytes: int, i: int) -> np.ndarray:
    """Return an image."""
    return np.full(megabytes * MEGABYTE // 8, float(i))


def scale(image: np.ndarray, factor: float) -> np.ndarray:
    """Return it brighter."""
    return image * factor


def proportional_bytes(_: int) -> tuple[int, int]:
    """Return this rank, and its memory with what it shares divided by those who share it."""
    time.sleep(0.01)
    with open("/proc/self/smaps_rollup") as file:
        kilobytes = next(int(line.split()[1]) for line in file if line.startswith("Pss:"))
    return current_pool().rank, 1024 * kilobytes


def seconds(run: Callable[[], object]) -> float:
    """Return the shortest of three times."""
    times = []
    for _ in range(3):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return min(times)


def used_by_all(pool: Pool) -> int:
    """Return the memory of all ranks."""
    return sum(dict(pool.map(proportional_bytes, range(8 * pool.size))).values())


def share(pool: Pool) -> None:
    """Let every rank look at one array of 64 MB, four times."""
    array, items = np.random.default_rng(0).random(64 * MEGABYTE // 8), range(4 * pool.size)

    def shared() -> list[float]:
        return pool.map(partial(read_shared, pool.share(array=array)), items)

    def sent() -> list[float]:
        return pool.map(read_all, [array] * len(items), items)

    assert shared() == sent()
    compare(f"64 MB looked at by {len(items)} tasks", "shared", seconds(shared), "sent with each", seconds(sent))


def hold(pool: Pool) -> None:
    """Scale 16 images of 16 MB three times, and sum them."""
    images = 16

    def held() -> list[float]:
        values = pool.scatter(partial(make, 16), range(images))
        for factor in (2.0, 0.5, 3.0):
            values = pool.scatter(scale, values, [factor] * images)
        return pool.map(np.sum, values)

    def sent() -> list[float]:
        values = pool.map(partial(make, 16), range(images))
        for factor in (2.0, 0.5, 3.0):
            values = pool.map(scale, values, [factor] * images)
        return pool.map(np.sum, values)

    assert held() == sent()
    compare("16 images of 16 MB through 4 stages", "held", seconds(held), "sent", seconds(sent))


def reduce(pool: Pool) -> None:
    """Sum 64 arrays of 8 MB."""

    def on_ranks() -> float:
        return float(pool.reduce(np.add, partial(make, 8), range(64))[0])

    def at_leader() -> float:
        return float(np.add.reduce(pool.map(partial(make, 8), range(64)))[0])

    assert on_ranks() == at_leader()
    compare("64 arrays of 8 MB summed", "reduce", seconds(on_ranks), "map and sum", seconds(at_leader))


def compare(what: str, ours: str, our_seconds: float, theirs: str, their_seconds: float) -> None:
    """Print one comparison."""
    ratio = their_seconds / our_seconds
    print(f"{what}: {ours} {our_seconds:.3f} s, {theirs} {their_seconds:.3f} s: {ratio:.1f} times", flush=True)


def memory(pool: Pool) -> None:
    """Say how much memory one shared array of 500 MB takes."""
    before = used_by_all(pool)
    shared = pool.share(array=np.ones(500 * MEGABYTE // 8))
    pool.map(partial(read_shared, shared), range(8 * pool.size))
    more = used_by_all(pool) - before
    print(f"500 MB shared by {pool.size} ranks take {more / MEGABYTE:.0f} MB in all", flush=True)


def main(pool: Pool) -> None:
    """Measure everything."""
    for measure in (share, hold, reduce, memory):
        measure(pool)


if __name__ == "__main__":
    if "--rank" in sys.argv:
        launch(main)
    else:
        from mpidriver.batch import run_ranks

        ranks = int(sys.argv[1]) if len(sys.argv) > 1 else 4
        sys.exit(run_ranks(ranks, [sys.executable, __file__, "--rank"]))
