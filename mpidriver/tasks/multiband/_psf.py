"""The PSF of one band's coadd, as far as fluxes need it: its width, and how light grows with the aperture."""

import dataclasses
import functools
import itertools

import numpy as np
import sep
from scipy.interpolate import PchipInterpolator
from scipy.spatial import cKDTree

from mpidriver.tasks.coadd import CoaddPsf
from mpidriver.tasks.gaussian_windows import adaptive_moments, mask_bits, matched_fluxes
from mpidriver.tasks.growth import growth_step
from mpidriver.tasks.moffat import MoffatProfile, fit_profile
from mpidriver.tasks.multiband._flags import UNRELIABLE, flags_from_mask
from mpidriver.tasks.multiband._mixtures import PsfMixture, psf_mixture
from mpidriver.tasks.multiband._models import Models, psf_planes, sources_at, template_fluxes
from mpidriver.tasks.multiband._scene import FWHM_PER_SIGMA
from mpidriver.tasks.windows import windows

__all__ = ["Psf", "aperture_fluxes", "estimate_psf", "widths"]

#: Largest sigma of an object's moments, px.
LARGEST_SIGMA_PX = 25.0
#: Radii of the curve of growth in units of the FWHM; the light beyond the last is the profile's.
_GROWTH_RADII_FWHM = np.array([0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0])
_REFERENCE_RADIUS_FWHM = 1.0
_STARS_MOST, _STARS_LEAST = 200, 3
#: Stars that a ring of the curve of growth asks; neighbours hide pixels within this many FWHM there.
_GROWTH_STARS_MOST = 30
_NEIGHBOUR_FWHM = 1.5
#: Stars lie within this share of the commonest size, and are rounder than this.
_LOCUS_WIDTH, _ELONGATION = 0.06, 0.2
#: Stars whose foreseen size is the commonest within this share show the radial profile and the curve of growth.
_USUAL_WIDTH = 0.02
#: A neighbour fainter than this share of a star does not count.
_NEIGHBOUR_SHARE = 0.01
#: Moffat exponent where the stars do not tell.
_DEFAULT_BETA = 3.5
_MOST_BEYOND = 0.03
#: A round component of variance 1: xx, yy, xy.
ROUND = np.array([1.0, 1.0, 0.0])
#: Stars from which the PSF's shape is taken to change linearly over the coadd; pixels of a unit of position.
_LINEAR_STARS, _POSITION_UNIT_PX = 15, 1000.0


@dataclasses.dataclass(frozen=True)
class Psf:
    """Width and corrections of one band's PSF."""

    sigma_px: float
    """Of the round Gaussian that matches the stars."""
    fwhm_px: float
    """Full width at half maximum of the Moffat profile through their pixels."""
    n_stars: int
    """Stars that showed it; 0 if it was assumed."""
    factor: float
    """Total flux of a point source over that which the mixture gives it."""
    radii_px: np.ndarray
    """Radii of the curve of growth, shape (radius,)."""
    enclosed: np.ndarray
    """Share of a point source's flux within `radii_px`."""
    mixture: PsfMixture
    """Its profile as a sum of Gaussians."""
    shape: np.ndarray
    """xx, yy, xy of a component of variance 1, as polynomials of the position: shape (term, 3); see `matrices`."""
    expected: CoaddPsf | None = None
    """What the coadd's inputs say of the moments; `shape` is then what stars show beside that."""

    @property
    def planes(self):
        """Return the mixture as the kernels take it, shape (2, component)."""
        return psf_planes(self.mixture)

    def matrices(self, x, y):
        """Return xx, yy, xy of a component of variance 1 at positions in px, shape (source, 3)."""
        matrices = _terms(x, y, self.shape.shape[0]) @ self.shape
        if self.expected is not None:
            matrices += self.expected.moments(x, y) / self.sigma_px**2
        sound = (
            (matrices[:, 0] > 0.3) & (matrices[:, 1] > 0.3) & (matrices[:, 0] * matrices[:, 1] > matrices[:, 2] ** 2)
        )
        return np.where(sound[:, None], matrices, ROUND)

    def fwhm_at(self, x, y):
        """Return the full width at half maximum at positions in px, px, shape (source,)."""
        return self.fwhm_px * widths(self.matrices(x, y))

    def point_fluxes(self, scene, x, y, sigma):
        """Return flux by the mixture, its error from the variance, and the share of it on usable pixels.

        Parameters
        ----------
        scene : Scene
        x, y : ndarray of float64, shape (source,), px
        sigma : ndarray, shape (source,)
            Noise of a pixel there.

        Returns
        -------
        ndarray, shape (source, 3)
            Without `factor`; NaN where no pixel is usable.
        """
        models = Models(sources_at(x, y, np.zeros(x.size), sigma, self), self.matrices(x, y), self.planes)
        return template_fluxes(scene, models)

    def enclosed_within(self, radius_px, width=1.0):
        """Return the share of a point source's flux within radii, interpolated on the curve of growth.

        `width` is the PSF's in units of the usual one, as `widths` of its matrices.
        """
        curve = PchipInterpolator(np.concatenate([[0.0], self.radii_px]), np.concatenate([[0.0], self.enclosed]))
        return curve(np.clip(radius_px / width, 0.0, self.radii_px[-1]))


def widths(matrices):
    """Return the width of components of variance 1, 1 for round ones: shape (source,) from xx, yy, xy."""
    return np.exp(_log_size(matrices))


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


def estimate_psf(scene, x, y, radii_px, *, default_fwhm_px, star_snr, expected=None):
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
    expected : CoaddPsf, optional
        What the coadd's inputs say of the PSF: it follows every step of the coverage, which no polynomial through
        stars does. Stars are then those of the commonest size in proportion to it, and show by how much it is off.

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
    foreseen = _foreseen(expected, x[bright], y[bright])
    beside_usual = _beside_usual(foreseen, bright.size)
    members, sigma_px = _stellar_locus(moments, beside_usual)
    if members.size < _STARS_LEAST:
        return _assumed(default, radii_px)
    members = members[np.argsort(-flux[bright[members]], kind="stable")][:_STARS_MOST]
    stars = bright[members]
    if foreseen is None:
        shape = _shape_over_coadd(moments[members, :3], x[stars], y[stars], _median_variance(moments[members]))
        usual = stars
    else:
        shape = _shape_over_coadd(moments[members, :3] - foreseen[members], x[stars], y[stars], sigma_px**2)
        usual = stars[np.abs(beside_usual[members]) < _USUAL_WIDTH]
    usual = usual if usual.size >= _STARS_LEAST else stars
    clear_px = _clear_distances(x, y, flux, usual, 8.0 * FWHM_PER_SIGMA * sigma_px)
    known = sigma_px, shape, None if foreseen is None else expected
    return _from_stars(scene, (x, y), usual, clear_px, known, radii_px)


def _foreseen(expected, x, y):
    """Return the moments that the coadd's inputs let expect, shape (source, 3), or None if they do not for all."""
    moments = None if expected is None or x.size == 0 else expected.moments(x, y)
    return moments if moments is not None and np.isfinite(moments).all() else None


def _beside_usual(foreseen, count):
    """Return by how much the logarithm of foreseen sizes is off the commonest; 0 if none are foreseen."""
    if foreseen is None:
        return np.zeros(count)
    log_size = _log_size(foreseen)
    return log_size - _half_sample_mode(np.sort(log_size))


def _median_variance(moments):
    xx, yy, xy = moments[:, :3].T
    return np.median(np.sqrt(np.maximum(xx * yy - xy * xy, 1e-10)))


def _assumed(sigma_px, radii_px):
    fwhm_px = FWHM_PER_SIGMA * sigma_px
    profile = MoffatProfile.of_width(fwhm_px, _DEFAULT_BETA)
    radii = _all_radii(fwhm_px, radii_px)
    enclosed = np.asarray(profile.enclosed(radii))
    return Psf(sigma_px, fwhm_px, 0, 1.0, radii, enclosed, psf_mixture(profile), ROUND[None])


def _terms(x, y, count):
    """Return the terms of a polynomial at positions: 1, or 1, x, y; shape (source, term)."""
    terms = (np.ones(np.shape(x)), np.asarray(x) / _POSITION_UNIT_PX, np.asarray(y) / _POSITION_UNIT_PX)
    return np.stack(terms[:count], axis=-1)


def _shape_over_coadd(moments, x, y, variance_px2):
    """Return the polynomials of `Psf.shape` from stars' moments in units of a variance, outliers left out."""
    matrices = moments / variance_px2
    terms = _terms(x, y, 3 if x.size >= _LINEAR_STARS else 1)
    kept = np.ones(x.size, dtype=bool)
    for _ in range(3):
        shape = np.linalg.lstsq(terms[kept], matrices[kept], rcond=None)[0]
        off = np.abs(matrices - terms @ shape)
        kept = (off <= 3.0 * 1.4826 * np.median(off, axis=0) + 1e-6).all(axis=1)
        if kept.sum() < max(_STARS_LEAST, terms.shape[1]):
            break
    return shape


def _stellar_locus(moments, beside_usual):
    """Return the rows of `moments` that have the commonest size, and that size as a sigma in px.

    Logarithms of sizes are compared after `beside_usual`, shape (source,), is taken off.
    """
    xx, yy, xy, settled = moments.T
    log_size = _log_size(moments) - beside_usual
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


def _log_size(moments):
    xx, yy, xy = moments[:, :3].T
    return 0.25 * np.log(np.maximum(xx * yy - xy * xy, 1e-10))


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


def _from_stars(scene, places, stars, clear_px, moments, radii_px):
    """Return the PSF of stars: rows of `places`, the brightest first, `clear_px` off the next object that matters.

    `moments` are the sigma of the Gaussian that matches the stars, `Psf.shape` and `Psf.expected`.
    """
    sigma_px, shape, expected = moments
    x, y = (axis[stars] for axis in places)
    guess_px = FWHM_PER_SIGMA * sigma_px
    profile = fit_profile(scene.image, scene.variance, x, y, clear_px, fwhm_px=guess_px)
    profile = profile or MoffatProfile.of_width(guess_px, _DEFAULT_BETA)
    fwhm_px = profile.fwhm_px
    edge_px = np.minimum.reduce([x, y, scene.image.shape[1] - 1 - x, scene.image.shape[0] - 1 - y])
    reach_px = np.minimum(clear_px - 1.5 * fwhm_px, edge_px)
    radii = _all_radii(fwhm_px, radii_px)
    reference = int(np.argmin(np.abs(radii - _REFERENCE_RADIUS_FWHM * fwhm_px)))
    enclosed = _growth(scene, places, stars, reach_px, radii, reference, profile)
    inner = _clear_to(reach_px, _REFERENCE_RADIUS_FWHM * fwhm_px)
    at_reference = aperture_fluxes(scene, x[inner], y[inner], radii[reference])[0]
    psf = Psf(sigma_px, float(fwhm_px), int(x.size), 1.0, radii, enclosed, psf_mixture(profile), shape, expected)
    matched = psf.point_fluxes(scene, x[inner], y[inner], np.ones(inner.size))[:, 0]
    factor = float(np.median(at_reference / matched)) / enclosed[reference]
    return dataclasses.replace(psf, factor=factor)


def _clear_to(reach_px, radius_px):
    """Return the stars that are clear to a radius, or if too few those that are clearest."""
    clear = np.flatnonzero(reach_px >= radius_px)
    if clear.size >= _STARS_LEAST:
        return clear
    return np.sort(np.argsort(-reach_px, kind="stable")[:_STARS_LEAST])


def _growth(scene, places, stars, reach_px, radii, reference, profile):
    """Return the share of a star's flux within each radius.

    Up to the reference radius it is the median ratio of stars' fluxes, from there on it grows by `growth_step`; the
    light beyond the last radius is the profile's, but never more than 3 %.
    """
    x, y = (axis[stars] for axis in places)
    inner = _clear_to(reach_px, radii[reference])
    core = np.array([aperture_fluxes(scene, x[inner], y[inner], radius)[0] for radius in radii[: reference + 1]])
    growth = list(np.median(core / core[-1], axis=1))
    flux, _ = aperture_fluxes(scene, x, y, radii[reference])
    for inner_px, outer_px in itertools.pairwise(radii[reference:]):
        clear = np.flatnonzero(reach_px >= outer_px)[:_GROWTH_STARS_MOST]
        hidden = functools.partial(_neighbours, scene, places, stars[clear], _NEIGHBOUR_FWHM * profile.fwhm_px)
        clear_stars = x[clear], y[clear], flux[clear] * growth[-1]
        step = growth_step(scene.image, scene.variance, clear_stars, (inner_px, outer_px), profile, hidden)
        growth.append(growth[-1] * step)
    beyond = min(1.0 - float(profile.enclosed(radii[-1])), _MOST_BEYOND)
    growth = np.maximum.accumulate(growth)
    return growth / growth[-1] * (1.0 - beyond)


def _neighbours(scene, places, stars, radius_px, rows, cols, half):
    """Return windows around stars, True on pixels that are not usable or within a radius of another object."""
    hidden = windows(scene.unusable, rows, cols, half)
    offsets = np.arange(-half, half + 1)
    tree = cKDTree(np.column_stack(places))
    for k, star in enumerate(stars):
        for i in tree.query_ball_point((cols[k], rows[k]), 1.5 * half + radius_px):
            if i != star:
                dx, dy = cols[k] + offsets - places[0][i], (rows[k] + offsets - places[1][i])[:, None]
                hidden[k] |= dx**2 + dy**2 < radius_px**2
    return hidden
