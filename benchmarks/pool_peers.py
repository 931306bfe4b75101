"""One pool measured in processes of its own: ``pool_peers.py NAME WHAT RANKS``, started by `benchmarks/pool.py`.

All peers have the same few calls, so that the same work can be timed with each. The two raw loops are no pools: a
master sends messages and its workers send them back, which is what MPI itself allows from Python.
"""

import json
import operator
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from typing import Any

import numpy as np

CHUNKS = (64, 256, 1024, 4096)
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


def compute_with_numpy(size):
    """Keep numpy busy for about 10 ms, in the caches."""
    array = np.linspace(0.0, 1.0, 4096)
    return float(sum(np.sqrt(array * array + i).sum() for i in range(size)))


class Ours:
    """`mpidriver.pool`."""

    chunks: tuple[int | None, ...] = (None,)

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
    """`schwimmbad.MPIPool`, which has nothing but a map that waits, and sends one message a task."""

    def call(self, fn, item):
        """Run one task and wait for it."""
        return self.pool.map(fn, [item])[0]

    def singly(self, fn, items):
        """Map."""
        self.pool.map(fn, list(items))

    def map(self, fn, items, chunk):
        """Map."""
        return list(self.pool.map(fn, list(items)))

    def each(self, fn, items):
        """Yield results when all are there."""
        yield from self.pool.map(fn, list(items))


class RawPickles(Ours):
    """A master's loop over `mpi4py.util.pkl5`; its pool is the communicator."""

    def call(self, fn, item):
        """Run one task on the first worker and wait for it."""
        return next(self.each(fn, [item]))

    def singly(self, fn, items):
        """Have one message a task under way to each worker."""
        for _ in self.each(fn, items):
            pass

    def map(self, fn, items, chunk):
        """Have a few pieces a worker, each a message."""
        items = list(items)
        step = max(1, len(items) // (4 * self.pool.size))
        pieces = [items[start : start + step] for start in range(0, len(items), step)]
        return [value for values in self.each(_Each(fn), pieces) for value in values]

    def each(self, fn, items):
        """Yield results as they come."""
        from mpi4py import MPI

        status, items, busy = MPI.Status(), iter(items), 0
        for rank, item in zip(range(1, self.pool.size), items, strict=False):
            self.pool.send((fn, item), rank)
            busy += 1
        while busy:
            value = self.pool.recv(source=MPI.ANY_SOURCE, status=status)
            busy -= 1
            for item in items:
                self.pool.send((fn, item), status.source)
                busy += 1
                break
            yield value

    def serve(self):
        """Be a worker."""
        while (task := self.pool.recv(source=0)) is not None:
            function, item = task
            self.pool.send(function(item), 0)

    def close(self):
        """End the workers."""
        for rank in range(1, self.pool.size):
            self.pool.send(None, rank)


class _Each:
    """Applies a function to each of a list."""

    def __init__(self, function):
        self.function = function

    def __call__(self, items):
        return list(map(self.function, items))


class RawBuffers(RawPickles):
    """A master's loop over Send and Recv, of arrays of one size into memory that is there already."""

    def each(self, fn, items):
        """Yield what comes back, always in the same memory."""
        from mpi4py import MPI

        status, items, busy = MPI.Status(), iter(items), 0
        back = np.empty_like(items_of_one_size := next(items))
        for rank in range(1, self.pool.size):
            self.pool.Send(items_of_one_size, rank, tag=1)
            busy += 1
            items_of_one_size = next(items, None)
            if items_of_one_size is None:
                break
        while busy:
            self.pool.Recv(back, MPI.ANY_SOURCE, status=status)
            busy -= 1
            if items_of_one_size is not None:
                self.pool.Send(items_of_one_size, status.source, tag=1)
                busy += 1
                items_of_one_size = next(items, None)
            yield back

    def serve(self):
        """Be a worker."""
        from mpi4py import MPI

        status, memory = MPI.Status(), np.empty(0)
        while True:
            self.pool.Probe(0, MPI.ANY_TAG, status)
            if status.tag == 0:
                break
            count = status.Get_count(MPI.DOUBLE)
            memory = memory if len(memory) == count else np.ones(count)
            self.pool.Recv(memory, 0, 1)
            self.pool.Send(memory, 0)
        self.pool.recv(source=0, tag=0)


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
    """Return how many a second; the best of three runs."""
    best = np.inf
    for _ in range(3):
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


def measure_arrays(peer: Ours) -> dict[str, float]:
    """Measure how fast large items travel."""
    return {
        "1 MB in and out, GB/s": echo_gb_per_s(peer, MB, 100),
        "64 MB in and out, GB/s": echo_gb_per_s(peer, 64 * MB, 8),
    }


def measure_messages(peer: Ours) -> dict[str, float]:
    """Measure what needs several ranks."""
    peer.map(operator.neg, range(1000), peer.chunks[-1])
    return {
        "round trip hot, us": round_trip_us(peer, 0.0, 1000),
        "round trip after 20 ms, us": round_trip_us(peer, 20e-3, 50),
        "no-ops one by one, 1/s": rate(lambda: peer.singly(operator.neg, range(3000)), 3000),
        "no-ops by map, 1/s": max(map_rate(peer, chunk, 200_000) for chunk in peer.chunks),
        **measure_arrays(peer),
    }


def measure_work(peer: Ours) -> dict[str, float]:
    """Measure what two ranks show best."""
    peer.map(compute, [1000] * 8, 1)
    return {
        "idle worker, % of a core": idle_percent(peer),
        "Python, tasks/s": rate(lambda: peer.map(compute, [100_000] * 200, 1), 200),
        "numpy, tasks/s": rate(lambda: peer.map(compute_with_numpy, [1000] * 200, 1), 200),
    }


MEASURES = {"messages": measure_messages, "arrays": measure_arrays, "work": measure_work}


def run_raw(loop: type[RawPickles], show: Callable[[Ours], None]) -> None:
    """Measure a raw loop."""
    from mpi4py import MPI
    from mpi4py.util import pkl5

    comm = MPI.COMM_WORLD
    peer = loop(comm if loop is RawBuffers else pkl5.Intracomm(comm))
    if comm.rank:
        peer.serve()
        return
    show(peer)
    peer.close()


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
        case "raw pkl5":
            run_raw(RawPickles, show)
        case "raw buffers":
            run_raw(RawBuffers, show)


if __name__ == "__main__":
    import pool_peers  # this file again, as a module that every process can import

    pool_peers.run_peer(*sys.argv[1:3], int(sys.argv[3]))
