"""Regions of maps: images of the sky alone, beside cubes."""

import os
from pathlib import Path

import numpy as np

from mpidriver.errors import DataError
from mpidriver.store._cubes._files import HDF5_SUFFIX
from mpidriver.store._cubes._source import Array
from mpidriver.store._fits._readers import read_image

__all__ = ["read_map"]


def read_map(path: str | os.PathLike[str], rows: slice, cols: slice) -> Array:
    """Return a region (row, col) of a map in FITS or HDF5; degenerate axes before the two of the sky are dropped."""
    path = Path(path)
    if path.suffix == HDF5_SUFFIX:
        from mpidriver.store._cubes._hdf5 import read_dataset

        values = read_dataset(path, rows)
    else:
        values = read_image(path, rows=rows)[0]
    if np.prod(values.shape[:-2], dtype=int) != 1:
        raise DataError(f"{path}: expected one image of the sky, found shape {values.shape}")
    return values.reshape(values.shape[-2:])[:, cols]
