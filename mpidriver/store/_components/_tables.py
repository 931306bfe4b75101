"""Reading component and island tables of any source finder into one set of columns."""

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mpidriver.errors import DataError
from mpidriver.store._components._layouts import COMPONENT_DTYPE, COMPONENT_UNITS, LAYOUTS, Layout

__all__ = ["ComponentTable", "read_components"]

Array = np.ndarray[Any, Any]

#: Names under which a table of unknown origin may hold what is needed, small letters; the first that is there counts.
_GUESSES = {
    "cat_id": ("cat_id", "component_id", "name", "id", "source_name", "source_id"),
    "source_id": ("source_id", "island_id", "source", "island"),
    "source_name": ("source_name",),
    "ra": ("ra", "raj2000", "ra_deg", "_raj2000", "ra_j2000", "radeg"),
    "dec": ("dec", "dej2000", "decj2000", "dec_deg", "de", "_dej2000", "dec_j2000", "dedeg"),
    "total_I_flux": ("total_i_flux", "total_flux", "int_flux", "flux_int", "flux", "fint", "stokesi"),
    "peak_I_flux": ("peak_i_flux", "peak_flux", "flux_peak", "fpeak"),
    "maj_axis": ("maj_axis", "maj", "bmaj", "a"),
    "min_axis": ("min_axis", "min", "bmin", "b"),
    "pa": ("pa", "pos_ang", "bpa"),
}
#: Units of a table of unknown origin that states none.
_USUAL_UNITS = {"total_I_flux": "Jy", "peak_I_flux": "Jy/beam", "maj_axis": "arcsec", "min_axis": "arcsec"}
_ENDINGS = {
    **dict.fromkeys((".fits", ".fit", ".fits.gz"), "fits"),
    **dict.fromkeys((".xml", ".vot", ".votable"), "votable"),
    ".csv": "ascii.csv",
    ".ecsv": "ascii.ecsv",
}


@dataclass(frozen=True)
class ComponentTable:
    """What a file of components or islands holds."""

    layout: str
    """Whose columns it has."""
    islands: bool
    """Whether its rows are islands, not components."""
    rows: Array
    """Structured, shape (row,): columns `COMPONENT_DTYPE` in `COMPONENT_UNITS`; NaN, 0 or an empty text where the
    table has nothing."""
    dropped: int
    """Rows left out because they have no position."""


def read_components(path: str | os.PathLike[str], *, columns: Mapping[str, str] | None = None) -> ComponentTable:
    """Read a table of components or islands: FITS, VOTable, CSV or ECSV.

    Tables of RACS (Hale et al. 2021), Selavy and Aegean are known by their columns; of others the columns are found by
    their names.

    Parameters
    ----------
    path
        The file.
    columns
        Our column to theirs, for tables of unknown origin.

    Raises
    ------
    DataError
        If it cannot be read, has no rows or no positions, or two rows of one identifier.
    """
    path = Path(path)
    table = _read(path)
    if not len(table):
        raise DataError(f"{path}: the table has no rows")
    layout = _layout(path, table, dict(columns or {}))
    rows = np.zeros(len(table), COMPONENT_DTYPE)
    for name in COMPONENT_DTYPE.names or ():
        if COMPONENT_DTYPE[name].kind == "f":
            rows[name] = np.nan
        if name in layout.columns and layout.columns[name][0] in table.colnames:
            rows[name] = _values(path, table, name, *layout.columns[name])
    for name, template in layout.templates.items():
        rows[name] = [template.format(table=path.name.partition(".fits")[0][-40:], **_plain(row)) for row in table]
    placed = np.isfinite(rows["ra"]) & (np.abs(rows["dec"]) <= 90.0)
    rows = rows[placed]
    if not len(rows):
        raise DataError(f"{path}: none of its {len(table)} rows has a position")
    rows = _named(rows)
    _check_distinct(path, rows)
    return ComponentTable(layout.name, layout.islands, rows, int(np.count_nonzero(~placed)))


def _read(path: Path) -> Any:
    from astropy.table import Table

    name = path.name.lower()
    kind = next((kind for ending, kind in _ENDINGS.items() if name.endswith(ending)), None)
    if kind is None:
        raise DataError(f"{path}: no table of components: the name must end in one of {', '.join(_ENDINGS)}")
    more = {"fits": {"hdu": 1}, "votable": {"table_id": 0}}.get(kind, {})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # units and headers that break a standard and can be read all the same
            table = Table.read(path, format=kind, **more)
            table.convert_bytestring_to_unicode()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except Exception as error:  # astropy raises many kinds
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: cannot be read as a table: {first}") from error
    table.rename_columns(table.colnames, [column.removeprefix("col_") for column in table.colnames])
    return table


def _layout(path: Path, table: Any, columns: dict[str, str]) -> Layout:
    """Return the layout whose columns a table has, with those that the user has named."""
    unknown = [name for name in columns if name not in COMPONENT_UNITS]
    if unknown:
        raise DataError(f"[sources.columns]: {unknown[0]!r} is no column here; known: {', '.join(COMPONENT_UNITS)}")
    there = set(table.colnames)
    known = next((layout for layout in LAYOUTS if layout.marks <= there), None)
    if known is not None:
        return known
    by_letter = {column.lower(): column for column in reversed(table.colnames)}
    found = {
        ours: next((by_letter[guess] for guess in guesses if guess in by_letter), None)
        for ours, guesses in _GUESSES.items()
    }
    found |= {ours: by_letter[ours.lower()] for ours in COMPONENT_UNITS if ours.lower() in by_letter}
    found |= {ours: theirs for ours, theirs in columns.items() if theirs in there}
    missing = [name for name in ("ra", "dec") if found.get(name) is None]
    if missing:
        raise DataError(
            f"{path}: no column for {' and '.join(missing)}; it has {', '.join(table.colnames[:40])}; "
            f"name it in survey.toml [sources.columns], as {missing[0]} = 'RAdeg'"
        )
    return Layout(
        "generic",
        frozenset(),
        {ours: (theirs, _USUAL_UNITS.get(ours, COMPONENT_UNITS[ours])) for ours, theirs in found.items() if theirs},
    )


def _values(path: Path, table: Any, name: str, theirs: str, unit: str) -> Array:
    """Return a column as ours: converted, NaN where masked or, for errors, where nothing was fitted."""
    column = table[theirs]
    kind = COMPONENT_DTYPE[name].kind
    masked = np.asarray(getattr(column, "mask", np.zeros(len(column), bool)))
    values = np.asarray(getattr(column, "filled", lambda: column)())
    if kind == "U":
        return np.where(masked, "", np.char.strip(values.astype("U")))
    try:
        numbers = np.where(masked, 0 if kind == "i" else np.nan, values.astype("i8" if kind == "i" else "f8"))
    except (ValueError, TypeError):
        raise DataError(f"{path}: column {theirs!r}: expected numbers, got {values[:1].tolist()}") from None
    if kind == "i":
        return numbers
    if name.endswith("_err"):
        numbers = np.where(numbers < 0.0, np.nan, numbers)
    return numbers * _factor(path, theirs, column.unit, unit, COMPONENT_UNITS[name])


def _factor(path: Path, column: str, stated: Any, usual: str, ours: str) -> float:
    """Return what turns a column's unit, or the layout's where it states none, into ours."""
    from astropy import units

    if not ours:
        return 1.0
    try:
        theirs = units.Unit(usual if stated is None or not str(stated).strip() else stated)
        # "Jy" beside a peak means Jy/beam, and the other way round: tables are careless of the beam
        return float(theirs.to(units.Unit(ours), equivalencies=[(units.Jy / units.beam, units.Jy)]))
    except (ValueError, units.UnitConversionError):
        raise DataError(f"{path}: column {column!r}: expected a unit like {ours}, got {stated}") from None


def _plain(row: Any) -> dict[str, Any]:
    return {name: row[name] for name in row.colnames}


def _named(rows: Array) -> Array:
    """Return rows of which each has an identifier and an island; positions stand in for names that are missing."""
    rows["ra"] %= 360.0
    unnamed = rows["cat_id"] == ""
    rows["cat_id"][unnamed] = [position_name(*place) for place in rows[["ra", "dec"]][unnamed].tolist()]
    rows["cat_id"] = np.char.replace(np.char.replace(rows["cat_id"], " ", "_"), ",", "_")
    alone = rows["source_id"] == ""
    rows["source_id"][alone] = rows["cat_id"][alone]
    return rows


def position_name(ra_deg: float, dec_deg: float) -> str:
    """Return a position as a name, to 0.01 s and 0.1 arcsec, cut not rounded, as the IAU wants it."""
    centiseconds = int(round(ra_deg % 360.0 * 24000.0, 4))
    tenths = int(round(abs(dec_deg) * 36000.0, 4))
    hours, minutes = f"{centiseconds // 360000:02d}", f"{centiseconds // 6000 % 60:02d}"
    degrees, arcmin = f"{tenths // 36000:02d}", f"{tenths // 600 % 60:02d}"
    seconds, arcsec = f"{centiseconds % 6000 / 100:05.2f}", f"{tenths % 600 / 10:04.1f}"
    return f"J{hours}{minutes}{seconds}{'-' if dec_deg < 0 else '+'}{degrees}{arcmin}{arcsec}"


def _check_distinct(path: Path, rows: Array) -> None:
    names, counts = np.unique(rows["cat_id"], return_counts=True)
    if counts.max() > 1:
        raise DataError(
            f"{path}: {counts.max()} rows have the identifier {str(names[counts.argmax()])!r}; "
            "name another column in survey.toml [sources.columns], as cat_id = 'Name'"
        )
