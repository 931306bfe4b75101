"""Aperture and Kron photometry."""

import numpy as np
import sep

__all__ = ["aperture_fluxes", "half_light_radii", "kron_fluxes"]

#: SExtractor's PHOT_AUTOPARAMS 2.5, 3.5 and its radius of 6 for the first moment.
_KRON_FACTOR = 2.5
_KRON_SCALE_MIN = 3.5
_KRON_REACH = 6.0
#: Isophotes of a few pixels understate the axes.
_AXIS_MIN_PX = 0.35
_HALF_LIGHT_REACH_FWHM = 1.5


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
