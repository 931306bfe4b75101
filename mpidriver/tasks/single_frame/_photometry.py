"""Aperture and Kron photometry, and the curve of growth that turns an aperture flux into a total one."""

import functools
import itertools

import numpy as np
import sep
from scipy import ndimage

from mpidriver.tasks.growth import growth_step
from mpidriver.tasks.windows import windows

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
_GROWTH_STARS_MAX = 30
_GROWTH_SNR_MIN = 50.0
#: Footprints of neighbours are grown by this much.
_NEIGHBOUR_GROW_FWHM = 1.0
#: Largest share of the flux that is believed to lie beyond the last aperture.
_BEYOND_MAX = 0.02


def aperture_fluxes(image, variance, x, y, radius_px):
    """Return flux, error and sep's flags in circles, exact pixel overlap; shape (n,) each."""
    flux, error, flag = sep.sum_circle(image, x, y, radius_px, var=variance, subpix=0)
    return np.asarray(flux), np.asarray(error), np.asarray(flag)


def half_light_radii(image, segments, x, y, *, fwhm_px):
    """Return the radius of half the light within 1.5 FWHM, px, shape (n,); the reach is short for crowded fields.

    Pixels of neighbours, by the segmentation and each source's number in it, count as the mean of the others.
    """
    segmentation, numbers = segments
    reach_px = np.full(x.size, _HALF_LIGHT_REACH_FWHM * fwhm_px)
    radius, _ = sep.flux_radius(image, x, y, reach_px, 0.5, subpix=2, segmap=segmentation, seg_id=numbers)
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

    The curve of growth is followed ring by ring, each by the bright stars whose neighbours that matter are out of its
    reach; footprints of other sources are left out with their surroundings.

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
        hidden = functools.partial(_neighbours, segmentation, numbers[chosen], fwhm_px)
        inside = stars["flux_aper"][chosen] * correction
        places = stars["x"][chosen], stars["y"][chosen], inside
        correction *= growth_step(image, variance, places, (inner, outer), profile, hidden)
    beyond = 1 - float(profile.enclosed(radii[-1]))
    return correction / (1 - min(beyond, _BEYOND_MAX))


def _neighbours(segmentation, numbers, fwhm_px, rows, cols, half):
    """Return windows around stars, True in the footprints of other sources and 1 FWHM around them."""
    segments = windows(segmentation, rows, cols, half)
    others = (segments > 0) & (segments != numbers[:, None, None])
    side = 2 * int(np.ceil(_NEIGHBOUR_GROW_FWHM * fwhm_px)) + 1
    return ndimage.maximum_filter(others, size=(1, side, side))


def _within(shape, x, y, margin_px):
    """Tell which circles lie wholly within the frame."""
    rows, cols = shape
    return (x >= margin_px) & (y >= margin_px) & (x <= cols - 1 - margin_px) & (y <= rows - 1 - margin_px)
