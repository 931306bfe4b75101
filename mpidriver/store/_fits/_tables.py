"""Binary tables: structured arrays with units and descriptions, out and in."""

import itertools
import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from mpidriver.errors import DataError
from mpidriver.store._atomic import atomic_path
from mpidriver.store._digest import HashingWriter, WrittenFile
from mpidriver.store._fits._headers import extra_cards, wcs_cards
from mpidriver.store._fits._scan import Hdu, find_hdu, padded
from mpidriver.store._provenance import provenance_values

__all__ = ["read_table", "read_table_header", "read_table_units", "table_pieces", "write_table"]

_CHUNK_BYTES = 1 << 22

#: Type of a column -> letter of TFORM, type on disk and TZERO.
_STORED = {
    "b1": ("L", "u1", 0),
    "u1": ("B", "u1", 0),
    "i1": ("B", "u1", -128),
    "i2": ("I", ">i2", 0),
    "u2": ("I", ">i2", 1 << 15),
    "i4": ("J", ">i4", 0),
    "u4": ("J", ">i4", 1 << 31),
    "i8": ("K", ">i8", 0),
    "f4": ("E", ">f4", 0),
    "f8": ("D", ">f8", 0),
    "c8": ("C", ">c8", 0),
    "c16": ("M", ">c16", 0),
}
_READ = {"L": "u1", "B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8", "C": ">c8", "M": ">c16"}
_UNSIGNED = {("B", -128): "i1", ("I", 1 << 15): "u2", ("J", 1 << 31): "u4"}
_FORM = re.compile(r"(\d*)([A-Z])")

Array = np.ndarray[Any, Any]


def write_table(
    path: str | os.PathLike[str],
    table: Array,
    *,
    units: Mapping[str, str] | None = None,
    descriptions: Mapping[str, str] | None = None,
    header: Mapping[str, Any] | None = None,
    wcs: Any = None,
    name: str = "TABLE",
) -> WrittenFile:
    """Write a structured array as the first extension of a FITS file, atomically.

    Parameters
    ----------
    path
        The file.
    table : structured ndarray, shape (row,)
        Booleans, integers, floats, complex numbers and text (stored as ASCII, other letters escaped); a column may
        have a shape. Types come back as they were, text as ``str``.
    units, descriptions
        Column to unit (TUNIT) and to text (TCOMM).
    header
        Further values of the table's header.
    wcs
        Coordinates kept in the table's header, as for `write_image`.
    name
        EXTNAME.
    """
    pieces = table_pieces(table, str(path), units=units, descriptions=descriptions, header=header, wcs=wcs, name=name)
    primary = fits.Header([("SIMPLE", True), ("BITPIX", 8), ("NAXIS", 0), ("EXTEND", True)])
    with atomic_path(path) as partial, open(partial, "wb") as file:
        out = HashingWriter(file)
        out.write(primary.tostring().encode("ascii"))
        for piece in pieces:
            out.write(piece)
        out.write(bytes(padded(out.size) - out.size))
    return WrittenFile(Path(path), out.digest, out.size)


def table_pieces(
    table: Array,
    where: str,
    *,
    units: Mapping[str, str] | None = None,
    descriptions: Mapping[str, str] | None = None,
    header: Mapping[str, Any] | None = None,
    wcs: Any = None,
    name: str = "TABLE",
) -> Iterator[Any]:
    """Return the bytes of a table's HDU, header first, piece by piece and without what fills the last block.

    Parameters are those of `write_table`; `where` is named in errors.
    """
    if table.dtype.names is None or table.ndim != 1:
        raise DataError(f"{where}: a table is a one-dimensional structured array, got {table.dtype}, {table.ndim}-d")
    columns = [_Column(column, table[column], where) for column in table.dtype.names]
    cards = _table_header(columns, len(table), where, units or {}, descriptions or {}, header or {}, wcs, name)
    return itertools.chain([cards.tostring().encode("ascii")], _packed(columns, len(table)))


class _Column:
    """How one column is stored."""

    def __init__(self, name: str, values: Array, where: str) -> None:
        self.name = name
        self.values = values
        self.shape = values.shape[1:]
        self.text = values.dtype.kind in "US"
        if self.text:
            self.values = values = _ascii(values)
            self.letter, self.stored, self.zero = "A", f"S{max(values.dtype.itemsize, 1)}", 0
        elif (kind := values.dtype.newbyteorder("=").str[1:]) in _STORED:
            self.letter, self.stored, self.zero = _STORED[kind]
        else:
            raise DataError(f"{where}: column {name!r} has type {values.dtype}, which FITS tables cannot hold")

    @property
    def form(self) -> str:
        count = math.prod(self.shape) * (np.dtype(self.stored).itemsize if self.text else 1)
        return f"{count}{self.letter}"

    @property
    def dimensions(self) -> str:
        """TDIM, empty for scalars; letters of a text are its first axis."""
        axes = [*reversed(self.shape)]
        if self.text:
            axes = [np.dtype(self.stored).itemsize, *axes]
        return f"({','.join(map(str, axes))})" if len(self.shape) + self.text > 1 or self.shape == (1,) else ""

    def packed(self, rows: slice) -> Array:
        values = self.values[rows]
        if self.letter == "L":
            return np.where(values, ord("T"), ord("F")).astype("u1")
        if self.zero:
            values = values.astype("i8") - self.zero
        return values.astype(self.stored)


def _ascii(values: Array) -> Array:
    """Return text as bytes; letters beyond ASCII become Python escapes."""
    if values.dtype.kind == "S":
        return values
    try:
        return values.astype("S")
    except UnicodeEncodeError:
        escaped = [str(text).encode("ascii", "backslashreplace") for text in values.reshape(-1)]
        return np.array(escaped, dtype="S").reshape(values.shape)


def _table_header(
    columns: list[_Column],
    rows: int,
    where: str,
    units: Mapping[str, str],
    descriptions: Mapping[str, str],
    values: Mapping[str, Any],
    wcs: Any,
    name: str,
) -> Any:
    row_bytes = sum(_row_type([column]).itemsize for column in columns)
    header = fits.Header()
    for key, value in (("XTENSION", "BINTABLE"), ("BITPIX", 8), ("NAXIS", 2), ("NAXIS1", row_bytes), ("NAXIS2", rows)):
        header[key] = value
    header["PCOUNT"], header["GCOUNT"], header["TFIELDS"], header["EXTNAME"] = 0, 1, len(columns), name
    for number, column in enumerate(columns, start=1):
        header[f"TTYPE{number}"], header[f"TFORM{number}"] = column.name, column.form
        described = {"TDIM": column.dimensions, "TUNIT": units.get(column.name), "TCOMM": descriptions.get(column.name)}
        for key, text in described.items():
            if text:
                header[f"{key}{number}"] = text
        if column.zero:
            header[f"TSCAL{number}"], header[f"TZERO{number}"] = 1, column.zero
    header.extend(wcs_cards(wcs, 2).cards, end=True)
    header.extend(extra_cards({**values, **provenance_values()}, where=where, taken=set(header)), end=True)
    return header


def _row_type(columns: list[_Column]) -> np.dtype[Any]:
    return np.dtype([(f"c{number}", column.stored, column.shape) for number, column in enumerate(columns)])


def _packed(columns: list[_Column], rows: int) -> Iterator[Array]:
    kind = _row_type(columns)
    step = max(_CHUNK_BYTES // max(kind.itemsize, 1), 1)
    for start in range(0, rows, step):
        chunk = slice(start, min(start + step, rows))
        block = np.empty(chunk.stop - start, dtype=kind)
        for number, column in enumerate(columns):
            block[f"c{number}"] = column.packed(chunk)
        yield block.view("u1")


def read_table(path: str | os.PathLike[str], *, hdu: int | str = 1) -> Array:
    """Read a binary table as a structured array in the machine's byte order.

    Parameters
    ----------
    path
        The file.
    hdu
        Number or name of the table.

    Returns
    -------
    structured ndarray, shape (row,)
        Text columns are ``str``; NaN, and for integers whatever stands there, where a value is missing.

    Raises
    ------
    DataError
        If the file is missing, not FITS, truncated, or has no such table.
    """
    found = find_hdu(path, hdu)
    header = found.header
    if str(header.get("XTENSION", "")).strip() != "BINTABLE":
        raise DataError(f"{found.where}: expected a binary table")
    fields = [_read_field(found, number) for number in range(1, int(header["TFIELDS"]) + 1)]
    stored = np.dtype([(name, kind, shape) for name, kind, shape, _ in fields])
    rows = int(header["NAXIS2"])
    if stored.itemsize != int(header["NAXIS1"]):
        raise DataError(f"{found.where}: columns take {stored.itemsize} bytes, a row has {header['NAXIS1']}")
    packed = np.fromfile(path, stored, rows, offset=found.start) if stored.names else np.empty(rows, stored)
    return _unpacked(packed, fields)


def read_table_header(path: str | os.PathLike[str], *, hdu: int | str = 1) -> Any:
    """Return the header of a table, `astropy.io.fits.Header`."""
    return find_hdu(path, hdu).header


def read_table_units(path: str | os.PathLike[str], *, hdu: int | str = 1) -> dict[str, str]:
    """Return the unit of each column that has one."""
    header = find_hdu(path, hdu).header
    columns = range(1, int(header["TFIELDS"]) + 1)
    return {header[f"TTYPE{n}"]: header[f"TUNIT{n}"] for n in columns if f"TUNIT{n}" in header}


def _read_field(hdu: Hdu, number: int) -> tuple[str, str, tuple[int, ...], str]:
    """Return name, stored type, shape and type in memory of a column."""
    header = hdu.header
    name = str(header.get(f"TTYPE{number}", f"column{number}"))
    match = _FORM.match(str(header[f"TFORM{number}"]).strip())
    if match is None or match[2] not in (*_READ, "A"):
        raise DataError(f"{hdu.where}: column {name!r} has format {header[f'TFORM{number}']!r}, not supported")
    count, letter = int(match[1] or 1), match[2]
    axes = tuple(int(axis) for axis in re.findall(r"\d+", str(header.get(f"TDIM{number}", ""))))
    if letter == "A":
        width = axes[0] if axes else count
        return name, f"S{width}", tuple(reversed(axes[1:])), f"U{max(width, 1)}"
    shape = tuple(reversed(axes)) or ((count,) if count != 1 else ())
    kind = np.dtype(_READ[letter]).newbyteorder("=").str
    scale, zero = header.get(f"TSCAL{number}", 1), header.get(f"TZERO{number}", 0)
    if letter == "L":
        kind = "?"
    elif (letter, zero) in _UNSIGNED and scale == 1:
        kind = _UNSIGNED[letter, zero]
    elif (scale, zero) != (1, 0):
        raise DataError(f"{hdu.where}: column {name!r} is scaled, not supported")
    return name, _READ[letter], shape, kind


def _unpacked(packed: Array, fields: list[tuple[str, str, tuple[int, ...], str]]) -> Array:
    table = np.empty(len(packed), dtype=[(name, kind, shape) for name, _, shape, kind in fields])
    for name, stored, _, kind in fields:
        values = packed[name]
        if kind == "?":
            table[name] = values == ord("T")
        elif kind in _UNSIGNED.values():
            zero = next(zero for (_, zero), made in _UNSIGNED.items() if made == kind)
            table[name] = values.astype("i8") + zero
        elif stored.startswith("S"):
            table[name] = _text(values)
        else:
            table[name] = values
    return table


def _text(values: Array) -> Array:
    try:
        return np.char.rstrip(values.astype("U"))
    except UnicodeDecodeError:
        return np.char.rstrip(np.char.decode(values, "latin-1"))
