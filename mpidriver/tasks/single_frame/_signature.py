"""Instrument signature: from counts to electrons, with the variance and mask that the detector implies.

Order of the steps: overscan, bias, cross-talk, linearity, dark, gain, flat. Every calibration is optional; the variance
comes from the companion weight map, or else from photon and read noise.
"""

import numpy as np
from scipy import ndimage

from mpidriver.errors import DataError
from mpidriver.tasks.image import MaskedImage, MaskPlane
from mpidriver.tasks.single_frame._crosstalk import crosstalk
from mpidriver.tasks.single_frame._linearity import linearise
from mpidriver.tasks.single_frame._records import Calibrations

__all__ = ["counts_above_bias", "remove_signature", "saturation_limit", "signal_counts", "subtract_overscan", "trim"]

#: Larger values are no signal, and their squares overflow float32.
_FINITE_LIMIT = 1e18


def remove_signature(raw, calibrations=None, *, saturation_grow_px=0):
    """Return the frame in electrons, its variance and its mask, bad pixels still at their own values.

    Parameters
    ----------
    raw : RawFrame
    calibrations : Calibrations, optional
    saturation_grow_px : int
        Saturated pixels are grown by this many.

    Returns
    -------
    MaskedImage
        Shape of the science region; electrons, bad pixels BAD, SATURATED or, where there is no number, NO_DATA.

    Raises
    ------
    DataError
        If a companion or calibration has another shape, or no gain is known.
    """
    calibrations = calibrations or Calibrations()
    signal = _linear_counts(raw, calibrations) * np.float32(raw.gain)
    mask = detector_mask(raw, calibrations, saturation_grow_px)
    variance = noise_variance(raw, calibrations, signal)
    if calibrations.dark is not None:
        signal -= calibrations.dark * np.float32(raw.exptime_s * raw.gain)
    if calibrations.flat is not None:
        signal, variance = _divide_by_flat(signal, variance, calibrations.flat, raw.weight is not None)
    return _blank(signal, variance, mask)


def signal_counts(raw, calibrations):
    """Return the counts above overscan, bias and dark, from which calibration frames are made.

    Parameters
    ----------
    raw : RawFrame
    calibrations : Calibrations

    Returns
    -------
    ndarray of float32, shape (row, col)
        ADU; NaN where saturated, masked or defect.

    Raises
    ------
    DataError
        If a companion or calibration has another shape.
    """
    counts = _linear_counts(raw, calibrations)
    if calibrations.dark is not None:
        counts = counts - np.asarray(calibrations.dark * raw.exptime_s, dtype=np.float32)
    return np.where(detector_mask(raw, calibrations) == 0, counts, np.float32(np.nan))


def counts_above_bias(raw, calibrations):
    """Return the science region without overscan and bias, float32, ADU, shape (row, col).

    Parameters
    ----------
    raw : RawFrame
    calibrations : Calibrations

    Raises
    ------
    DataError
        If a companion or calibration has another shape.
    """
    _check_raw(raw)
    counts = trim(subtract_overscan(raw.image, calibrations.overscan), calibrations.science)
    _check_shapes(calibrations, counts.shape)
    if calibrations.bias is not None:
        counts = counts - np.asarray(calibrations.bias, dtype=np.float32)
    return counts


def _linear_counts(raw, calibrations):
    """Return the counts above the bias without what other amplifiers add, in proportion to the light."""
    counts = counts_above_bias(raw, calibrations)
    if calibrations.couplings:
        counts = counts - crosstalk(calibrations.couplings, {calibrations.detector: counts}, counts.shape)
    if calibrations.spill is not None:
        counts = counts - np.asarray(calibrations.spill, dtype=np.float32)
    return counts if calibrations.linearity is None else linearise(counts, calibrations.linearity)


def subtract_overscan(image, region):
    """Return the counts as float32 with the overscan's median subtracted, a value for each line along the strip.

    Parameters
    ----------
    image : ndarray, shape (row, col), ADU
    region : tuple of int or None
        ``(x0, y0, x1, y1)``; a strip as tall as the image gives one value a row, one as wide as the image one a
        column, any other a single value.

    Returns
    -------
    ndarray of float32, shape (row, col)
    """
    counts = np.array(image, dtype=np.float32, order="C")
    if region is None:
        return counts
    strip = trim(counts, region)
    if strip.shape[0] == counts.shape[0]:
        return counts - np.median(strip, axis=1, keepdims=True)
    if strip.shape[1] == counts.shape[1]:
        return counts - np.median(strip, axis=0, keepdims=True)
    return counts - np.median(strip)


def trim(image, region):
    """Return the part of `image` within ``(x0, y0, x1, y1)``, all of it for None.

    Raises
    ------
    DataError
        If the region is empty or reaches over the edge.
    """
    if region is None:
        return image
    x0, y0, x1, y1 = region
    rows, cols = image.shape
    if not (0 <= x0 < x1 <= cols and 0 <= y0 < y1 <= rows):
        raise DataError(f"region {tuple(region)} (x0, y0, x1, y1) is not within the image of {rows} x {cols} pixels")
    return image[y0:y1, x0:x1]


def detector_mask(raw, calibrations, saturation_grow_px=0):
    """Return the mask that is known before looking at the sky: saturation, defects, companion mask and weight."""
    counts = trim(np.asarray(raw.image), calibrations.science)
    mask = np.zeros(counts.shape, dtype=np.int32)
    limit = saturation_limit(raw)
    if limit is not None:
        saturated = counts >= limit
        if saturation_grow_px and saturated.any():
            saturated = ndimage.maximum_filter(saturated, size=2 * saturation_grow_px + 1)
        mask[saturated] |= MaskPlane.SATURATED
    if calibrations.defects is not None:
        mask[np.asarray(calibrations.defects) != 0] |= MaskPlane.BAD
    if raw.mask is not None:
        mask[trim(np.asarray(raw.mask), calibrations.science) != 0] |= MaskPlane.BAD
    if raw.weight is not None:
        weight = trim(np.asarray(raw.weight), calibrations.science)
        mask[~(np.isfinite(weight) & (weight > 0))] |= MaskPlane.BAD
    return mask


def saturation_limit(raw):
    """Return the counts at which a pixel is saturated: what is known of it, or the end of an integer's range."""
    if raw.saturation is not None and np.isfinite(raw.saturation):
        return raw.saturation
    dtype = np.asarray(raw.image).dtype
    return np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else None


def noise_variance(raw, calibrations, signal):
    """Return the variance in e^2: the weight map's, or photon noise of `signal` (bias subtracted, e) plus read noise.

    Returns
    -------
    ndarray of float32, shape (row, col)
    """
    if raw.weight is None:
        return np.maximum(signal, 0) + np.float32(raw.read_noise**2)
    weight = np.array(trim(np.asarray(raw.weight), calibrations.science), dtype=np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(weight > 0, np.float32(raw.gain**2) / weight, np.float32(np.nan))


def _divide_by_flat(signal, variance, flat, variance_is_final):
    """Divide by the flat; a weight map already describes the flat-fielded image."""
    flat = np.where(np.asarray(flat) > 0, flat, np.nan).astype(np.float32)
    return signal / flat, variance if variance_is_final else variance / flat**2


def _blank(signal, variance, mask):
    """Mark pixels without a number as NO_DATA and give the planes their dtypes."""
    finite = np.abs(signal) < _FINITE_LIMIT
    mask[~finite] |= MaskPlane.NO_DATA
    signal[~finite] = np.nan
    variance[mask != 0] = np.nan
    return MaskedImage(signal.astype(np.float32, copy=False), variance.astype(np.float32, copy=False), mask)


def _check_raw(raw):
    if np.ndim(raw.image) != 2 or 0 in np.shape(raw.image):
        raise DataError(f"raw frame: an image of (rows, cols) is needed, got the shape {np.shape(raw.image)}")
    if not (np.isfinite(raw.gain) and raw.gain > 0):
        raise DataError(f"raw frame: the gain must be a positive number of e/ADU, got {raw.gain!r}")
    shape = np.shape(raw.image)
    for name in ("mask", "weight"):
        companion = getattr(raw, name)
        if companion is not None and np.shape(companion) != shape:
            raise DataError(f"raw frame: the {name} map has the shape {np.shape(companion)}, the image {shape}")


def _check_shapes(calibrations, shape):
    for name in ("bias", "spill", "dark", "flat", "defects"):
        product = getattr(calibrations, name)
        if product is not None and np.shape(product) != shape:
            raise DataError(f"calibrations: {name} has the shape {np.shape(product)}, the science region {shape}")
