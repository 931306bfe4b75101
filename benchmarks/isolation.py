"""What isolation costs, beside process pools that can do some of it: ``python benchmarks/isolation.py``.

Peers: concurrent.futures.ProcessPoolExecutor and multiprocessing.Pool, which only move tasks to another process, and
Pebble (if it can be imported), which kills and replaces processes as ours does. All have one worker process.
Short times are the least of many: the processes of others only ever add to them.
"""

import functools
import importlib.util
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np

from mpidriver.errors import TaskError
from mpidriver.pool import Pool, Terms

CALLS = 2000
DEATHS = 30
ISOLATED = Terms(isolate=True, retries=0)
SIZES = {"1 MB": (1 << 17, 100), "64 MB": (1 << 23, 12), "2.2 GB": (275_000_000, 2)}
"""Elements and number of arrays."""


def die(_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def least(function: Callable[[], Any], count: int) -> float:
    """Return the shortest time of several calls."""
    seconds = []
    for _ in range(count):
        began = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def measure(
    name: str, call: Callable[[Callable[..., Any], Any], Any], lost: type[Exception] | None, *, huge: bool = False
) -> None:
    """Print the figures of one pool.

    Parameters
    ----------
    call
        Runs one task and waits for it.
    lost
        What it raises when the process of a task dies and another takes its place; None if it does not survive.
    huge
        Whether to send it arrays of more than 2 GiB, which takes peers minutes.
    """
    call(abs, 0)
    figures = [f"{1e6 * least(lambda: call(abs, 1), CALLS):6.0f} µs"]
    for elements, count in SIZES.values():
        if elements * 8 > 2**31 and not huge:
            figures.append("-")
            continue
        seconds = least(functools.partial(call, np.asarray, np.ones(elements)), count)
        figures.append(f"{16 * elements / seconds / 1e9:5.2f} GB/s")
    figures.append("-" if lost is None else f"{1e3 * least(lambda: replace(call, lost), DEATHS):5.1f} ms")
    print(f"{name:<22}" + "".join(f"{figure:>14}" for figure in figures), flush=True)


def replace(call: Callable[[Callable[..., Any], Any], Any], lost: type[Exception]) -> None:
    """Let a task die, and run the next one."""
    try:
        call(die, 0)
    except lost:
        call(abs, 1)


def main() -> None:
    print(" " * 22 + "".join(f"{head:>14}" for head in ("a call", *SIZES, "killed+next")))
    with Pool() as pool:
        measure(
            "mpidriver, isolated", lambda fn, item: pool.submit(fn, item, terms=ISOLATED).result(), TaskError, huge=True
        )
    with Pool() as pool:
        measure("mpidriver, in process", lambda fn, item: pool.submit(fn, item).result(), None)
    if importlib.util.find_spec("pebble"):
        import pebble

        with pebble.ProcessPool(max_workers=1) as peer:
            measure("pebble", lambda fn, item: peer.schedule(fn, args=[item]).result(), pebble.ProcessExpired)
    with ProcessPoolExecutor(1) as executor:
        measure("ProcessPoolExecutor", lambda fn, item: executor.submit(fn, item).result(), None)
        try:
            executor.submit(die, 0).result()
        except BrokenProcessPool:
            print("(ProcessPoolExecutor is broken for good once a task dies; multiprocessing.Pool waits for ever)")
    with multiprocessing.Pool(1) as processes:
        measure("multiprocessing.Pool", lambda fn, item: processes.apply(fn, (item,)), None)


if __name__ == "__main__":
    main()
