"""The catalogue of components: tables of source finders become one table of the repository, known to the database."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mpidriver.drivers._quantum import Quantum
from mpidriver.errors import DataError
from mpidriver.store import (
    COMPONENT_UNITS,
    ComponentTable,
    QuantumUpdate,
    read_components,
    read_table,
    write_table,
)

if TYPE_CHECKING:
    import numpy as np

    from mpidriver.drivers._stage import Context
    from mpidriver.store import Product, StateDatabase

__all__ = ["CATALOGUE", "EnteredTables", "enter_tables", "load_components"]

#: Stands in the state database for the tables of components and islands.
CATALOGUE = Quantum("component_catalogue")


@dataclass
class EnteredTables:
    """What came of entering tables."""

    new: dict[str, int] = field(default_factory=lambda: {"components": 0, "islands": 0})
    """Components and islands that the repository did not have."""
    known: int = 0
    """Rows that it had."""
    notes: list[str] = field(default_factory=list)
    """What people should know about a table."""
    rejected: list[tuple[str, str]] = field(default_factory=list)
    """Files that were not entered, each with the reason."""


def enter_tables(context: "Context", state: "StateDatabase", files: Sequence[Path]) -> EnteredTables:
    """Enter tables of components and islands into a repository, those of one identifier once.

    Parameters
    ----------
    context
        Repository and configuration.
    state
        Its database, open for writing, in a run.
    files
        The tables; each is entered as a whole or not at all.

    Returns
    -------
    EnteredTables
        A second time the same files change nothing.
    """
    report = EnteredTables()
    tables = {dataset: _stored(context, dataset) for dataset in report.new}
    for path in files:
        try:
            read = read_components(path, columns=context.config.sources.columns)
            dataset = "islands" if read.islands else "components"
            tables[dataset] = _joined(path, tables[dataset], read, report, dataset)
        except DataError as error:
            report.rejected.append((str(path), str(error).removeprefix(f"{path}: ")))
    if any(report.new.values()):
        _record(state, _written(context, tables))
    return report


def load_components(context: "Context") -> "np.ndarray | None":
    """Return the components of a repository with the names of their islands, none before any were entered."""
    import numpy as np

    rows = _stored(context, "components")
    if rows is None:
        return None
    islands = _stored(context, "islands")
    if islands is not None:
        names = dict(zip(islands["source_id"].tolist(), islands["source_name"].tolist(), strict=True))
        own = [names.get(island, "") for island in rows["source_id"].tolist()]
        rows["source_name"] = np.where(rows["source_name"] == "", own, rows["source_name"])
    return rows


def _stored(context: "Context", dataset: str) -> "np.ndarray | None":
    path = context.repository.path(dataset)
    return _comparable(read_table(path)) if path.exists() else None


def _comparable(rows: "np.ndarray") -> "np.ndarray":
    """Return rows in the types of the standard columns, whatever width their texts had on disk."""
    from mpidriver.store import COMPONENT_DTYPE

    return rows.astype(COMPONENT_DTYPE)


def _joined(
    path: Path, known: "np.ndarray | None", read: ComponentTable, report: EnteredTables, dataset: str
) -> "np.ndarray":
    """Return the known rows and then a table's new ones; DataError if one of the same name differs."""
    import numpy as np

    rows = read.rows
    if known is not None:
        places = {name: number for number, name in enumerate(known["cat_id"].tolist())}
        at = np.array([places.get(name, -1) for name in rows["cat_id"].tolist()])
        _check_equal(path, known[at[at >= 0]], rows[at >= 0])
        rows = rows[at < 0]
    report.new[dataset] += len(rows)
    report.known += len(read.rows) - len(rows)
    if read.dropped:
        report.notes.append(f"{path}: {read.dropped} rows without a position were left out")
    return rows if known is None else np.concatenate([known, rows])


def _check_equal(path: Path, known: "np.ndarray", rows: "np.ndarray") -> None:
    import numpy as np

    from mpidriver.store import COMPONENT_DTYPE

    names = COMPONENT_DTYPE.names or ()
    equal = np.ones(len(rows), bool)
    for name in names:
        both_nan = (known[name] != known[name]) & (rows[name] != rows[name])
        equal &= (known[name] == rows[name]) | both_nan
    if not equal.all():
        first, more = str(rows["cat_id"][~equal][0]), np.count_nonzero(~equal) - 1
        raise DataError(
            f"{path}: {first!r} and {more} others are there already with other values; enter a catalogue under other "
            "identifiers, or remove catalogues/components.fits"
        )


def _written(context: "Context", tables: "dict[str, np.ndarray | None]") -> "list[Product]":
    return [
        context.product(dataset, write_table(context.repository.path(dataset), rows, units=COMPONENT_UNITS))
        for dataset, rows in tables.items()
        if rows is not None
    ]


def _record(state: "StateDatabase", products: "list[Product]") -> None:
    """Make the database know of the tables."""
    state.plan([(CATALOGUE.key, CATALOGUE.task, {})])
    state.record([QuantumUpdate(CATALOGUE.key, "done", products=tuple(products))])
