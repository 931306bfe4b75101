"""Running one quantum on a rank."""

import functools
import logging
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import mpidriver
from mpidriver.drivers._campaign._running import running
from mpidriver.drivers._quantum import Quantum
from mpidriver.drivers._stage import Context, Record
from mpidriver.drivers._stages import STAGES, code_digest
from mpidriver.options import digest
from mpidriver.store import all_or_none, stamped

if TYPE_CHECKING:
    from mpidriver.store import Product

__all__ = ["provenance_of", "run_quantum"]

log = logging.getLogger(__name__)


def run_quantum(context: Context, quantum: Quantum, arguments: dict[str, Any], provenance: Mapping[str, Any]) -> Record:
    """Run one quantum on this rank and return its record; its products say what they were made of."""
    with running(quantum), stamped(quantum.key, provenance):
        log.debug("%s begins", quantum)
        began = time.monotonic()
        with all_or_none():  # or the first of several products would stay behind, unknown to the database
            record = STAGES[quantum.task].run(context, quantum, **arguments)
        log.info("%s done in %.2f s", quantum, time.monotonic() - began)
        return record


def provenance_of(
    files: Iterable[tuple[str, str]], products: "Iterable[Product]", options: tuple[Any, ...]
) -> dict[str, Any]:
    """Return what a quantum's products are made of, by path, and by what.

    There is no time, host, user or order of a run in it, so that equal inputs give equal bytes.

    Parameters
    ----------
    files
        Paths and digests of files that are no products.
    products
        Products that it takes.
    options
        The option records of its task.
    """
    made_of = dict(files) | {product.path: product.digest for product in products}
    return {
        "inputs": [list(pair) for pair in sorted(made_of.items())],
        "options": digest(options),
        "code": code_digest(),
        "version": _version(),
    }


@functools.cache
def _version() -> str:
    return str(mpidriver.__version__)
