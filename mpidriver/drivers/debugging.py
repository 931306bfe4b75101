"""One quantum in this process under pdb, with the inputs that earlier runs have left."""

import sys
from typing import TYPE_CHECKING

from mpidriver.drivers._campaign._run_quantum import provenance_of, run_quantum
from mpidriver.drivers._desk import Desk
from mpidriver.drivers._quantum import Quantum
from mpidriver.drivers._selection import Selection
from mpidriver.drivers._stages import STAGES
from mpidriver.drivers.pipeline import open_context
from mpidriver.drivers.planning import plan_driver
from mpidriver.errors import ConfigError
from mpidriver.store import nothing_kept, open_state

if TYPE_CHECKING:
    from mpidriver.drivers._campaign._graph import Graph, Node
    from mpidriver.store import Product

__all__ = ["debug_quantum", "find_quantum"]


def debug_quantum(root: str, quantum: Quantum) -> "tuple[Product, ...] | None":
    """Run one quantum in this process under pdb, which stops where it raises.

    Nothing of the repository is changed: its products are written and thrown away.

    Returns
    -------
    tuple of Product, or None
        What it has made; none if it raised.

    Raises
    ------
    ConfigError
        If the plan of the survey has no such quantum.
    """
    import pdb
    import traceback

    context = open_context(root)
    with open_state(context.repository, readonly=True) as state:
        node = find_quantum(plan_driver(context, state, "pipeline", Selection()).graph, quantum)
        done = {record.key for record in state.quanta(status="done")}
        sources = [source for source in (*node.needs, *node.uses) if source.key in done]
        products = {source: state.products(key=source.key) for source in sources}
        inputs = [source for source, there in products.items() if there]
        stage = STAGES[quantum.task]
        try:
            with nothing_kept():
                prepared = stage.prepare(Desk(context, state), quantum, inputs)
                made_of = [product for source in inputs for product in products[source]]
                provenance = provenance_of(prepared.files, made_of, stage.options(context.config))
                return run_quantum(context, quantum, prepared.arguments, provenance).products
        except Exception:
            traceback.print_exc()
            pdb.post_mortem(sys.exc_info()[2])
            return None


def find_quantum(graph: "Graph", quantum: Quantum) -> "Node":
    """Return the node of a quantum.

    Raises
    ------
    ConfigError
        If the plan of the survey has no such quantum; names some of its task.
    """
    if quantum in graph:
        return graph[quantum]
    near = [other.key for other in graph if other.task == quantum.task][:3]
    hint = f"as {'; '.join(near)}" if near else f"tasks are {', '.join(STAGES)}"
    raise ConfigError(f"no quantum {quantum.key} in this survey; {hint}")
