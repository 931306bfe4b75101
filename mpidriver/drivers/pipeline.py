"""The pipeline driver, and the other four as cuts of it: one graph of quanta from raw frames to catalogues."""

import sys
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpidriver.drivers._campaign import Campaign, CampaignResult, Observer
from mpidriver.drivers._desk import Desk
from mpidriver.drivers._quantum import Quantum
from mpidriver.drivers._selection import Selection
from mpidriver.drivers._stage import Context
from mpidriver.drivers._stages import STAGES
from mpidriver.drivers.config import load_config
from mpidriver.drivers.planning import plan_driver
from mpidriver.errors import ConfigError
from mpidriver.store import Repository, open_state

if TYPE_CHECKING:
    from mpidriver.pool import Pool
    from mpidriver.store import StateDatabase

__all__ = ["DriverRun", "debug_quantum", "open_context", "run_driver"]


@dataclass(frozen=True)
class DriverRun:
    """What came of a driver."""

    result: CampaignResult
    """Counts, seconds and failures."""
    notes: list[str]
    """What people should know about the input."""
    products: list[str]
    """Folders of the repository that hold products of this driver."""


#: Task to the folders where its products lie.
FOLDERS = {
    "bias": ("calibs",),
    "dark": ("calibs",),
    "flat": ("calibs",),
    "fringe": ("calibs",),
    "single_frame": ("frames",),
    "channel_frame": ("frames",),
    "mosaic": ("mosaic",),
    "warp": ("warps",),
    "coadd": ("coadds",),
    "tract_catalogue": ("catalogues",),
    "rm_synthesis": ("faraday",),
    "tract_rm_catalogue": ("catalogues",),
}


def open_context(root: str) -> Context:
    """Open a repository with its configuration.

    Raises
    ------
    RepositoryError
        If there is none.
    ConfigError
        If its survey.toml is wrong.
    """
    repository = Repository.open(root)
    return Context(str(repository.root), load_config(repository.config_path))


def run_driver(
    context: Context,
    verb: str,
    *,
    pool: "Pool",
    state: "StateDatabase",
    selection: Selection = Selection(),
    tasks: Collection[str] | None = None,
    observer: Observer | None = None,
    clobber: bool = False,
    fail_fast: bool = False,
    isolate: bool = False,
    memory: int | str | None = None,
) -> DriverRun:
    """Run one driver over the selected part of a survey.

    Parameters
    ----------
    context
        Repository and configuration, from `open_context`.
    verb
        One of `DRIVERS`.
    pool
        The ranks.
    state
        The repository's state database, open for writing.
    selection
        Which data ids take part.
    tasks
        Of the verb's tasks, those to run; all by default.
    observer
        Told how many quanta there are, and of each that ends.
    clobber
        Run also what is unchanged.
    fail_fast
        Hand out nothing more after the first failure.
    isolate
        Run each quantum in a child process of its rank, so that one that crashes takes nothing with it.
    memory
        The most that such a child process may take, in bytes or as ``"4GiB"``; None for no limit.
    """
    plan = plan_driver(context, state, verb, selection, tasks=tasks)
    if observer is not None:
        observer.grow(len(plan.own))
    campaign = Campaign(
        plan.graph,
        desk=Desk(context, state),
        pool=pool,
        active=plan.own.__contains__,
        observer=observer,
        clobber=clobber,
        fail_fast=fail_fast,
        isolate=isolate,
        memory=memory,
    )
    result = campaign.run()
    made = {folder for quantum in plan.own for folder in FOLDERS.get(quantum.task, ())}
    folders = [folder for folder in _ordered_folders() if folder in made]
    return DriverRun(result, plan.notes, [f"{context.root}/{folder}" for folder in folders])


def _ordered_folders() -> list[str]:
    return list(dict.fromkeys(folder for folders in FOLDERS.values() for folder in folders))


def debug_quantum(root: str, quantum: Quantum) -> bool:
    """Run one quantum in this process under pdb: it stops where the quantum raises; return whether it did not.

    Raises
    ------
    ConfigError
        If the plan of the survey has no such quantum.
    """
    import pdb
    import traceback

    context = open_context(root)
    state = open_state(context.repository, readonly=True)
    plan = plan_driver(context, state, "pipeline", Selection())
    if quantum not in plan.graph:
        near = [other.key for other in plan.graph if other.task == quantum.task][:3]
        hint = f"as {'; '.join(near)}" if near else f"tasks are {', '.join(STAGES)}"
        raise ConfigError(f"no quantum {quantum.key} in this survey; {hint}")
    node = plan.graph[quantum]
    done = {record.key for record in state.quanta(status="done")}
    inputs = [source for source in (*node.needs, *node.uses) if source.key in done and state.products(key=source.key)]
    stage = STAGES[quantum.task]
    prepared = stage.prepare(Desk(context, state), quantum, inputs)
    try:
        stage.run(context, quantum, **prepared.arguments)
    except Exception:
        traceback.print_exc()
        pdb.post_mortem(sys.exc_info()[2])
        return False
    return True
