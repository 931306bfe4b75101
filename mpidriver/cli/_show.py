"""The verb `show`: everything that is known of one quantum."""

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING

from mpidriver.cli._arguments import add_json, add_repo, add_verb

if TYPE_CHECKING:
    from mpidriver.cli._arguments import Verbs

__all__ = ["add_arguments"]


def add_arguments(verbs: "Verbs") -> None:
    """Add `show` to the command line."""
    summary = (
        "show all that is known of one quantum: attempts, traceback, inputs, outputs, what blocks it, whom it blocks"
    )
    parser = add_verb(verbs, "show", summary, run=show)
    add_repo(parser)
    parser.add_argument("quantum", metavar="QUANTUM", help="its key, as 'coadd{tract=0, patch=1,0, band=r}'")
    add_json(parser)


def show(options: argparse.Namespace) -> int:
    """Show one quantum."""
    from mpidriver.drivers._quantum import parse_quantum
    from mpidriver.drivers.explaining import explain_quantum
    from mpidriver.report import quantum_page

    explained = explain_quantum(options.repo, parse_quantum(options.quantum))
    print(json.dumps(dataclasses.asdict(explained), indent=2) if options.json else quantum_page(explained))
    return 0
