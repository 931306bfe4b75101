"""What is known of channels: frequencies in a cube's header, values a channel in a text file or table."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from mpidriver.errors import DataError
from mpidriver.frequencies import HERTZ
from mpidriver.store._cubes._axes import CubeAxes

__all__ = ["header_frequencies", "read_channel_values", "spectral_cards"]

Array = np.ndarray[Any, Any]

_TABLES = (".fits", ".fit", ".xml", ".vot", ".ecsv", ".csv", ".parquet")


def spectral_cards(header: Any, axes: CubeAxes) -> tuple[tuple[str, Any], ...]:
    """Return CTYPE, CRVAL, CRPIX, CDELT and CUNIT of the spectral axis, as far as they are there."""
    number = len(axes.shape) - axes.chan
    keys = ("CTYPE", "CRVAL", "CRPIX", "CDELT", "CUNIT")
    return tuple((key, header[f"{key}{number}"]) for key in keys if f"{key}{number}" in header)


def header_frequencies(header: Any, axes: CubeAxes) -> tuple[float, ...] | None:
    """Return the frequencies of the channels in Hz, none if the header has no linear axis of frequency."""
    number = len(axes.shape) - axes.chan
    kind = str(header.get(f"CTYPE{number}", "")).strip().upper()
    step = header.get(f"CDELT{number}", header.get(f"CD{number}_{number}"))
    unit = str(header.get(f"CUNIT{number}", "")).strip().lower()
    if "FREQ" not in kind or kind.startswith("FREQ-") or step is None or unit not in HERTZ:
        return None
    if f"CRVAL{number}" not in header:
        return None
    pixel = np.arange(1, axes.cube_shape[0] + 1) - float(header.get(f"CRPIX{number}", 1.0))
    values = float(header[f"CRVAL{number}"]) + pixel * float(step)
    return tuple(float(value) for value in HERTZ[unit] * values)


def read_channel_values(path: str | os.PathLike[str], *, column: str, unit: str = "") -> Array:
    """Return one number a channel from a text file (a number a line) or from a table.

    Parameters
    ----------
    path
        Text of which the first word of each line counts and lines that begin with # do not; or a table (FITS, VOTable,
        ECSV, CSV or Parquet, by its suffix).
    column
        How the wanted column's name begins, as ``freq``; a table of one column needs no such name.
    unit
        Unit that is wanted; a table's column with a unit is converted to it.

    Returns
    -------
    float64 (chan,)

    Raises
    ------
    DataError
        If the file is missing, empty, or holds something that is no number; names the line.
    """
    path = Path(path)
    values = _table_column(path, column, unit) if path.suffix.lower() in _TABLES else _text_values(path)
    if values.ndim != 1 or values.size == 0:
        raise DataError(f"{path}: expected a number for each channel, got shape {values.shape}")
    return values


def _text_values(path: Path) -> Array:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"{path}: cannot be read, {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: expected text with a number a line, found bytes that are no text") from None
    values = []
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].replace(",", " ").split()
        if not words:
            continue
        try:
            values.append(float(words[0]))
        except ValueError:
            raise DataError(f"{path}, line {number}: expected a number, got {words[0]!r}") from None
    return np.array(values, dtype=np.float64)


def _table_column(path: Path, column: str, unit: str) -> Array:
    from astropy.table import Table
    from astropy.units import Unit, UnitConversionError

    try:
        table = Table.read(path)
    except Exception as error:
        raise DataError(f"{path}: cannot be read as a table: {error}") from None
    names = [name for name in table.colnames if name.lower().startswith(column.lower())]
    if not names and len(table.colnames) == 1:
        names = table.colnames
    if not names:
        raise DataError(
            f"{path}: expected a column whose name begins with {column!r}, it has {', '.join(table.colnames)}"
        )
    found = table[names[0]]
    factor = 1.0
    if found.unit is not None and unit:
        try:
            factor = Unit(found.unit).to(unit)
        except (UnitConversionError, ValueError, TypeError):
            raise DataError(f"{path}: column {names[0]!r} has unit {found.unit}, expected one of {unit}") from None
    try:
        return np.ma.filled(np.ma.asarray(found, dtype=np.float64), np.nan) * factor
    except (TypeError, ValueError):
        raise DataError(f"{path}: column {names[0]!r} holds something that is no number") from None
