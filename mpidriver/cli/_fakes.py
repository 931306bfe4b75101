"""The verb `fakes`: the frames of a survey with known sources in them, and what was found of these."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from mpidriver.cli._arguments import add_repo, add_verb

if TYPE_CHECKING:
    from mpidriver.cli._arguments import Verbs
    from mpidriver.pool import Pool

__all__ = ["add_arguments"]


def add_arguments(verbs: "Verbs") -> None:
    """Add `fakes` to the command line."""
    summary = "put known sources into the raw frames of a copy of a reduced survey, or tell what was found of them"
    parser = add_verb(verbs, "fakes", summary, run_on_pool=fakes)
    add_repo(parser)
    parser.add_argument(
        "copy", nargs="?", metavar="COPY", help="repository to make; without it REPO is one with fakes that is reduced"
    )


def fakes(pool: "Pool", options: argparse.Namespace) -> int:
    """Make a copy with fakes, or look for those of a copy."""
    from mpidriver.drivers.pipeline import open_context
    from mpidriver.store import open_state

    context = open_context(options.repo)
    if options.copy:
        return _make(pool, options, context)
    from mpidriver.drivers.fakes import recover

    with open_state(context.repository, readonly=True) as state:
        written = recover(context, state, pool=pool)
    if not options.quiet:
        print("\n".join(map(str, written)) or f"{context.root}: not reduced yet; run `mpidriver pipeline` first")
    return 0 if written else 1


def _make(pool: "Pool", options: argparse.Namespace, context) -> int:
    """Make the copy and enter the raw files of the original, calibration frames too."""
    from mpidriver.drivers.fakes import copy_with_fakes
    from mpidriver.drivers.ingest import ingest
    from mpidriver.store import open_state

    with open_state(context.repository, readonly=True) as state:
        files = sorted({Path(context.root, frame.path).resolve() for frame in state.frames()})
        copy, count = copy_with_fakes(context, state, Path(options.copy).absolute())
    with open_state(copy.repository) as state:
        report = ingest(copy.repository, copy.config, state, files, pool=pool)
    if not options.quiet:
        names = shlex.quote(options.copy)
        print(f"{options.copy}: {report.new} frames, {count} fakes")
        print(f"next: mpidriver pipeline {names}; then: mpidriver fakes {names}")
    return 1 if report.rejected else 0
