"""What the pool needs as it grows: ``pool_scale.py start|many|stream|large``, started by `benchmarks/pool.py`.

Each starts its ranks itself, as a user would, and prints its figures.
"""

import json
import operator
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

STREAMED = (10_000, 100_000, 1_000_000)
LARGE_BYTES = (2 << 30) + (100 << 20)


def started_ranks(ranks: int, what: str) -> str:
    """Run this file on ranks; return what it prints."""
    program = "import sys; from mpidriver.batch import run_ranks; sys.exit(run_ranks(int(sys.argv[1]), sys.argv[2:]))"
    inner = [sys.executable, str(Path(__file__).resolve()), "--inside", what, repr(time.time())]
    command = [sys.executable, "-c", program, str(ranks), *inner]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def memory_mb(_=None):
    """Return this process's share of the memory."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def peak_mb() -> float:
    """Return the most memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def start(pool, began):
    """Return the seconds from the start of the launcher to the first result."""
    assert pool.submit(operator.neg, 1).result() == -1
    return {"seconds": time.time() - began}


def many(pool, began):
    """Run 10,000 tasks; return the memory of a rank."""
    assert pool.map(operator.neg, range(10_000)) == [-i for i in range(10_000)]
    pool.wait([pool.submit(operator.neg, i) for i in range(1000)])
    return {"mb": float(np.mean(pool.map(memory_mb, range(pool.size))))}


def stream(pool, began):
    """Return the time a task, and the memory of rank 0, as streams get longer."""
    figures = {}
    for count in STREAMED:
        before = time.perf_counter()
        assert sum(1 for _ in pool.stream(operator.neg, (i for i in range(count)))) == count
        figures[f"us a task of {count}"] = 1e6 * (time.perf_counter() - before) / count
        figures[f"rank 0 MB after {count}"] = peak_mb()
    return figures


def large(pool, began):
    """Return the bytes a second of an array that no 32-bit count holds."""
    array = np.ones(LARGE_BYTES // 8)
    before = time.perf_counter()
    back = pool.submit(abs, array).result()
    seconds = time.perf_counter() - before
    assert back.nbytes == LARGE_BYTES
    assert back[-1] == 1.0
    return {"rate": 2 * LARGE_BYTES / seconds / 1e9}


RANKS = {start: 4, many: 64, stream: 4, large: 2}


def main(what: str) -> None:
    """Start the ranks, and print the figures with the whole time."""
    measure = globals()[what]
    before = time.perf_counter()
    figures = json.loads(started_ranks(RANKS[measure], what).splitlines()[-1])
    print("FIGURES " + json.dumps({"seconds": time.perf_counter() - before} | figures))


if __name__ == "__main__":
    if sys.argv[1] == "--inside":
        import pool_scale

        from mpidriver.pool import launch

        what, began = getattr(pool_scale, sys.argv[2]), float(sys.argv[3])
        figures = launch(what, began, root_works=False if what is pool_scale.large else None)
        if figures is not None:
            print(json.dumps(figures))
    else:
        main(sys.argv[1])
