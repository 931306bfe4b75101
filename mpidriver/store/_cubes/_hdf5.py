"""Cubes in HDF5 files: as CARTA writes them, ``/0/DATA`` with header values as its group's attributes, or alone."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from astropy.io import fits

from mpidriver.errors import DataError
from mpidriver.store._cubes._axes import CubeAxes, find_axes, sky_header
from mpidriver.store._cubes._channels import header_frequencies, spectral_cards
from mpidriver.store._cubes._raw import raw_cube
from mpidriver.store._cubes._source import ALL, Array, CubeSource
from mpidriver.store._fits._scan import quiet

__all__ = ["USUAL_DATASET", "Hdf5Cube", "create_dataset", "dataset_offset", "open_hdf5", "read_dataset"]

USUAL_DATASET = "0/DATA"


@dataclass(frozen=True)
class Hdf5Cube(CubeSource):
    """A cube in chunks, which may be compressed."""

    dataset: str
    """Its name in the file."""
    axes: CubeAxes
    """Which axis is which."""

    def read(self, rows: slice, cols: slice, chans: slice = ALL) -> Array:
        """Return a region, (chan, row, col)."""
        wanted: list[Any] = list(self.axes.at)
        wanted[self.axes.chan], wanted[self.axes.row], wanted[self.axes.col] = chans, rows, cols
        with _opened(Path(self.path)) as file:
            try:
                region: Array = file[self.dataset][tuple(wanted)]
            except OSError as error:
                raise DataError(f"{self.path}: a region of {self.dataset} cannot be read: {error}") from None
        return region.transpose(self.axes.order)


def open_hdf5(path: Path, stokes: str | None) -> CubeSource:
    """Open the cube of an HDF5 file; one that is not in chunks is read without the library."""
    with _opened(path) as file:
        dataset = _find_dataset(path, file)
        header = _header(dataset)
        axes = find_axes(dataset.shape, header, str(path), stokes)
        offset = dataset.id.get_offset()
        if offset is not None and not dataset.external:
            return raw_cube(path, axes, header, stored=dataset.dtype.str, offset=offset)
        chunks = dataset.chunks or dataset.shape
        return Hdf5Cube(
            path=str(path.resolve()),
            shape=axes.cube_shape,
            header_text=sky_header(header, axes).tostring(),
            freq_hz=header_frequencies(header, axes),
            spectral_header=spectral_cards(header, axes),
            granularity=(chunks[axes.row], chunks[axes.col]),
            bytes_a_pixel=axes.cube_shape[0] * dataset.dtype.itemsize,
            stored=dataset.dtype.str,
            spectral_last=chunks[axes.chan] == axes.cube_shape[0],
            dataset=dataset.name,
            axes=axes,
        )


def create_dataset(path: Path, shape: tuple[int, ...], dtype: Any, header: Any) -> None:
    """Make a file with one contiguous dataset without values; header values become attributes of its group."""
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_layout(h5py.h5d.CONTIGUOUS)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    layout.set_obj_track_times(False)
    group_name, _, name = USUAL_DATASET.rpartition("/")
    with h5py.File(path, "w", libver="earliest", locking=False) as file:
        group = file.create_group(group_name)
        for key, value in header.items():
            if isinstance(value, (str, bool, int, float)):
                group.attrs[key] = value
        kind = h5py.h5t.py_create(dtype.newbyteorder("<"))
        h5py.h5d.create(group.id, name.encode(), kind, h5py.h5s.create_simple(tuple(shape)), layout)


def dataset_offset(path: Path) -> int:
    """Return where the values of the dataset that `create_dataset` has made begin."""
    with _opened(path) as file:
        return int(file[USUAL_DATASET].id.get_offset())


def read_dataset(path: Path, rows: slice) -> Array:
    """Return the usual dataset of a file, or some of its rows."""
    with _opened(path) as file:
        if not isinstance(file.get(USUAL_DATASET), h5py.Dataset):
            raise DataError(f"{path}: no dataset {USUAL_DATASET}")
        values: Array = file[USUAL_DATASET][..., rows, :]
    return values


def _opened(path: Path) -> Any:
    try:
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        raise DataError(f"{path}: cannot be read as HDF5: {error}") from None


def _find_dataset(path: Path, file: Any) -> Any:
    if isinstance(file.get(USUAL_DATASET), h5py.Dataset):
        return file[USUAL_DATASET]
    found: list[Any] = []
    file.visititems(lambda _, item: found.append(item) if _is_cube(item) else None)
    largest = max((math.prod(item.shape) for item in found), default=0)
    found = [item for item in found if math.prod(item.shape) == largest]
    if len(found) != 1:
        names = ", ".join(item.name for item in found) or "none"
        raise DataError(f"{path}: expected the dataset {USUAL_DATASET} or one of three axes or more, found {names}")
    return found[0]


def _is_cube(item: Any) -> bool:
    return isinstance(item, h5py.Dataset) and item.ndim >= 3 and item.dtype.kind in "fiu"


def _header(dataset: Any) -> Any:
    """Return the attributes of a dataset and its group as a FITS header."""
    header = fits.Header()
    with quiet():
        for holder in (dataset.parent, dataset):
            for key, value in holder.attrs.items():
                plain = _plain(value)
                if plain is not None and key.isascii() and len(key) <= 8 and key not in ("HISTORY", "COMMENT", ""):
                    header[key.upper()] = plain
    return header


def _plain(value: Any) -> Any:
    """Return an attribute as a FITS header can hold it, none if it cannot."""
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    if isinstance(value, np.ndarray):
        if value.size != 1:
            return None
        value = value.reshape(())[()]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, bool, int, float)) else None
