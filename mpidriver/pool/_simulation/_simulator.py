"""The simulator: a workload on virtual ranks, handed out as a campaign hands out its quanta."""

import heapq
from collections.abc import Sequence

from mpidriver.pool._launch import who_works
from mpidriver.pool._simulation._prediction import Prediction, Ran, predict
from mpidriver.pool._simulation._workload import Job, chains_behind, check_jobs
from mpidriver.pool._simulation._world import Observer, World
from mpidriver.pool._transport._messages import ScopeId

__all__ = ["simulate"]

LATENCY_SECONDS = 1e-3
"""From the end of a task to the message being read, and from there to the beginning of the next."""


def simulate(
    jobs: Sequence[Job],
    ranks: int,
    *,
    ranks_per_node: int | None = None,
    latency_seconds: float = LATENCY_SECONDS,
    root_works: bool | None = None,
    ahead: int = 4,
) -> Prediction:
    """Run a workload on virtual ranks and return what a real run would be like.

    The schedulers are those of the real pool. Ready jobs begin in the order of the longest chain of work behind them.

    Parameters
    ----------
    jobs
        The workload; a job stands after those that it needs.
    ranks
        Number of ranks.
    ranks_per_node
        How many share a node's memory; None means all.
    latency_seconds
        Seconds of a message between two ranks.
    root_works
        As for `launch`.
    ahead
        How many ready jobs a rank are handed to the pool ahead of time.

    Raises
    ------
    ValueError
        If a job needs one after it, or takes negative time.
    """
    if ranks < 1:
        raise ValueError(f"simulate: at least 1 rank is needed, got {ranks}")
    check_jobs(jobs)
    world = World(ranks, lambda: latency_seconds, root_works=who_works(ranks, root_works))
    run = _Run(jobs, world, ahead * ranks)
    wall_seconds = run.run()
    return predict(jobs, run.ran, ranks, wall_seconds, ranks_per_node or ranks)


class _Run(Observer):
    """The main program: hands jobs to the virtual pool when what they need is done."""

    def __init__(self, jobs: Sequence[Job], world: World, most_in_flight: int) -> None:
        self._jobs = jobs
        self._world = world
        self._most_in_flight = most_in_flight
        self._priority = chains_behind(jobs, lambda job: job.expected)
        self._waiting = [len(job.needs) for job in jobs]
        self._users: list[list[int]] = [[] for _ in jobs]
        for position, job in enumerate(jobs):
            for needed in job.needs:
                self._users[needed].append(position)
        self._ready: list[tuple[float, int]] = []
        self._in_flight = 0
        self._began = [0.0] * len(jobs)
        self._ended = [0.0] * len(jobs)
        self._rank = [0] * len(jobs)
        world.observer = self

    @property
    def ran(self) -> Ran:
        return Ran(self._began, self._ended, self._rank)

    def run(self) -> float:
        """Run all; return the wall seconds."""
        for position, waiting in enumerate(self._waiting):
            if not waiting:
                self._make_ready(position)
        self._hand_out()
        return self._world.run_all()

    def began(self, scope: ScopeId | None, call: int, index: int, rank: int) -> None:
        self._began[call], self._rank[call] = self._world.now, rank

    def ended(self, scope: ScopeId | None, call: int, index: int, rank: int) -> None:
        self._ended[call] = self._world.now

    def finished(self, scope: ScopeId, call: int, index: int) -> None:
        self._in_flight -= 1
        for user in self._users[call]:
            self._waiting[user] -= 1
            if not self._waiting[user]:
                self._make_ready(user)
        self._hand_out()

    def _make_ready(self, position: int) -> None:
        heapq.heappush(self._ready, (-self._priority[position], position))

    def _hand_out(self) -> None:
        while self._ready and self._in_flight < self._most_in_flight:
            _, position = heapq.heappop(self._ready)
            cost = self._priority[position]
            self._world.add(self._world.root, position, [(self._jobs[position].seconds,)], [cost] if cost else None)
            self._in_flight += 1
