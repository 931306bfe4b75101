"""Detection of sources with sep (Barbary 2016; Bertin & Arnouts 1996), thresholded in the smoothed image."""

import numpy as np
import sep
from scipy import ndimage

from mpidriver.tasks.image import MaskPlane

__all__ = ["detect", "flag_detected", "gaussian_kernel", "mexican_hat_kernel", "source_pixels"]

#: (pixels on sep's stack, objects a deblending may make): tried in turn when a crowded field overflows.
_LIMITS = ((1_000_000, 2_048), (8_000_000, 16_384), (40_000_000, 131_072))
#: Wider kernels cost more than they find.
_KERNEL_FWHM_MAX_PX = 5.0


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


def gaussian_kernel(fwhm_px):
    """Return a round Gaussian out to 1.25 FWHM, of sum 1, float32, shape (odd, odd)."""
    radius2, sigma2 = _kernel_grid(fwhm_px, 1.25)
    kernel = np.exp(-0.5 * radius2 / sigma2)
    return (kernel / kernel.sum()).astype(np.float32)


def mexican_hat_kernel(fwhm_px):
    """Return the negative Laplacian of a Gaussian out to 2 FWHM, of sum 0, float32, shape (odd, odd).

    It answers to peaks of the stars' width and not to what is smoother, so that stars on a common plateau part
    (as the find routine of DAOPHOT, Stetson 1987). Its absolute values sum to 1, as sep scales them.
    """
    radius2, sigma2 = _kernel_grid(fwhm_px, 2.0)
    kernel = (1 - 0.5 * radius2 / sigma2) * np.exp(-0.5 * radius2 / sigma2)
    kernel -= kernel.mean()
    return (kernel / np.abs(kernel).sum()).astype(np.float32)


def _kernel_grid(fwhm_px, reach_fwhm):
    """Return squared distances from the middle, px^2, and the Gaussian's sigma^2."""
    fwhm_px = min(fwhm_px, _KERNEL_FWHM_MAX_PX)
    half = max(1, int(np.ceil(reach_fwhm * fwhm_px)))
    offsets = np.arange(-half, half + 1)
    return offsets[:, None] ** 2 + offsets**2, fwhm_px**2 / (8 * np.log(2))


def source_pixels(segmentation, grow_px):
    """Return the pixels of sources, grown by `grow_px`, bool, shape (row, col)."""
    return ndimage.maximum_filter(segmentation > 0, size=2 * grow_px + 1)


def flag_detected(mask, segmentation):
    """Return a copy of `mask` with DETECTED where a source is."""
    return mask | np.where(segmentation > 0, np.int32(MaskPlane.DETECTED), np.int32(0))
