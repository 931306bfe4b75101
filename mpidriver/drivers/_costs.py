"""What a quantum may cost: the seconds and memory that the state database knows of earlier runs."""

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mpidriver.drivers._quantum import Quantum
from mpidriver.drivers._stages import STAGES

if TYPE_CHECKING:
    from mpidriver.store import QuantumRecord

__all__ = ["ExpectedSeconds", "peak_memory"]


class ExpectedSeconds:
    """How long quanta may take: as the last time or, if there was none, as the others of their task.

    A task of which no quantum was run yet takes the rough seconds of its stage, in proportion to those that were.

    Parameters
    ----------
    records
        Quanta of the state database.
    """

    def __init__(self, records: "Iterable[QuantumRecord]") -> None:
        self._own: dict[str, float] = {}
        self.of_task: defaultdict[str, list[float]] = defaultdict(list)
        """Seconds of the quanta that were done, by task."""
        for record in records:
            if record.status == "done" and record.seconds is not None:
                self._own[record.key] = record.seconds
                self.of_task[record.task].append(record.seconds)
        self._means = {task: sum(seconds) / len(seconds) for task, seconds in self.of_task.items()}
        known = self._means.keys() & STAGES.keys()
        rough = sum(STAGES[task].seconds for task in known)
        scale = sum(self._means[task] for task in sorted(known)) / rough if known else 1.0
        for task, stage in STAGES.items():
            self._means.setdefault(task, stage.seconds * scale)

    def __call__(self, quantum: Quantum) -> float:
        """Return the seconds that a quantum may take."""
        own = self._own.get(quantum.key) if self._own else None
        return self._means[quantum.task] if own is None else own


def peak_memory(records: "Iterable[QuantumRecord]") -> dict[str, int]:
    """Return the memory that a quantum of each task takes at most, by what was measured.

    The memory of a process never shrinks: what is recorded with a quantum may belong to one that its rank ran before.
    So those count that have raised it, and where a task has none of them, the least that was seen.
    """
    raised: defaultdict[str, int] = defaultdict(int)
    least: dict[str, int] = {}
    marks: dict[tuple[str | None, int | None], int] = {}
    measured = [record for record in records if record.peak_rss_bytes is not None and record.started is not None]
    for record in sorted(measured, key=lambda record: (record.started, record.key)):
        peak, where = record.peak_rss_bytes or 0, (record.host, record.rank)
        least[record.task] = min(least.get(record.task, peak), peak)
        if peak > marks.get(where, 0):
            raised[record.task] = max(raised[record.task], peak)
        marks[where] = peak  # a smaller mark is that of a new process
    return {task: raised.get(task, least[task]) for task in least}
