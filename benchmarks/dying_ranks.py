"""Random nested work on ranks of which some are killed at random: does every run end, and with the right results?

``python benchmarks/dying_ranks.py [RUNS] [RANKS]`` prints a line a run.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mpidriver.batch import run_ranks
from mpidriver.pool import Pool, current_pool, launch

KILLED = 3
"""Ranks to kill a run."""
SECONDS = 60.0
"""A run that takes longer hangs."""


def wander(seed: int, depth: int, marks: str | None) -> int:
    """Do a little of everything by a seed, at any depth; be killed now and then."""
    source = random.Random(seed)
    total = source.randrange(100)
    pool = current_pool()
    for _ in range(source.randrange(3) if depth else 0):
        seeds = [source.randrange(10**6) for _ in range(source.choice([0, 1, 2, 5, 9]))]
        below = [depth - 1] * len(seeds), [marks] * len(seeds)
        match source.randrange(3):
            case 0:
                total += sum(pool.map(wander, seeds, *below))
            case 1:
                total += sum(outcome.result() for outcome in pool.stream(wander, seeds, *below, buffersize=3))
            case 2:
                futures = [pool.submit(wander, *args) for args in zip(seeds, *below, strict=True)]
                total += sum(future.result() for future in futures)
        perhaps_die(marks, pool)
        time.sleep(source.choice([0, 0, 0, 0.001, 0.003]))
    perhaps_die(marks, pool)
    return total


def perhaps_die(marks: str | None, pool: Pool) -> None:
    """Be killed, with a small probability, unless enough were or this is the root."""
    if marks is None or pool.rank == 0 or random.random() > 0.02:
        return
    for number in range(KILLED):
        try:
            Path(marks, str(number)).touch(exist_ok=False)
        except FileExistsError:
            continue
        os.kill(os.getpid(), signal.SIGKILL)


def main(pool: Pool, seed: int, marks: str) -> None:
    """Compare with the same work in one process."""
    seeds = list(range(seed, seed + 20))
    got = pool.map(wander, seeds, [3] * 20, [marks] * 20, retries=KILLED)
    with Pool() as alone:
        assert got == alone.map(wander, seeds, [3] * 20, [None] * 20)
    print(f"{pool.size - pool.alive} of {pool.size} ranks were killed", flush=True)


def measure(runs: int, ranks: int) -> int:
    """Return how many runs did not end well."""
    failed = 0
    for seed in range(0, 100 * runs, 100):
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as marks:
            start = [sys.executable, __file__, "start", str(ranks), str(seed), marks]
            try:
                done = subprocess.run(start, capture_output=True, text=True, timeout=SECONDS, check=False)
                result = done.stdout.strip() if done.returncode == 0 else f"code {done.returncode}\n{done.stderr}"
                failed += done.returncode != 0
            except subprocess.TimeoutExpired as hanging:
                failed += 1
                result = f"hangs\n{hanging.stderr}"
        print(f"seed {seed}: {time.perf_counter() - began:.1f} s, {result}", flush=True)
    print(f"{runs - failed} of {runs} runs ended well")
    return failed


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["start", ranks, *rest]:
            sys.exit(run_ranks(int(ranks), [sys.executable, __file__, "run", *rest]))
        case ["run", seed, marks]:
            launch(main, int(seed), marks, root_works=False)
        case arguments:
            runs, ranks, *_ = [*map(int, arguments), *[50, 6][len(arguments) :]]
            sys.exit(measure(runs, ranks) > 0)
