"""The verb `debug`: one quantum under pdb."""

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING

from mpidriver.cli._arguments import add_json, add_repo, add_verb

if TYPE_CHECKING:
    from mpidriver.cli._arguments import Verbs

__all__ = ["add_arguments"]


def add_arguments(verbs: "Verbs") -> None:
    """Add `debug` to the command line."""
    summary = "run one quantum in this process under pdb, with its recorded inputs"
    parser = add_verb(verbs, "debug", summary, run=debug)
    add_repo(parser)
    parser.add_argument("quantum", metavar="QUANTUM", help="its key, as 'coadd{tract=0, patch=1,0, band=r}'")
    add_json(parser)


def debug(options: argparse.Namespace) -> int:
    """Run one quantum under pdb."""
    from mpidriver.drivers._quantum import parse_quantum
    from mpidriver.drivers.debugging import debug_quantum

    products = debug_quantum(options.repo, parse_quantum(options.quantum))
    if options.json and products is not None:
        print(json.dumps([dataclasses.asdict(product) for product in products], indent=2))
        return 0
    for product in products or ():
        print(f"made and not kept: {product.path}, {product.size:,} bytes, digest {product.digest}")
    return 1 if products is None else 0
