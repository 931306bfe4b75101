"""The tasks of one HSC tract on virtual ranks, with and without barriers: ``python benchmarks/dmtn157.py [ranks …]``.

The workload is dmtn157.csv beside this file: 26,688 jobs, 61 days of work. The schedulers are those of the real pool.
Two runs are predicted without barriers: the first, in which only the mean seconds of each task are known, and a later
one, in which each job is expected to take what it took before. The barriered schedule is that of the drivers of the
time: the CCDs of one exposure at a time; the warps of one band, then its coadds; then each step over all patches and
bands. It, too, gets the expectation of each job.

The bound is what no schedule can beat: work over ranks, or the longest chain.
"""

import dataclasses
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from mpidriver.drivers.advise import read_task_table
from mpidriver.pool import Job, simulate

RANKS = (12, 112, 448, 1152, 10_000)
CCDS = 104
PATCHES = 81


def phases(jobs: Sequence[Job]) -> Iterator[tuple[str, list[Job]]]:
    """Yield driver and jobs of each phase between two barriers; within a phase nothing waits."""
    stages: defaultdict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        stages[job.stage].append(dataclasses.replace(job, needs=()))
    frames = [joined(steps) for steps in zip(stages["isr"], stages["characterize"], stages["calibrate"], strict=True)]
    for first in range(0, len(frames), CCDS):
        yield "single frame", frames[first : first + CCDS]
    coadds = [joined(steps) for steps in zip(stages["assemble"], stages["detect"], strict=True)]
    for first in range(0, len(coadds), PATCHES):
        band = range(first, first + PATCHES)
        yield "coadd", [warp for place, warp in enumerate(stages["warp"]) if place % len(coadds) in band]
        yield "coadd", coadds[first : first + PATCHES]
    yield "multiband", stages["mergeDet"]
    yield "multiband", [joined(steps) for steps in zip(stages["deblend"], stages["measure"], strict=True)]
    yield "multiband", stages["mergeMeas"]
    yield "multiband", stages["forced"]


def joined(steps: Sequence[Job]) -> Job:
    """Return one job that does several, one after the other."""
    return Job(steps[-1].stage, sum(job.seconds for job in steps))


def barriered(jobs: Sequence[Job], ranks: int) -> tuple[float, dict[str, float]]:
    """Return wall seconds of the barriered schedule, and its efficiency in each driver."""
    wall: defaultdict[str, float] = defaultdict(float)
    work: defaultdict[str, float] = defaultdict(float)
    for driver, phase in phases(jobs):
        wall[driver] += simulate(phase, ranks).wall_seconds
        work[driver] += sum(job.seconds for job in phase)
    return sum(wall.values()), {driver: work[driver] / (ranks * wall[driver]) for driver in wall}


def main(counts: Sequence[int]) -> None:
    """Print a line for each number of ranks."""
    jobs = read_task_table(Path(__file__).with_name("dmtn157.csv"))
    known = [dataclasses.replace(job, expected_seconds=None) for job in jobs]
    print(f"{len(jobs):,} jobs; efficiency of the bound, a first and a later run, and with barriers\n")
    print(
        f"{'ranks':>6} {'work/ranks':>10} {'chain':>8} {'bound':>7} {'first':>7} {'later':>7} {'barriers':>8}", end=""
    )
    print(f" {'later:':>9} {'simulated':>9}   with barriers, by driver")
    print(f"{'':>6} {'h':>10} {'h':>8} {'%':>7} {'%':>7} {'%':>7} {'%':>8} {'barriers':>9} {'in s':>9}")
    for ranks in counts:
        began = time.perf_counter()
        later = simulate(known, ranks)
        seconds = time.perf_counter() - began
        first = simulate(jobs, ranks)
        wall, by_driver = barriered(known, ranks)
        share = later.work_seconds / ranks
        figures = [share / later.bound_seconds, first.efficiency, later.efficiency, share / wall]
        drivers = ", ".join(f"{driver} {100 * value:.0f}" for driver, value in by_driver.items())
        print(
            f"{ranks:>6} {share / 3600:>10.2f} {later.critical_seconds / 3600:>8.2f}",
            *(f"{100 * figure:>{width}.1f}" for figure, width in zip(figures, (7, 7, 7, 8), strict=True)),
            f"{wall / later.wall_seconds:>8.2f}× {seconds:>9.1f}   {drivers}",
        )
    print(
        "\npublished with barriers: coadd 85 at 12, 46 at 112; multiband 80 at 112, 50 at 448; one exposure 58 at 112"
    )


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or RANKS)
