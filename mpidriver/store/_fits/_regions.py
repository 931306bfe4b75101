"""Boxes of pixels out of images of any FITS file: plain, gzipped or tile-compressed, no more read than needed.

Pixels stay as they are stored (big-endian, BSCALE and BZERO not applied), so that a box can be written again without
any change.
"""

import contextlib
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mpidriver.errors import DataError
from mpidriver.store._fits._cards import Cards
from mpidriver.store._fits._scan import STORED_TYPES, Hdu, scan

__all__ = ["Box", "RegionPlane", "physical_values", "region_planes"]

Array = np.ndarray[Any, Any]

#: Rows and columns of an image.
Box = tuple[slice, slice]

#: A block of rows up to this size is read at once, its outer columns thrown away; beyond it each row by itself.
_BLOCK_BYTES = 1 << 16
#: Reading one piece takes about as long as reading this much in one go; an image is read whole if that is quicker,
_PIECE_BYTES = 1 << 14
#: and not larger than this.
_WHOLE_BYTES = 1 << 30


class RegionPlane(Protocol):
    """One image HDU of an open file."""

    number: int
    """Number of the HDU."""
    name: str
    """Its EXTNAME; PRIMARY for a first HDU without one."""
    header: Cards
    """Its header."""
    shape: tuple[int, ...]
    """Shape of the array, slowest axis first."""

    def read(self, boxes: Sequence[Box]) -> Iterator[Array]:
        """Yield the stored values of boxes, each of shape (…, row, col), big-endian."""
        ...

    def tables(self) -> list[bytes]:
        """Return the HDUs with the tables that its coordinates refer to (-TAB axes), as they are.

        Raises
        ------
        DataError
            If one is not to be had.
        """
        ...


@contextlib.contextmanager
def region_planes(path: str | os.PathLike[str]) -> Iterator[list[RegionPlane]]:
    """Open a FITS file once and yield its images of two or more axes.

    Raises
    ------
    DataError
        If the file is missing, empty, garbage or truncated.
    """
    path = Path(path)
    if _is_plain(path):
        hdus = scan(path)
        if not any(hdu.cards.get("ZIMAGE") for hdu in hdus):
            with open(path, "rb", buffering=0) as file:
                yield [_PlainPlane(hdu, file.fileno(), hdus) for hdu in hdus if _is_image(hdu)]
            return
    from mpidriver.store._fits._raw import opened

    with opened(path, do_not_scale_image_data=True) as hdus:
        yield [
            _ForeignPlane(path, number, hdu) for number, hdu in enumerate(hdus) if hdu.is_image and len(hdu.shape) >= 2
        ]


def _is_plain(path: Path) -> bool:
    """Tell whether a file is not compressed as a whole."""
    try:
        with open(path, "rb") as file:
            return file.read(2) != b"\x1f\x8b"
    except OSError as error:
        raise DataError(f"{path}: cannot be read, {error.strerror}") from None


def _is_image(hdu: Hdu) -> bool:
    return len(hdu.shape) >= 2 and str(hdu.cards.get("XTENSION", "IMAGE")).strip() == "IMAGE" and hdu.data_bytes > 0


class _PlainPlane:
    """An image of an uncompressed file."""

    def __init__(self, hdu: Hdu, descriptor: int, hdus: Sequence[Hdu]) -> None:
        self.number = hdu.index
        self.name = hdu.name
        self.header = hdu.cards
        self.shape = hdu.shape
        self._hdu = hdu
        self._descriptor = descriptor
        self._hdus = hdus

    def read(self, boxes: Sequence[Box]) -> Iterator[Array]:
        size = self._hdu.data_bytes
        pieces = math.prod(self.shape[:-2]) * sum(rows.stop - rows.start for rows, _ in boxes)
        if size <= _WHOLE_BYTES and pieces * _PIECE_BYTES > size:
            whole = self._values(self._hdu.start, math.prod(self.shape)).reshape(self.shape)
            yield from (whole[..., rows, cols] for rows, cols in boxes)
            return
        for rows, cols in boxes:
            yield self._box(rows, cols)

    def tables(self) -> list[bytes]:
        found = []
        for name, version in _table_names(self.header):
            known = [hdu for hdu in self._hdus if (hdu.name, int(hdu.cards.get("EXTVER", 1))) == (name, version)]
            if not known:
                raise DataError(f"{self._hdu.where}: its coordinates stand in table {name!r}, which the file lacks")
            offset, size = known[0].span
            found.append(os.pread(self._descriptor, size, offset).ljust(size, b"\0"))
        return found

    def _box(self, rows: slice, cols: slice) -> Array:
        *leading, height, width = self.shape
        box = np.empty((math.prod(leading), rows.stop - rows.start, cols.stop - cols.start), self._hdu.stored_type)
        item = box.itemsize
        as_block = box.shape[1] * width * item <= _BLOCK_BYTES
        for number, part in enumerate(box):
            first = self._hdu.start + (number * height + rows.start) * width * item
            if as_block:
                part[:] = self._values(first, box.shape[1] * width).reshape(-1, width)[:, cols]
                continue
            for row, line in enumerate(part):
                line[:] = self._values(first + (row * width + cols.start) * item, len(line))
        return box.reshape(*leading, *box.shape[1:])

    def _values(self, offset: int, count: int) -> Array:
        wanted = count * self._hdu.stored_type.itemsize
        content = os.pread(self._descriptor, wanted, offset)
        if len(content) < wanted:
            content = self._rest(content, offset, wanted)
        return np.frombuffer(content, self._hdu.stored_type)

    def _rest(self, content: bytes, offset: int, wanted: int) -> bytes:
        """Go on with a read that came back short."""
        while len(content) < wanted:
            more = os.pread(self._descriptor, wanted - len(content), offset + len(content))
            if not more:
                raise DataError(f"{self._hdu.where}: truncated while it was read")
            content += more
        return content


@dataclass
class _ForeignPlane:
    """An image that astropy has to expand: of a gzipped file, or tile-compressed."""

    path: Path
    number: int
    hdu: Any

    def __post_init__(self) -> None:
        from mpidriver.store._fits._raw import check_complete

        check_complete(self.path, self.hdu)
        self.name = str(self.hdu.name) or ("" if self.number else "PRIMARY")
        self.header = Cards(self.hdu.header.tostring(sep="", endcard=False, padding=False))
        self.shape = tuple(int(length) for length in self.hdu.shape)

    def read(self, boxes: Sequence[Box]) -> Iterator[Array]:
        stored = np.dtype(STORED_TYPES[int(self.header.get("BITPIX"))])
        for part in self._parts(boxes):
            yield np.asarray(part).astype(stored, copy=False)

    def tables(self) -> list[bytes]:
        names = [name for name, _ in _table_names(self.header)]
        if names:
            raise DataError(f"{self.path}: coordinates in table {names[0]!r} are kept for uncompressed files alone")
        return []

    def _parts(self, boxes: Sequence[Box]) -> Iterable[Array]:
        from astropy.io import fits

        rows_wanted = sum(rows.stop - rows.start for rows, _ in boxes)
        if isinstance(self.hdu, fits.CompImageHDU) and rows_wanted < self.shape[-2]:
            return (self.hdu.section[(..., rows, cols)] for rows, cols in boxes)
        whole = self.hdu.data
        return (whole[..., rows, cols] for rows, cols in boxes)


def _table_names(header: Cards) -> list[tuple[str, int]]:
    """Return name and version of the tables of a header's -TAB axes, each once (Greisen et al. 2006, section 6)."""
    axes = [keyword[2:-2] for keyword in header if re.fullmatch(r"PS\d+_0", keyword)]
    names = [(str(header.get(f"PS{axis}_0")).upper(), int(header.get(f"PV{axis}_1", 1))) for axis in axes]
    return list(dict.fromkeys(names))


def physical_values(stored: Array, header: Cards) -> Array:
    """Return stored values as floats: scaled, blanks of integers as NaN; big-endian.

    Parameters
    ----------
    stored : ndarray
    header
        Of the image.

    Returns
    -------
    ndarray of float32 or, for integers of more than 16 bits and doubles, of float64
    """
    kind = np.dtype(">f4" if stored.itemsize <= 2 or stored.dtype.str[1:] == "f4" else ">f8")
    values = stored * np.float64(header.get("BSCALE", 1)) + np.float64(header.get("BZERO", 0))
    if stored.dtype.kind == "i" and "BLANK" in header:
        values = np.where(stored == int(header.get("BLANK")), np.nan, values)
    return values.astype(kind)
