"""The verb `plot`: pictures of what a repository holds."""

import argparse
from typing import TYPE_CHECKING

from mpidriver.cli._arguments import add_repo, add_verb

if TYPE_CHECKING:
    from mpidriver.cli._arguments import Verbs
    from mpidriver.pool import Pool

__all__ = ["add_arguments"]


def add_arguments(verbs: "Verbs") -> None:
    """Add `plot` to the command line."""
    parser = add_verb(verbs, "plot", "draw pictures of what the repository holds into its reports/", run_on_pool=plot)
    add_repo(parser)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="pictures to draw, as frames, 'coadd-*' (default: all there are)"
    )
    parser.add_argument("--list", action="store_true", help="name the pictures that can be drawn, and leave")


def plot(pool: "Pool", options: argparse.Namespace) -> int:
    """Draw pictures, on all ranks."""
    from mpidriver.drivers.pipeline import open_context
    from mpidriver.report import draw_pictures, picture_jobs
    from mpidriver.store import open_state

    context = open_context(options.repo)
    with open_state(context.repository, readonly=True) as state:
        jobs = picture_jobs(context.repository, state, options.names)
    if options.list:
        print(*(job.name.removesuffix(".png") for job in jobs), sep="\n")
        return 0
    drawn = draw_pictures(jobs, pool=pool)
    if not options.quiet:
        print(*drawn, sep="\n")
    return 0 if len(drawn) == len(jobs) else 1
