"""The verb `ingest`: raw frames into a repository."""

import argparse
import sys
from typing import TYPE_CHECKING

from mpidriver.cli._arguments import add_repo, add_verb

if TYPE_CHECKING:
    from mpidriver.cli._arguments import Verbs
    from mpidriver.pool import Pool

__all__ = ["add_arguments"]


def add_arguments(verbs: "Verbs") -> None:
    """Add `ingest` to the command line."""
    summary = "read headers of raw frames and enter them into the repository"
    parser = add_verb(verbs, "ingest", summary, run_on_pool=ingest)
    add_repo(parser)
    parser.add_argument("files", nargs="+", metavar="FILE", help="FITS files, folders, globs, or @list")
    parser.add_argument("--copy", action="store_true", help="copy files into raw/ instead of linking them")


def ingest(pool: "Pool", options: argparse.Namespace) -> int:
    """Enter raw frames into a repository."""
    from mpidriver.drivers.ingest import expand
    from mpidriver.drivers.ingest import ingest as ingest_files
    from mpidriver.drivers.pipeline import open_context
    from mpidriver.store import open_state

    context = open_context(options.repo)
    files = expand(options.files)
    with open_state(context.repository) as state:
        report = ingest_files(context.repository, context.config, state, files, pool=pool, copy=options.copy)
    if not options.quiet:
        changed = f"{report.changed} changed, " if report.changed else ""
        entered = f"{report.new} frames entered, {changed}{report.known} known already"
        print(f"{context.root}: {entered}, from {len(files)} files")
    for path, reason in report.rejected:
        print(f"mpidriver: not entered: {path}: {reason}", file=sys.stderr)
    return 1 if report.rejected else 0
