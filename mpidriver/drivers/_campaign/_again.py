"""What is run again though its inputs, options and code are the same: on request alone."""

import difflib
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpidriver.drivers._campaign._graph import Graph
from mpidriver.drivers._quantum import Quantum
from mpidriver.drivers._stages import STAGES
from mpidriver.errors import ConfigError

if TYPE_CHECKING:
    from mpidriver.store import QuantumRecord

__all__ = ["ALL", "Again"]

#: Stands for all tasks, or all failures.
ALL = ""


@dataclass(frozen=True)
class Again:
    """What a run repeats.

    Raises
    ------
    ConfigError
        If `clobber` names an unknown task.
    """

    retry: tuple[str, ...] = ()
    """Failures to try again: `ALL`, tasks, or parts of what the error says."""
    clobber: tuple[str, ...] = ()
    """`ALL`, or tasks to run again with what hangs on them, done or failed."""

    def __post_init__(self) -> None:
        for task in self.clobber:
            if task not in (ALL, *STAGES):
                close = difflib.get_close_matches(task, STAGES, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"tasks are {', '.join(STAGES)}"
                raise ConfigError(f"--clobber: no task {task!r}; {hint}")

    def forced(self, graph: Graph) -> Collection[Quantum]:
        """Return the quanta that must run whatever is known of them: those to clobber, and what hangs on them."""
        if ALL in self.clobber:
            return graph
        forced: set[Quantum] = set()
        if self.clobber:
            for quantum in graph:
                node = graph[quantum]
                if quantum.task in self.clobber or not forced.isdisjoint((*node.needs, *node.uses)):
                    forced.add(quantum)
        return forced

    def retries(self, record: "QuantumRecord") -> bool:
        """Tell whether a quantum that has failed is to be tried again."""
        return any(self._asks_for(what, record) for what in self.retry)

    @staticmethod
    def _asks_for(what: str, record: "QuantumRecord") -> bool:
        if what == ALL or what in STAGES:
            return what in (ALL, record.task)
        return what.lower() in (record.error or "").lower()
