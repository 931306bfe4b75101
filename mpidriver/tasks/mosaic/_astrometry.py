"""Positions: every frame's WCS gets a polynomial correction in the common tangent plane, stars are free."""

from dataclasses import dataclass, replace

import numpy as np

from mpidriver.tasks.mosaic._least_squares import (
    Fit,
    Measurements,
    evaluate,
    grouped_rms,
    solve_robustly,
    weighted_rms,
    worst_outliers,
)
from mpidriver.tasks.mosaic._matching import Matches
from mpidriver.tasks.mosaic._options import MosaicOptions
from mpidriver.tasks.mosaic._records import FrameSources
from mpidriver.tasks.mosaic._stars import FrameStars, unit_square
from mpidriver.tasks.skymap import TangentPlane

__all__ = ["Astrometry", "solve_astrometry"]

#: A frame has so many stars for each term of its polynomial, or gets a lower degree.
STARS_A_TERM = 4
#: A frame lends stars for validation only while so many are left for each term.
SPARE_STARS_A_TERM = 6
#: Expected size of a coefficient that is held at zero, arcsec.
HELD = 1e-6
#: Expected size of quadratic and cubic terms in units of that of the linear ones.
BENDING = 0.1
#: Seed of the choice of validation stars.
VALIDATION_SEED = 1


@dataclass(frozen=True)
class Astrometry:
    """The solution in the common plane."""

    coefficients: np.ndarray
    """Of each frame's correction, shape (f, k, 2), arcsec."""
    n_used: np.ndarray
    """Measurements of each frame that the solution uses, shape (f,)."""
    frame_rms_mas: np.ndarray
    """Shape (f,)."""
    n_stars: int
    n_reference: int
    rms_mas: float
    validation_rms_mas: float
    reference_rms_mas: float

    def to_sky(self, index: int, frame: FrameSources, plane: TangentPlane, x, y):
        """Return right ascension and declination (deg) of pixel positions of one frame."""
        xi, eta = plane.project(*frame.wcs.all_pix2world(x, y, 0))
        correction = _terms(unit_square(frame, x, y), self.coefficients.shape[1]) @ self.coefficients[index] / 3600.0
        return plane.deproject(xi + correction[:, 0], eta + correction[:, 1])


def solve_astrometry(
    frames: list[FrameStars],
    matches: Matches,
    reference: np.ndarray,
    reference_sigma: np.ndarray,
    options: MosaicOptions,
) -> Astrometry:
    """Solve the frames' corrections.

    Parameters
    ----------
    frames
        Stars of each frame.
    matches
        Which of them are the same; the first stars are those of the reference.
    reference : ndarray, shape (k, 2), arcsec
    reference_sigma : ndarray, shape (k,), arcsec
    options
        Degree, priors, clipping.
    """
    measured = _measurements(frames, matches, reference, reference_sigma, options)
    kept_out = _validation_measurements(measured, options.validation_fraction)
    shifts_only = replace(measured, prior=np.where(np.arange(measured.prior.shape[1]) == 0, measured.prior, HELD))
    fit = solve_robustly(shifts_only, ~kept_out, clip_sigma=np.inf, max_iterations=1)
    for _ in range(2):
        m = _at_places_of_means(measured, fit, frames)
        fit = solve_robustly(m, ~kept_out, clip_sigma=options.clip_sigma, max_iterations=options.max_iterations)
    return _astrometry(m, fit, kept_out, options)


def _astrometry(m: Measurements, fit: Fit, kept_out: np.ndarray, options: MosaicOptions) -> Astrometry:
    """Return the solution with its figures."""
    n_frames = len(m.prior)
    frame_rms = grouped_rms(fit.residual, m.sigma, fit.share, fit.used, m.frame, n_frames)
    measured = np.bincount(m.star[fit.used], minlength=len(m.tie)) > 0
    return Astrometry(
        coefficients=fit.coefficients,
        n_used=np.bincount(m.frame[fit.used], minlength=n_frames),
        frame_rms_mas=frame_rms * 1000.0,
        n_stars=int(measured.sum()),
        n_reference=int((measured & fit.tied).sum()),
        rms_mas=weighted_rms(fit.residual, m.sigma, fit.share, fit.used) * 1000.0,
        validation_rms_mas=_validation_rms(m, fit, kept_out, options) * 1000.0,
        reference_rms_mas=weighted_rms(fit.tie_residual, m.tie_sigma, fit.tie_share, fit.tied & measured) * 1000.0,
    )


def _measurements(
    frames: list[FrameStars],
    matches: Matches,
    reference: np.ndarray,
    reference_sigma: np.ndarray,
    options: MosaicOptions,
) -> Measurements:
    tie = np.full((matches.n_stars, 2), np.nan)
    tie[: len(reference)] = reference
    tie_sigma = np.full(matches.n_stars, np.inf)
    tie_sigma[: len(reference)] = reference_sigma
    return Measurements(
        frame=matches.frame_numbers(),
        star=matches.gather(matches.star),
        basis=_terms(matches.gather([frame.place for frame in frames]), _n_columns(options)),
        value=matches.gather([frame.position for frame in frames]),
        sigma=matches.gather([frame.sigma for frame in frames]),
        tie=tie,
        tie_sigma=tie_sigma,
        prior=np.stack([_prior(np.count_nonzero(star >= 0), options) for star in matches.star]),
    )


def _at_places_of_means(m: Measurements, fit: Fit, frames: list[FrameStars]) -> Measurements:
    """Return the measurements with the polynomials evaluated where the stars' means lie, not where they were measured.

    Else a correction that shrinks all frames would shrink the centroids' noise as well, and a solution without
    reference would take that gain: 1 % of scale with 150 stars a frame and a prior of 1 arcsec.
    """
    per_arcsec = np.stack([frame.place_per_arcsec for frame in frames])[m.frame]
    noise = np.where(fit.used[:, None], fit.residual, 0.0)
    place = m.basis[:, 1:3] - np.einsum("mr,mrk->mk", noise, per_arcsec)
    return replace(m, basis=_terms(place, m.basis.shape[1]))


def _n_terms(degree: int) -> int:
    return (degree + 1) * (degree + 2) // 2


def _n_columns(options: MosaicOptions) -> int:
    """Return the terms that are carried along: u and v always, as they tell where a measurement lies."""
    return max(_n_terms(options.degree), 3)


def _terms(place: np.ndarray, n_terms: int) -> np.ndarray:
    """Return the monomials 1, u, v, u², uv, v² … at places on the frame, shape (n, n_terms)."""
    u, v = place.T
    powers = [(total - j, j) for total in range(4) for j in range(total + 1)][:n_terms]
    return np.stack([u**i * v**j for i, j in powers], axis=-1)


def _prior(n_matched: int, options: MosaicOptions) -> np.ndarray:
    """Return the expected size of a frame's coefficients; terms that its stars cannot carry are held at zero."""
    degree = options.degree
    while degree > 1 and n_matched < STARS_A_TERM * _n_terms(degree):
        degree -= 1
    prior = np.full(_n_columns(options), options.correction_prior_arcsec)
    prior[0] = options.search_radius_arcsec
    prior[3:] *= BENDING
    prior[_n_terms(degree) :] = HELD
    return prior


def _validation_measurements(m: Measurements, fraction: float) -> np.ndarray:
    """Choose stars to keep out of the solution, of frames that have enough; return their measurements, shape (m,)."""
    n_frames, terms = m.prior.shape
    rich = np.bincount(m.frame, minlength=n_frames) >= SPARE_STARS_A_TERM * terms
    dispensable = np.ones(len(m.tie), dtype=bool)
    dispensable[m.star[~rich[m.frame]]] = False
    drawn = np.random.default_rng(VALIDATION_SEED).random(len(m.tie)) < fraction
    return (dispensable & drawn)[m.star]


def _validation_rms(m: Measurements, fit: Fit, kept_out: np.ndarray, options: MosaicOptions) -> float:
    """Return the scatter of the stars that were kept out about their own means, outliers dropped as in the solution."""
    used, untied = kept_out, np.zeros(len(m.tie), dtype=bool)
    for _ in range(options.max_iterations):
        checked = evaluate(m, fit.coefficients, used, untied)
        out = worst_outliers(m, checked, options.clip_sigma)[0]
        if not out.any():
            break
        used = used & ~out
    return weighted_rms(checked.residual, m.sigma, checked.share, checked.used)
