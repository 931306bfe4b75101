"""Aperture and Kron photometry, and the curve of growth that turns an aperture flux into a total one."""

import itertools

import numpy as np
import sep

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
_GROWTH_CLIP = 3.0
_GROWTH_ROUNDS = 5
#: Spread of a step from star to star, and of the fitted profile's step about the true one.
_GROWTH_SPREAD = 0.003
_PROFILE_SPREAD = 0.01
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


def aperture_correction(image, variance, stars, neighbour_px, profile, options):
    """Return total flux over flux in the measuring aperture.

    The curve of growth is followed aperture by aperture. Each step is the weighted mean over bright stars whose
    neighbours are out of reach of the larger aperture, held by the step of the fitted profile, which takes over
    where such stars are few or faint; it also gives the little that lies beyond the last aperture.

    Parameters
    ----------
    image, variance : ndarray of float32, shape (row, col)
    stars : ndarray of `SOURCE_DTYPE`
        Isolated stars, brightest first.
    neighbour_px : ndarray, shape (n,)
        Distance to the nearest source that matters.
    profile : MoffatProfile
    options : SingleFrameOptions

    Returns
    -------
    float
    """
    fwhm_px = profile.fwhm_px
    count = max(1, round((options.aperture_total_fwhm - options.aperture_radius_fwhm) / _GROWTH_STEP_FWHM))
    radii = np.linspace(options.aperture_radius_fwhm, options.aperture_total_fwhm, count + 1) * fwhm_px
    bright = np.flatnonzero(stars["snr"] >= _GROWTH_SNR_MIN)
    stars, neighbour_px = stars[bright], neighbour_px[bright]
    correction = 1.0
    for inner, outer in itertools.pairwise(radii):
        clear = neighbour_px > outer + 1.5 * fwhm_px
        clear &= _within(image.shape, stars["x"], stars["y"], outer)
        expected = float(profile.enclosed(outer) / profile.enclosed(inner))
        correction *= _growth_step(image, variance, stars[clear][:_GROWTH_STARS_MAX], inner, outer, expected)
    beyond = 1 - float(profile.enclosed(radii[-1]))
    return correction / (1 - min(beyond, _BEYOND_MAX))


def _growth_step(image, variance, stars, inner_px, outer_px, expected):
    """Return the flux in the larger aperture over that in the smaller: stars and expectation, weighted, clipped."""
    if stars.size < _GROWTH_STARS_MIN:
        return expected
    small, small_error, _ = aperture_fluxes(image, variance, stars["x"], stars["y"], inner_px)
    large, large_error, _ = aperture_fluxes(image, variance, stars["x"], stars["y"], outer_px)
    usable = small > 0
    small, ring_variance = small[usable], (large_error**2 - small_error**2)[usable]
    ratio = np.append(large[usable] / small, expected)
    error2 = np.append(np.maximum(ring_variance, 0) / small**2 + _GROWTH_SPREAD**2, _PROFILE_SPREAD**2)
    for _ in range(_GROWTH_ROUNDS):
        mean = np.sum(ratio / error2) / np.sum(1 / error2)
        keep = (ratio - mean) ** 2 <= _GROWTH_CLIP**2 * error2
        if keep.all() or not keep.any():
            break
        ratio, error2 = ratio[keep], error2[keep]
    return float(mean)


def _within(shape, x, y, margin_px):
    """Tell which circles lie wholly within the frame."""
    rows, cols = shape
    return (x >= margin_px) & (y >= margin_px) & (x <= cols - 1 - margin_px) & (y <= rows - 1 - margin_px)
