"""Advice on ranks, nodes and time limit: a survey, a table or a trace, simulated with several numbers of ranks."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mpidriver.drivers._costs._costs import LearnedCosts
from mpidriver.drivers._costs._task_table import read_task_table, size_in_bytes
from mpidriver.drivers._costs._trace_jobs import read_trace
from mpidriver.drivers._selection import Selection
from mpidriver.drivers.planning import plan_driver
from mpidriver.errors import ConfigError
from mpidriver.pool import Job, Prediction, simulate

if TYPE_CHECKING:
    from mpidriver.drivers._stage import Context
    from mpidriver.store import StateDatabase

__all__ = ["Advice", "Workload", "advise", "read_task_table", "read_trace", "size_in_bytes", "survey_workload"]

#: Ranks whose efficiency is at least this are recommended.
GOOD_EFFICIENCY = 0.9
#: How much longer than predicted a run may take, for its time limit.
MARGIN = 0.25
#: Numbers of ranks that are tried if none are named.
MOST_TRIED = 10


@dataclass(frozen=True)
class Workload:
    """What there is to run."""

    jobs: list[Job]
    """The quanta, inputs first."""
    notes: list[str] = field(default_factory=list)
    """What was assumed."""


@dataclass(frozen=True)
class Advice:
    """What to ask the batch system for."""

    predictions: tuple[Prediction, ...]
    """One a number of ranks, ascending."""
    recommended: Prediction
    """The one with most ranks among those that use them well and fit the memory."""
    ranks_per_node: int | None
    """Ranks that share a node, None for all on one."""
    memory_per_node: int | None
    """Bytes of a node, None if unknown."""
    ranks_that_fit: int | None
    """Ranks a node of which even those with most memory fit together, None if memory is unknown."""
    time_limit_seconds: float
    """Wall time of the recommended run with a margin, in whole minutes."""
    margin: float
    """The margin, as a share of the wall time."""
    notes: tuple[str, ...] = ()
    """What was assumed."""

    def nodes(self, ranks: int) -> int:
        """Return the number of nodes for so many ranks."""
        return 1 if self.ranks_per_node is None else math.ceil(ranks / self.ranks_per_node)

    def fits(self, prediction: Prediction) -> bool:
        """Tell whether the memory of a node is enough."""
        return self.memory_per_node is None or prediction.node_memory_bytes <= self.memory_per_node


def advise(
    workload: Workload,
    ranks: Sequence[int] | None = None,
    *,
    ranks_per_node: int | None = None,
    memory_per_node: int | None = None,
    nodes: int | None = None,
    margin: float = MARGIN,
) -> Advice:
    """Predict runs of a workload and recommend one of them.

    Parameters
    ----------
    workload
        What there is to run.
    ranks
        Numbers of ranks to try; by default from one (or a full node) to more than are of use.
    ranks_per_node
        Ranks that share a node's memory; by default all.
    memory_per_node
        Bytes of a node.
    nodes
        The most nodes that are tried by default.
    margin
        How much longer than predicted the time limit is.

    Raises
    ------
    ConfigError
        If there is nothing to run, or a number makes no sense.
    """
    if not workload.jobs:
        raise ConfigError("advise: nothing is left to run")
    for name, number in (("ranks", min(ranks or [1])), ("ranks per node", ranks_per_node)):
        if number is not None and number < 1:
            raise ConfigError(f"advise: {name} must be at least 1, got {number}")
    if not 0 <= margin < math.inf:
        raise ConfigError(f"advise: the margin must be at least 0, got {margin}")
    tried = sorted(set(ranks)) if ranks else _sensible_ranks(workload.jobs, ranks_per_node, nodes)
    predictions = tuple(simulate(workload.jobs, count, ranks_per_node=ranks_per_node) for count in tried)
    recommended = _best(predictions, memory_per_node)
    return Advice(
        predictions,
        recommended,
        ranks_per_node,
        memory_per_node,
        _ranks_that_fit(workload.jobs, memory_per_node),
        60.0 * math.ceil(recommended.wall_seconds * (1 + margin) / 60),
        margin,
        tuple(workload.notes),
    )


def _sensible_ranks(jobs: Sequence[Job], ranks_per_node: int | None, most_nodes: int | None) -> list[int]:
    """Return full nodes (or ranks) in steps of 1.5 and 1.33, up to twice what a perfect schedule could keep busy."""
    alone = simulate(jobs, 1)
    step = ranks_per_node or 1
    useful = max(1, min(len(jobs), math.ceil(2 * alone.work_seconds / max(alone.critical_seconds, 1e-9))))
    most = math.inf if ranks_per_node is None or most_nodes is None else most_nodes
    counts, nodes = [step], 1
    while counts[-1] < useful and nodes < most:
        nodes = nodes + nodes // 2 if nodes & (nodes - 1) == 0 and nodes > 1 else 2 ** nodes.bit_length()
        counts.append(int(min(nodes, most)) * step)
    return counts[-MOST_TRIED:]


def _best(predictions: Sequence[Prediction], memory_per_node: int | None) -> Prediction:
    """Return the largest that is efficient and fits, or else the most efficient of those that fit, or of all."""
    fitting = [one for one in predictions if memory_per_node is None or one.node_memory_bytes <= memory_per_node]
    efficient = [one for one in fitting if one.efficiency >= GOOD_EFFICIENCY]
    return efficient[-1] if efficient else max(fitting or predictions, key=lambda one: one.efficiency)


def _ranks_that_fit(jobs: Sequence[Job], memory_per_node: int | None) -> int | None:
    most = max((job.memory_bytes for job in jobs), default=0)
    return memory_per_node // most if memory_per_node is not None and most else None


def survey_workload(
    context: "Context",
    state: "StateDatabase",
    *,
    verb: str = "pipeline",
    selection: Selection = Selection(),
    seed: int = 0,
) -> Workload:
    """Return what is left to run of a survey by one of its drivers; if nothing is, all that the driver runs.

    Seconds and memory are those recorded in the state database; a quantum that was never run takes what those of its
    task took, by the size of its input, times the luck of one of them that is drawn at random.

    Parameters
    ----------
    context, state
        The repository and its state database.
    verb
        The driver.
    selection
        Which data ids take part.
    seed
        Of what is drawn.

    Raises
    ------
    ConfigError
        If there are no frames.
    """
    plan = plan_driver(context, state, verb, selection)
    records = {record.key: record for record in state.quanta()}
    done = {key for key, record in records.items() if record.status == "done"}
    expected = LearnedCosts(records.values(), plan.graph)
    timed = expected.seconds.ratios
    left = [quantum for quantum in plan.own if quantum.key not in done]
    notes = [f"{len(left):,} of {len(plan.own):,} quanta are left"]
    if not left:
        left = list(plan.own)
        notes = [f"nothing is left to run: this is the whole survey, {len(left):,} quanta"]
    positions = {quantum: position for position, quantum in enumerate(left)}
    jobs = []
    for quantum in left:
        node, cost = plan.graph[quantum], expected(quantum)
        seconds = cost.seconds
        if quantum.task in timed and quantum.key not in done:
            seconds *= random.Random(f"{seed}/{quantum.key}").choice(timed[quantum.task])
        needs = tuple(positions[source] for source in (*node.needs, *node.uses) if source in positions)
        jobs.append(Job(quantum.task, seconds, needs, cost.memory_bytes, cost.seconds))
    if not timed:
        notes.append("nothing was timed yet, all seconds are rough guesses: reduce a few exposures first")
    elif guessed := [task for task in dict.fromkeys(job.stage for job in jobs) if task not in timed]:
        notes.append(f"no quantum was timed yet of {', '.join(guessed)}: roughly guessed")
    return Workload(jobs, notes)
