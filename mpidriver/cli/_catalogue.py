"""The verb `catalogue`: tables of source finders into a repository, and its RM table out of it."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mpidriver.cli._arguments import add_repo, add_verb
from mpidriver.cli._recorded_run import recorded_run
from mpidriver.errors import ConfigError

if TYPE_CHECKING:
    from mpidriver.cli._arguments import Verbs
    from mpidriver.drivers._stage import Context
    from mpidriver.pool import Pool

__all__ = ["add_arguments"]


def add_arguments(verbs: "Verbs") -> None:
    """Add `catalogue` to the command line."""
    summary = "enter tables of components and islands into the repository, or write its RM table"
    parser = add_verb(verbs, "catalogue", summary, run_on_pool=catalogue)
    add_repo(parser)
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="tables of RACS, Selavy, Aegean or any other: FITS, VOTable, CSV, ECSV"
    )
    parser.add_argument(
        "--write", action="store_true", help="write the RM table of what `sources` has measured, and its pictures"
    )
    parser.add_argument("--published", metavar="FILE", help="with --write: FITS table of published RMs to compare with")


def catalogue(pool: "Pool", options: argparse.Namespace) -> int:
    """Enter tables of components, write the RM table, or both."""
    from mpidriver.drivers.pipeline import open_context

    if not options.files and not options.write:
        raise ConfigError("catalogue: give tables to enter, or --write")
    if options.published and not options.write:
        raise ConfigError("catalogue: --published goes with --write")
    context = open_context(options.repo)
    code = _enter(context, pool, options) if options.files else 0
    return max(code, _write(context, pool, options)) if options.write else code


def _enter(context: "Context", pool: "Pool", options: argparse.Namespace) -> int:
    from mpidriver.drivers.catalogue import enter_tables
    from mpidriver.store import open_state

    files = [Path(file).absolute() for file in options.files]
    with open_state(context.repository) as state, recorded_run(state, pool):
        report = enter_tables(context, state, files)
    if not options.quiet:
        new = f"{report.new['components']} components and {report.new['islands']} islands entered"
        print(f"{context.root}: {new}, {report.known} known already, from {len(files)} files")
        for note in report.notes:
            print(f"note: {note}")
    for path, reason in report.rejected:
        print(f"mpidriver: not entered: {path}: {reason}", file=sys.stderr)
    return 1 if report.rejected else 0


def _write(context: "Context", pool: "Pool", options: argparse.Namespace) -> int:
    from mpidriver.drivers.pipeline import run_driver
    from mpidriver.report import draw_sources, published_rms
    from mpidriver.store import open_state

    published = published_rms(options.published) if options.published else None
    with open_state(context.repository) as state, recorded_run(state, pool):
        driven = run_driver(context, "rm-table", pool=pool, state=state)
    if not driven.result.complete or not context.repository.path("rm_table").exists():
        print("mpidriver: no RM table: measure the components first with `mpidriver sources`", file=sys.stderr)
        return 1
    pictures = draw_sources(context.repository, pool=pool, published=published)
    if not options.quiet:
        made = [context.repository.path(name) for name in ("rm_table", "rm_votable", "polspectra")]
        print("\n".join(map(str, [*made, *pictures])))
    return 0
