"""Cubes that are made at their full size and filled by regions, in any order, by any number of processes.

A cube keeps a partial name, ``.partial-<verb>-<name>``, until all of it is written: `publish_cubes` gives it its own.
The name does not change between runs, so that a later run can go on with it. The space is reserved at once: a disk that
is too full says so before anything is computed.
"""

import ctypes
import errno
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from mpidriver.errors import DataError, RepositoryError
from mpidriver.store._atomic import PARTIAL_PREFIX, make_directory, publish, refusals_named
from mpidriver.store._fits._images import ImagePlane, image_plane
from mpidriver.store._fits._scan import padded

__all__ = ["HDF5_SUFFIX", "CubeFile", "NewCube", "RegionWriter", "create_cubes", "find_cubes", "publish_cubes"]

HDF5_SUFFIX = ".h5"

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class CubeFile:
    """A file of one cube, or map, that is being filled."""

    path: str
    """Its final name."""
    partial: str
    """Its name until it is whole."""
    shape: tuple[int, ...]
    """(plane, row, col) or (row, col)."""
    stored: str
    """Type of its values on disk, as ``>f4``."""
    start: int
    """Offset of the first value in bytes."""
    size: int
    """Bytes of the whole file."""

    @property
    def is_there(self) -> bool:
        """Whether the file exists at its full size under its partial name."""
        return os.path.isfile(self.partial) and os.path.getsize(self.partial) == self.size

    @property
    def is_published(self) -> bool:
        """Whether a file of that size has the final name."""
        return os.path.isfile(self.path) and os.path.getsize(self.path) == self.size


@dataclass(frozen=True)
class NewCube:
    """A cube that is to be made."""

    path: Path
    """Its final name; the suffix ``.h5`` makes it HDF5, others FITS."""
    shape: tuple[int, ...]
    """(plane, row, col) or (row, col)."""
    dtype: Any
    """float32, float64 or int32."""
    header: Any
    """`astropy.io.fits.Header`: coordinates of all axes and further values."""


class RegionWriter:
    """Writes one region of several cubes; when the ``with`` block ends without an error it is on disk.

    Parameters
    ----------
    files
        Name to cube.
    rows, cols
        The region.
    """

    def __init__(self, files: Mapping[str, CubeFile], rows: slice, cols: slice) -> None:
        self._files = files
        self._rows, self._cols = rows, cols
        self._descriptors: dict[str, int] = {}
        self._kinds = {name: np.dtype(file.stored) for name, file in files.items()}

    def __enter__(self) -> "RegionWriter":
        try:
            for name, file in self._files.items():
                with refusals_named(Path(file.path)):
                    self._descriptors[name] = os.open(file.partial, os.O_WRONLY)
        except BaseException:
            self._close()
            raise
        return self

    def write(self, name: str, plane: int, values: Array) -> None:
        """Write the region of one plane; `values` (row, col) are of the cube's stored type, contiguous."""
        file = self._files[name]
        if values.dtype != self._kinds[name] or not values.flags.c_contiguous:
            raise DataError(f"{file.path}: expected contiguous values of type {file.stored}, got {values.dtype.str}")
        rows, cols = self._rows, self._cols
        width, height, item = file.shape[-1], file.shape[-2], values.itemsize
        first = file.start + ((plane * height + rows.start) * width + cols.start) * item
        lines = [values] if cols.stop - cols.start == width else values.reshape(rows.stop - rows.start, -1)
        try:
            for offset, line in enumerate(lines):
                _write_all(self._descriptors[name], line, first + offset * width * item)
        except OSError as error:
            with refusals_named(Path(file.path)):
                raise error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                for name, descriptor in self._descriptors.items():
                    with refusals_named(Path(self._files[name].path)):
                        os.fdatasync(descriptor)
        finally:
            self._close()

    def _close(self) -> None:
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors = {}


def _write_all(descriptor: int, values: Array, offset: int) -> None:
    written = os.pwrite(descriptor, values.data, offset)
    while written < values.nbytes:
        written += os.pwrite(descriptor, values.data.cast("B")[written:], offset + written)


def create_cubes(cubes: Mapping[str, NewCube], *, verb: str) -> dict[str, CubeFile]:
    """Make cubes at their full size under partial names.

    Parameters
    ----------
    cubes
        Name to what is to be made.
    verb
        Part of the partial names.

    Raises
    ------
    RepositoryError
        If there is no room, or the file system refuses otherwise; nothing is left behind then.
    """
    try:
        for cube in cubes.values():
            with refusals_named(cube.path):
                make_directory(cube.path.parent)
                _create(cube, _partial(cube.path, verb))
    except BaseException:
        for cube in cubes.values():
            _partial(cube.path, verb).unlink(missing_ok=True)
        raise
    return {name: _describe(cube, _partial(cube.path, verb)) for name, cube in cubes.items()}


def find_cubes(cubes: Mapping[str, NewCube], *, verb: str, filled: bool) -> dict[str, CubeFile] | None:
    """Return the cubes that an earlier run has made, none unless all are there at their full size.

    Parameters
    ----------
    cubes, verb
        As for `create_cubes`.
    filled
        Whether they are filled: then some or all may have their final names.
    """
    found: dict[str, CubeFile] = {}
    for name, cube in cubes.items():
        partial = _partial(cube.path, verb)
        if not partial.is_file() and not (filled and cube.path.is_file()):
            return None
        file = _describe(cube, partial)
        if not (file.is_there or (filled and file.is_published)):
            return None
        found[name] = file
    return found


def _partial(path: Path, verb: str) -> Path:
    return path.with_name(f"{PARTIAL_PREFIX}{verb}-{path.name}")


def publish_cubes(files: Sequence[CubeFile]) -> None:
    """Give cubes that are whole their final names; those that have them already are left alone."""
    for file in files:
        if os.path.exists(file.partial):
            with refusals_named(Path(file.path)):
                publish(Path(file.partial), Path(file.path))
        elif not file.is_published:
            raise RepositoryError(f"{file.path}: its partial file {Path(file.partial).name} has gone; run it again")


def _create(cube: NewCube, partial: Path) -> None:
    partial.unlink(missing_ok=True)
    if cube.path.suffix == HDF5_SUFFIX:
        from mpidriver.store._cubes._hdf5 import create_dataset

        create_dataset(partial, cube.shape, np.dtype(cube.dtype), cube.header)
    else:
        partial.write_bytes(_fits_plane(cube).header)
    with open(partial, "r+b") as file:
        _reserve(file.fileno(), _describe(cube, partial).size)


def _describe(cube: NewCube, partial: Path) -> CubeFile:
    """Say where the values lie in a file that is there under its partial or its final name."""
    if cube.path.suffix == HDF5_SUFFIX:
        from mpidriver.store._cubes._hdf5 import dataset_offset

        order, start = "<", dataset_offset(partial if partial.exists() else cube.path)
        size = start + cube_bytes(cube.shape, cube.dtype)
    else:
        plane = _fits_plane(cube)
        order, start = ">", len(plane.header)
        size = start + padded(plane.data_bytes)
    stored = np.dtype(cube.dtype).newbyteorder(order).str
    return CubeFile(str(cube.path), str(partial), tuple(cube.shape), stored, start, size)


def _fits_plane(cube: NewCube) -> ImagePlane:
    where, kind = str(cube.path), np.dtype(cube.dtype)
    return image_plane(tuple(cube.shape), kind, where, wcs=cube.header, values=dict(cube.header), extension=None)


def _reserve(descriptor: int, size: int) -> None:
    """Reserve the blocks of a whole file, where the file system can; elsewhere only its length is set.

    glibc's posix_fallocate would write to every block instead, for hours.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.fallocate(descriptor, 0, ctypes.c_int64(0), ctypes.c_int64(size)) != 0:
        number = ctypes.get_errno()
        if number not in (errno.EOPNOTSUPP, errno.ENOSYS):
            raise OSError(number, os.strerror(number))
    os.ftruncate(descriptor, size)


def cube_bytes(shape: Sequence[int], dtype: Any) -> int:
    """Return the bytes of a cube's values."""
    return int(math.prod(shape) * np.dtype(dtype).itemsize)
