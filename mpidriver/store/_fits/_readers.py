"""Reading the images that the writers of this room made, whole or by blocks of rows."""

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mpidriver.errors import DataError
from mpidriver.store._fits._headers import free_values, mask_planes, wcs_from_header
from mpidriver.store._fits._scan import Hdu, find_hdu, native, scan

__all__ = ["MaskedImageReader", "StoredImage", "read_header", "read_image", "read_masked_image"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class StoredImage:
    """An image with variance and mask, or a block of its rows."""

    image: Array
    """Pixel values, (row, col)."""
    variance: Array
    """Variance, (row, col)."""
    mask: Array
    """Mask bits, (row, col)."""
    header: dict[str, Any]
    """Values of the primary header beside those of structure and coordinates."""
    wcs_header: Any
    """The whole primary header, `astropy.io.fits.Header`; coordinates are those of the whole image."""
    mask_planes: dict[str, int] = field(default_factory=dict)
    """Name of each mask plane to its bit."""

    @property
    def wcs(self) -> Any:
        """Coordinates of the whole image, `astropy.wcs.WCS`."""
        return wcs_from_header(self.wcs_header)


def read_image(path: str | os.PathLike[str], *, rows: slice | None = None, hdu: int | str = 0) -> tuple[Array, Any]:
    """Read an image or cube, or a block of its rows.

    Parameters
    ----------
    path
        An uncompressed FITS file; `read_raw` reads others.
    rows
        Rows of the next-to-last axis, of every plane of a cube.
    hdu
        Number or name of the HDU.

    Returns
    -------
    image : ndarray, shape (…, row, col)
        In the machine's byte order.
    header : astropy.io.fits.Header

    Raises
    ------
    DataError
        If the file is missing, not FITS, truncated, or has no such image.
    """
    found = find_hdu(path, hdu)
    return read_pixels(found, rows), found.header


def read_header(path: str | os.PathLike[str], *, hdu: int | str = 0) -> Any:
    """Return the header of an HDU, `astropy.io.fits.Header`, without reading its data."""
    return find_hdu(path, hdu).header


def read_masked_image(path: str | os.PathLike[str], *, rows: slice | None = None) -> StoredImage:
    """Read an image with variance and mask, or a block of its rows.

    Raises
    ------
    DataError
        As `read_image`, and if one of the three HDUs is missing.
    """
    return MaskedImageReader(path).read(rows)


class MaskedImageReader:
    """Reads blocks of rows of one file with image, variance and mask; headers are parsed once, no file stays open.

    Parameters
    ----------
    path
        The file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        hdus = scan(path)
        named = {hdu.name: hdu for hdu in hdus[1:]}
        for name in ("VARIANCE", "MASK"):
            if name not in named:
                raise DataError(f"{path}: no HDU {name!r}; it has {', '.join(hdu.name for hdu in hdus)}")
        self._planes = (hdus[0], named["VARIANCE"], named["MASK"])
        if len({hdu.shape for hdu in self._planes}) != 1 or len(self.shape) != 2:
            raise DataError(f"{path}: image, variance and mask have shapes {[hdu.shape for hdu in self._planes]}")
        self.wcs_header = hdus[0].header
        self.header = free_values(hdus[0].header)
        self.mask_planes = mask_planes(named["MASK"].header)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (row, col) of the whole image."""
        return self._planes[0].shape

    def read(self, rows: slice | None = None) -> StoredImage:
        """Return a block of rows, all if `rows` is none."""
        image, variance, mask = (read_pixels(hdu, rows) for hdu in self._planes)
        return StoredImage(image, variance, mask, self.header, self.wcs_header, self.mask_planes)

    def read_into(self, rows: slice, image: Array, variance: Array, mask: Array) -> None:
        """Read a block of rows into arrays, without a copy if they are contiguous and have the file's types.

        Parameters
        ----------
        rows
            Rows to read, in steps of 1.
        image, variance, mask : ndarray, shape (row, col), written
            ``>f4``, ``>f4`` and ``>i4`` are the types in which coadds and warps are stored.

        Raises
        ------
        DataError
            As `read`, and if a shape does not fit.
        """
        with open(self.path, "rb", buffering=0) as file:
            for hdu, plane in zip(self._planes, (image, variance, mask), strict=True):
                _read_into(file, hdu, rows, plane)

    def close(self) -> None:
        """Do nothing; for symmetry with readers that hold a file."""

    def __enter__(self) -> "MaskedImageReader":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()


def read_pixels(hdu: Hdu, rows: slice | None = None) -> Array:
    """Return the physical values of an image HDU, or of a block of its rows."""
    if len(hdu.shape) < 2 or not hdu.is_image:
        raise DataError(f"{hdu.where}: expected an image, found {hdu.header.get('XTENSION', 'no data')!r}")
    first, last, step = (rows or slice(None)).indices(hdu.shape[-2])
    if step != 1:
        raise DataError(f"{hdu.where}: rows can be read in steps of 1 alone, got {rows}")
    return _physical(native(_stored(hdu, first, max(last - first, 0))), hdu.header)


def _stored(hdu: Hdu, first: int, count: int) -> Array:
    *leading, rows, columns = hdu.shape
    if count == rows:
        return np.fromfile(hdu.path, hdu.stored_type, math.prod(hdu.shape), offset=hdu.start).reshape(hdu.shape)
    block = np.empty((math.prod(leading), count, columns), dtype=hdu.stored_type)
    row_bytes = columns * hdu.stored_type.itemsize
    with open(hdu.path, "rb", buffering=0) as file:
        for number, part in enumerate(block):
            file.seek(hdu.start + (number * rows + first) * row_bytes)
            _fill(file, part, hdu)
    return block.reshape(*leading, count, columns)


def _read_into(file: Any, hdu: Hdu, rows: slice, plane: Array) -> None:
    first, last, _ = rows.indices(hdu.shape[0])
    if plane.shape != (last - first, hdu.shape[1]):
        raise DataError(f"{hdu.where}: rows {first} to {last} of {hdu.shape} do not fit {plane.shape}")
    if plane.dtype == hdu.stored_type and plane.flags.c_contiguous and hdu.is_plain:
        file.seek(hdu.start + first * hdu.shape[1] * plane.itemsize)
        _fill(file, plane, hdu)
    else:
        plane[...] = read_pixels(hdu, rows)


def _fill(file: Any, part: Array, hdu: Hdu) -> None:
    view = part.view("u1").data.cast("B") if part.size else memoryview(b"")
    filled = 0
    while filled < len(view):
        got = file.readinto(view[filled:])
        if not got:
            raise DataError(f"{hdu.where}: truncated while it was read")
        filled += got


def _physical(values: Array, header: Any) -> Array:
    """Apply BSCALE and BZERO; unsigned integers stay integers."""
    scale, zero = header.get("BSCALE", 1), header.get("BZERO", 0)
    if scale == 1 and zero == 0:
        return values
    unsigned = {("i2", 1 << 15): "u2", ("i4", 1 << 31): "u4"}.get((values.dtype.str[1:], zero))
    if scale == 1 and unsigned:
        return (values.astype("i8") + int(zero)).astype(unsigned)
    return (values * np.float64(scale) + np.float64(zero)).astype("f4" if values.itemsize <= 2 else "f8")
