"""Detection of sources with sep (Barbary 2016; Bertin & Arnouts 1996), thresholded in the smoothed image."""

import numpy as np
import sep

from mpidriver.tasks._jit import kernel as compiled
from mpidriver.tasks.filters import smooth
from mpidriver.tasks.image import MaskPlane

__all__ = ["detect", "flag_detected"]

#: (pixels on sep's stack, objects a deblending may make): tried in turn when a crowded field overflows.
_LIMITS = ((300_000, 2_048), (1_000_000, 2_048), (8_000_000, 16_384), (40_000_000, 131_072))
#: Moffat exponent of the wings that cleaning takes faint neighbours for. sep's 1 has wider wings than any star, and
#: takes real neighbours away: 2 % of all sources of a sparse field.
_WING_EXPONENT = 2.0
_DETECTED = np.int32(MaskPlane.DETECTED)


def detect(image, rms, bad, options, *, kernel, deblend=True):
    """Return the sources of a sky-subtracted image.

    Parameters
    ----------
    image : ndarray of float32, shape (row, col)
        Sky subtracted, finite, 0 where bad.
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
    contrast, levels = (options.deblend_contrast, options.deblend_levels) if deblend else (1.0, 1)
    smoothed, rms = smooth(image, kernel), np.ascontiguousarray(rms)
    for stack, objects in _LIMITS:
        sep.set_extract_pixstack(stack)
        sep.set_sub_object_limit(objects)
        try:
            sources, segmentation = _extract(smoothed, rms, bad, options, threshold, (contrast, levels))
            break
        except Exception as error:
            if "overflow" not in str(error) and "buffer full" not in str(error):
                raise
    else:
        sources, segmentation = _extract(smoothed, rms, bad, options, threshold, (1.0, 1))
    sources["flux"], sources["peak"], sources["ypeak"], sources["xpeak"] = _light(image, segmentation, sources.size).T
    return sources, segmentation


def _extract(smoothed, rms, bad, options, threshold, deblending):
    contrast, levels = deblending
    return sep.extract(
        smoothed,
        threshold,
        err=rms,
        mask=bad,
        minarea=options.detection_min_px,
        filter_kernel=None,
        deblend_nthresh=levels,
        deblend_cont=contrast,
        clean_param=_WING_EXPONENT,
        segmentation_map=True,
    )


@compiled
def _light(image, segmentation, count):
    """Return sum, peak, and row and column of the peak of each source's pixels, float64, shape (source, 4)."""
    found = np.zeros((count, 4))
    found[:, 1] = -np.inf
    for row in range(image.shape[0]):
        for col in range(image.shape[1]):
            number = segmentation[row, col]
            if number > 0:
                value = np.float64(image[row, col])
                found[number - 1, 0] += value
                if value > found[number - 1, 1]:
                    found[number - 1, 1], found[number - 1, 2], found[number - 1, 3] = value, row, col
    return found


@compiled
def flag_detected(mask, segmentation):
    """Return a copy of `mask` with DETECTED where a source is."""
    flagged = np.empty_like(mask)
    for row in range(mask.shape[0]):
        for col in range(mask.shape[1]):
            flagged[row, col] = mask[row, col] | (_DETECTED if segmentation[row, col] > 0 else np.int32(0))
    return flagged
