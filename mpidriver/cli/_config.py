"""The verb `config`: every option with its help."""

import argparse
from typing import TYPE_CHECKING

from mpidriver.cli._arguments import add_verb

if TYPE_CHECKING:
    from mpidriver.cli._arguments import Verbs

__all__ = ["add_arguments"]


def add_arguments(verbs: "Verbs") -> None:
    """Add `config` to the command line."""
    parser = add_verb(verbs, "config", "print every option with its value, help and unit as TOML", run=config)
    parser.add_argument("repo", metavar="REPO", nargs="?", help="repository whose values to print (default: defaults)")


def config(options: argparse.Namespace) -> int:
    """Print every option as TOML."""
    from mpidriver.drivers.config import SurveyConfig, config_text, load_config
    from mpidriver.store import Repository

    record = load_config(Repository.open(options.repo).config_path) if options.repo else SurveyConfig()
    print(config_text(record), end="")
    return 0
