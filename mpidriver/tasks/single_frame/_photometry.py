"""Aperture and Kron photometry, and the curve of growth that turns an aperture flux into a total one."""

import itertools

import numpy as np
import sep
from scipy import ndimage

from mpidriver.tasks.single_frame._windows import windows

__all__ = ["aperture_correction", "aperture_fluxes", "half_light_radii", "kron_fluxes"]

#: SExtractor's PHOT_AUTOPARAMS 2.5, 3.5 and its radius of 6 for the first moment.
_KRON_FACTOR = 2.5
_KRON_SCALE_MIN = 3.5
_KRON_REACH = 6.0
#: Isophotes of a few pixels understate the axes.
_AXIS_MIN_PX = 0.35
_HALF_LIGHT_REACH_FWHM = 1.5
#: The curve of growth is followed in steps of this many FWHM, by so many stars of such a signal.
_GROWTH_STEP_FWHM = 0.5
_GROWTH_STARS_MIN = 3
_GROWTH_STARS_MAX = 30
_GROWTH_SNR_MIN = 50.0
#: Error of a median over that of a mean.
_MEDIAN_ERROR = 1.2533
#: Spread of a ring's light from star to star, over the flux.
_GROWTH_SPREAD = 0.003
#: Spread of the fitted profile's step about the true one: this share of the light that it adds, and a little of all.
_PROFILE_SPREAD = 0.1
_PROFILE_FLOOR = 0.0005
#: Footprints of neighbours are grown by this much, and a ring must keep this share of its pixels.
_NEIGHBOUR_GROW_FWHM = 1.0
_RING_LEAST = 0.3
#: Largest share of the flux that is believed to lie beyond the last aperture.
_BEYOND_MAX = 0.02


def aperture_fluxes(image, variance, x, y, radius_px):
    """Return flux, error and sep's flags in circles, exact pixel overlap; shape (n,) each."""
    flux, error, flag = sep.sum_circle(image, x, y, radius_px, var=variance, subpix=0)
    return np.asarray(flux), np.asarray(error), np.asarray(flag)


def half_light_radii(image, x, y, *, fwhm_px):
    """Return the radius of half the light within 1.5 FWHM, px, shape (n,); the reach is short for crowded fields."""
    radius, _ = sep.flux_radius(image, x, y, np.full(x.size, _HALF_LIGHT_REACH_FWHM * fwhm_px), 0.5, subpix=2)
    return np.asarray(radius)


def kron_fluxes(image, variance, sources, segmentation, x, y):
    """Return FLUX_AUTO and its error, in ellipses of 2.5 Kron radii or 3.5 times (a, b) if that is larger.

    Pixels of neighbours count as the mean of the others.

    Parameters
    ----------
    image, variance : ndarray of float32, shape (row, col)
    sources : ndarray
        From `detect`, with the columns a, b, theta.
    segmentation : ndarray of int32, shape (row, col)
        From `detect`.
    x, y : ndarray, shape (n,), px

    Returns
    -------
    flux, error : ndarray, shape (n,)
    """
    a, b = np.maximum(sources["a"], _AXIS_MIN_PX), np.maximum(sources["b"], _AXIS_MIN_PX)
    theta = np.clip(sources["theta"], -np.pi / 2, np.pi / 2)
    own = {"segmap": segmentation, "seg_id": np.arange(1, x.size + 1)}
    kron, _ = sep.kron_radius(image, x, y, a, b, theta, _KRON_REACH, **own)
    kron = np.where(np.isfinite(kron), np.clip(kron, 0, _KRON_REACH), 0)
    scale = np.maximum(_KRON_FACTOR * kron, _KRON_SCALE_MIN)
    flux, error, _ = sep.sum_ellipse(image, x, y, a, b, theta, scale, var=variance, subpix=5, **own)
    return np.asarray(flux), np.asarray(error)


def aperture_correction(image, variance, stars, neighbour_px, segments, profile, options):
    """Return total flux over flux in the measuring aperture.

    The curve of growth is the fitted profile's, and ring by ring what bright stars show beside it, those whose
    neighbours that matter are out of reach of the ring. Faint neighbours are everywhere, and sums over rings would take
    up the light of all (3 mmag at 25 sources per square arcmin): footprints of other sources are left out with their
    surroundings; of a star's ring, once the profile is subtracted, the median pixel counts; of the stars, the median.

    Parameters
    ----------
    image, variance : ndarray of float32, shape (row, col)
    stars : ndarray of `SOURCE_DTYPE`
        Isolated stars, brightest first, with fluxes in the measuring aperture.
    neighbour_px : ndarray, shape (n,)
        Distance to the nearest source that matters.
    segments : tuple of ndarray
        The segmentation, shape (row, col), and the number of each star in it, shape (n,).
    profile : MoffatProfile
    options : SingleFrameOptions

    Returns
    -------
    float
    """
    fwhm_px = profile.fwhm_px
    count = max(1, round((options.aperture_total_fwhm - options.aperture_radius_fwhm) / _GROWTH_STEP_FWHM))
    radii = np.linspace(options.aperture_radius_fwhm, options.aperture_total_fwhm, count + 1) * fwhm_px
    segmentation, numbers = segments
    bright = np.flatnonzero(stars["snr"] >= _GROWTH_SNR_MIN)
    correction = 1.0
    for inner, outer in itertools.pairwise(radii):
        clear = neighbour_px[bright] > outer + 1.5 * fwhm_px
        clear &= _within(image.shape, stars["x"][bright], stars["y"][bright], outer)
        chosen = bright[clear][:_GROWTH_STARS_MAX]
        step = float(profile.enclosed(outer) / profile.enclosed(inner))
        if chosen.size >= _GROWTH_STARS_MIN:
            planes = image, variance, segmentation
            rings = _rings(planes, stars[chosen], numbers[chosen], (inner, outer), profile, correction)
            step += _growth_excess(*rings, step - 1)
        correction *= step
    beyond = 1 - float(profile.enclosed(radii[-1]))
    return correction / (1 - min(beyond, _BEYOND_MAX))


def _rings(planes, stars, numbers, radii, profile, correction):
    """Return what each star's ring holds beside the profile, over the flux inside it, and its error; shape (n,) each.

    `correction` turns the stars' fluxes into those within the inner radius.
    """
    inner_px, outer_px = radii
    half = int(np.ceil(outer_px)) + 1
    x, y, flux = (stars[name][:, None, None] for name in ("x", "y", "flux_aper"))
    rows, cols = np.rint(stars["y"]).astype(int), np.rint(stars["x"]).astype(int)
    values, noise, segments = (windows(plane, rows, cols, half) for plane in planes)
    others = (segments > 0) & (segments != numbers[:, None, None])
    grow_px = int(np.ceil(_NEIGHBOUR_GROW_FWHM * profile.fwhm_px))
    others = ndimage.maximum_filter(others, size=(1, 2 * grow_px + 1, 2 * grow_px + 1))
    offsets = np.arange(-half, half + 1)
    radius2 = (rows[:, None, None] + offsets[:, None] - y) ** 2 + (cols[:, None, None] + offsets - x) ** 2
    ring = (radius2 >= inner_px**2) & (radius2 < outer_px**2) & ~others
    inside = flux * correction
    excess = values - inside / profile.enclosed(inner_px) * profile.density(radius2)
    area = np.pi * (outer_px**2 - inner_px**2)
    return (
        np.array(
            [
                (area * np.median(e[r]) / f, _MEDIAN_ERROR * area * np.sqrt(np.mean(v[r]) / np.count_nonzero(r)) / f)
                for e, v, r, f in zip(excess, noise, ring, inside.ravel(), strict=True)
                if f > 0 and np.count_nonzero(r) > _RING_LEAST * area
            ]
        )
        .reshape(-1, 2)
        .T
    )


def _growth_excess(excess, error, step):
    """Return the stars' typical excess of light in a ring, held at 0 by the profile's own accuracy.

    It is the weighted median, since light of unseen neighbours only adds to some.
    """
    if excess.size < _GROWTH_STARS_MIN:
        return 0.0
    order = np.argsort(excess, kind="stable")
    weight = np.cumsum(1 / (error[order] ** 2 + _GROWTH_SPREAD**2))
    median = np.interp(0.5 * (weight[0] + weight[-1]), weight, excess[order])
    median_weight = weight[-1] / _MEDIAN_ERROR**2
    profile_weight = 1 / ((_PROFILE_SPREAD * step) ** 2 + _PROFILE_FLOOR**2)
    return float(median * median_weight / (median_weight + profile_weight))


def _within(shape, x, y, margin_px):
    """Tell which circles lie wholly within the frame."""
    rows, cols = shape
    return (x >= margin_px) & (y >= margin_px) & (x <= cols - 1 - margin_px) & (y <= rows - 1 - margin_px)
