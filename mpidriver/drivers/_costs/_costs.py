"""What a quantum may cost: the seconds and memory that the state database knows of earlier runs."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from mpidriver.drivers._campaign._graph import Graph
from mpidriver.drivers._costs._scaling import Line, fit_line, upper_line
from mpidriver.drivers._quantum import Quantum
from mpidriver.drivers._stages import STAGES

if TYPE_CHECKING:
    from mpidriver.store import QuantumRecord

__all__ = ["Cost", "ExpectedSeconds", "LearnedCosts", "input_sizes", "memory_marks"]


@dataclass(frozen=True)
class Cost:
    """What a quantum may cost."""

    seconds: float
    """How long it runs."""
    memory_bytes: int
    """The memory that it needs at most; 0 if none was measured of its task."""


class LearnedCosts:
    """What quanta may cost, by task and by size of input: the number of quanta whose products they take.

    Parameters
    ----------
    records
        Quanta of the state database.
    graph
        The survey, which tells the sizes.
    """

    def __init__(self, records: "Iterable[QuantumRecord]", graph: Graph) -> None:
        records = list(records)
        self._sizes = input_sizes(graph)
        self.seconds = ExpectedSeconds(records, self._sizes)
        self._memory = _memory_lines(records, self._sizes)

    def __call__(self, quantum: Quantum) -> Cost:
        """Return what a quantum may cost; its seconds are those of its last run, if there was one."""
        return Cost(self.seconds(quantum), self._memory_bytes(quantum.task, self._sizes.get(quantum.key, 0)))

    def of_task(self, task: str, size: int) -> Cost:
        """Return what a quantum of a task may cost that takes the products of so many others."""
        return Cost(self.seconds.of_size(task, size), self._memory_bytes(task, size))

    def _memory_bytes(self, task: str, size: int) -> int:
        return math.ceil(self._memory[task](size)) if task in self._memory else 0


def input_sizes(graph: Graph) -> dict[str, int]:
    """Return the size of each quantum's input by its key: how many quanta it takes products of."""
    return {quantum.key: len(graph[quantum].needs) + len(graph[quantum].uses) for quantum in graph}


class ExpectedSeconds:
    """How long quanta may take: as the last time or, if there was none, as the others of their task and size.

    A task of which no quantum was run yet takes the rough seconds of its stage, in proportion to those that were.

    Parameters
    ----------
    records
        Quanta of the state database.
    sizes
        Sizes of input by key; 0 where there is none.
    """

    def __init__(self, records: "Iterable[QuantumRecord]", sizes: Mapping[str, int] = MappingProxyType({})) -> None:
        self._own: dict[str, float] = {}
        self._sizes = sizes
        points: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        for record in records:
            if record.status == "done" and record.seconds is not None:
                self._own[record.key] = record.seconds
                points[record.task].append((sizes.get(record.key, 0), record.seconds))
        self._lines = {task: fit_line(some) for task, some in points.items()}
        self.ratios = {task: _ratios(some, self._lines[task]) for task, some in points.items()}
        """Of the quanta that were done, their seconds over those of their size, by task."""
        means = {task: sum(seconds for _, seconds in some) / len(some) for task, some in points.items()}
        known = means.keys() & STAGES.keys()
        rough = sum(STAGES[task].seconds for task in known)
        scale = sum(means[task] for task in sorted(known)) / rough if known else 1.0
        for task, stage in STAGES.items():
            self._lines.setdefault(task, Line(stage.seconds * scale, 0.0))

    def __call__(self, quantum: Quantum) -> float:
        """Return the seconds that a quantum may take."""
        own = self._own.get(quantum.key) if self._own else None
        return self.of_size(quantum.task, self._sizes.get(quantum.key, 0)) if own is None else own

    def of_size(self, task: str, size: int) -> float:
        """Return the seconds that a quantum of a task and a size may take."""
        return self._lines[task](size)


def _ratios(points: list[tuple[float, float]], line: Line) -> list[float]:
    return [seconds / line(size) if line(size) > 0.0 else 1.0 for size, seconds in points]


def _memory_lines(records: "Iterable[QuantumRecord]", sizes: Mapping[str, int]) -> dict[str, Line]:
    """Return the memory of each task by size: what is enough for all that were measured."""
    marks = memory_marks(records)
    return {task: upper_line([(sizes.get(key, 0), peak) for key, peak in some.items()]) for task, some in marks.items()}


def memory_marks(records: "Iterable[QuantumRecord]") -> dict[str, dict[str, int]]:
    """Return the memory that quanta needed at most, by task and key, as far as it was theirs.

    The memory of a process never shrinks: what is recorded with a quantum may belong to one that its rank ran before.
    So those count that have raised it, and where a task has none of them, the least that was seen.
    """
    raised: defaultdict[str, dict[str, int]] = defaultdict(dict)
    least: dict[str, tuple[int, str]] = {}
    marks: dict[tuple[str | None, int | None], int] = {}
    measured = [record for record in records if record.peak_rss_bytes is not None and record.started is not None]
    for record in sorted(measured, key=lambda record: (record.started, record.key)):
        peak, where = record.peak_rss_bytes or 0, (record.host, record.rank)
        least[record.task] = min(least.get(record.task, (peak, record.key)), (peak, record.key))
        if peak > marks.get(where, 0):
            raised[record.task][record.key] = peak
        marks[where] = peak  # a smaller mark is that of a new process
    return {task: raised.get(task, {key: peak}) for task, (peak, key) in least.items()}
