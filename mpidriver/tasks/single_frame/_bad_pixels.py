"""Interpolation over bad pixels, so that filters, detection and resampling meet no holes."""

import numpy as np
from scipy import ndimage

from mpidriver.tasks.image import MaskedImage, MaskPlane

__all__ = ["interpolate_bad_pixels", "require_signal"]

from mpidriver.errors import DataError

#: Half width of the window and sigma of the weights, px.
_HALF = 4
_SIGMA_PX = 1.0
#: Each pass reaches `_HALF` pixels further into a hole.
_PASSES = 4
_CHUNK = 200_000

_UNUSABLE = MaskPlane.BAD | MaskPlane.SATURATED | MaskPlane.COSMIC_RAY | MaskPlane.NO_DATA


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
    good = frame.image[(frame.mask & _UNUSABLE) == 0]
    if good.size == 0:
        count = int(np.count_nonzero(frame.mask & MaskPlane.SATURATED))
        raise DataError(f"empty frame: every pixel is masked ({count} of {frame.mask.size} are saturated)")
    if good.min() == good.max():
        raise DataError(f"empty frame: all {good.size} good pixels have the same value, {good[0]:g} e")


def interpolate_bad_pixels(frame):
    """Return `frame` with bad pixels replaced by a Gaussian-weighted mean of the good ones around them.

    The weights fall with sigma = 1 px, so that a bad column takes the mean of its two neighbours. Holes are filled
    from the rim inwards to a depth of 16 px; what lies deeper keeps its number if it has one (the middle of a
    saturated star), or becomes NO_DATA.

    Parameters
    ----------
    frame : MaskedImage
        Pixels flagged BAD, SATURATED, COSMIC_RAY or NO_DATA are bad.

    Returns
    -------
    MaskedImage
        Filled pixels carry INTERPOLATED beside their reason, and no NO_DATA any more but BAD instead.
    """
    bad = (frame.mask & _UNUSABLE) != 0
    if not bad.any():
        return frame
    image, variance, mask = frame.image.copy(), frame.variance.copy(), frame.mask.copy()
    for _ in range(_PASSES):
        near = bad & ~ndimage.minimum_filter(bad, size=2 * _HALF + 1, mode="nearest")
        if not near.any():
            break
        _fill(image, variance, bad, *np.nonzero(near))
        mask[near] |= MaskPlane.INTERPOLATED
        bad &= ~near
    return _finish(image, variance, mask)


def _finish(image, variance, mask):
    filled = (mask & MaskPlane.INTERPOLATED) != 0
    no_number = filled & ((mask & MaskPlane.NO_DATA) != 0)
    mask[no_number] = (mask[no_number] & ~np.int32(MaskPlane.NO_DATA)) | MaskPlane.BAD
    deep = ~np.isfinite(variance)
    variance[deep & np.isfinite(image)] = np.nanmedian(variance)
    return MaskedImage(image, variance, mask)


def _fill(image, variance, bad, rows, cols):
    """Fill the pixels (rows, cols) in place from the pixels that are not `bad`."""
    offsets = np.arange(-_HALF, _HALF + 1)
    kernel = np.exp(-0.5 * (offsets[:, None] ** 2 + offsets**2) / _SIGMA_PX**2).astype(np.float32)
    padded = [np.pad(plane, _HALF) for plane in (np.where(bad, 0, image), np.where(bad, 0, variance), ~bad)]
    for start in range(0, rows.size, _CHUNK):
        at_row, at_col = rows[start : start + _CHUNK], cols[start : start + _CHUNK]
        index = (at_row[:, None, None] + offsets[:, None] + _HALF, at_col[:, None, None] + offsets + _HALF)
        weight = kernel * padded[2][index]
        total = weight.sum(axis=(1, 2))
        image[at_row, at_col] = (weight * padded[0][index]).sum(axis=(1, 2)) / total
        variance[at_row, at_col] = (weight * padded[1][index]).sum(axis=(1, 2)) / total
