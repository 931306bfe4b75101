"""How near the pool comes to the best possible schedule: ``python benchmarks/makespan.py [repeats]``.

Tasks sleep, so that ranks may be more than cores; all times are wall times of real ranks. The bound is what no schedule
can beat: work over ranks, the longest task or, of nested work, the longest chain.

independent
    200 lognormal tasks, sigma = 1: with their costs given; in their order; and a second run with costs that the first
    has taught.
nested
    12 tracts of 4 to 64 patches, lognormal, sigma = 1: scatter, gather, scatter; costs given.

Of several repeats the best counts: other processes only ever make it worse.
"""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mpidriver.batch import rank_environment
from mpidriver.pool import LearnedCosts, Pool, current_pool, launch

TASKS = 200
TRACTS = 12
MEAN_SECONDS = 0.1
SOLVE_SECONDS = 0.05


def lognormal(source: random.Random, count: int) -> list[float]:
    """Return seconds of tasks."""
    return [MEAN_SECONDS * source.lognormvariate(-0.5, 1) for _ in range(count)]


def sleep(number: int, seconds: float) -> None:
    """Work."""
    time.sleep(seconds)


def reduce_tract(patches: Sequence[float]) -> None:
    """Scatter, gather, scatter."""
    pool = current_pool()
    pool.map(time.sleep, patches, cost=patches)
    time.sleep(SOLVE_SECONDS)
    pool.map(time.sleep, patches, cost=patches)


def makespan(run: Callable[[], Any]) -> float:
    """Return the wall seconds of a call."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def independent(pool: Pool, seed: int) -> dict[str, float]:
    """Return makespan over bound of independent tasks."""
    seconds = lognormal(random.Random(seed), TASKS)
    bound = max(sum(seconds) / pool.size, max(seconds))
    costs, numbers = LearnedCosts(), range(TASKS)
    pool.map(sleep, numbers, [0.0] * TASKS)
    walls = {
        "costs given": makespan(lambda: pool.map(sleep, numbers, seconds, cost=seconds)),
        "in their order": makespan(lambda: pool.map(sleep, numbers, seconds)),
    }
    pool.map(sleep, numbers, seconds, cost=costs)
    walls["second run, costs learned"] = makespan(lambda: pool.map(sleep, numbers, seconds, cost=costs))
    return {name: wall / bound for name, wall in walls.items()}


def nested(pool: Pool, seed: int) -> dict[str, float]:
    """Return makespan over bound of nested work."""
    source = random.Random(seed)
    tracts = [lognormal(source, source.randint(4, 64)) for _ in range(TRACTS)]
    work = [2 * sum(patches) + SOLVE_SECONDS for patches in tracts]
    chain = max(2 * max(patches) + SOLVE_SECONDS for patches in tracts)
    bound = max(sum(work) / pool.size, chain)
    pool.map(time.sleep, [0.0] * TASKS)
    return {"nested": makespan(lambda: pool.map(reduce_tract, tracts, cost=work)) / bound}


def measure(pool: Pool, what: str, repeats: int) -> None:
    """Print figures as JSON, by case."""
    run = {"independent": independent, "nested": nested}[what]
    figures = [run(pool, seed % 2) for seed in range(repeats)]
    print(json.dumps({name: [each[name] for each in figures] for name in figures[0]}))


def on_ranks(ranks: int, what: str, repeats: int) -> dict[str, list[float]]:
    """Return the figures of so many ranks."""
    mpirun = Path(sys.executable).parent / "mpirun"
    command = [str(mpirun), "-n", str(ranks), sys.executable, __file__, "--on-ranks", what, str(repeats)]
    done = subprocess.run(command, env=rank_environment(os.environ), stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def main(repeats: int) -> None:
    """Print makespan over bound."""
    print(f"{'makespan over bound':<32} {'ranks':>5} {'best':>6} {'median':>7} {'efficiency %':>13}")
    for what, counts in (("independent", (4, 8)), ("nested", (8, 16))):
        for ranks in counts:
            for name, ratios in on_ranks(ranks, what, repeats).items():
                best, median = min(ratios), sorted(ratios)[len(ratios) // 2]
                print(f"{name:<32} {ranks:>5} {best:>6.3f} {median:>7.3f} {100 / best:>13.1f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--on-ranks"]:
        launch(measure, sys.argv[2], int(sys.argv[3]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
