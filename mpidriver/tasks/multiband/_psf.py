"""The PSF of one band's coadd, as far as fluxes need it: its width, and how light grows with the aperture."""

import dataclasses
import itertools

import numpy as np
import sep
from scipy import optimize
from scipy.interpolate import PchipInterpolator
from scipy.spatial import cKDTree

from mpidriver.tasks.multiband._flags import UNRELIABLE, flags_from_mask
from mpidriver.tasks.multiband._kernels import adaptive_moments, mask_bits, matched_fluxes
from mpidriver.tasks.multiband._scene import FWHM_PER_SIGMA

__all__ = ["Psf", "aperture_fluxes", "estimate_psf"]

#: Largest sigma of an object's moments, px.
LARGEST_SIGMA_PX = 25.0
#: Radii of the curve of growth in units of the FWHM; the light beyond the last is the profile's.
_GROWTH_RADII_FWHM = np.array([0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0])
_REFERENCE_RADIUS_FWHM = 1.0
_PROFILE_REACH_FWHM = 2.5
_STARS_MOST, _STARS_LEAST = 200, 3
#: Stars lie within this share of the commonest size, and are rounder than this.
_LOCUS_WIDTH, _ELONGATION = 0.06, 0.2
#: A neighbour fainter than this share of a star does not count.
_NEIGHBOUR_SHARE = 0.01
#: Moffat exponent where the stars do not tell.
_DEFAULT_BETA = 3.5
_BETA_RANGE = (1.8, 20.0)
_MOST_BEYOND = 0.03


@dataclasses.dataclass(frozen=True)
class Psf:
    """Width and corrections of one band's PSF."""

    sigma_px: float
    """Of the round Gaussian that matches the stars."""
    fwhm_px: float
    """Full width at half maximum of the Moffat profile with their curve of growth."""
    n_stars: int
    """Stars that showed it; 0 if it was assumed."""
    matched_factor: float
    """Total flux of a point source over its flux by `matched_fluxes` with `sigma_px`."""
    radii_px: np.ndarray
    """Radii of the curve of growth, shape (radius,)."""
    enclosed: np.ndarray
    """Share of a point source's flux within `radii_px`."""

    def enclosed_within(self, radius_px):
        """Return the share of a point source's flux within radii, interpolated on the curve of growth."""
        curve = PchipInterpolator(np.concatenate([[0.0], self.radii_px]), np.concatenate([[0.0], self.enclosed]))
        return curve(np.clip(radius_px, 0.0, self.radii_px[-1]))


@dataclasses.dataclass(frozen=True)
class _Moffat:
    """The profile ``(1 + r^2 / alpha^2)^-beta`` (Moffat 1969)."""

    alpha_px: float
    beta: float

    @property
    def fwhm_px(self):
        return 2.0 * self.alpha_px * np.sqrt(2.0 ** (1.0 / self.beta) - 1.0)

    def enclosed(self, radius_px):
        return 1.0 - (1.0 + (np.asarray(radius_px) / self.alpha_px) ** 2) ** (1.0 - self.beta)


def aperture_fluxes(scene, x, y, radius_px):
    """Return fluxes and errors in circles, without correction; unusable pixels count with the mean of the others.

    Parameters
    ----------
    scene : Scene
    x, y : ndarray of float64, shape (object,), px
    radius_px : float

    Returns
    -------
    tuple of ndarray, shape (object,)
    """
    flux, error, _ = sep.sum_circle(scene.image, x, y, radius_px, var=scene.variance, mask=scene.unusable, subpix=0)
    return np.asarray(flux), np.asarray(error)


def estimate_psf(scene, x, y, radii_px, *, default_fwhm_px, star_snr):
    """Return the PSF that the point sources among given positions show.

    Stars are bright objects whose size is the commonest one. Where fewer than three are found, a Moffat profile of
    the default width stands in.

    Parameters
    ----------
    scene : Scene
    x, y : ndarray of float64, shape (object,), px
    radii_px : ndarray of float, px
        Radii that the curve of growth must hold exactly.
    default_fwhm_px : float
    star_snr : float
        Least signal-to-noise ratio of a star.

    Returns
    -------
    Psf
    """
    default = default_fwhm_px / FWHM_PER_SIGMA
    flux, error, share = matched_fluxes(scene.image, scene.variance, scene.usable, x, y, default).T
    bits = flags_from_mask(mask_bits(scene.mask, x, y, default_fwhm_px))
    with np.errstate(invalid="ignore", divide="ignore"):
        bright = (flux / error > star_snr) & (share > 0.99) & (bits & int(UNRELIABLE) == 0)
    bright = np.flatnonzero(bright)
    moments = adaptive_moments(scene.image, scene.usable, x[bright], y[bright], default, LARGEST_SIGMA_PX)
    stars, sigma_px = _stellar_locus(moments)
    stars = bright[stars]
    if stars.size < _STARS_LEAST:
        return _assumed(default, radii_px)
    stars = stars[np.argsort(-flux[stars], kind="stable")][:_STARS_MOST]
    clear_px = _clear_distances(x, y, flux, stars, 8.0 * FWHM_PER_SIGMA * sigma_px)
    return _from_stars(scene, x[stars], y[stars], clear_px, sigma_px, radii_px)


def _alpha_px(fwhm_px):
    return fwhm_px / (2.0 * np.sqrt(2.0 ** (1.0 / _DEFAULT_BETA) - 1.0))


def _assumed(sigma_px, radii_px):
    fwhm_px = FWHM_PER_SIGMA * sigma_px
    profile = _Moffat(_alpha_px(fwhm_px), _DEFAULT_BETA)
    radii = _all_radii(fwhm_px, radii_px)
    # A Gaussian is matched best to the inner part of the profile: correct by the light within its own half width.
    within = float(profile.enclosed(fwhm_px))
    gaussian = 1.0 - np.exp(-0.5 * (fwhm_px / sigma_px) ** 2)
    return Psf(sigma_px, fwhm_px, 0, gaussian / within, radii, np.asarray(profile.enclosed(radii)))


def _stellar_locus(moments):
    """Return the rows of `moments` that have the commonest size, and that size as a sigma in px."""
    xx, yy, xy, settled = moments.T
    determinant = np.maximum(xx * yy - xy * xy, 1e-10)
    log_size = 0.25 * np.log(determinant)
    elongation = np.hypot(xx - yy, 2.0 * xy) / (xx + yy)
    good = np.flatnonzero((settled > 0) & (elongation < _ELONGATION))
    if good.size == 0:
        return good, np.nan
    centre = _half_sample_mode(np.sort(log_size[good]))
    for _ in range(3):
        near = good[np.abs(log_size[good] - centre) < _LOCUS_WIDTH]
        if near.size == 0:
            break
        centre = float(np.median(log_size[near]))
    return near, float(np.exp(centre))


def _half_sample_mode(values):
    """Return the mode of sorted values: the densest half, again and again (Bickel & Fruehwirth 2006)."""
    while values.size > 3:
        half = (values.size + 1) // 2
        start = int(np.argmin(values[half - 1 :] - values[: values.size - half + 1]))
        values = values[start : start + half]
    return float(np.mean(values))


def _clear_distances(x, y, flux, stars, reach_px):
    """Return each star's distance to the nearest object that matters, px; infinite beyond `reach_px`."""
    tree = cKDTree(np.column_stack([x, y]))
    clear = np.full(stars.size, np.inf)
    for k, neighbours in enumerate(tree.query_ball_point(np.column_stack([x[stars], y[stars]]), reach_px)):
        star = stars[k]
        others = [i for i in neighbours if i != star and flux[i] > _NEIGHBOUR_SHARE * flux[star]]
        if others:
            clear[k] = np.min(np.hypot(x[others] - x[star], y[others] - y[star]))
    return clear


def _all_radii(fwhm_px, radii_px):
    return np.unique(np.concatenate([_GROWTH_RADII_FWHM * fwhm_px, np.asarray(radii_px, float)]))


def _from_stars(scene, x, y, clear_px, sigma_px, radii_px):
    fwhm_px = FWHM_PER_SIGMA * sigma_px
    radii = _all_radii(fwhm_px, radii_px)
    edge_px = np.minimum.reduce([x, y, scene.image.shape[1] - 1 - x, scene.image.shape[0] - 1 - y])
    reach_px = np.minimum(clear_px - 1.5 * fwhm_px, edge_px)
    fluxes = np.array([aperture_fluxes(scene, x, y, radius)[0] for radius in radii])
    profile = _fitted_profile(radii, fluxes, reach_px, fwhm_px)
    enclosed = _growth(radii, fluxes, reach_px, fwhm_px, profile)
    reference = int(np.argmin(np.abs(radii - _REFERENCE_RADIUS_FWHM * fwhm_px)))
    inner = _clear_to(reach_px, _PROFILE_REACH_FWHM * fwhm_px)
    matched = matched_fluxes(scene.image, scene.variance, scene.usable, x[inner], y[inner], sigma_px)[:, 0]
    factor = float(np.median(fluxes[reference, inner] / matched)) / enclosed[reference]
    return Psf(sigma_px, float(profile.fwhm_px), int(x.size), factor, radii, enclosed)


def _clear_to(reach_px, radius_px):
    """Return the stars that are clear to a radius, or if too few those that are clearest."""
    clear = np.flatnonzero(reach_px >= radius_px)
    if clear.size >= _STARS_LEAST:
        return clear
    return np.sort(np.argsort(-reach_px, kind="stable")[:_STARS_LEAST])


def _fitted_profile(radii, fluxes, reach_px, fwhm_px):
    """Return the Moffat profile with the median curve of growth of the clear stars."""
    stars = _clear_to(reach_px, _PROFILE_REACH_FWHM * fwhm_px)
    used = (radii >= 0.45 * fwhm_px) & (radii <= _PROFILE_REACH_FWHM * fwhm_px * 1.01)
    curve = np.median(fluxes[np.ix_(used, stars)] / fluxes[np.ix_(used, stars)][-1], axis=1)
    first = _alpha_px(fwhm_px)

    def misfit(parameters):
        shape = _Moffat(parameters[0], parameters[1]).enclosed(radii[used])
        return shape / shape[-1] - curve

    bounds = ([0.2 * first, _BETA_RANGE[0]], [10.0 * first, _BETA_RANGE[1]])
    solution = optimize.least_squares(misfit, [first, _DEFAULT_BETA], bounds=bounds, x_scale=[first, 1.0])
    return _Moffat(*solution.x)


def _growth(radii, fluxes, reach_px, fwhm_px, profile):
    """Return the share of a star's flux within each radius: measured steps, and the profile beyond the stars' reach.

    Each step is the median over the stars that are clear to its outer radius; the light beyond the last radius is the
    profile's, but never more than 3 %.
    """
    growth = [1.0]
    for inner, outer in itertools.pairwise(range(radii.size)):
        stars = np.flatnonzero(reach_px >= radii[outer])
        if stars.size >= _STARS_LEAST:
            growth.append(growth[-1] * float(np.median(fluxes[outer, stars] / fluxes[inner, stars])))
        else:
            growth.append(growth[-1] * float(profile.enclosed(radii[outer]) / profile.enclosed(radii[inner])))
    beyond = min(1.0 - float(profile.enclosed(radii[-1])), _MOST_BEYOND)
    growth = np.maximum.accumulate(growth)
    return growth / growth[-1] * (1.0 - beyond)
