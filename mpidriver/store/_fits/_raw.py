"""Reading raw frames that others wrote: compressed, scaled, gzipped, with whatever headers, or broken."""

import contextlib
import os
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from mpidriver.errors import DataError
from mpidriver.store._fits._scan import quiet

__all__ = ["image_headers", "read_raw"]

Array = np.ndarray[Any, Any]


def read_raw(path: str | os.PathLike[str], hdu: int | str = 0) -> tuple[Array, Any]:
    """Read an image that an instrument or another program wrote.

    Parameters
    ----------
    path
        FITS file, also gzipped or with tile-compressed images.
    hdu
        Number or name of the HDU.

    Returns
    -------
    image : ndarray, shape (…, row, col)
        Physical values in the machine's byte order; blanks of integer images are NaN.
    header : astropy.io.fits.Header

    Raises
    ------
    DataError
        If the file is missing, empty, garbage or truncated, or has no such image.
    """
    with opened(path) as hdus:
        found = _find(path, hdus, hdu)
        check_complete(path, found)
        pixels = found.data
        if pixels is None or pixels.ndim < 2:
            raise DataError(f"{path}[{hdu}]: expected an image, the HDU has none")
        return np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("=")), found.header.copy()


def image_headers(path: str | os.PathLike[str]) -> tuple[Any, list[tuple[int, str, Any]]]:
    """Return the primary header, and number, name and header of each image HDU; no pixel is read.

    Raises
    ------
    DataError
        If the file is missing, empty, garbage or truncated.
    """
    with opened(path) as hdus:
        images = []
        for number, hdu in enumerate(hdus):
            if hdu.is_image and len(hdu.shape) >= 2:
                check_complete(path, hdu)
                images.append((number, str(hdu.name), hdu.header.copy()))
        return hdus[0].header.copy(), images


@contextlib.contextmanager
def opened(path: str | os.PathLike[str], **options: Any) -> Iterator[Any]:
    """Open a FITS file with astropy's options; whatever is wrong with it becomes a DataError that names it."""
    path = Path(path)
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path}: the file is empty, expected FITS")
        with _judging_ourselves(), fits.open(path, memmap=False, lazy_load_hdus=True, **options) as hdus:
            yield hdus
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, EOFError, ValueError, TypeError, KeyError, IndexError, zlib.error, fits.VerifyError) as error:
        raise DataError(f"{path}: not readable as FITS: {_first_line(error)}") from error


@contextlib.contextmanager
def _judging_ourselves() -> Iterator[None]:
    """Silence astropy's warnings: what they tell of a damaged file becomes an error that names it, or is harmless."""
    with quiet():
        warnings.simplefilter("ignore", AstropyUserWarning)
        yield


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _find(path: str | os.PathLike[str], hdus: Any, wanted: int | str) -> Any:
    try:
        return hdus[wanted]
    except (KeyError, IndexError):
        names = ", ".join(hdu.name or str(number) for number, hdu in enumerate(hdus))
        raise DataError(f"{path}: no HDU {wanted!r}; it has {names}") from None


def check_complete(path: str | os.PathLike[str], hdu: Any) -> None:
    """Raise a DataError if an HDU's data go beyond the end of an uncompressed file."""
    place = hdu.fileinfo()
    if isinstance(hdu, fits.CompImageHDU):
        return  # its size is that of the expanded image; what is missing shows when it is expanded
    if place is None or getattr(place.get("file"), "compression", None) not in (None, ""):
        return
    end, size = place["datLoc"] + hdu.size, os.path.getsize(path)
    if end > size:
        raise DataError(f"{path}[{hdu.name}]: truncated, the data end at byte {end:,} of a file of {size:,}")
