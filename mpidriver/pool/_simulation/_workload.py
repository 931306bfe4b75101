"""Work to simulate: jobs that wait for others, and the bounds that no schedule can beat."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Job", "chains_behind", "check_jobs", "critical_path"]


@dataclass(frozen=True, slots=True)
class Job:
    """One task of a workload."""

    stage: str
    """What kind of task it is."""
    seconds: float
    """How long it runs."""
    needs: tuple[int, ...] = ()
    """Positions of the jobs that must be done before; all before its own."""
    memory_bytes: int = 0
    """Memory that its rank takes while it runs."""
    expected_seconds: float | None = None
    """How long the scheduler believes that it runs, None if it knows."""

    @property
    def expected(self) -> float:
        """Seconds by which it is put in order."""
        return self.seconds if self.expected_seconds is None else self.expected_seconds


def check_jobs(jobs: Sequence[Job]) -> None:
    """Refuse what is no workload.

    Raises
    ------
    ValueError
        If a job takes negative time or memory, or needs one that does not stand before it.
    """
    for position, job in enumerate(jobs):
        if not (0 <= job.seconds < float("inf") and 0 <= job.expected < float("inf") and job.memory_bytes >= 0):
            raise ValueError(f"job {position} ({job.stage}): seconds and memory must be at least 0, got {job}")
        if not all(0 <= needed < position for needed in job.needs):
            raise ValueError(f"job {position} ({job.stage}) needs {job.needs}: it may only need jobs before it")


def chains_behind(jobs: Sequence[Job], seconds: Callable[[Job], float]) -> list[float]:
    """Return for each job the longest chain of work that begins with it."""
    behind = [0.0] * len(jobs)
    for position in range(len(jobs) - 1, -1, -1):
        behind[position] += seconds(jobs[position])
        for needed in jobs[position].needs:
            behind[needed] = max(behind[needed], behind[position])
    return behind


def critical_path(jobs: Sequence[Job]) -> float:
    """Return the seconds of the longest chain: what infinitely many ranks would need."""
    return max(chains_behind(jobs, lambda job: job.seconds), default=0.0)
