"""Detection of sources with sep (Barbary 2016; Bertin & Arnouts 1996), thresholded in the smoothed image."""

import numpy as np
import sep
from scipy import ndimage

from mpidriver.tasks.filters import gaussian_kernel
from mpidriver.tasks.image import MaskPlane

__all__ = ["detect", "detect_roughly", "flag_detected", "source_pixels"]

#: (pixels on sep's stack, objects a deblending may make): tried in turn when a crowded field overflows.
_LIMITS = ((1_000_000, 2_048), (8_000_000, 16_384), (40_000_000, 131_072))
#: Moffat exponent of the wings that cleaning takes faint neighbours for. sep's 1 has wider wings than any star, and
#: takes real neighbours away: 2 % of all sources of a sparse field.
_WING_EXPONENT = 2.0
#: Smaller images are not binned.
_BINNED_LEAST_PX = 64


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


def detect_roughly(image, rms, bad, options, *, fwhm_px):
    """Return sources of pixels binned by 2 x 2, undeblended: a quarter of the work, for where the sky is and is not.

    Parameters
    ----------
    image, rms : ndarray of float32, shape (row, col)
    bad : ndarray of bool, shape (row, col)
    options : SingleFrameOptions
    fwhm_px : float
        Of the smoothing, in unbinned pixels.

    Returns
    -------
    sources : ndarray
        As from `detect`, of which ``xpeak``, ``ypeak`` and ``peak`` are those of the brightest unbinned pixel.
    segmentation : ndarray of int32, shape (row / 2, col / 2)
        An odd last row or column is left out.
    """
    if min(image.shape) < _BINNED_LEAST_PX:
        return detect(image, rms, bad, options, kernel=gaussian_kernel(fwhm_px), deblend=False)
    rows, cols = (size // 2 * 2 for size in image.shape)
    cells = [np.s_[i:rows:2, j:cols:2] for i in (0, 1) for j in (0, 1)]
    binned = image[cells[0]] + image[cells[1]] + image[cells[2]] + image[cells[3]]
    noise = rms[cells[0]] * np.float32(2)
    hidden = bad[cells[0]] | bad[cells[1]] | bad[cells[2]] | bad[cells[3]]
    kernel = gaussian_kernel(fwhm_px / 2)
    sources, segmentation = detect(binned, noise, hidden, options, kernel=kernel, deblend=False)
    values = np.stack([image[cell][sources["ypeak"], sources["xpeak"]] for cell in cells])
    brightest = np.argmax(values, axis=0)
    sources["ypeak"], sources["xpeak"] = 2 * sources["ypeak"] + brightest // 2, 2 * sources["xpeak"] + brightest % 2
    sources["peak"] = values.max(axis=0, initial=-np.inf)
    return sources, segmentation


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
        clean_param=_WING_EXPONENT,
        segmentation_map=True,
    )


def source_pixels(segmentation, shape, grow_px):
    """Return the pixels of sources, grown by `grow_px`, bool, of the given shape; the segmentation may be binned."""
    binning = shape[0] // segmentation.shape[0]
    grown = ndimage.maximum_filter(segmentation > 0, size=2 * int(np.ceil(grow_px / binning)) + 1)
    if binning == 1:
        return grown
    rows, cols = (
        np.minimum(np.arange(size) // binning, last - 1) for size, last in zip(shape, grown.shape, strict=True)
    )
    return grown[rows][:, cols]


def flag_detected(mask, segmentation):
    """Return a copy of `mask` with DETECTED where a source is."""
    return mask | (segmentation > 0) * np.int32(MaskPlane.DETECTED)
