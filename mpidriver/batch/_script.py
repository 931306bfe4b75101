"""The scripts of jobs: a template for each batch system, which a site may replace by its own."""

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mpidriver.batch._job import Job
from mpidriver.errors import ConfigError
from mpidriver.site import BatchOptions

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["render_script", "template_folders"]

#: What paths and names may consist of in the directives of batch systems, which know no quotes that all agree on.
_PLAIN = re.compile(r"[\w/.,+=:@-]+")


def render_script(
    job: Job,
    options: BatchOptions,
    *,
    folders: Sequence[Path],
    python: str,
    after: Sequence[str] = (),
    after_any: Sequence[str] = (),
) -> str:
    """Return the script of a job.

    Parameters
    ----------
    job
        The job.
    options
        Preamble, umask and exported variables.
    folders
        Where templates are looked for, from `template_folders`.
    python
        Python that runs the job.
    after, after_any
        The batch system's numbers of the jobs that must have succeeded, or ended, before.

    Raises
    ------
    ConfigError
        If a path or name cannot stand in a script, or the template is wrong.
    """
    texts = {"repository": job.repository, "directory": job.directory, "name": job.name, "python": python}
    for what, text in {**texts, "queue": job.queue or "-", "account": job.account or "-"}.items():
        if not _PLAIN.fullmatch(text):
            raise ConfigError(f"submit: {what} {text!r}: batch systems take letters, digits and _/.,+=:@- only")
    for name in options.export:
        if not name.isidentifier():
            raise ConfigError(f"[batch] export: {name!r} is no name of an environment variable")
    if job.system == "pbs" and job.array and job.array != tuple(range(job.array[0], job.array[-1] + 1)):
        raise ConfigError("--array: PBS takes one range without gaps, as 0..7")
    from jinja2 import TemplateError

    name = f"{job.system}.sh.j2"
    try:
        text = (
            _environment(folders)
            .get_template(name)
            .render(
                job=job,
                options=options,
                umask=options.umask or _own_umask(),
                folder=f"{job.repository}/jobs/{job.number:04d}",
                log=f"{job.repository}/logs/job-{job.number:04d}",
                python=shlex.quote(python),
                after=list(after),
                after_any=list(after_any),
                memory_mib=None if job.memory_bytes is None else -(-job.memory_bytes // 2**20),
                time=_clock(job.time_limit_seconds),
            )
        )
    except TemplateError as error:
        where = getattr(error, "filename", None) or name
        raise ConfigError(f"{where}: {type(error).__name__}: {error}") from None
    return text


def template_folders(options: BatchOptions, repository: Path, environment: Mapping[str, str]) -> list[Path]:
    """Return where templates are looked for: the survey's, the user's, then mpidriver's own."""
    survey = [repository / options.templates] if options.templates else []
    for folder in survey:
        if not folder.is_dir():
            raise ConfigError(f"{repository}/survey.toml [batch]: templates: no folder {folder}")
    return [*survey, config_folder(environment), Path(__file__).parent / "templates"]


def config_folder(environment: Mapping[str, str]) -> Path:
    """Return the folder of what a user has set for all surveys."""
    home = environment.get("XDG_CONFIG_HOME") or os.path.join(environment.get("HOME", "/"), ".config")
    return Path(home) / "mpidriver"


def _environment(folders: Sequence[Path]) -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader([str(folder) for folder in folders]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # it is a shell script, no HTML
    )


def _own_umask() -> str:
    before = os.umask(0o022)
    os.umask(before)
    return f"{before:04o}"


def _clock(seconds: int) -> str:
    """Return a time limit as both Slurm and PBS take it, ``26:05:00``."""
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
