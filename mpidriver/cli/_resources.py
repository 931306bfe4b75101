"""What to ask a batch system for: what the command line says, and for the rest what `advise` predicts."""

import argparse
import dataclasses
import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpidriver.errors import ConfigError

if TYPE_CHECKING:
    from mpidriver.drivers.advise import Advice, Workload
    from mpidriver.site import BatchOptions

__all__ = ["Resources", "find_resources"]

#: Memory is asked for in such steps.
_STEP_BYTES = 64 << 20
#: Memory of a rank of which nothing is known.
_UNKNOWN_BYTES = 1 << 30
#: For the start of the ranks, beyond what is predicted.
_START_SECONDS = 60


@dataclass(frozen=True)
class Resources:
    """What a job asks for."""

    nodes: int
    """Nodes."""
    ranks_per_node: int
    """Ranks on each."""
    memory_bytes: int | None
    """Memory of a node, none for what the system gives."""
    time_limit_seconds: int
    """Time limit."""
    launcher: str
    """What starts the ranks, empty if nothing has to be started."""
    notes: tuple[str, ...] = ()
    """Where the numbers come from."""

    @property
    def text(self) -> str:
        """All of it in words."""
        memory = "" if self.memory_bytes is None else f", {self.memory_bytes / 2**30:.2g} GiB a node"
        minutes = math.ceil(self.time_limit_seconds / 60)
        return f"{self.nodes} × {self.ranks_per_node} ranks{memory}, {minutes // 60}:{minutes % 60:02d}:00"


@dataclass(frozen=True)
class _Limits:
    """What the batch system gives to one job, none where nobody says."""

    cores: int | None
    """Cores of a node."""
    memory_bytes: int | None
    """Memory of a node."""
    nodes: int | None = None
    """The most nodes."""
    seconds: int | None = None
    """The longest time."""


def find_resources(options: argparse.Namespace, inner: argparse.Namespace, batch: "BatchOptions") -> Resources:
    """Return what a job asks for.

    Parameters
    ----------
    options
        Of `submit`.
    inner
        The job's own command.
    batch
        The site's options.

    Raises
    ------
    ConfigError
        If numbers are wrong, more than a node or the queue has, or not to be known.
    """
    limits = _limits(batch)
    if inner.run_on_pool is None:
        found = Resources(1, 1, None, _seconds(batch.time), "", (f"time limit from [batch] time = {batch.time!r}",))
    elif hasattr(inner, "isolate") and not all((options.nodes, options.ranks_per_node, options.memory, options.time)):
        found = _advised_if_possible(options, inner, batch, limits)
    else:
        found = _asked(options, batch)
    if options.memory:
        found = dataclasses.replace(found, memory_bytes=_bytes(options.memory, "--memory"))
    if options.time:
        found = dataclasses.replace(found, time_limit_seconds=_seconds(options.time))
    _check(found, options.cores_per_rank, limits, batch.system)
    return dataclasses.replace(found, launcher=_launcher(batch) if inner.run_on_pool is not None else "")


def _asked(options: argparse.Namespace, batch: "BatchOptions", *notes: str) -> Resources:
    return Resources(options.nodes or 1, options.ranks_per_node or 1, None, _seconds(batch.time), "", notes)


def _advised_if_possible(
    options: argparse.Namespace, inner: argparse.Namespace, batch: "BatchOptions", limits: _Limits
) -> Resources:
    """Return what is predicted; what only an earlier job will make cannot be, so then the time must be given."""
    try:
        return _advised(options, inner, batch, limits)
    except ConfigError as error:
        if not options.time:
            raise ConfigError(f"{error}; or say with --time and --ranks-per-node what it may take") from None
        return _asked(options, batch, f"not predicted: {error}")


def _advised(
    options: argparse.Namespace, inner: argparse.Namespace, batch: "BatchOptions", limits: _Limits
) -> Resources:
    """Return what `advise` predicts for what the command line leaves open."""
    workload = _workload(inner)
    room = None if limits.cores is None else max(1, limits.cores // options.cores_per_rank)
    advice = _advice(options, batch, limits, workload, options.ranks_per_node, room)
    best = advice.recommended
    per_node = options.ranks_per_node or advice.ranks_per_node or best.ranks
    nodes = options.nodes or math.ceil(best.ranks / per_node)
    wanted = best.node_memory_bytes * (1 + batch.memory_margin) or per_node * _UNKNOWN_BYTES
    memory = min(_STEP_BYTES * math.ceil(wanted / _STEP_BYTES), limits.memory_bytes or math.inf)
    notes = [
        f"predicted {best.wall_seconds / 60:.1f} min on {best.ranks} ranks, {100 * best.efficiency:.0f} % efficient; "
        f"margins: time {100 * batch.time_margin:.0f} %, memory {100 * batch.memory_margin:.0f} %"
    ]
    if not best.node_memory_bytes:
        notes.append(f"no memory was measured yet: {_UNKNOWN_BYTES >> 30} GiB a rank")
    elif not advice.fits(best):
        notes.append("what is predicted does not fit the memory of a node: take fewer --ranks-per-node")
    seconds = 60 * math.ceil((advice.time_limit_seconds + batch.drain + _START_SECONDS) / 60)
    if limits.seconds is not None and seconds > limits.seconds:
        seconds = limits.seconds
        notes.append("longer than the queue allows: the job goes back into it when its time is up, and goes on")
    return Resources(nodes, per_node, int(memory), seconds, "", (*notes, *advice.notes))


def _advice(
    options: argparse.Namespace,
    batch: "BatchOptions",
    limits: _Limits,
    workload: "Workload",
    per_node: int | None,
    room: int | None,
) -> "Advice":
    """Simulate the numbers of ranks that are possible: on one node if that is enough, or else on full nodes."""
    from mpidriver.drivers import advise as advising

    if options.nodes and not (per_node or room):
        raise ConfigError(
            f"--nodes {options.nodes}: how many ranks on each? give --ranks-per-node or [batch] cores_per_node"
        )
    if per_node is None and not options.nodes:
        alone = advising.advise(workload, margin=batch.time_margin, memory_per_node=limits.memory_bytes)
        if room is None or alone.recommended.ranks <= room:
            return alone
    per_node = per_node or room
    assert per_node is not None
    ranks = [options.nodes * per_node] if options.nodes else None
    advice = advising.advise(
        workload,
        ranks,
        ranks_per_node=per_node,
        memory_per_node=limits.memory_bytes,
        nodes=limits.nodes,
        margin=batch.time_margin,
    )
    fitting = advice.ranks_that_fit
    if not options.ranks_per_node and not advice.fits(advice.recommended) and fitting and fitting < per_node:
        return _advice(options, batch, limits, workload, fitting, room)
    return advice


def _workload(inner: argparse.Namespace) -> "Workload":
    from mpidriver.drivers._selection import Selection
    from mpidriver.drivers.advise import survey_workload
    from mpidriver.drivers.pipeline import open_context
    from mpidriver.store import open_state

    context = open_context(inner.repo)
    selection = Selection(inner.tract, inner.patch, inner.exposure, inner.detector, inner.band)
    with open_state(context.repository, readonly=True) as state:
        return survey_workload(context, state, verb=inner.verb, selection=selection)


def _limits(batch: "BatchOptions") -> _Limits:
    """Return what a job may have, as the site says, or else as Slurm or this machine does."""
    from mpidriver.batch import partition_of_slurm

    memory = _bytes(batch.memory_per_node, "[batch] memory_per_node") if batch.memory_per_node else None
    said = _Limits(None, None)
    if batch.system == "slurm" and (partition := partition_of_slurm(batch.queue)) is not None:
        seconds = None if partition.time_limit is None else _seconds(partition.time_limit)
        said = _Limits(partition.cores_per_node, partition.memory_per_node, partition.nodes, seconds)
    elif batch.system == "local":
        said = _Limits(len(os.sched_getaffinity(0)), None)
    return dataclasses.replace(said, cores=batch.cores_per_node or said.cores, memory_bytes=memory or said.memory_bytes)


def _check(found: Resources, cores_per_rank: int, limits: _Limits, system: str) -> None:
    """Refuse what would wait in the queue for ever."""
    cores = found.ranks_per_node * cores_per_rank
    if system != "local" and limits.cores is not None and cores > limits.cores:
        raise ConfigError(f"{cores} cores a node are wanted, a node has {limits.cores}: take fewer --ranks-per-node")
    if limits.nodes is not None and found.nodes > limits.nodes:
        raise ConfigError(f"{found.nodes} nodes are wanted, the queue gives {limits.nodes}: take fewer --nodes")
    if limits.seconds is not None and found.time_limit_seconds > limits.seconds:
        raise ConfigError(
            f"{found.time_limit_seconds / 60:.0f} min are wanted, the queue gives {limits.seconds / 60:.0f}: take a "
            "shorter --time; what is left then goes back into the queue"
        )


def _launcher(batch: "BatchOptions") -> str:
    from mpidriver.batch import default_launcher, protocol_of_mpi, srun_speaks

    if batch.launcher:
        return batch.launcher
    protocol = protocol_of_mpi() if batch.system == "slurm" else ""
    if protocol and srun_speaks(protocol) is False:
        raise ConfigError(
            f"srun of this Slurm does not speak {protocol}, which this MPI needs (`srun --mpi=list`); "
            "--launcher mpirun would do, or another MPI"
        )
    return default_launcher(batch.system, protocol)


def _seconds(text: str) -> int:
    from mpidriver.pool import read_walltime

    try:
        return math.ceil(read_walltime(text))
    except ValueError as error:
        raise ConfigError(f"--time: {error}") from None


def _bytes(text: str, where: str) -> int:
    from mpidriver.pool import Terms

    try:
        size = Terms(isolate=True, memory=int(text) if text.isdigit() else text).memory_bytes
        assert size is not None
        return size
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None
