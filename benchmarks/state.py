"""Measure the state database: outcomes recorded a second, footprints entered, and the patch query.

Usage: python benchmarks/state.py [frames] [quanta]
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from mpidriver.sphere import unit_vectors
from mpidriver.store import Frame, Product, QuantumUpdate, SqliteState

BATCH = 2000
QUERIES = 300


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


def footprints(state: SqliteState, count: int) -> None:
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


def outcomes(state: SqliteState, count: int) -> None:
    """Plan quanta and record their outcomes in batches."""
    keys = [f"warp{{tract=3, patch=2,5, exposure={number}, detector=17, band=r}}" for number in range(count)]
    data_id = {"tract": "3", "patch": "2,5", "exposure": "1204", "detector": "17", "band": "r"}
    start = time.perf_counter()
    state.plan((key, "warp", data_id) for key in keys)
    timed("quanta planned", count, time.perf_counter() - start)
    updates = [
        QuantumUpdate(
            key,
            "done",
            started=1e9 + number,
            seconds=1.0,
            peak_rss_bytes=10**9,
            rank=number % 512,
            host="n1",
            inputs_digest="0" * 16,
            products=(Product("warp", f"warps/{number}.fits", f"{number:032x}", 10**6),),
        )
        for number, key in enumerate(keys)
    ]
    start = time.perf_counter()
    for first in range(0, count, BATCH):
        state.record(updates[first : first + BATCH])
    timed(f"outcomes recorded in batches of {BATCH}", count, time.perf_counter() - start)
    start = time.perf_counter()
    state.counts()
    print(f"{'counts by task and status':44s} {1e3 * (time.perf_counter() - start):9.1f} ms")
    start = time.perf_counter()
    state.quanta()
    timed("quanta read", count, time.perf_counter() - start)


def main() -> None:
    """Run with numbers of frames and quanta from the command line."""
    frames, quanta = [int(text) for text in sys.argv[1:3]] or [100_000, 100_000]
    with tempfile.TemporaryDirectory() as folder, SqliteState(Path(folder) / "state.sqlite") as state:
        footprints(state, frames)
        outcomes(state, quanta)


if __name__ == "__main__":
    main()
