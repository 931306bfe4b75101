"""The pipeline driver, and the other four as cuts of it: one graph of quanta from raw frames to catalogues."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpidriver.drivers import calibs
from mpidriver.drivers._campaign._again import Again
from mpidriver.drivers._campaign._campaign import Campaign
from mpidriver.drivers._campaign._result import CampaignResult, Observer
from mpidriver.drivers._desk import Desk
from mpidriver.drivers._raw_files import refresh_frames
from mpidriver.drivers._selection import Selection
from mpidriver.drivers._stage import Context
from mpidriver.drivers._stages import DRIVERS
from mpidriver.drivers.config import load_config
from mpidriver.drivers.planning import plan_driver
from mpidriver.store import Repository

if TYPE_CHECKING:
    from mpidriver.pool import Pool
    from mpidriver.store import StateDatabase

__all__ = ["DriverRun", "open_context", "run_driver"]


@dataclass(frozen=True)
class DriverRun:
    """What came of a driver."""

    result: CampaignResult
    """Counts, seconds and failures."""
    notes: list[str]
    """What people should know about the input."""
    products: list[str]
    """Folders of the repository that hold products of this driver."""


#: Tasks that read raw files.
RAW_TASKS = frozenset({*calibs.STAGES, "couplings", "crosstalk", "sky_correction", "single_frame", "channel_frame"})

#: Task to the folders where its products lie.
FOLDERS = {
    "bias": ("calibs",),
    "dark": ("calibs",),
    "flat": ("calibs",),
    "fringe": ("calibs",),
    "sky": ("calibs",),
    "couplings": ("calibs",),
    "single_frame": ("frames",),
    "channel_frame": ("frames",),
    "solve_tract": ("mosaic",),
    "join_tracts": ("mosaic",),
    "mosaic": ("mosaic",),
    "match_backgrounds": ("mosaic",),
    "warp": ("warps",),
    "coadd": ("coadds",),
    "tract_catalogue": ("catalogues",),
    "survey_fakes": ("fakes",),
    "rm_synthesis": ("faraday",),
    "tract_rm_catalogue": ("catalogues",),
    "source_rm": ("faraday",),
    "rm_table": ("catalogues",),
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
    again: Again = Again(),
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
        Of the verb's tasks, those to run; by default all but those that run only when asked for.
    observer
        Told how many quanta there are, and of each that ends.
    again
        What is run though nothing has changed.
    fail_fast
        Hand out nothing more after the first failure.
    isolate
        Run each quantum in a child process of its rank, so that one that crashes takes nothing with it.
    memory
        The most that such a child process may take, in bytes or as ``"4GiB"``; None for no limit.
    """
    reads_raw_files = not RAW_TASKS.isdisjoint(DRIVERS[verb])
    notes = refresh_frames(context, state, selection.compiled(), pool=pool) if reads_raw_files else []
    plan = plan_driver(context, state, verb, selection, tasks=tasks)
    plan.notes[:0] = notes
    if observer is not None:
        observer.grow(len(plan.own))
    campaign = Campaign(
        plan.graph,
        desk=Desk(context, state),
        pool=pool,
        active=plan.own.__contains__,
        observer=observer,
        again=again,
        fail_fast=fail_fast,
        isolate=isolate,
        memory=memory,
    )
    forgotten = campaign.forget_unplanned(verb)
    if forgotten:
        plan.notes.append(f"{forgotten} quanta that the survey no longer plans were removed with their products")
    result = campaign.run()
    made = {folder for quantum in plan.own for folder in FOLDERS.get(quantum.task, ())}
    if result.failed_before:
        plan.notes.append(
            f"{result.failed_before} of the failures are of an earlier run with the same input; "
            "they were not tried again: --retry does"
        )
    folders = [folder for folder in _ordered_folders() if folder in made]
    return DriverRun(result, plan.notes, [f"{context.root}/{folder}" for folder in folders])


def _ordered_folders() -> list[str]:
    return list(dict.fromkeys(folder for folders in FOLDERS.values() for folder in folders))
