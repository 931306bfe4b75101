"""The graph of quanta: what each needs, and what becomes of it when an input fails."""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field

from mpidriver.drivers._quantum import Quantum

__all__ = ["Graph", "Node", "Walk"]


@dataclass
class Node:
    """One quantum with its inputs and their users."""

    quantum: Quantum
    needs: list[Quantum] = field(default_factory=list)
    """Inputs that must all succeed."""
    uses: list[Quantum] = field(default_factory=list)
    """Inputs of which those that succeed are used; at least one must, if there are any."""
    users: list[Quantum] = field(default_factory=list)
    """Quanta that have this one among their inputs."""


class Graph(Collection[Quantum]):
    """Quanta and their data dependencies, in the order in which they were added (inputs first)."""

    def __init__(self) -> None:
        self._nodes: dict[Quantum, Node] = {}

    def add(self, quantum: Quantum, *, needs: Iterable[Quantum] = (), uses: Iterable[Quantum] = ()) -> None:
        """Add a quantum; its inputs must have been added before, so that a cycle cannot arise."""
        node = Node(quantum, list(needs), list(uses))
        for source in (*node.needs, *node.uses):
            self._nodes[source].users.append(quantum)
        self._nodes[quantum] = node

    def __getitem__(self, quantum: Quantum) -> Node:
        return self._nodes[quantum]

    def __contains__(self, quantum: object) -> bool:
        return quantum in self._nodes

    def __iter__(self) -> Iterator[Quantum]:
        return iter(self._nodes)

    def __reversed__(self) -> Iterator[Quantum]:
        return reversed(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)

    def depths(self, weight: Callable[[Quantum], float]) -> dict[Quantum, float]:
        """Return for each quantum the weight of the heaviest chain that starts with it: its scheduling priority."""
        depths: dict[Quantum, float] = {}
        for quantum in reversed(self._nodes):
            after = max((depths[user] for user in self._nodes[quantum].users), default=0.0)
            depths[quantum] = weight(quantum) + after
        return depths


class Walk:
    """One passage through a graph: tells which quanta become ready or blocked as others end.

    Plain bookkeeping without ranks, clocks or files, so that it can be tested by itself.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._waiting = {quantum: len(graph[quantum].needs) + len(graph[quantum].uses) for quantum in graph}
        self._ended: dict[Quantum, bool] = {}

    def start(self) -> list[Quantum]:
        """Return the quanta without inputs."""
        return [quantum for quantum, waiting in self._waiting.items() if waiting == 0]

    def end(self, quantum: Quantum, *, succeeded: bool) -> tuple[list[Quantum], list[tuple[Quantum, Quantum]]]:
        """Note the end of a quantum.

        Returns
        -------
        ready : list of Quantum
            Quanta whose inputs are now all there.
        blocked : list of (Quantum, Quantum)
            Quanta that can no longer run, each with the input that blocks it. They count as ended.
        """
        ready: list[Quantum] = []
        blocked: list[tuple[Quantum, Quantum]] = []
        ends = [(quantum, succeeded)]
        while ends:
            source, good = ends.pop()
            self._ended[source] = good
            for user in self._graph[source].users:
                self._waiting[user] -= 1
                if self._waiting[user]:
                    continue
                culprit = self._culprit(user)
                if culprit is None:
                    ready.append(user)
                else:
                    blocked.append((user, culprit))
                    ends.append((user, False))
        return ready, blocked

    def inputs(self, quantum: Quantum) -> list[Quantum]:
        """Return the inputs of a ready quantum that succeeded, in the graph's order."""
        node = self._graph[quantum]
        return [source for source in (*node.needs, *node.uses) if self._ended[source]]

    def _culprit(self, quantum: Quantum) -> Quantum | None:
        node = self._graph[quantum]
        failed = [source for source in node.needs if not self._ended[source]]
        if not failed and node.uses and not any(self._ended[source] for source in node.uses):
            failed = node.uses
        return failed[0] if failed else None
