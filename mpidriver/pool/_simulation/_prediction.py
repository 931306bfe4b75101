"""What a simulated run was like: how well the ranks were used, and what they waited for."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mpidriver.pool._simulation._workload import Job, critical_path

__all__ = ["Prediction", "Ran", "StagePrediction", "predict"]


@dataclass(frozen=True, slots=True)
class StagePrediction:
    """One stage of a predicted run."""

    stage: str
    """Its name."""
    jobs: int
    """Number of its jobs."""
    work_seconds: float
    """Seconds of work, over all ranks."""
    chain_seconds: float
    """How long the run as a whole waited for it: its share of the chain of jobs that decided when the run ended."""
    idle_seconds: float
    """Time of ranks without a task meanwhile."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """A predicted run."""

    ranks: int
    """Number of ranks."""
    wall_seconds: float
    """From the first start to the last end."""
    work_seconds: float
    """Sum over all jobs."""
    critical_seconds: float
    """The longest chain of jobs that wait for each other."""
    node_memory_bytes: int
    """Most memory that the tasks running on one node took at a time."""
    stages: tuple[StagePrediction, ...]
    """In the order of their first jobs."""

    @property
    def bound_seconds(self) -> float:
        """What no schedule can beat: work over ranks, or the longest chain."""
        return max(self.work_seconds / self.ranks, self.critical_seconds)

    @property
    def efficiency(self) -> float:
        """Work over ranks times wall time, 0 to 1."""
        return self.work_seconds / (self.ranks * self.wall_seconds) if self.wall_seconds else 1.0

    @property
    def core_hours(self) -> float:
        """Ranks times wall time."""
        return self.ranks * self.wall_seconds / 3600

    @property
    def limiting(self) -> StagePrediction | None:
        """The stage during which most time of ranks was lost, None if none was."""
        worst = max(self.stages, key=lambda stage: stage.idle_seconds, default=None)
        return worst if worst is not None and worst.idle_seconds > 0 else None


@dataclass(frozen=True, slots=True)
class Ran:
    """When and where each job ran, by position."""

    began: Sequence[float]
    ended: Sequence[float]
    rank: Sequence[int]


def predict(jobs: Sequence[Job], ran: Ran, ranks: int, wall_seconds: float, ranks_per_node: int) -> Prediction:
    """Return what a simulated run says about a real one."""
    chain = _deciding_chain(jobs, ran)
    chain_seconds: defaultdict[str, float] = defaultdict(float)
    for position in chain:
        chain_seconds[jobs[position].stage] += jobs[position].seconds
    idle = _idle_by_stage(jobs, ran, chain, ranks, wall_seconds)
    counts = Counter(job.stage for job in jobs)
    work: defaultdict[str, float] = defaultdict(float)
    for job in jobs:
        work[job.stage] += job.seconds
    return Prediction(
        ranks,
        wall_seconds,
        sum(job.seconds for job in jobs),
        critical_path(jobs),
        _node_memory(jobs, ran, ranks_per_node),
        tuple(
            StagePrediction(stage, count, work[stage], chain_seconds[stage], idle[stage])
            for stage, count in counts.items()
        ),
    )


def _deciding_chain(jobs: Sequence[Job], ran: Ran) -> list[int]:
    """Return the jobs that decided when the run ended, first to last.

    Before each stands what it began after: the last of its inputs to end or, if it was ready before and waited for a
    rank, what ran there.
    """
    if not jobs:
        return []
    before_on_rank = _before_on_rank(ran)
    position: int | None = max(range(len(jobs)), key=lambda i: ran.ended[i])
    chain = []
    while position is not None:
        chain.append(position)
        before = before_on_rank[position]
        causes = [*jobs[position].needs, *([] if before is None else [before])]
        position = max(causes, key=lambda i: ran.ended[i], default=None)
    return chain[::-1]


def _before_on_rank(ran: Ran) -> list[int | None]:
    before: list[int | None] = [None] * len(ran.began)
    last: dict[int, int] = {}
    for position in sorted(range(len(ran.began)), key=lambda i: (ran.began[i], ran.ended[i])):
        before[position] = last.get(ran.rank[position])
        last[ran.rank[position]] = position
    return before


def _idle_by_stage(
    jobs: Sequence[Job], ran: Ran, chain: Sequence[int], ranks: int, wall_seconds: float
) -> "defaultdict[str, float]":
    """Share the time of ranks without a task among the stages of the chain, by what it waited for just then."""
    idle: defaultdict[str, float] = defaultdict(float)
    if not chain:
        return idle
    ends = [ran.ended[position] for position in chain[:-1]] + [wall_seconds]
    began = busy_before = 0.0
    for position, end, busy in zip(chain, ends, _busy_until(ran, ends), strict=True):
        idle[jobs[position].stage] += ranks * (end - began) - (busy - busy_before)
        began, busy_before = end, busy
    return idle


def _busy_until(ran: Ran, times: Sequence[float]) -> Iterator[float]:
    """Yield the seconds that jobs have run until each of some ascending times."""
    changes = sorted([(time, 1) for time in ran.began] + [(time, -1) for time in ran.ended])
    busy, running, now, place = 0.0, 0, 0.0, 0
    for until in times:
        while place < len(changes) and changes[place][0] <= until:
            time, change = changes[place]
            busy += running * (time - now)
            now, running, place = time, running + change, place + 1
        busy += running * (until - now)
        now = until
        yield busy


def _node_memory(jobs: Sequence[Job], ran: Ran, ranks_per_node: int) -> int:
    """Return the most memory that jobs took at a time on one node; a job that ends makes room before one begins."""
    changes = []
    for position, job in enumerate(jobs):
        if job.memory_bytes:
            node = ran.rank[position] // ranks_per_node
            changes.append((ran.began[position], 1, node, job.memory_bytes))
            changes.append((ran.ended[position], 0, node, -job.memory_bytes))
    most, used = 0, Counter[int]()
    for _, _, node, change in sorted(changes):
        used[node] += change
        most = max(most, used[node])
    return most
