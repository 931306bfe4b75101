"""Detection on all bands together: the chi-squared coadd, its footprints, peaks that share a footprint, empty sky."""

import dataclasses

import numpy as np
import sep
from scipy import ndimage, optimize, stats
from scipy.spatial import cKDTree

from mpidriver.tasks.multiband._columns import detection_dtype, empty
from mpidriver.tasks.multiband._options import MultibandOptions
from mpidriver.tasks.multiband._scene import FWHM_PER_SIGMA, make_scene, noise_below

__all__ = ["CombinedDetections", "detect_combined"]

#: Peaks of the sharpened image count from this many times the threshold, this far from others, in FWHM of the filter.
_PEAK_FACTOR, _PEAK_DISTANCE_FWHM = 1.4, 1.0
#: Sky objects keep this far from footprints and holes, in FWHM of the filter; no two are closer to each other.
_CLEARANCE_FWHM = 4.0
#: The noise of a filtered image is looked up at every so many-th pixel.
_NOISE_STRIDE = 7


@dataclasses.dataclass(frozen=True)
class CombinedDetections:
    """What all bands together show."""

    table: np.ndarray
    """Structured, `detection_dtype`; flux and peak are in units of the combined noise. Sky objects come last."""
    footprints: np.ndarray
    """Number of the footprint that each pixel belongs to, 0 for none; int32, shape (row, col)."""


def detect_combined(coadds, wcs, *, options=None, seed=(0,)):
    """Find sources on the coadds of all bands at once, and places without any.

    Each band is filtered and divided by its noise; the sum of the squares of what is positive has a known distribution
    where there is nothing (Szalay, Connolly & Szokoly 1999, AJ 117, 68, whose sum takes holes for sources), and the
    threshold is as rare in it as the option's number of sigmas in one band. Sources within a footprint part at the
    peaks of the sharpened images.

    Parameters
    ----------
    coadds : sequence of MaskedImage
        One a band, on one grid.
    wcs : astropy.wcs.WCS
    options : MultibandOptions, optional
    seed : sequence of int
        What makes the places of sky objects those of this patch.

    Returns
    -------
    CombinedDetections
    """
    options = options or MultibandOptions()
    smooth, sharp, usable = _stacked(coadds, options)
    if not usable.any():
        return CombinedDetections(empty(detection_dtype(), 0), np.zeros(usable.shape, np.int32))
    threshold = _threshold(options.threshold_sigma, len(coadds))
    footprints = _footprints(smooth > threshold, options.min_area_px)
    found = sep.extract(
        smooth,
        threshold,
        mask=~usable,
        minarea=options.min_area_px,
        filter_kernel=None,
        deblend_nthresh=options.deblend_levels,
        deblend_cont=options.deblend_contrast,
    )
    table = empty(detection_dtype(), found.size)
    for ours, theirs in (("x", "x"), ("y", "y"), ("flux", "flux"), ("peak", "peak"), ("n_pixels", "tnpix")):
        table[ours] = found[theirs]
    table["flags"], table["snr"], table["is_sky"] = found["flag"], found["cpeak"], False
    table = _parted(table, sharp, footprints, threshold, options)
    table = table[np.lexsort((table["x"], table["y"]))]
    table = np.concatenate([table, _sky_places(footprints, usable, options, seed)])
    if table.size:
        table["ra"], table["dec"] = wcs.all_pix2world(table["x"], table["y"], 0)
    return CombinedDetections(table, footprints)


def _stacked(coadds, options):
    """Return the combined significance of the smoothed and of the sharpened bands, and where all have data."""
    sigma_px = options.filter_fwhm_px / FWHM_PER_SIGMA
    smooth = sharp = usable = 0.0
    for number, coadd in enumerate(coadds):
        scene = make_scene(coadd, background_box_px=options.background_box_px)
        significance = np.divide(
            scene.image, np.sqrt(scene.variance), out=np.zeros_like(scene.image), where=scene.usable
        )
        smooth = smooth + _positive_squares(ndimage.gaussian_filter(significance, sigma_px), scene.usable)
        sharp = sharp + _positive_squares(-ndimage.gaussian_laplace(significance, sigma_px), scene.usable)
        usable = scene.usable if number == 0 else usable | scene.usable
    return np.sqrt(smooth).astype(np.float32), np.sqrt(sharp).astype(np.float32), usable


def _positive_squares(filtered, usable):
    """Return the squares of what is positive in units of its noise, 0 where there are no data."""
    sigma = noise_below(filtered[::_NOISE_STRIDE, ::_NOISE_STRIDE][usable[::_NOISE_STRIDE, ::_NOISE_STRIDE]])
    if not sigma > 0.0:
        return np.zeros_like(filtered)
    return np.where(usable, np.maximum(filtered / sigma, 0.0), 0.0) ** 2


def _threshold(sigmas, n_bands):
    """Return the root of the sum of squares that noise exceeds as rarely as a Gaussian exceeds so many sigmas."""
    positive = stats.binom.pmf(np.arange(1, n_bands + 1), n_bands, 0.5)
    rare = stats.norm.sf(sigmas)

    def excess(root):
        return np.log(positive @ stats.chi2.sf(root**2, np.arange(1, n_bands + 1))) - np.log(rare)

    return float(optimize.brentq(excess, 1e-3, sigmas + 10.0)) if sigmas > 0.0 else 0.0


def _footprints(above, min_area_px):
    labels, n = ndimage.label(above, structure=np.ones((3, 3)))
    areas = np.bincount(labels.ravel(), minlength=n + 1)
    kept = areas >= min_area_px
    kept[0] = False
    return (np.cumsum(kept) * kept)[labels].astype(np.int32)


def _parted(table, sharp, footprints, threshold, options):
    """Return sources with those added that only a peak of the sharpened image shows.

    Where a footprint has several peaks, what the isophotes gave stands at the middle of all its light; it is put on
    its own peak.
    """
    near_px = _PEAK_DISTANCE_FWHM * options.filter_fwhm_px
    highest = ndimage.maximum_filter(sharp, footprint=_disc(near_px))
    rows, cols = np.nonzero((sharp == highest) & (sharp > _PEAK_FACTOR * threshold) & (footprints > 0))
    if rows.size == 0:
        return table
    peaks = np.column_stack(_vertices(sharp, rows, cols))
    several = np.bincount(footprints[rows, cols])[footprints[rows, cols]] > 1
    fresh = np.ones(rows.size, dtype=bool)
    if table.size:
        distance, source = cKDTree(np.column_stack([table["x"], table["y"]])).query(peaks)
        fresh = distance > near_px
        # Peaks from the faintest up, so that the brightest near a source has the last word.
        for k in np.argsort(sharp[rows, cols], kind="stable"):
            if several[k] and not fresh[k]:
                table["x"][source[k]], table["y"][source[k]] = peaks[k]
    added = empty(detection_dtype(), int(fresh.sum()))
    added["x"], added["y"] = peaks[fresh].T
    added["snr"] = added["peak"] = sharp[rows, cols][fresh]
    return np.concatenate([table, added])


def _vertices(image, rows, cols):
    """Return x and y of the tops of parabolas through peaks and their neighbours along each axis."""
    rows, cols = np.clip(rows, 1, image.shape[0] - 2), np.clip(cols, 1, image.shape[1] - 2)

    def offset(before, at, after):
        curvature = before - 2.0 * at + after
        return np.clip(
            np.where(curvature < 0, 0.5 * (before - after) / np.where(curvature < 0, curvature, 1), 0), -1, 1
        )

    at = image[rows, cols]
    x = cols + offset(image[rows, cols - 1], at, image[rows, cols + 1])
    return x, rows + offset(image[rows - 1, cols], at, image[rows + 1, cols])


def _disc(radius_px):
    half = int(np.ceil(radius_px))
    offsets = np.arange(-half, half + 1)
    return offsets[:, None] ** 2 + offsets**2 <= radius_px**2


def _sky_places(footprints, usable, options, seed):
    """Return sky objects: random places away from footprints, holes and each other."""
    clear_px = _CLEARANCE_FWHM * options.filter_fwhm_px
    free = ndimage.distance_transform_edt(np.pad((footprints == 0) & usable, 1))[1:-1, 1:-1] > clear_px
    at = np.flatnonzero(free)
    rng = np.random.default_rng([*seed, 20])
    at = rng.permutation(at)[: 20 * options.sky_objects]
    points = np.column_stack([at % usable.shape[1], at // usable.shape[1]]).astype(float)
    chosen: list[int] = []
    if points.size:
        tree, taken = cKDTree(points), np.zeros(points.shape[0], dtype=bool)
        for i in range(points.shape[0]):
            if len(chosen) == options.sky_objects:
                break
            if not taken[i]:
                chosen.append(i)
                taken[tree.query_ball_point(points[i], clear_px)] = True
    table = empty(detection_dtype(), len(chosen))
    table["x"], table["y"] = (points[chosen] + rng.uniform(-0.5, 0.5, (len(chosen), 2))).T
    table["is_sky"] = True
    return table
