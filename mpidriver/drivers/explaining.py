"""Explain one quantum: what the database knows of it, its inputs and outputs, what blocks it and whom it blocks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mpidriver.drivers._quantum import Quantum
from mpidriver.drivers._selection import Selection
from mpidriver.drivers.debugging import find_quantum
from mpidriver.drivers.pipeline import open_context
from mpidriver.drivers.planning import plan_driver
from mpidriver.store import QuantumRecord, open_state

if TYPE_CHECKING:
    from mpidriver.drivers._campaign._graph import Graph
    from mpidriver.store import Product, StateDatabase

__all__ = ["ExplainedQuantum", "Neighbour", "explain_quantum"]


@dataclass(frozen=True)
class Neighbour:
    """A quantum that another one needs, uses, or is used by."""

    key: str
    """Its key."""
    status: str
    """Its status; ``unplanned`` if no run has planned it yet."""
    products: "list[Product]" = field(default_factory=list)
    """The files that it has left."""


@dataclass(frozen=True)
class ExplainedQuantum:
    """All that is known of a quantum."""

    record: QuantumRecord
    """What the database has."""
    earlier: list[QuantumRecord]
    """What came of it each time before it was run again, the oldest first."""
    inputs: list[Neighbour]
    """The quanta whose products it takes, by today's plan."""
    outputs: "list[Product]"
    """The files that it has left."""
    blocked_by: list[str]
    """The quanta that have failed, or were never done, for which it waits, directly or through others."""
    blocks: list[str]
    """The quanta that are blocked and wait for it, directly or through others."""


def explain_quantum(root: str, quantum: Quantum) -> ExplainedQuantum:
    """Return all that is known of a quantum.

    Raises
    ------
    ConfigError
        If the plan of the survey has no such quantum.
    """
    context = open_context(root)
    with open_state(context.repository, readonly=True) as state:
        graph = plan_driver(context, state, "pipeline", Selection()).graph
        node = find_quantum(graph, quantum)
        statuses = {record.key: record.status for record in state.quanta()}
        known = quantum.key in statuses
        blank = QuantumRecord(quantum.key, quantum.task, dict(quantum.data_id.items()), status="unplanned")
        return ExplainedQuantum(
            record=state.quantum(quantum.key) if known else blank,
            earlier=state.earlier(quantum.key),
            inputs=[_neighbour(state, source, statuses) for source in (*node.needs, *node.uses)],
            outputs=state.products(key=quantum.key) if known else [],
            blocked_by=_culprits(graph, quantum, statuses),
            blocks=_victims(graph, quantum, statuses),
        )


def _neighbour(state: "StateDatabase", quantum: Quantum, statuses: Mapping[str, str]) -> Neighbour:
    status = statuses.get(quantum.key, "unplanned")
    return Neighbour(quantum.key, status, state.products(key=quantum.key) if status == "done" else [])


def _culprits(graph: "Graph", quantum: Quantum, statuses: Mapping[str, str]) -> list[str]:
    """Return what must be mended for a quantum to run: walks up through what is blocked."""
    found: dict[str, None] = {}
    seen, waiting = {quantum}, [quantum]
    while waiting:
        node = graph[waiting.pop()]
        missing = [source for source in node.needs if statuses.get(source.key) != "done"]
        used = [source for source in node.uses if statuses.get(source.key) != "done"]
        if len(used) == len(node.uses):  # of what a quantum uses one input is enough
            missing += used
        for source in missing:
            if statuses.get(source.key) != "blocked":
                found[source.key] = None
            elif source not in seen:
                seen.add(source)
                waiting.append(source)
    return list(found)


def _victims(graph: "Graph", quantum: Quantum, statuses: Mapping[str, str]) -> list[str]:
    """Return the blocked quanta behind one that is not done."""
    if statuses.get(quantum.key) == "done":
        return []
    found: dict[Quantum, None] = {}
    waiting = [quantum]
    while waiting:
        for user in graph[waiting.pop()].users:
            if statuses.get(user.key) == "blocked" and user not in found:
                found[user] = None
                waiting.append(user)
    return [user.key for user in graph if user in found]
