"""Detection of sources with sep (Barbary 2016; Bertin & Arnouts 1996), thresholded in the smoothed image."""

import numpy as np
import sep
from scipy import ndimage

from mpidriver.tasks.image import MaskPlane

__all__ = ["detect", "flag_detected", "source_pixels"]

#: (pixels on sep's stack, objects a deblending may make): tried in turn when a crowded field overflows.
_LIMITS = ((1_000_000, 2_048), (8_000_000, 16_384), (40_000_000, 131_072))


def detect(image, rms, bad, options, *, kernel, deblend=True):
    """Return the sources of a sky-subtracted image.

    Parameters
    ----------
    image : ndarray of float32, shape (row, col)
        Sky subtracted, finite.
    rms : ndarray of float32, shape (row, col)
        Noise of a pixel.
    bad : ndarray of bool, shape (row, col)
        Pixels to leave out.
    options : SingleFrameOptions
    kernel : ndarray of float32, shape (odd, odd)
        `gaussian_kernel` or `mexican_hat_kernel`.
    deblend : bool
        Whether sources that touch are split.

    Returns
    -------
    sources : ndarray
        Structured as by `sep.extract`, in sep's order.
    segmentation : ndarray of int32, shape (row, col)
        Number of the source a pixel belongs to, from 1; 0 for the sky.
    """
    # Noise of the smoothed image in units of the noise of a pixel.
    threshold = options.detection_sigma * float(np.sqrt(np.sum(kernel**2)))
    contrast = options.deblend_contrast if deblend else 1.0
    for stack, objects in _LIMITS:
        sep.set_extract_pixstack(stack)
        sep.set_sub_object_limit(objects)
        try:
            return _extract(image, rms, bad, options, kernel, threshold, contrast)
        except Exception as error:
            if "overflow" not in str(error) and "buffer full" not in str(error):
                raise
    return _extract(image, rms, bad, options, kernel, threshold, 1.0)


def _extract(image, rms, bad, options, kernel, threshold, contrast):
    return sep.extract(
        np.ascontiguousarray(image),
        threshold,
        err=np.ascontiguousarray(rms),
        mask=bad,
        minarea=options.detection_min_px,
        filter_kernel=kernel,
        filter_type="conv",
        deblend_nthresh=options.deblend_levels,
        deblend_cont=contrast,
        segmentation_map=True,
    )


def source_pixels(segmentation, grow_px):
    """Return the pixels of sources, grown by `grow_px`, bool, shape (row, col)."""
    return ndimage.maximum_filter(segmentation > 0, size=2 * grow_px + 1)


def flag_detected(mask, segmentation):
    """Return a copy of `mask` with DETECTED where a source is."""
    return mask | np.where(segmentation > 0, np.int32(MaskPlane.DETECTED), np.int32(0))
