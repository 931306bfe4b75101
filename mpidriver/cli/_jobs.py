"""The verb `jobs`: how the jobs of a repository stand."""

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING, Any

from mpidriver.cli._arguments import add_json, add_repo, add_verb

if TYPE_CHECKING:
    from mpidriver.batch import Standing
    from mpidriver.cli._arguments import Verbs

__all__ = ["add_arguments"]


def add_arguments(verbs: "Verbs") -> None:
    """Add `jobs` to the command line."""
    parser = add_verb(verbs, "jobs", "show how the batch jobs of a repository stand, by their own records", run=jobs)
    add_repo(parser)
    parser.add_argument("--offline", action="store_true", help="do not ask the batch system for what a job cannot know")
    add_json(parser)


def jobs(options: argparse.Namespace) -> int:
    """Show how the jobs of a repository stand."""
    from mpidriver.batch import job_standings
    from mpidriver.store import Repository

    repository = Repository.open(options.repo)
    standings, troubles = job_standings(repository.root, asks_scheduler=not options.offline)
    if options.json:
        print(json.dumps({"jobs": [_as_json(one) for one in standings], "notes": troubles}, indent=2))
        return 0
    from mpidriver.report import jobs_table

    print(jobs_table(standings) if standings else f"{options.repo}: no jobs yet")
    for trouble in troubles:
        print(f"# {trouble}")
    return 0


def _as_json(one: "Standing") -> dict[str, Any]:
    return {
        "job": one.job.number,
        "element": one.element,
        "name": one.job.name,
        "state": one.state,
        "why": one.why,
        "system": one.job.system,
        "scheduler_id": one.scheduler_id,
        "command": one.job.text,
        "submitted": one.submitted,
        "attempts": [dataclasses.asdict(attempt) for attempt in one.attempts],
        "log": one.log,
    }
