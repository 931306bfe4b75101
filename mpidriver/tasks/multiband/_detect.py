"""Detection on one band's coadd."""

import numpy as np
import sep
from scipy import ndimage, signal

from mpidriver.errors import DataError
from mpidriver.tasks.filters import gaussian_kernel, mexican_hat_kernel
from mpidriver.tasks.multiband._columns import detection_dtype, empty
from mpidriver.tasks.multiband._options import MultibandOptions
from mpidriver.tasks.multiband._scene import FWHM_PER_SIGMA, make_scene, noise_below

__all__ = ["detect"]

#: sep may hold this share of the pixels at once, first and in a second attempt, and so many parts of a blend; its
#: defaults overflow on crowded coadds, and a large stack takes a second to set up.
_PIXEL_SHARES, _PARTS_LIMIT = (0.25, 2.0), 16_384
#: Where the filtered image scatters so many times more than its noise can, stars overlap everywhere. A Mexican hat then
#: parts those on a common plateau, above the noise that warping correlates by at most this factor.
_CROWDED, _CORRELATED = 5.0, 1.2
#: Fewer sources than this are large ones, and no crowd.
_CROWD = 20
#: Rows from which the noise of the filtered image is measured: as many blocks of as many rows.
_NOISE_BLOCKS, _NOISE_ROWS = 8, 128


def detect(coadd, wcs, *, options=None):
    """Find sources on one band's coadd.

    The threshold is in units of the noise of the filtered image, which is measured, so that the correlation between
    pixels that warping leaves does not lower it. In a field so crowded that no noise can be seen between the stars,
    it follows from the variance, and a Mexican hat takes the Gaussian's place.

    Parameters
    ----------
    coadd : MaskedImage
        nJy.
    wcs : astropy.wcs.WCS
    options : MultibandOptions, optional

    Returns
    -------
    ndarray, shape (source,)
        Structured, `detection_dtype`, in order of rows: position; isophotal flux (the light above the isophote, for
        ordering only); peak of the image; S/N of the filtered peak; number of pixels; sep's flags. Empty where there is
        nothing to see.
    """
    options = options or MultibandOptions()
    scene = make_scene(coadd, background_box_px=options.background_box_px)
    kernel = gaussian_kernel(options.filter_fwhm_px)
    noise = _filtered_noise(scene, kernel)
    if not noise > 0.0:
        return empty(detection_dtype(), 0)
    found = _extract(scene, options.threshold_sigma * noise, options, kernel)
    if found.size >= _CROWD and noise > _CROWDED * _white_noise(kernel):
        kernel = mexican_hat_kernel(_typical_fwhm_px(found, options))
        noise = _CORRELATED * _white_noise(kernel)
        found = _extract(scene, options.threshold_sigma * noise, options, kernel)
    found = found[np.lexsort((found["x"], found["y"]))]
    table = empty(detection_dtype(), found.size)
    if found.size:
        table["ra"], table["dec"] = wcs.all_pix2world(found["x"], found["y"], 0)
    for ours, theirs in (("x", "x"), ("y", "y"), ("flux", "flux"), ("peak", "peak"), ("n_pixels", "tnpix")):
        table[ours] = found[theirs]
    sigma = np.sqrt(scene.variance[found["ycpeak"], found["xcpeak"]])
    table["snr"] = found["cpeak"] / (noise * np.where(sigma > 0, sigma, np.inf))
    table["flags"], table["is_sky"] = found["flag"], False
    return table


def _white_noise(kernel):
    """Return the noise after filtering of noise that was 1 and independent from pixel to pixel."""
    return float(np.sqrt(np.sum(kernel**2)))


def _typical_fwhm_px(found, options):
    """Return the width of the rounder half of the bright sources, or that of the filter if it is larger."""
    bright = found[found["cpeak"] >= np.median(found["cpeak"])]
    fwhm_px = FWHM_PER_SIGMA * np.sqrt(bright["a"] * bright["b"])
    return max(float(np.percentile(fwhm_px, 25.0)), options.filter_fwhm_px)


def _extract(scene, threshold, options, kernel):
    pixels, parts = sep.get_extract_pixstack(), sep.get_sub_object_limit()
    sep.set_sub_object_limit(max(parts, _PARTS_LIMIT))
    try:
        for share in _PIXEL_SHARES:
            sep.set_extract_pixstack(max(pixels, int(share * scene.image.size)))
            try:
                return _extracted(scene, threshold, options, kernel)
            except Exception as error:
                if "pixel buffer full" not in str(error) or share == _PIXEL_SHARES[-1]:
                    raise DataError(f"detect: {error}; threshold_sigma may be too low for this coadd") from error
    finally:
        sep.set_extract_pixstack(pixels)
        sep.set_sub_object_limit(parts)


def _extracted(scene, threshold, options, kernel):
    return sep.extract(
        scene.image,
        threshold,
        err=np.sqrt(scene.variance),
        mask=scene.unusable,
        minarea=options.min_area_px,
        filter_kernel=kernel,
        filter_type="conv",
        deblend_nthresh=options.deblend_levels,
        deblend_cont=options.deblend_contrast,
    )


def _filtered_noise(scene, kernel):
    """Return the noise of the filtered image in units of the pixels' own, from blocks of rows spread over its data."""
    filled = np.flatnonzero(scene.usable.any(axis=1))
    if not filled.size:
        return float("nan")
    first, rows = filled[0], filled[-1] + 1
    values = []
    for start in np.unique(np.linspace(first, max(rows - _NOISE_ROWS, first), _NOISE_BLOCKS).astype(int)):
        block = slice(start, min(start + _NOISE_ROWS, rows))
        usable = scene.usable[block]
        significance = np.divide(
            scene.image[block], np.sqrt(scene.variance[block]), out=np.zeros(usable.shape, np.float32), where=usable
        )
        smooth = signal.oaconvolve(significance, kernel, mode="same")
        values.append(smooth[ndimage.minimum_filter(usable, kernel.shape)])
    return noise_below(np.concatenate(values))
