"""The verb `catalogue`: tables of source finders into a repository."""

import argparse
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mpidriver.cli._arguments import add_repo, add_verb

if TYPE_CHECKING:
    from mpidriver.cli._arguments import Verbs
    from mpidriver.pool import Pool

__all__ = ["add_arguments"]


def add_arguments(verbs: "Verbs") -> None:
    """Add `catalogue` to the command line."""
    summary = "enter tables of components and islands into the repository"
    parser = add_verb(verbs, "catalogue", summary, run_on_pool=catalogue)
    add_repo(parser)
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="tables of RACS, Selavy, Aegean or any other: FITS, VOTable, CSV, ECSV"
    )


def catalogue(pool: "Pool", options: argparse.Namespace) -> int:
    """Enter tables of components."""
    from mpidriver.drivers.pipeline import open_context

    return _enter(open_context(options.repo), pool, options)


def _enter(context, pool: "Pool", options: argparse.Namespace) -> int:
    import mpidriver
    from mpidriver.drivers.catalogue import enter_tables
    from mpidriver.store import open_state

    files = [Path(file).absolute() for file in options.files]
    with open_state(context.repository) as state:
        run = state.begin_run(" ".join(sys.argv[1:]), pool.size, mpidriver.__version__, socket.gethostname())
        ended = "failed"
        try:
            report = enter_tables(context, state, files)
            ended = "done"
        finally:
            state.end_run(run, ended)
    if not options.quiet:
        new = f"{report.new['components']} components and {report.new['islands']} islands entered"
        print(f"{context.root}: {new}, {report.known} known already, from {len(files)} files")
        for note in report.notes:
            print(f"note: {note}")
    for path, reason in report.rejected:
        print(f"mpidriver: not entered: {path}: {reason}", file=sys.stderr)
    return 1 if report.rejected else 0
