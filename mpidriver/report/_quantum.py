"""What `mpidriver show` prints of one quantum."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from mpidriver.report._tables import STYLES, Page, bulleted
from mpidriver.report._words import duration, plural

if TYPE_CHECKING:
    from rich.text import Text

    from mpidriver.store import Product, QuantumRecord

__all__ = ["quantum_page"]

#: Neighbours of a quantum that are shown, of each kind.
SHOWN = 12


class Neighbour(Protocol):
    """A quantum that is an input of the one that is shown."""

    key: str
    status: str
    products: "list[Product]"


class Explained(Protocol):
    """All that is known of a quantum, as the drivers tell it."""

    record: "QuantumRecord"
    earlier: "list[QuantumRecord]"
    inputs: "list[Neighbour]"
    outputs: "list[Product]"
    blocked_by: list[str]
    blocks: list[str]


def quantum_page(explained: Explained) -> Page:
    """Return what is known of a quantum: state, run, error, what blocks it, whom it blocks, inputs, outputs."""
    from rich.text import Text

    record = explained.record
    head = Text(record.key, style="bold")
    head.append(f": {record.status}", style=STYLES.get(record.status, "not bold"))
    parts = [head, *_run_lines(record)]
    if record.error:
        parts.append(Text(record.error, style="red"))
    if record.traceback:
        parts.append(Text(record.traceback.rstrip()))
    if explained.earlier:
        parts.append(bulleted("Before that", _cut(map(_earlier_line, explained.earlier))))
    if record.status != "done" and explained.blocked_by:
        parts.append(bulleted("Waits for", _cut(explained.blocked_by)))
    if explained.blocks:
        parts.append(
            bulleted(
                f"Blocks {plural(len(explained.blocks), 'quantum').replace('quantums', 'quanta')}",
                _cut(explained.blocks),
            )
        )
    parts.append(bulleted("Inputs", _cut(_input_lines(explained.inputs)) or ["none but the raw frame"]))
    if record.provenance:
        parts.append(_made_of(record.provenance))
    parts.append(bulleted("Outputs", [_file(product) for product in explained.outputs] or ["none"]))
    return Page(*parts)


def _run_lines(record: "QuantumRecord") -> "list[Text]":
    from rich.text import Text

    if record.started is None:
        return [Text("never run")]
    digest = f"; inputs, options and code {record.inputs_digest}" if record.inputs_digest else ""
    return [Text(f"{_run(record)}{digest}")]


def _earlier_line(record: "QuantumRecord") -> str:
    error = f": {record.error}" if record.error else ""
    return f"{_run(record)}, {record.status}{error}"


def _run(record: "QuantumRecord") -> str:
    """Return which attempt it was, when, where, how long it took and how much memory."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.started))
    took = "" if record.seconds is None else f", {duration(record.seconds)}"
    memory = "" if record.peak_rss_bytes is None else f", {record.peak_rss_bytes / 2**20:,.0f} MiB at most"
    where = f", rank {record.rank} of {record.host}" if record.host else ""
    return f"attempt {record.attempt}, {when}{took}{memory}{where}"


def _made_of(provenance: Mapping[str, Any]) -> "Text":
    digests = f"code {provenance['code']}, options {provenance['options']}"
    files = [f"{path}  {digest}" for path, digest in provenance["inputs"]]
    return bulleted(f"Made by mpidriver {provenance['version']}, {digests}, of", _cut(files))


def _input_lines(inputs: "Sequence[Neighbour]") -> list[str]:
    return [f"{source.key}: {source.status}" for source in inputs]


def _file(product: "Product") -> str:
    return f"{product.path}  {product.size:,} bytes  {product.digest}"


def _cut(lines: Iterable[str]) -> list[str]:
    lines = list(lines)
    return lines if len(lines) <= SHOWN else [*lines[:SHOWN], f"and {len(lines) - SHOWN:,} more"]
