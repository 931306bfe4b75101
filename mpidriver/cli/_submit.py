"""The verb `submit`: a driver as a job of a batch system."""

import argparse
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mpidriver.cli._arguments import add_json, add_verb, positive
from mpidriver.errors import ConfigError

if TYPE_CHECKING:
    from mpidriver.batch import Dependencies, Job, JobFolder
    from mpidriver.cli._arguments import Verbs
    from mpidriver.cli._resources import Resources
    from mpidriver.drivers.config import SurveyConfig
    from mpidriver.site import BatchOptions

__all__ = ["add_arguments"]

#: Verbs that are over at once, or need somebody at the keyboard.
_NO_JOBS = {"submit", "jobs", "cancel", "init", "config", "debug", "status", "advise"}

EPILOG = """\
examples:
  mpidriver submit --ranks-per-node 64 --time 4:00:00 -- pipeline SURVEY
  mpidriver submit --system pbs --after 7 --dry-run -- faraday SURVEY --tract 3
  mpidriver submit --array 0..3 -- coadd SURVEY --tract {array}
"""


def add_arguments(verbs: "Verbs") -> None:
    """Add `submit` to the command line."""
    summary = "run a verb as a job of a batch system instead of here"
    formatter = argparse.RawDescriptionHelpFormatter
    parser = add_verb(verbs, "submit", summary, run=submit, epilog=EPILOG, formatter_class=formatter)
    parser.add_argument("--system", choices=("slurm", "pbs", "local"), help="batch system (default: the one found)")
    parser.add_argument("--nodes", type=positive, metavar="N", help="nodes (default: as `advise` recommends)")
    parser.add_argument("--ranks-per-node", type=positive, metavar="M", help="ranks on each (default: as advised)")
    parser.add_argument("--cores-per-rank", type=positive, default=1, metavar="K", help="cores of a rank (default: 1)")
    parser.add_argument("--memory", metavar="SIZE", help="memory of a node, as 192GiB (default: as advised)")
    parser.add_argument("--time", metavar="TIME", help="time limit, 90 (minutes) or 1:30:00 (default: as advised)")
    parser.add_argument("--queue", metavar="NAME", help="partition or queue")
    parser.add_argument("--account", metavar="NAME", help="who pays")
    parser.add_argument("--name", help="name of the job (default: the verb)")
    parser.add_argument("--after", action="append", default=[], metavar="JOB", help="only if this job has succeeded")
    parser.add_argument("--after-any", action="append", default=[], metavar="JOB", help="when this job has ended")
    parser.add_argument(
        "--array", metavar="0..9^12", help="a job for each number, one at a time; {array} in the command stands for it"
    )
    parser.add_argument(
        "--launcher", metavar="COMMAND", help="what starts the ranks: mpirun, 'srun --mpi=pmix -n {ranks}'"
    )
    parser.add_argument("--export", action="append", default=[], metavar="NAME", help="one more environment variable")
    parser.add_argument("--dry-run", action="store_true", help="print the script, and leave")
    add_json(parser)
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- VERB …", help="what to run")


def submit(options: argparse.Namespace) -> int:
    """Submit a job and say which."""
    from mpidriver.batch import dependencies, preview, submit_job
    from mpidriver.cli._resources import find_resources

    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    inner = _read_command(command)
    repository = Path(inner.repo).absolute()
    survey = _survey(inner, repository)
    batch = _batch_options(options, survey, inner)
    alone = inner.run_on_pool is not None and not survey.state.url  # a server takes several runs at once
    waits = dependencies(repository, options.after, options.after_any, batch.system, alone=alone)
    resources = find_resources(options, inner, batch)
    job = _job(options, command, inner, batch, resources)
    if options.dry_run:
        print(preview(job, batch, waits), end="")
        return 0
    _report(submit_job(job, batch, waits), resources, waits, as_json=options.json)
    return 0


def _read_command(command: list[str]) -> argparse.Namespace:
    """Read the command of the job as it will be read there, so that mistakes are found here."""
    from mpidriver.cli._parser import build_parser

    if not command:
        raise ConfigError("submit: what is to run? as `mpidriver submit -- pipeline REPO`")
    if command[0] in _NO_JOBS:
        raise ConfigError(f"submit: `{command[0]}` is over at once, run it here")
    inner = build_parser().parse_args(command)
    if getattr(inner, "ranks", None):
        raise ConfigError("submit: the ranks are submit's own: --nodes and --ranks-per-node before `--`")
    if getattr(inner, "dry_run", False):
        raise ConfigError("submit: --dry-run stands before `--`; there it prints the script")
    return inner


def _survey(inner: argparse.Namespace, repository: Path) -> "SurveyConfig":
    from mpidriver.drivers.config import SurveyConfig, load_config
    from mpidriver.store import Repository

    if inner.verb == "simulate":  # which makes the repository
        return SurveyConfig()
    return load_config(Repository.open(repository).config_path)


def _stages(inner: argparse.Namespace) -> bool:
    """Tell whether a command brings files in or out, so that its job must know the remotes."""
    return inner.verb == "stage" or any(getattr(inner, name, None) is not None for name in ("stage_in", "stage_out"))


def _batch_options(options: argparse.Namespace, survey: "SurveyConfig", inner: argparse.Namespace) -> "BatchOptions":
    """Return the table [batch] with what the command line says of it."""
    import dataclasses

    from mpidriver.batch import find_scheduler, read_options, remote_variables

    batch = read_options(survey.batch, os.environ)
    names = ("system", "queue", "account", "launcher")
    said = {name: getattr(options, name) for name in names if getattr(options, name)}
    password = [survey.state.password_env] if survey.state.url else []
    remotes = remote_variables(os.environ) if _stages(inner) else []
    exported = tuple(dict.fromkeys([*batch.export, *password, *remotes, *options.export]))
    batch = dataclasses.replace(batch, **said, export=exported)
    return batch if batch.system else dataclasses.replace(batch, system=find_scheduler())


def _job(
    options: argparse.Namespace,
    command: list[str],
    inner: argparse.Namespace,
    batch: "BatchOptions",
    resources: "Resources",
) -> "Job":
    from mpidriver.batch import Job

    return Job(
        number=0,
        name=options.name or inner.verb,
        system=batch.system,
        repository=str(Path(inner.repo).absolute()),
        command=tuple(command),
        directory=os.getcwd(),
        nodes=resources.nodes,
        ranks_per_node=resources.ranks_per_node,
        threads=options.cores_per_rank,
        memory_bytes=resources.memory_bytes,
        time_limit_seconds=resources.time_limit_seconds,
        queue=batch.queue,
        account=batch.account,
        launcher=resources.launcher,
        array=_elements(options.array, command, inner.repo),
        drain_seconds=min(batch.drain, resources.time_limit_seconds // 2),
        requeues=0 if getattr(inner, "clobber", False) else batch.requeues,  # or all would be run each time
        isolates=hasattr(inner, "isolate"),
    )


def _elements(text: str | None, command: list[str], repo: str) -> tuple[int, ...]:
    """Return the numbers of an array, from ``0..3^7``; empty if there is none."""
    from mpidriver.batch import ARRAY_PLACE

    has_place = any(ARRAY_PLACE in word for word in command)
    if text is None and not has_place:
        return ()
    if text is None or not has_place or ARRAY_PLACE in repo:
        raise ConfigError(f"submit: --array and {ARRAY_PLACE} in the command belong together, and not in REPO")
    numbers: list[int] = []
    for part in text.split("^"):
        match = re.fullmatch(r"(\d+)(?:\.\.(\d+))?", part)
        if match is None:
            raise ConfigError(f"--array: expected numbers as 0..9^12, got {text!r}")
        numbers += range(int(match[1]), int(match[2] or match[1]) + 1)
    return tuple(sorted(set(numbers)))


def _report(folder: "JobFolder", resources: "Resources", waits: "Dependencies", *, as_json: bool) -> None:
    job, submitted = folder.job(), folder.submitted()
    assert submitted is not None
    if as_json:
        print(json.dumps({"job": job.number, "scheduler_id": submitted[0], "log": str(folder.log)}))
        return
    print(f"job {job.number} ({job.name}) is {job.system} job {submitted[0]}: {resources.text}")
    for note in resources.notes:
        print(f"# {note}")
    for one in (*waits.after, *waits.after_any):
        print(f"# waits for job {one.number} ({one.job().name})")
    if waits.automatic:
        print("# (a repository takes one run at a time)")
    print(f"# log: {folder.log}; `mpidriver jobs {job.repository}` says how it goes")
