"""The pool against its peers, on the same work in one call: ``python benchmarks/pool.py [ranks]``.

Peers: mpi4py.futures, concurrent.futures.ProcessPoolExecutor, and schwimmbad if it can be imported. Each runs in
processes of its own, one after the other. Printed are the figures and, in brackets, how many times better ours is.
Peers that take a chunk size run at the best of several; ours takes none. Messages are measured with a root that does
not work, so that nothing stays at home.

The processes of other users disturb short times: compare columns of one call, never calls.
"""

import importlib.util
import json
import operator
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from mpidriver.batch import rank_environment

CHUNKS = (64, 256, 1024)
MB = 1 << 20
IDLE_SECONDS = 3.0


def echo(array):
    return array


def cpu_seconds(_):
    return os.getpid(), time.process_time()


def compute(count):
    """Keep the interpreter busy for about 10 ms."""
    total = 0
    for i in range(count):
        total += i * i
    return total


class Ours:
    """`mpidriver.pool`."""

    chunks = (None,)

    def __init__(self, pool: Any) -> None:
        self.pool = pool

    def call(self, fn: Callable[..., Any], item: Any) -> Any:
        """Run one task and wait for it."""
        return self.pool.submit(fn, item).result()

    def singly(self, fn: Callable[..., Any], items: Iterable[Any]) -> None:
        """Submit tasks one by one, and wait for all."""
        self.pool.wait([self.pool.submit(fn, item) for item in items])

    def map(self, fn: Callable[..., Any], items: Iterable[Any], chunk: int | None) -> list[Any]:
        """Map."""
        return self.pool.map(fn, items)

    def each(self, fn: Callable[..., Any], items: Iterable[Any]) -> Iterator[Any]:
        """Yield results as they come."""
        return (outcome.value for outcome in self.pool.stream(fn, items))


class Futures(Ours):
    """Any `concurrent.futures.Executor`."""

    chunks = CHUNKS
    pool: Executor

    def singly(self, fn, items):
        """Submit tasks one by one, and wait for all."""
        for future in [self.pool.submit(fn, item) for item in items]:
            future.result()

    def map(self, fn, items, chunk):
        """Map."""
        return list(self.pool.map(fn, items, chunksize=chunk))

    def each(self, fn, items):
        """Yield results as they come; all items are sent at once."""
        futures = {self.pool.submit(fn, item) for item in items}
        while futures:
            future = next(as_completed(futures))
            futures.remove(future)
            yield future.result()


class Schwimmbad(Ours):
    """`schwimmbad.MPIPool`, which has nothing but a map that waits."""

    def call(self, fn, item):
        """Run one task and wait for it."""
        return self.pool.map(fn, [item])[0]

    def singly(self, fn, items):
        """Map: it sends one message a task."""
        self.pool.map(fn, list(items))

    def map(self, fn, items, chunk):
        """Map."""
        return list(self.pool.map(fn, list(items)))

    def each(self, fn, items):
        """Yield results when all are there."""
        yield from self.pool.map(fn, list(items))


def round_trip_us(peer: Ours, gap_seconds: float, count: int) -> float:
    """Return the median round trip of one task, after so long a pause."""
    times = []
    for i in range(count):
        time.sleep(gap_seconds) if gap_seconds else None
        began = time.perf_counter()
        peer.call(operator.neg, i)
        times.append(1e6 * (time.perf_counter() - began))
    return statistics.median(times)


def rate(run: Callable[[], Any], count: float) -> float:
    """Return how many a second; the better of two runs."""
    best = np.inf
    for _ in range(2):
        began = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - began)
    return count / best


def map_rate(peer: Ours, chunk: int | None, count: int) -> float:
    """Return no-ops a second by map."""
    return rate(lambda: peer.map(operator.neg, range(count), chunk), count)


def echo_gb_per_s(peer: Ours, nbytes: int, count: int) -> float:
    """Return bytes in and out a second."""
    array = np.ones(nbytes // 8)

    def run() -> None:
        for result in peer.each(echo, [array] * count):
            assert result.nbytes == nbytes

    return rate(run, 2 * nbytes * count / 1e9)


def idle_percent(peer: Ours) -> float:
    """Return the share of a core that an idle worker takes."""
    time.sleep(0.2)
    pid, before = peer.call(cpu_seconds, 0)
    time.sleep(IDLE_SECONDS)
    while (found := peer.call(cpu_seconds, 0))[0] != pid:
        pass
    return 100 * (found[1] - before) / IDLE_SECONDS


def measure_messages(peer: Ours) -> dict[str, float]:
    """Measure what needs several ranks."""
    peer.map(operator.neg, range(1000), peer.chunks[-1])
    return {
        "round trip hot, us": round_trip_us(peer, 0.0, 500),
        "round trip after 20 ms, us": round_trip_us(peer, 20e-3, 50),
        "no-ops one by one, 1/s": rate(lambda: peer.singly(operator.neg, range(3000)), 3000),
        "no-ops by map, 1/s": max(map_rate(peer, chunk, 100_000) for chunk in peer.chunks),
        "1 MB in and out, GB/s": echo_gb_per_s(peer, MB, 100),
        "64 MB in and out, GB/s": echo_gb_per_s(peer, 64 * MB, 8),
    }


def measure_work(peer: Ours) -> dict[str, float]:
    """Measure what two ranks show best."""
    peer.map(compute, [1000] * 8, 1)
    return {
        "idle worker, % of a core": idle_percent(peer),
        "compute-bound, tasks/s": rate(lambda: peer.map(compute, [100_000] * 200, 1), 200),
    }


MEASURES = {"messages": measure_messages, "work": measure_work}


def run_peer(name: str, what: str, ranks: int) -> None:
    """Measure one peer in this process, which is its root; print the figures."""

    def show(peer: Ours) -> None:
        print("FIGURES " + json.dumps(MEASURES[what](peer)), flush=True)

    match name:
        case "ours":
            from mpidriver.pool import launch

            launch(lambda pool: show(Ours(pool)), root_works=what == "work")
        case "mpi4py.futures":
            from mpi4py.futures import MPIPoolExecutor

            with MPIPoolExecutor() as executor:
                show(Futures(executor))
        case "ProcessPool":
            with ProcessPoolExecutor(max(1, ranks)) as executor:
                show(Futures(executor))
        case "schwimmbad":
            from schwimmbad import MPIPool

            with MPIPool() as pool:
                if not pool.is_master():
                    pool.wait()
                    sys.exit(0)
                show(Schwimmbad(pool))


def figures(name: str, what: str, ranks: int) -> dict[str, float]:
    """Measure one peer in processes of its own."""
    program = [__file__, "--peer", name, what, str(ranks)]
    path = os.pathsep.join([str(Path(__file__).resolve().parent), os.environ.get("PYTHONPATH", "")])
    environment = rank_environment(os.environ) | {"PYTHONPATH": path}
    python = [sys.executable, *(["-m", "mpi4py.futures"] if name == "mpi4py.futures" else [])]
    beside = Path(sys.executable).parent / "mpirun"
    mpirun = [str(beside if beside.exists() else "mpirun"), "-n", str(ranks)]
    command = [*([] if name == "ProcessPool" else mpirun), *python, *program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("FIGURES ")]
    if not lines:
        print(f"{name}: {done.stderr.strip() or 'nothing measured'}", file=sys.stderr)
        return {}
    return json.loads(lines[0].removeprefix("FIGURES "))


def main(ranks: int) -> None:
    """Measure all and print the table."""
    names = ["ours", "mpi4py.futures", "ProcessPool"]
    if importlib.util.find_spec("schwimmbad") is not None:
        names.append("schwimmbad")
    else:
        print("schwimmbad is not installed: left out")
    print(f"messages: {ranks} ranks; idle and compute-bound: 2 ranks")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before")
    table = {name: figures(name, "messages", ranks) | figures(name, "work", 2) for name in names}
    alone = figures("ours", "work", 1)
    print(f"{'':28s}" + "".join(f"{name:>22s}" for name in names))
    for row, ours in table["ours"].items():
        print(f"{row:28s}" + "".join(f"{shown(row, table[name].get(row), ours):>22s}" for name in names))
    speedup = table["ours"]["compute-bound, tasks/s"] / alone["compute-bound, tasks/s"]
    print(f"ours, two ranks against one, compute-bound: {speedup:.2f} times as fast")


def shown(row: str, value: float | None, ours: float) -> str:
    """Return a figure, and how many times better ours is."""
    if value is None:
        return "-"
    ratio = ours / value if row.endswith("/s") else value / ours
    return f"{value:,.{2 if value < 100 else 0}f} ({ratio:.1f}x)"


if __name__ == "__main__":
    if "--peer" in sys.argv:
        import pool  # this file again, as a module that every process can import

        pool.run_peer(*sys.argv[2:4], int(sys.argv[4]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 4)
