"""Where the time of one task's round trip goes: ``python benchmarks/round_trip.py``.

From the bottom up: how fast a process wakes another one, what the two messages take through MPI if both ranks stay
awake, what the pool itself does before it sends, on the worker and when the result is back (both ranks in one process,
over a wire that only pickles), and the whole; some also after 20 ms of rest. Each figure is the 5th percentile of many,
and of several rounds the best: other programs on the machine only add to them.
"""

import json
import operator
import os
import pickle
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mpidriver.batch import rank_environment
from mpidriver.pool import Pool, launch
from mpidriver.pool._rank._engine import Engine
from mpidriver.pool._transport._serial import SerialWire

ROUNDS = 3
REST_SECONDS = 20e-3
HOT, RESTED = 3000, 60
TASK = (0, (0, 1), 17, [(1, None, (5,), False, True)], ((), 2, False, False, (0,)))
OUTCOME = (1, (0, 1), 17, 1, [((5,), 1.0e9, [1.0, 2.0], 123456789, 1, "host", 1e-5)], (1e-6, 0.0, 0.0))


def fast_us(seconds: list[float]) -> float:
    """Return the 5th percentile in microseconds."""
    return 1e6 * sorted(seconds)[len(seconds) // 20]


def trips(trip: Callable[[], Any], *, rests: bool) -> float:
    """Return what a trip takes, hot or after a rest each time."""
    seconds = []
    for _ in range(RESTED if rests else HOT):
        if rests:
            time.sleep(REST_SECONDS)
        began = time.perf_counter()
        trip()
        seconds.append(time.perf_counter() - began)
    return fast_us(seconds)


def through_a_pipe() -> dict[str, float]:
    """Measure a byte to another process and back; both sleep meanwhile."""
    (there, to), (back, answer) = os.pipe(), os.pipe()
    if os.fork() == 0:
        os.close(to)
        while os.read(there, 1):
            os.write(answer, b"x")
        os._exit(0)
    os.close(there)

    def trip() -> None:
        os.write(to, b"x")
        os.read(back, 1)

    figures = {"a byte through pipes": trips(trip, rests=False), "... rested": trips(trip, rests=True)}
    os.close(to)
    os.wait()
    return figures


def through_mpi() -> dict[str, float]:
    """Measure a task's two messages as the pool sends them, between two ranks that never sleep."""
    from mpi4py import MPI

    comm, status, room = MPI.COMM_WORLD, MPI.Status(), memoryview(bytearray(1 << 16))

    def send(message: Any) -> None:
        comm.Isend([pickle.dumps(message, protocol=5), MPI.BYTE], 1 - comm.rank, 1).Wait()

    def receive() -> Any:
        while not comm.Iprobe(MPI.ANY_SOURCE, 1, status):
            pass
        piece = room[: status.Get_count(MPI.BYTE)]
        comm.Recv([piece, MPI.BYTE], status.Get_source(), 1)
        return pickle.loads(piece)

    def trip() -> None:
        send(TASK)
        receive()

    if comm.rank == 0:
        figures = {"two messages through MPI": trips(trip, rests=False)}
        send(None)
        return figures
    while receive() is not None:
        send(OUTCOME)
    return {}


class PickleWire(SerialWire):
    """One of two ranks in one process: what is sent is pickled and lies in the other's queue."""

    size = 2

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.rank = rank
        self.hosts = [self.host] * 2
        self.inbox: deque[bytes] = deque()
        self.other: PickleWire = self
        self.when_empty: Callable[[], None] = lambda: None

    def send(self, rank: int, message: Any, *, holds_up: bool = False) -> None:
        """Send."""
        self.other.inbox.append(pickle.dumps(message, protocol=5))

    def receive(self) -> list[Any]:
        """Receive, or let the other rank work."""
        if not self.inbox:
            self.when_empty()
        return [pickle.loads(self.inbox.popleft())] if self.inbox else []


def by_the_pool() -> dict[str, float]:
    """Measure what the pool does at each end, and the pickles."""
    home, away = PickleWire(0), PickleWire(1)
    home.other, away.other = away, home
    root, worker = Engine(home, root_works=False), Engine(away)
    at_worker = [0.0]

    def work() -> None:
        began, looks = time.perf_counter(), iter(range(1))
        if away.inbox:
            worker.waiting.as_worker(lambda: not away.inbox and next(looks, None) is None)
        at_worker[0] += time.perf_counter() - began

    home.when_empty = work
    pool = Pool(root.open_root())
    shares: dict[str, list[float]] = {"submit": [], "on the worker": [], "result": []}
    for i in range(HOT):
        at_worker[0], began = 0.0, time.perf_counter()
        future = pool.submit(operator.neg, i)
        submitted = time.perf_counter()
        future.result()
        back = time.perf_counter()
        spent = (submitted - began, at_worker[0], back - submitted - at_worker[0])
        for share, seconds in zip(shares.values(), spent, strict=True):
            share.append(seconds)
    return {f"the pool's own: {name}": fast_us(seconds) for name, seconds in shares.items()}


def whole(pool: Pool) -> dict[str, float]:
    """Measure a task."""

    def trip() -> None:
        pool.submit(operator.neg, 1).result()

    return {"the whole": trips(trip, rests=False), "... rested ": trips(trip, rests=True)}


def on_two_ranks(what: str) -> dict[str, float]:
    """Return figures of this file run on two ranks."""
    mpirun = str(Path(sys.executable).parent / "mpirun")
    command = [mpirun, "-n", "2", sys.executable, __file__, what]
    environment = rank_environment(os.environ) | {"OMPI_MCA_pml": "ob1", "OMPI_MCA_btl": "self,sm"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def all_figures() -> Iterator[dict[str, float]]:
    """Measure all in turn, several times."""
    for _ in range(ROUNDS):
        yield through_a_pipe() | on_two_ranks("mpi") | by_the_pool() | on_two_ranks("whole")


def main() -> None:
    """Print the best of each."""
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; microseconds, best of {ROUNDS} rounds")
    rounds = list(all_figures())
    for name in rounds[0]:
        print(f"{name:32s}{min(figures[name] for figures in rounds):8.1f}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["mpi"]:
            if figures := through_mpi():
                print(json.dumps(figures))
        case ["whole"]:
            if (figures := launch(whole, root_works=False)) is not None:
                print(json.dumps(figures))
        case _:
            main()
