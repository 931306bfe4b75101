"""Handing jobs in, ending them, and asking how they stand."""

import dataclasses
import os
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mpidriver.batch._job import Job
from mpidriver.batch._records import JobFolder, all_jobs, find_job, new_job_folder
from mpidriver.batch._schedulers import scheduler_of
from mpidriver.batch._script import config_folder, render_script, template_folders
from mpidriver.batch._standing import ENDED, Hint, Standing, standings
from mpidriver.errors import ConfigError, LaunchError
from mpidriver.options import from_mapping
from mpidriver.site import BatchOptions
from mpidriver.store import write_text

__all__ = [
    "Dependencies",
    "cancel_job",
    "dependencies",
    "job_standings",
    "preview",
    "read_options",
    "submit_job",
]


#: States that a job's own records settle: nobody has to be asked.
_KNOWN = ENDED - {"lost"}


@dataclass(frozen=True)
class Dependencies:
    """The jobs that one waits for."""

    after: tuple[JobFolder, ...] = ()
    """Must have succeeded."""
    after_any: tuple[JobFolder, ...] = ()
    """Must have ended."""
    automatic: bool = False
    """Whether some of the latter were not asked for, but work on the same repository."""


def read_options(survey: BatchOptions, environment: Mapping[str, str]) -> BatchOptions:
    """Return the table [batch] of a survey; what it leaves at its default is taken from the user's ``site.toml``.

    Raises
    ------
    ConfigError
        If site.toml is wrong.
    """
    path = config_folder(environment) / "site.toml"
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return survey
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    site: BatchOptions = from_mapping(BatchOptions, values.get("batch", {}), f"{path} [batch]")
    default = BatchOptions()
    changed = {
        field.name: getattr(survey, field.name)
        for field in dataclasses.fields(survey)
        if getattr(survey, field.name) != getattr(default, field.name)
    }
    return dataclasses.replace(site, **changed)


def dependencies(
    repository: Path, after: Sequence[str], after_any: Sequence[str], system: str, *, alone: bool = False
) -> Dependencies:
    """Return the jobs of these names; those that have ended well already are left out.

    Parameters
    ----------
    repository
        Whose jobs.
    after, after_any
        Jobs that must have succeeded, or ended.
    system
        The batch system that is to wait.
    alone
        Whether to wait for all other ranks' jobs too: the state database takes one run at a time.

    Raises
    ------
    ConfigError
        If there is no such job, it belongs to another batch system, or it has not succeeded and never will.
    """
    standing = {one.job.number: one for one in reversed(standings(all_jobs(repository)))}
    found: dict[bool, list[JobFolder]] = {True: [], False: []}
    for names, must_succeed in ((after, True), (after_any, False)):
        for folder in (find_job(repository, name) for name in names):
            one = standing[folder.number]
            if one.job.system != system:
                raise ConfigError(f"job {folder.number} was handed in to {one.job.system}: {system} cannot wait for it")
            if one.state in ENDED and one.state != "done" and must_succeed:
                raise ConfigError(f"a job after job {folder.number} would never run: it is {one.state}: {one.why}")
            if one.state not in ENDED:
                found[must_succeed].append(folder)
    asked = {folder.number for folder in (*found[True], *found[False])}
    others = [one.job.number for one in standing.values() if one.job.launcher and one.state not in ENDED]
    before = [folder for folder in all_jobs(repository) if folder.number in set(others) - asked] if alone else []
    same = [folder for folder in before if folder.job().system == system]
    return Dependencies(tuple(found[True]), (*found[False], *same), automatic=bool(same))


def preview(job: Job, options: BatchOptions, waits: Dependencies) -> str:
    """Return the script that a job would have."""
    return render_script(
        job,
        options,
        folders=template_folders(options, Path(job.repository), os.environ),
        python=options.python or sys.executable,
        after=[_scheduler_id(folder) for folder in waits.after],
        after_any=[_scheduler_id(folder) for folder in waits.after_any],
    )


def submit_job(job: Job, options: BatchOptions, waits: Dependencies) -> JobFolder:
    """Record a job, write its script and hand it in.

    The number of the job is set here. If the batch system refuses, the record stays and says so.

    Raises
    ------
    LaunchError
        If the batch system does not take it.
    """
    preview(job, options, waits)  # what is wrong with it is said before a folder is made
    folder = new_job_folder(Path(job.repository))
    job = dataclasses.replace(
        job,
        number=folder.number,
        after=tuple(one.number for one in waits.after),
        after_any=tuple(one.number for one in waits.after_any),
    )
    write_text(folder.path / "job.json", job.to_json())
    write_text(folder.script, preview(job, options, waits))
    folder.log.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.note_submitted(scheduler_of(job.system).submit(folder.script))
    except LaunchError as error:
        folder.note_cancelled(str(error))
        raise
    return folder


def cancel_job(folder: JobFolder, why: str) -> str:
    """Cancel a job and return how it stood.

    What it runs is finished if the batch system leaves the time for that; what waits for it is cancelled by the system.
    """
    before = next(one for one in standings(all_jobs(folder.path.parent.parent)) if one.job.number == folder.number)
    submitted = folder.submitted()
    if before.state in ENDED or submitted is None:
        return before.state
    folder.note_cancelled(why)
    scheduler_of(before.job.system).cancel(submitted[0])
    return before.state


def job_standings(repository: Path, *, asks_scheduler: bool = True) -> tuple[list[Standing], list[str]]:
    """Return how the jobs of a repository stand, and why batch systems could not be asked."""
    folders = all_jobs(repository)
    known = standings(folders)
    if not asks_scheduler:
        return known, []
    hints: dict[str, Hint] = {}
    troubles = []
    for system in dict.fromkeys(one.job.system for one in known):
        numbers = [one.scheduler_id for one in known if one.job.system == system and one.state not in _KNOWN]
        if numbers:
            try:
                hints |= scheduler_of(system).hints(list(dict.fromkeys(numbers)))
            except LaunchError as error:
                troubles.append(str(error))
    return (known if troubles else standings(folders, hints)), troubles


def _scheduler_id(folder: JobFolder) -> str:
    submitted = folder.submitted()
    if submitted is None:
        raise ConfigError(f"job {folder.number} was never taken by the batch system: nothing can wait for it")
    return submitted[0]
