"""Where the headers and arrays of a plain FITS file lie, checked against the file's length."""

import contextlib
import functools
import math
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from mpidriver.errors import DataError
from mpidriver.store._fits._cards import CARD_LENGTH, Cards

__all__ = ["Hdu", "find_hdu", "native", "padded", "quiet", "scan"]

BLOCK_BYTES = 2880

#: BITPIX -> type of the stored values.
STORED_TYPES = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}


@dataclass(frozen=True)
class Hdu:
    """One header with the place of its data."""

    path: Path
    """The file."""
    index: int
    """Number of the HDU, from 0."""
    cards: Cards
    """Its cards."""
    start: int
    """Offset of the data in bytes."""

    @functools.cached_property
    def header(self) -> Any:
        """Header, `astropy.io.fits.Header`; astropy is loaded when it is first asked for.

        Raises
        ------
        DataError
            If astropy cannot make sense of it.
        """
        from astropy.io import fits

        try:
            with quiet():
                return fits.Header.fromstring(self.cards.text)
        except Exception as error:
            raise DataError(f"{self.path}: the header of HDU {self.index} cannot be read: {error}") from None

    @property
    def name(self) -> str:
        """EXTNAME, or PRIMARY for a first HDU without one."""
        return str(self.cards.get("EXTNAME", "" if self.index else "PRIMARY")).strip().upper()

    @property
    def is_image(self) -> bool:
        """Whether it is an image and no table."""
        return str(self.header.get("XTENSION", "IMAGE")).strip() == "IMAGE"

    @functools.cached_property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array, slowest axis first."""
        count = int(self.cards.get("NAXIS"))
        return tuple(int(self.cards.get(f"NAXIS{axis}")) for axis in range(count, 0, -1))

    @functools.cached_property
    def stored_type(self) -> np.dtype[Any]:
        """Type of one stored value."""
        return np.dtype(STORED_TYPES[int(self.cards.get("BITPIX"))])

    @functools.cached_property
    def is_plain(self) -> bool:
        """Whether the stored values are those that are meant, without BSCALE or BZERO."""
        return bool(self.header.get("BSCALE", 1) == 1 and self.header.get("BZERO", 0) == 0)

    @property
    def data_bytes(self) -> int:
        """Bytes of data, heap included, without the padding."""
        if not self.shape:
            return 0
        groups = int(self.cards.get("GCOUNT", 1)) * (int(self.cards.get("PCOUNT", 0)) + math.prod(self.shape))
        return groups * self.stored_type.itemsize

    @property
    def span(self) -> tuple[int, int]:
        """Offset of the header and bytes of the whole HDU, padding included."""
        header_bytes = padded((len(self.cards.cards) + 1) * CARD_LENGTH)
        return self.start - header_bytes, header_bytes + padded(self.data_bytes)

    @property
    def where(self) -> str:
        """File and HDU for messages."""
        return f"{self.path}[{self.name or self.index}]"


def scan(path: str | os.PathLike[str]) -> list[Hdu]:
    """Return the HDUs of an uncompressed FITS file.

    Raises
    ------
    DataError
        If the file is missing, empty, not FITS, or shorter than its headers say.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                raise DataError(f"{path}: the file is empty, expected FITS")
            return list(_hdus(path, file, size))
    except OSError as error:
        raise DataError(f"{path}: cannot be read, {error.strerror}") from None


def _hdus(path: Path, file: IO[bytes], size: int) -> Iterator[Hdu]:
    position = 0
    index = 0
    while position < size:
        file.seek(position)
        text = _header_text(path, index, file)
        hdu = Hdu(path, index, Cards(text.decode("latin-1")), position + len(text))
        _check(hdu, size)
        yield hdu
        position = hdu.start + padded(hdu.data_bytes)
        index += 1


def _header_text(path: Path, index: int, file: IO[bytes]) -> bytes:
    text = b""
    opening = b"SIMPLE  =" if index == 0 else b"XTENSION="
    while True:
        block = file.read(BLOCK_BYTES)
        if not text and not block.startswith(opening):
            what = "not a FITS file" if index == 0 else f"bytes that are no header follow HDU {index - 1}"
            raise DataError(f"{path}: {what}, found {block[:16]!r}, expected {opening.decode()!r}")
        text += block
        if len(block) < BLOCK_BYTES:
            raise DataError(f"{path}: truncated in the header of HDU {index}")
        if _ends(block):
            return text


def _ends(block: bytes) -> bool:
    return any(block[card : card + 8] == b"END     " for card in range(0, BLOCK_BYTES, 80))


def _check(hdu: Hdu, size: int) -> None:
    try:
        end = hdu.start + hdu.data_bytes
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"{hdu.where}: the header does not describe its data: {error!r}") from None
    if end > size:
        raise DataError(f"{hdu.where}: truncated, the data end at byte {end:,} of a file of {size:,}")


def find_hdu(path: str | os.PathLike[str], hdu: int | str) -> Hdu:
    """Return one HDU by number or name.

    Raises
    ------
    DataError
        As `scan`, and if there is no such HDU.
    """
    hdus = scan(path)
    for found in hdus:
        if hdu in (found.index, found.name):
            return found
    raise DataError(f"{path}: no HDU {hdu!r}; it has {', '.join(h.name or str(h.index) for h in hdus)}")


def padded(count: int) -> int:
    """Return a number of bytes rounded up to whole FITS blocks."""
    return -(-count // BLOCK_BYTES) * BLOCK_BYTES


def native(values: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """Return freshly read big-endian values in the machine's byte order; the array is swapped in place."""
    if values.dtype.isnative or values.dtype.itemsize == 1:
        return values.view(values.dtype.newbyteorder("="))
    return values.byteswap(inplace=True).view(values.dtype.newbyteorder("="))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence what astropy says of headers that break the standard and can be read all the same."""
    from astropy.io import fits
    from astropy.wcs import FITSFixedWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fits.verify.VerifyWarning)
        warnings.simplefilter("ignore", FITSFixedWarning)
        yield
