"""The verb `status`: what is done, and what failed."""

import argparse
from typing import TYPE_CHECKING

from mpidriver.cli._arguments import add_repo, add_verb

if TYPE_CHECKING:
    from mpidriver.cli._arguments import Verbs

__all__ = ["add_arguments"]


def add_arguments(verbs: "Verbs") -> None:
    """Add `status` to the command line."""
    summary = "show how many quanta of each stage are done, failed, blocked or left"
    add_repo(add_verb(verbs, "status", summary, run=status))


def status(options: argparse.Namespace) -> int:
    """Show stage × state, and what failed."""
    from mpidriver.drivers.pipeline import open_context
    from mpidriver.report import status_table
    from mpidriver.store import open_state

    context = open_context(options.repo)
    with open_state(context.repository, readonly=True) as state:
        print(status_table(state.counts(), state.quanta(status="failed")))
    return 0
