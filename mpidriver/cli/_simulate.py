"""The verb `simulate`: the repository of a simulated survey."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from mpidriver.cli._arguments import add_repo, add_verb, positive
from mpidriver.errors import ConfigError

if TYPE_CHECKING:
    from mpidriver.cli._arguments import Verbs
    from mpidriver.pool import Pool

__all__ = ["add_arguments"]


def add_arguments(verbs: "Verbs") -> None:
    """Add `simulate` to the command line."""
    summary = "make a repository with the raw frames of a simulated survey"
    parser = add_verb(verbs, "simulate", summary, run_on_pool=simulate)
    add_repo(parser)
    parser.add_argument("--seed", type=int, help="seed of everything random")
    parser.add_argument("--exposures", type=positive, help="exposures a band")
    parser.add_argument("--bands", metavar="g^r^i", help="bands, joined by ^")
    parser.add_argument("--detectors", metavar="ROWSxCOLS", help="detectors of the focal plane, as 2x2")
    parser.add_argument("--detector-size", type=positive, metavar="PX", help="side of a detector (pixels)")
    parser.add_argument("--channels", type=int, help="radio channels")
    parser.add_argument("--strays", type=int, help="exposures of another sky region among them")
    parser.add_argument("--config", metavar="FILE", help="take table [simulation] from this TOML file")


def simulate(pool: "Pool", options: argparse.Namespace) -> int:
    """Make the repository of a simulated survey."""
    from mpidriver.cli._simulation import simulation_options
    from mpidriver.drivers.ingest import ingest as ingest_files
    from mpidriver.drivers.pipeline import open_context
    from mpidriver.drivers.simulate import simulate as simulate_survey
    from mpidriver.store import open_state

    root = Path(options.repo).absolute()
    config, files = simulate_survey(root, simulation_options(options), pool=pool)
    context = open_context(str(root))
    with open_state(context.repository) as state:
        report = ingest_files(context.repository, config, state, files, pool=pool)
    if not options.quiet:
        next_step = f"mpidriver pipeline {shlex.quote(options.repo)}"
        print(f"{options.repo}: {report.new} raw frames, their truth in truth/; next: {next_step}")
    if report.rejected:
        raise ConfigError(f"the simulated frame {report.rejected[0][0]} was rejected: {report.rejected[0][1]}")
    return 0
