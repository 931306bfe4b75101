"""The pace of the run that is on: how many quanta a second, and when it may end."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mpidriver.store import RunRecord

__all__ = ["Pace", "pace_of_run"]

#: Seconds after which a run on another host that gives no sign of life is not shown as running.
SILENT_SECONDS = 180.0

#: Task to how many quanta were timed and their seconds together.
Timings = Mapping[str, tuple[int, float]]


@dataclass(frozen=True)
class Pace:
    """How a run gets on."""

    command: str
    """Its command line."""
    ranks: int
    """Its ranks."""
    host: str
    """Host of its root."""
    elapsed_seconds: float
    """Since it began."""
    silent_seconds: float
    """Since its last sign of life."""
    ended: int
    """Quanta that it has run."""
    quanta_per_second: float
    """How many a second."""
    remaining_seconds: float | None
    """How long it may take yet, none as long as nothing tells."""

    @property
    def is_silent(self) -> bool:
        """Whether it gives no sign of life and may be dead."""
        return self.silent_seconds > SILENT_SECONDS


def pace_of_run(
    run: "RunRecord", counts: Mapping[str, Mapping[str, int]], timed: Timings, timed_by_run: Timings, *, now: float
) -> Pace:
    """Return the pace of a run from what it has recorded.

    What is left of each task takes as long as its quanta took on average (those of all tasks, where none was timed),
    shared by as many ranks as the run has kept busy so far.

    Parameters
    ----------
    run
        A run that has not ended.
    counts
        Number of quanta by task and status.
    timed, timed_by_run
        Timings of all runs, and of this one.
    now
        Unix time.
    """
    elapsed_s = max(now - run.started, 1e-3)
    ended = sum(count for count, _ in timed_by_run.values())
    busy_ranks = sum(seconds for _, seconds in timed_by_run.values()) / elapsed_s
    left = {task: status.get("ready", 0) + status.get("running", 0) for task, status in counts.items()}
    return Pace(
        command=run.command,
        ranks=run.ranks,
        host=run.host,
        elapsed_seconds=elapsed_s,
        silent_seconds=now - run.heartbeat,
        ended=ended,
        quanta_per_second=ended / elapsed_s,
        remaining_seconds=_work_seconds(left, timed) / busy_ranks if busy_ranks > 0.0 else None,
    )


def _work_seconds(left: Mapping[str, int], timed: Timings) -> float:
    count, seconds = map(sum, zip(*timed.values(), strict=True))
    mean = seconds / count
    means = {task: seconds / count for task, (count, seconds) in timed.items() if count}
    return sum(number * means.get(task, mean) for task, number in left.items())
