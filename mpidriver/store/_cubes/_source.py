"""A cube as work is done on it: opened once, sent to the ranks as a small record, read there by regions."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mpidriver.errors import DataError

__all__ = ["ALL", "CubeSource", "open_cube"]

ALL = slice(None)
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class CubeSource:
    """A cube of channels (or Faraday depths), rows and columns in a file, of which regions can be read."""

    path: str
    """The file, or the folder of a CASA image."""
    shape: tuple[int, int, int]
    """Channels, rows and columns; degenerate axes are left out, one Stokes parameter is chosen."""
    header_text: str
    """The header of the sky, with what else was said of the cube."""
    freq_hz: tuple[float, ...] | None
    """Frequencies that the header gives, none if it has no linear axis of frequency."""
    spectral_header: tuple[tuple[str, Any], ...]
    """CTYPE, CRVAL, CRPIX, CDELT and CUNIT of the spectral axis."""
    granularity: tuple[int, int]
    """Rows and columns that are best read together: those of a chunk."""
    bytes_a_pixel: int
    """What reading takes of memory for each pixel of the sky."""

    stored: str
    """Type of a stored value, as ``>f4``."""
    spectral_last: bool
    """Whether the values of one pixel lie side by side, so that reading one channel takes as long as reading all."""

    def read(self, rows: slice, cols: slice, chans: slice = ALL) -> Array:
        """Return a region, (chan, row, col), as it is stored: byte order and order of axes in memory are any."""
        raise NotImplementedError

    @property
    def header(self) -> Any:
        """Header of the sky, `astropy.io.fits.Header`: two axes, and what else was said of the cube."""
        from astropy.io import fits

        return fits.Header.fromstring(self.header_text)

    def identity(self) -> tuple[Any, ...]:
        """Return what changes when somebody writes the file anew: sizes and times of change."""
        path = Path(self.path)
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        facts = [(str(file), file.stat()) for file in files if file.name != "table.lock"]
        return tuple((name, status.st_size, status.st_mtime_ns) for name, status in facts)


def open_cube(path: str | os.PathLike[str], *, stokes: str | None = None) -> CubeSource:
    """Open a cube for reading by regions: FITS, HDF5 or a CASA image.

    Parameters
    ----------
    path
        An uncompressed FITS file, an HDF5 file, or the folder of a CASA image.
    stokes
        "I", "Q", "U" or "V": which one of a STOKES axis longer than 1.

    Raises
    ------
    DataError
        If the file is missing, of another kind, truncated, or has not one spectral and two sky axes.
    """
    path = Path(path)
    if path.is_dir():
        from mpidriver.store._cubes._casa import open_casa

        return open_casa(path, stokes)
    try:
        with open(path, "rb") as file:
            begin = file.read(8)
    except OSError as error:
        raise DataError(f"{path}: cannot be read, {error.strerror}") from None
    if begin == b"\x89HDF\r\n\x1a\n":
        from mpidriver.store._cubes._hdf5 import open_hdf5

        return open_hdf5(path, stokes)
    if begin[:2] in (b"\x1f\x8b", b"BZ"):
        raise DataError(f"{path}: regions of a compressed file cannot be read; uncompress it (gunzip, bunzip2) first")
    from mpidriver.store._cubes._raw import open_fits

    return open_fits(path, stokes)
