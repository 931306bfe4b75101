"""Measure a state database: outcomes recorded a second, footprints entered, the patch query, `mpidriver status`.

Usage: python benchmarks/state.py [--frames N] [--quanta N] [--url mongodb://user@host/database]

Without a URL it is SQLite in a temporary folder. With one it is that database, which must be empty; the password comes
from MPIDRIVER_MONGO_PASSWORD. What must hold for SQLite: 20,000 outcomes a second; with 10^6 frames and 10^6 quanta
(`--frames 1000000 --quanta 1000000`) 5 ms for the overlaps of a patch, and 1 s for the command `mpidriver status` while
a run is on, start of the interpreter included.
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mpidriver.sphere import unit_vectors
from mpidriver.store import (
    Frame,
    MongoState,
    Product,
    QuantumUpdate,
    Repository,
    SqliteState,
    StateDatabase,
    StateOptions,
)

BATCH = 2000
QUERIES = 300
CLAIMS = 2000
TASKS = 11
FAILED_OF_EACH = 100


def survey_frames(count: int) -> list[Frame]:
    """Return frames of 0.2 deg all over a quarter of the sky, as one survey of many nights has them."""
    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(0, 180, count), np.degrees(np.arcsin(rng.uniform(0, 1, count)))
    offsets = np.array([(-0.1, -0.1), (0.1, -0.1), (0.1, 0.1), (-0.1, 0.1)])
    corners = np.stack([ra, dec], axis=-1)[:, None] + offsets / np.stack(
        [np.cos(np.radians(dec)), np.ones(count)], axis=-1
    )[:, None].clip(1e-3)
    header = "X" * 1600
    return [
        Frame(
            number // 100,
            number % 100,
            "r",
            f"raw/{number}.fits",
            digest=f"{number:032x}",
            wcs_header=header,
            corners=c,
        )
        for number, c in enumerate(corners)
    ]


def timed(label: str, count: int, seconds: float) -> None:
    """Print one figure."""
    print(f"{label:44s} {count:9,d} in {seconds:7.2f} s  {count / seconds:12,.0f} /s")


def footprints(state: StateDatabase, count: int) -> None:
    """Enter frames, and look for those on patches."""
    frames = survey_frames(count)
    start = time.perf_counter()
    state.add_frames(frames)
    timed("frames with footprints added", count, time.perf_counter() - start)
    rng = np.random.default_rng(2)
    patches = [
        unit_vectors(ra + np.array([0, 0.2, 0.2, 0]), dec + np.array([0, 0, 0.2, 0.2]))
        for ra, dec in zip(rng.uniform(0, 179, QUERIES), rng.uniform(0, 60, QUERIES), strict=True)
    ]
    start = time.perf_counter()
    found = sum(len(state.frames_overlapping(patch)) for patch in patches)
    seconds = time.perf_counter() - start
    print(f"{'patch query':44s} {1e3 * seconds / QUERIES:9.3f} ms, {found / QUERIES:.1f} frames a patch")


def outcomes(state: StateDatabase, count: int) -> None:
    """Plan quanta, record their outcomes in batches, and read them."""
    keys = [f"task{n % TASKS}{{tract=3, patch=2,5, exposure={n}, detector=17, band=r}}" for n in range(count)]
    data_id = {"tract": "3", "patch": "2,5", "exposure": "1204", "detector": "17", "band": "r"}
    start = time.perf_counter()
    state.plan((key, key.partition("{")[0], data_id) for key in keys)
    timed("quanta planned", count, time.perf_counter() - start)
    updates = [outcome(number, key) for number, key in enumerate(keys)]
    start = time.perf_counter()
    for first in range(0, count, BATCH):
        state.record(updates[first : first + BATCH])
    timed(f"outcomes recorded in batches of {BATCH}", count, time.perf_counter() - start)
    start = time.perf_counter()
    state.quanta()
    timed("quanta read", count, time.perf_counter() - start)


def outcome(number: int, key: str) -> QuantumUpdate:
    """Return the outcome of one quantum, with a product or, of some, an error."""
    done = {"started": 1e9 + number, "seconds": 1.0, "peak_rss_bytes": 10**9, "rank": number % 512, "host": "n1"}
    if number % FAILED_OF_EACH == 0:
        return QuantumUpdate(key, "failed", error="ValueError: too few stars", traceback=800 * "x", **done)
    product = Product("warp", f"warps/{number}.fits", f"{number:032x}", 10**6)
    return QuantumUpdate(key, "done", inputs_digest="0" * 16, products=(product,), **done)


def status(state: StateDatabase, root: Path) -> None:
    """Run `mpidriver status` beside a run that is on."""
    run = state.begin_run("benchmark", 1, "0")
    state.record([QuantumUpdate(state.quanta("task1")[0].key, "done", started=2e9, seconds=1.0)])
    for flags in ([], ["--failed"]):
        command = [sys.executable, "-m", "mpidriver", "status", str(root), *flags]
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        print(f"{' '.join(['mpidriver', 'status', *flags]):44s} {1e3 * (time.perf_counter() - start):9.1f} ms")
    state.end_run(run, "done")


def claims(state: StateDatabase) -> None:
    """Claim quanta one by one, as a run does that hands them out."""
    keys = [f"claimed{{exposure={number}}}" for number in range(CLAIMS)]
    state.plan((key, "claimed", {}) for key in keys)
    run = state.begin_run("benchmark", 1, "0")
    start = time.perf_counter()
    for key in keys:
        state.claim(key)
    timed("quanta claimed", CLAIMS, time.perf_counter() - start)
    state.end_run(run, "done")


@contextlib.contextmanager
def empty_state(url: str) -> Iterator[tuple[StateDatabase, Path]]:
    """Open the empty database of a new repository, and give the repository's folder."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "repository"
        repository = Repository.create(root, config=f'[state]\nurl = "{url}"\n' if url else "")
        state = MongoState(StateOptions(url=url), root) if url else SqliteState(repository.state_path)
        with state:
            if state.counts() or state.frames(exposure=0):
                raise SystemExit(f"{url}: keeps the state of a survey; name an empty database")
            yield state, root


def main() -> None:
    """Run with what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--quanta", type=int, default=100_000)
    parser.add_argument("--url", default="")
    options = parser.parse_args()
    with empty_state(options.url) as (state, root):
        footprints(state, options.frames)
        outcomes(state, options.quanta)
        status(state, root)
        claims(state)


if __name__ == "__main__":
    main()
