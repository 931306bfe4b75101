"""Interpolation over bad pixels, so that filters, detection and resampling meet no holes."""

import numpy as np
from scipy import ndimage

from mpidriver.errors import DataError
from mpidriver.tasks.image import BAD_PLANES, MaskedImage, MaskPlane
from mpidriver.tasks.windows import chunks, windows

__all__ = ["fill_pixels", "interpolate_bad_pixels", "require_content", "require_signal"]

#: Half width of the window and sigma of the weights, px.
_HALF = 4
_SIGMA_PX = 1.0
#: Each pass reaches `_HALF` pixels further into a hole.
_PASSES = 4
_CHUNK = 100_000


def require_content(image):
    """Raise `DataError` if a raw image is of one constant value: its calibration would give it a pattern.

    Parameters
    ----------
    image : ndarray, shape (row, col)

    Raises
    ------
    DataError
        If all its numbers are the same.
    """
    values = image[np.isfinite(image)]
    if values.size and values.min() == values.max():
        raise DataError(f"empty frame: all {values.size} raw pixels have the same value, {values[0]:g}")


def require_signal(frame):
    """Raise `DataError` if the good pixels of `frame` hold no signal at all.

    Parameters
    ----------
    frame : MaskedImage

    Raises
    ------
    DataError
        For a frame without a number, all masked or saturated, or of one constant value.
    """
    if not np.isfinite(frame.image).any():
        raise DataError("empty frame: no pixel holds a number (all NaN or infinite)")
    good = frame.image[(frame.mask & BAD_PLANES) == 0]
    if good.size == 0:
        count = int(np.count_nonzero(frame.mask & MaskPlane.SATURATED))
        raise DataError(f"empty frame: every pixel is masked ({count} of {frame.mask.size} are saturated)")
    if good.min() == good.max():
        raise DataError(f"empty frame: all {good.size} good pixels have the same value, {good[0]:g} e")


def interpolate_bad_pixels(frame):
    """Return `frame` with bad pixels replaced by a Gaussian-weighted mean of the good ones around them.

    The weights fall with sigma = 1 px, so that a bad column takes about the mean of its two neighbours. Holes are
    filled from the rim inwards to a depth of 16 px; what lies deeper keeps its number if it has one (the middle of a
    saturated star), or stays NO_DATA.

    Parameters
    ----------
    frame : MaskedImage
        Pixels flagged BAD, SATURATED, COSMIC_RAY or NO_DATA are bad.

    Returns
    -------
    MaskedImage
        Filled pixels carry INTERPOLATED beside their reason; NO_DATA turns to BAD where it was filled.
    """
    bad = (frame.mask & BAD_PLANES) != 0
    if not bad.any():
        return frame
    image, variance, mask = frame.image.copy(), frame.variance.copy(), frame.mask.copy()
    for _ in range(_PASSES):
        rows, cols = _rim(bad)
        filled = fill_pixels(image, variance, bad, rows, cols)
        rows, cols = rows[filled], cols[filled]
        if rows.size == 0:
            break
        bad[rows, cols] = False
        mask[rows, cols] |= MaskPlane.INTERPOLATED
    filled_holes = ((mask & MaskPlane.INTERPOLATED) != 0) & ((mask & MaskPlane.NO_DATA) != 0)
    mask[filled_holes] ^= MaskPlane.NO_DATA | MaskPlane.BAD
    unknown = ~np.isfinite(variance) & np.isfinite(image)
    variance[unknown] = np.nanmedian(variance)
    return MaskedImage(image, variance, mask)


def _rim(bad):
    """Return bad pixels, but those in the depth of large holes, which cannot be filled yet."""
    if np.count_nonzero(bad) > _CHUNK:
        bad = bad & ~ndimage.minimum_filter(bad, size=2 * _HALF + 1, mode="nearest")
    return np.nonzero(bad)


def fill_pixels(image, variance, bad, rows, cols):
    """Fill some pixels in place from those around them that are not bad, and tell which could be filled.

    Parameters
    ----------
    image, variance : ndarray of float32, shape (row, col)
        Changed in place.
    bad : ndarray of bool, shape (row, col)
    rows, cols : ndarray of int, shape (n,)

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    offsets = np.arange(-_HALF, _HALF + 1)
    kernel = np.exp(-0.5 * (offsets[:, None] ** 2 + offsets**2) / _SIGMA_PX**2).astype(np.float32)
    filled = np.zeros(rows.size, dtype=bool)
    values = np.zeros((2, rows.size), dtype=np.float32)
    for part in chunks(rows.size, _CHUNK):
        hidden = windows(bad, rows[part], cols[part], _HALF)
        weight = np.where(hidden, np.float32(0), kernel)
        total = weight.sum(axis=(1, 2))
        filled[part] = total > 0
        for plane, value in zip((image, variance), values, strict=True):
            around = np.where(hidden, np.float32(0), windows(plane, rows[part], cols[part], _HALF))
            value[part] = np.sum(weight * around, axis=(1, 2)) / np.where(total > 0, total, 1)
    at = rows[filled], cols[filled]
    image[at], variance[at] = values[:, filled]
    return filled
