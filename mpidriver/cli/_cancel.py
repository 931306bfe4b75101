"""The verb `cancel`: ends jobs, or takes them from the queue."""

import argparse
import socket
import time
from typing import TYPE_CHECKING

from mpidriver.cli._arguments import add_repo, add_verb

if TYPE_CHECKING:
    from mpidriver.cli._arguments import Verbs

__all__ = ["add_arguments"]


def add_arguments(verbs: "Verbs") -> None:
    """Add `cancel` to the command line."""
    parser = add_verb(verbs, "cancel", "end batch jobs, or take them from the queue", run=cancel)
    add_repo(parser)
    parser.add_argument("jobs", nargs="+", metavar="JOB", help="number, name or the batch system's number")


def cancel(options: argparse.Namespace) -> int:
    """Cancel jobs and say how they stood."""
    from mpidriver.batch import cancel_job, find_job
    from mpidriver.store import Repository

    repository = Repository.open(options.repo)
    why = f"`mpidriver cancel` on {socket.gethostname()}, {time.strftime('%Y-%m-%d %H:%M:%S')}"
    for folder in [find_job(repository.root, name) for name in options.jobs]:
        print(f"job {folder.number} ({folder.job().name}): was {cancel_job(folder, why)}")
    return 0
