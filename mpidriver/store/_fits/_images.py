"""Writing images as FITS: whole, or by blocks of rows; equal input gives equal bytes."""

import contextlib
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from astropy.io import fits

from mpidriver.errors import DataError
from mpidriver.store._atomic import atomic_path
from mpidriver.store._digest import HashingWriter, WrittenFile
from mpidriver.store._fits._headers import extra_cards, mask_plane_cards, wcs_cards
from mpidriver.store._fits._scan import padded
from mpidriver.store._fits._tables import table_pieces
from mpidriver.store._provenance import provenance_values

__all__ = [
    "ImagePlane",
    "ImageWriter",
    "MaskedImageWriter",
    "WrittenFile",
    "image_plane",
    "write_image",
    "write_images",
    "write_masked_image",
]

#: Values are converted to big-endian in pieces of this size, which stay in the cache.
_CHUNK_BYTES = 1 << 20

#: Type of an array -> BITPIX, type on disk and BZERO.
_STORED = {
    np.dtype("u1"): (8, ">u1", 0),
    np.dtype("?"): (8, ">u1", 0),
    np.dtype("i2"): (16, ">i2", 0),
    np.dtype("u2"): (16, ">i2", 1 << 15),
    np.dtype("i4"): (32, ">i4", 0),
    np.dtype("u4"): (32, ">i4", 1 << 31),
    np.dtype("i8"): (64, ">i8", 0),
    np.dtype("f4"): (-32, ">f4", 0),
    np.dtype("f8"): (-64, ">f8", 0),
}

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class ImagePlane:
    """One image HDU: its header and how its values are stored."""

    header: bytes
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def data_bytes(self) -> int:
        return math.prod(self.shape) * abs(_STORED[self.dtype][0]) // 8


def write_image(
    path: str | os.PathLike[str], image: Array, *, wcs: Any = None, header: Mapping[str, Any] | None = None
) -> WrittenFile:
    """Write an image or cube as a FITS file of one HDU, atomically.

    Parameters
    ----------
    path
        The file.
    image : ndarray, shape (…, row, col)
        Integers, booleans (stored as bytes) or floats.
    wcs
        `astropy.wcs.WCS`, header or header text.
    header
        Further values, see `mpidriver.store` on headers.
    """
    plane = image_plane(image.shape, image.dtype, str(path), wcs=wcs, values=header or {}, extension=None)
    return _write(path, [(plane, image)])


def write_images(
    path: str | os.PathLike[str], images: Iterable[tuple[str, Array, Any, Mapping[str, Any]]]
) -> WrittenFile:
    """Write images or cubes as the extensions of one FITS file, atomically; they may differ in shape and type.

    Parameters
    ----------
    path
        The file.
    images
        Of each its name, which becomes EXTNAME, pixels (…, row, col), coordinates and further header values, as for
        `write_image`; taken one after the other, so that not all need be in memory.
    """
    primary = fits.Header([("SIMPLE", True), ("BITPIX", 8), ("NAXIS", 0), ("EXTEND", True)])
    with atomic_path(path) as partial, open(partial, "wb") as file:
        out = HashingWriter(file)
        out.write(primary.tostring().encode("ascii"))
        for name, image, wcs, header in images:
            plane = image_plane(image.shape, image.dtype, str(path), wcs=wcs, values=header, extension=name)
            _append(out, plane, image)
    return WrittenFile(Path(path), out.digest, out.size)


def write_masked_image(
    path: str | os.PathLike[str],
    image: Array,
    variance: Array,
    mask: Array,
    *,
    mask_planes: Mapping[str, int],
    wcs: Any = None,
    header: Mapping[str, Any] | None = None,
    extra: Mapping[str, Array] | None = None,
    tables: Mapping[str, tuple[Array, Mapping[str, str]]] | None = None,
) -> WrittenFile:
    """Write an image with variance and mask as a FITS file of three HDUs, atomically.

    Parameters
    ----------
    path
        The file.
    image, variance : ndarray of float32, shape (row, col)
        Primary HDU and extension VARIANCE.
    mask : ndarray of int32, shape (row, col)
        Extension MASK.
    mask_planes
        Name of each mask plane to its bit, kept as ``MP_<NAME> = <bit>``.
    wcs
        `astropy.wcs.WCS`, header or header text, repeated in each HDU.
    header
        Further values of the primary header.
    extra
        Name to further planes of the same shape, each an extension of that name.
    tables
        Name to a table and the units of its columns, each an extension after the planes; `read_table` reads it by name.
    """
    planes = {"VARIANCE": variance, "MASK": mask, **(extra or {})}
    for name, plane in planes.items():
        if plane.shape != image.shape:
            raise DataError(f"{path}: {name} has shape {plane.shape}, the image {image.shape}")
    types = {name: plane.dtype for name, plane in planes.items()}
    headers = _masked_planes(path, image.shape, image.dtype, types, wcs, header or {}, mask_planes)
    last = [table_pieces(table, str(path), units=units, name=name) for name, (table, units) in (tables or {}).items()]
    return _write(path, list(zip(headers, [image, *planes.values()], strict=True)), last)


def _masked_planes(
    path: str | os.PathLike[str],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    types: Mapping[str, np.dtype[Any]],
    wcs: Any,
    header: Mapping[str, Any],
    mask_planes: Mapping[str, int],
) -> list[ImagePlane]:
    where = str(path)
    coordinates = wcs_cards(wcs, len(shape))
    names = mask_plane_cards(mask_planes, where=where)
    planes = [image_plane(shape, dtype, where, wcs=coordinates, values=header, extension=None, extended=True)]
    for name, kind in types.items():
        cards = names if name == "MASK" else []
        planes.append(image_plane(shape, kind, where, wcs=coordinates, values={}, extension=name, cards=cards))
    return planes


def image_plane(
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    where: str,
    *,
    wcs: Any,
    values: Mapping[str, Any],
    extension: str | None,
    extended: bool = False,
    cards: list[Any] | None = None,
) -> ImagePlane:
    """Lay out one image HDU; `extension` is its name, none for the primary."""
    if extension is None:
        values = {**values, **provenance_values()}
    native = dtype.newbyteorder("=")
    if native not in _STORED:
        raise DataError(f"{where}: FITS cannot hold {dtype}; known: {', '.join(str(kind) for kind in _STORED)}")
    bitpix, _, zero = _STORED[native]
    header = fits.Header()
    header["XTENSION" if extension else "SIMPLE"] = "IMAGE   " if extension else True
    header["BITPIX"] = bitpix
    header["NAXIS"] = len(shape)
    for axis, length in enumerate(reversed(shape), start=1):
        header[f"NAXIS{axis}"] = length
    if extension:
        header["PCOUNT"], header["GCOUNT"], header["EXTNAME"] = 0, 1, extension
    elif extended:
        header["EXTEND"] = True
    if zero:
        header["BSCALE"], header["BZERO"] = 1, zero
    header.extend(wcs_cards(wcs, len(shape)).cards, end=True)
    header.extend(cards or [], end=True)
    header.extend(extra_cards(values, where=where, taken=set(header)), end=True)
    return ImagePlane(header.tostring().encode("ascii"), shape, native)


def _write(
    path: str | os.PathLike[str], planes: list[tuple[ImagePlane, Array]], last: Iterable[Iterable[Any]] = ()
) -> WrittenFile:
    """Write planes, and then HDUs that come as pieces of bytes."""
    with atomic_path(path) as partial, open(partial, "wb") as file:
        out = HashingWriter(file)
        for plane, array in planes:
            _append(out, plane, array)
        for pieces in last:
            for piece in pieces:
                out.write(piece)
            out.write(bytes(padded(out.size) - out.size))
    return WrittenFile(Path(path), out.digest, out.size)


def _append(out: HashingWriter, plane: ImagePlane, array: Array) -> None:
    out.write(plane.header)
    for piece in stored_pieces(array):
        out.write(piece)
    out.write(bytes(padded(out.size) - out.size))


def stored_pieces(array: Array) -> Iterator[Array]:
    """Yield an array's values as they are stored, in C order, a piece at a time."""
    _, stored, zero = _STORED[array.dtype.newbyteorder("=")]
    flat = np.ascontiguousarray(array).reshape(-1)
    step = _CHUNK_BYTES // flat.itemsize
    for start in range(0, flat.size, step):
        piece = flat[start : start + step]
        if zero:
            piece = piece.astype("i8") - zero
        yield piece.astype(stored)


class ImageWriter:
    """Writes an image or cube by blocks of rows, so that it never is in memory as a whole.

    Use it in a ``with`` block; the file appears when the block ends and every row was written.

    Parameters
    ----------
    path
        The file.
    shape
        Shape (…, row, col) of the whole.
    dtype
        Type of its values.
    wcs, header
        As for `write_image`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        shape: tuple[int, ...],
        dtype: Any = np.float32,
        *,
        wcs: Any = None,
        header: Mapping[str, Any] | None = None,
    ) -> None:
        plane = image_plane(tuple(shape), np.dtype(dtype), str(path), wcs=wcs, values=header or {}, extension=None)
        self._writer = _RowWriter(path, [plane])

    def write(self, first_row: int, block: Array) -> None:
        """Write the rows from `first_row` on; `block` has shape (…, row, col)."""
        self._writer.write(first_row, [block])

    def __enter__(self) -> "ImageWriter":
        self._writer.open()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._writer.close(*exception)


class MaskedImageWriter:
    """Writes an image with variance and mask by blocks of rows; see `ImageWriter` and `write_masked_image`.

    Parameters
    ----------
    path, wcs, header, mask_planes
        As for `write_masked_image`.
    shape
        Shape (row, col) of the whole.
    extra
        Name to type of further planes.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        shape: tuple[int, int],
        *,
        mask_planes: Mapping[str, int],
        wcs: Any = None,
        header: Mapping[str, Any] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        kinds = {"VARIANCE": np.float32, "MASK": np.int32, **(extra or {})}
        types = {name: np.dtype(kind) for name, kind in kinds.items()}
        self._extra = list(extra or {})
        planes = _masked_planes(path, tuple(shape), np.dtype(np.float32), types, wcs, header or {}, mask_planes)
        self._writer = _RowWriter(path, planes)

    def write(
        self, first_row: int, image: Array, variance: Array, mask: Array, extra: Mapping[str, Array] | None = None
    ) -> None:
        """Write the rows from `first_row` on of each plane."""
        self._writer.write(first_row, [image, variance, mask, *((extra or {})[name] for name in self._extra)])

    def __enter__(self) -> "MaskedImageWriter":
        self._writer.open()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._writer.close(*exception)


class _RowWriter:
    """Writes blocks of rows of several planes to their places in one file."""

    def __init__(self, path: str | os.PathLike[str], planes: list[ImagePlane]) -> None:
        self._path = Path(path)
        self._planes = planes
        self._starts: list[int] = []
        self._written = np.zeros(planes[0].shape[-2], dtype=bool)
        self._stack = contextlib.ExitStack()

    def open(self) -> None:
        with contextlib.ExitStack() as stack:
            partial = stack.enter_context(atomic_path(self._path))
            self._file: IO[bytes] = stack.enter_context(open(partial, "wb"))
            for plane in self._planes:
                self._starts.append(self._file.tell() + len(plane.header))
                self._file.write(plane.header)
                self._file.truncate(self._starts[-1] + padded(plane.data_bytes))
                self._file.seek(0, os.SEEK_END)
            self._stack = stack.pop_all()

    def write(self, first_row: int, blocks: list[Array]) -> None:
        rows = blocks[0].shape[-2]
        for plane, start, block in zip(self._planes, self._starts, blocks, strict=True):
            self._write_plane(plane, start, first_row, block)
        self._written[first_row : first_row + rows] = True

    def _write_plane(self, plane: ImagePlane, start: int, first_row: int, block: Array) -> None:
        expected = (*plane.shape[:-2], block.shape[-2], plane.shape[-1])
        if block.shape != expected or not 0 <= first_row <= plane.shape[-2] - block.shape[-2]:
            raise DataError(
                f"{self._path}: a block of shape {block.shape} from row {first_row} does not fit shape {plane.shape}"
            )
        row_bytes = plane.data_bytes // max(math.prod(plane.shape[:-1]), 1)
        for number, image in enumerate(block.reshape(-1, *block.shape[-2:])):
            self._file.seek(start + (number * plane.shape[-2] + first_row) * row_bytes)
            for piece in stored_pieces(image.astype(plane.dtype, copy=False)):
                self._file.write(piece.data.cast("B"))

    def close(self, kind: Any, error: Any, traceback: Any) -> None:
        if kind is None and not self._written.all():
            missing = int(np.flatnonzero(~self._written)[0])
            error = DataError(f"{self._path}: row {missing} and {(~self._written).sum() - 1} others were not written")
            self._stack.__exit__(DataError, error, None)
            raise error
        self._stack.__exit__(kind, error, traceback)
