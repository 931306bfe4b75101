"""Positions: every frame's WCS gets a polynomial correction in the common tangent plane, stars are free.

The low terms are the frame's own, but scatter about what its exposure and its detector say as little as they show; the
higher ones are those of its detector, the same in all exposures of a band. They are what tells a distortion of the
detector from one of the sky, which dithered and turned exposures see alike and polynomials of each frame could follow.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mpidriver.tasks.least_squares import (
    Fit,
    Measurements,
    evaluate,
    grouped_rms,
    solve_robustly,
    weighted_rms,
    worst_outliers,
)
from mpidriver.tasks.mosaic._focal_plane import FocalPlane, fit_focal_plane, without_whole
from mpidriver.tasks.mosaic._grouping import connected_frames
from mpidriver.tasks.mosaic._matching import Matches
from mpidriver.tasks.mosaic._options import MosaicOptions
from mpidriver.tasks.mosaic._records import FrameSources
from mpidriver.tasks.mosaic._stars import FrameStars, unit_square
from mpidriver.tasks.scattering import Ranks
from mpidriver.tasks.skymap import TangentPlane

__all__ = ["Astrometry", "solve_astrometry"]

#: Of the polynomials.
MAX_DEGREE = 5
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
    group: np.ndarray
    """Number of the frames that hang together, shape (f,)."""
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
    exposures: np.ndarray,
    detectors: np.ndarray,
    matches: Matches,
    reference: np.ndarray,
    reference_sigma: np.ndarray,
    options: MosaicOptions,
    ranks: Ranks,
) -> Astrometry:
    """Solve the frames' corrections.

    Parameters
    ----------
    frames
        Stars of each frame.
    exposures : ndarray of int, shape (f,)
        Which frames are moved together.
    detectors : ndarray of int, shape (f,)
        Which frames have their higher terms in common: those with the same number.
    matches
        Which of them are the same; the first stars are those of the reference.
    reference : ndarray, shape (k, 2), arcsec
    reference_sigma : ndarray, shape (k,), arcsec
    options
        Degree, priors, clipping.
    ranks
        Who sets up the normal equations.
    """
    robustly = {"clip_sigma": options.clip_sigma, "max_iterations": options.max_iterations, "ranks": ranks}
    given = matches, reference, reference_sigma
    first = _each_frame(_measurements(frames, detectors, *given, options), frames, options, robustly)
    if not len(reference):
        stiff = replace(options, detector_degree=0)
        other = _each_frame(_measurements(frames, detectors, *given, stiff), frames, stiff, robustly)
        if not _clearly_closer(first, other):
            first, options = other, stiff
    given_maps = np.stack([frame.linear_map for frame in frames])
    noise = _noise(first.at_means, first.fit)
    plane = fit_focal_plane(given_maps, first.low_terms, noise, exposures, detectors, options)
    m = _at_places_of_means(_moved(first.measured, plane), first.fit, frames, options)
    fit = solve_robustly(m, ~first.kept_out, **robustly)
    group, is_tied = connected_frames(m.frame[fit.used], m.star[fit.used], fit.tied, len(frames))
    change = plane.corrections(len(frames)) + fit.coefficients[:, :3, 0] - first.low_terms
    low = first.low_terms + without_whole(change, given_maps + first.low_terms, group, is_tied)
    return _astrometry(m, fit, first.kept_out, low, group, _turns(frames, options), options)


@dataclass(frozen=True)
class _First:
    """Every frame's own correction, before exposures and detectors are asked."""

    measured: Measurements
    kept_out: np.ndarray
    """Measurements of validation stars, shape (m,)."""
    at_means: Measurements
    """With the terms where the stars' means lie."""
    fit: Fit

    @property
    def low_terms(self) -> np.ndarray:
        """Constant and linear terms of each frame, complex, shape (f, 3), arcsec."""
        return self.fit.coefficients[:, :3, 0]


def _each_frame(
    measured: Measurements, frames: list[FrameStars], options: MosaicOptions, robustly: dict[str, Any]
) -> _First:
    kept_out = _validation_measurements(measured, options.validation_fraction)
    is_shift = np.isin(np.arange(len(measured.precision)), measured.parameter[:, 0])
    shifts_only = replace(measured, precision=np.where(is_shift, measured.precision, HELD**-2.0))
    fit = solve_robustly(shifts_only, ~kept_out, **robustly | {"clip_sigma": np.inf, "max_iterations": 1})
    m = _at_places_of_means(measured, fit, frames, options)
    return _First(measured, kept_out, m, solve_robustly(m, ~kept_out, **robustly))


def _clearly_closer(one: _First, other: _First) -> bool:
    """Tell whether measurements are so much closer together in one solution as its additional terms must achieve.

    That is Schwarz's (1978) criterion. Without a reference detectors have terms in common only then: dithers alone tell
    a detector's distortion from the sky's three times worse than none does.
    """
    rms = [
        weighted_rms(first.fit.residual, first.measured.sigma, first.fit.share, first.fit.used)
        for first in (one, other)
    ]
    numbers = 2 * np.count_nonzero(one.fit.used)
    terms = 2 * (len(one.measured.precision) - len(other.measured.precision))
    return bool(numbers * np.log((rms[1] / rms[0]) ** 2) > terms * np.log(max(numbers, 1)))


def _noise(m: Measurements, fit: Fit) -> np.ndarray:
    """Return the error of a coordinate of each frame's shift, shape (f,), arcsec; infinite without stars."""
    weight = np.where(fit.used, (1.0 - fit.share) * m.sigma**-2.0, 0.0)
    information = np.bincount(m.frame, weight, len(m.parameter))
    return np.sqrt(np.divide(1.0, information, out=np.full(len(information), np.inf), where=information > 0))


def _moved(m: Measurements, plane: FocalPlane) -> Measurements:
    """Return measurements of frames as exposures and detectors place them, with what is known of the rest."""
    if not len(plane.frames):
        return m
    shift = np.sum(m.basis[:, :3] * plane.corrections(len(m.parameter))[m.frame], axis=1)
    low = m.parameter[plane.frames, :3].ravel()
    precision = np.diag(m.precision).astype(complex)
    precision[np.ix_(low, low)] = plane.precision
    return replace(m, value=m.value + np.stack([shift.real, shift.imag], axis=-1), precision=precision)


def _astrometry(
    m: Measurements,
    fit: Fit,
    kept_out: np.ndarray,
    low: np.ndarray,
    group: np.ndarray,
    turn: np.ndarray,
    options: MosaicOptions,
) -> Astrometry:
    """Return the solution with its figures; `low` are its constant and linear terms, shape (f, 3)."""
    coefficients = fit.coefficients * turn[:, :, None]
    n_frames = len(m.parameter)
    coefficients[:, :3, 0] = low
    frame_rms = grouped_rms(fit.residual, m.sigma, fit.share, fit.used, m.frame, n_frames)
    measured = np.bincount(m.star[fit.used], minlength=len(m.tie)) > 0
    return Astrometry(
        coefficients=coefficients.view(float),
        n_used=np.bincount(m.frame[fit.used], minlength=n_frames),
        frame_rms_mas=frame_rms * 1000.0,
        group=group,
        n_stars=int(measured.sum()),
        n_reference=int((measured & fit.tied).sum()),
        rms_mas=weighted_rms(fit.residual, m.sigma, fit.share, fit.used) * 1000.0,
        validation_rms_mas=_validation_rms(m, fit, kept_out, options) * 1000.0,
        reference_rms_mas=weighted_rms(fit.tie_residual, m.tie_sigma, fit.tie_share, fit.tied & measured) * 1000.0,
    )


def _measurements(
    frames: list[FrameStars],
    detectors: np.ndarray,
    matches: Matches,
    reference: np.ndarray,
    reference_sigma: np.ndarray,
    options: MosaicOptions,
) -> Measurements:
    place = matches.gather([frame.place for frame in frames])
    n_matched = np.array([np.count_nonzero(star >= 0) for star in matches.star])
    turn = _turns(frames, options)
    parameter, prior = _parameters(detectors, n_matched, options)
    tie = np.full((matches.n_stars, 2), np.nan)
    tie[: len(reference)] = reference
    tie_sigma = np.full(matches.n_stars, np.inf)
    tie_sigma[: len(reference)] = reference_sigma
    return Measurements(
        frame=matches.frame_numbers(),
        star=matches.gather(matches.star),
        basis=_terms(place, _n_columns(options)) * turn[matches.frame_numbers()],
        value=matches.gather([frame.position for frame in frames]),
        sigma=matches.gather([frame.sigma for frame in frames]),
        tie=tie,
        tie_sigma=tie_sigma,
        parameter=parameter,
        precision=prior**-2.0,
    )


def _at_places_of_means(m: Measurements, fit: Fit, frames: list[FrameStars], options: MosaicOptions) -> Measurements:
    """Return the measurements with the polynomials evaluated where the stars' means lie, not where they were measured.

    Else a correction that shrinks all frames would shrink the centroids' noise as well, and a solution without
    reference would take that gain: 1 % of scale with 150 stars a frame and a prior of 1 arcsec.
    """
    per_arcsec = np.stack([frame.place_per_arcsec for frame in frames])[m.frame]
    noise = np.where(fit.used[:, None], fit.residual, 0.0)
    place = m.basis[:, 1:3].real - np.einsum("mr,mrk->mk", noise, per_arcsec)
    return replace(m, basis=_terms(place, m.basis.shape[1]) * _turns(frames, options)[m.frame])


def _turns(frames: list[FrameStars], options: MosaicOptions) -> np.ndarray:
    """Return the factor of each frame's terms, complex, shape (f, k): 1, or for shared ones the frame's turn.

    A correction is xi + i eta; a detector's has the axes of its pixels, which are turned in each exposure.
    """
    columns = np.linalg.inv(np.stack([frame.place_per_arcsec for frame in frames]))[:, 0]
    turn = (columns[:, 0] + 1j * columns[:, 1]) / np.hypot(columns[:, 0], columns[:, 1])
    is_own = np.arange(_n_columns(options)) < _n_own(options)
    return np.where(is_own, 1.0, turn[:, None])


def _n_terms(degree: int) -> int:
    return (degree + 1) * (degree + 2) // 2


def _n_columns(options: MosaicOptions) -> int:
    """Return the terms that are carried along: u and v always, as they tell where a measurement lies."""
    return max(_n_terms(options.detector_degree), _n_own(options))


def _n_own(options: MosaicOptions) -> int:
    """Return how many of them are each frame's own."""
    return max(_n_terms(options.degree), 3)


def _terms(place: np.ndarray, n_terms: int) -> np.ndarray:
    """Return the monomials 1, u, v, u², uv, v² … at places on the frame, shape (n, n_terms)."""
    u, v = place.T
    powers = [(total - j, j) for total in range(MAX_DEGREE + 1) for j in range(total + 1)][:n_terms]
    return np.stack([u**i * v**j for i, j in powers], axis=-1)


def _parameters(detectors: np.ndarray, n_matched: np.ndarray, options: MosaicOptions) -> tuple[np.ndarray, np.ndarray]:
    """Return which parameter each coefficient of each frame is, shape (f, k), and the parameters' expected size."""
    n_frames, n_columns = len(detectors), _n_columns(options)
    n_own = _n_own(options)
    own = np.arange(n_frames * n_own).reshape(n_frames, n_own)
    numbers, group = np.unique(detectors, return_inverse=True)
    shared = n_frames * n_own + group[:, None] * (n_columns - n_own) + np.arange(n_columns - n_own)
    prior = np.concatenate(
        [_size(_degree(n, options.degree), options)[:n_own] for n in n_matched]
        + [_size(_shared_degree(n_matched[detectors == number], options), options)[n_own:] for number in numbers]
    )
    return np.concatenate([own, shared], axis=1), prior


def _degree(n_matched: int, degree: int) -> int:
    """Return the degree that so many stars can carry."""
    while degree > 1 and n_matched < STARS_A_TERM * _n_terms(degree):
        degree -= 1
    return degree


def _shared_degree(n_matched: np.ndarray, options: MosaicOptions) -> int:
    """Return the degree of a detector's polynomial, from the stars of its frames; one frame says nothing of it."""
    if np.count_nonzero(n_matched) < 2:
        return 0
    return _degree(int(n_matched.sum()), options.detector_degree)


def _size(degree: int, options: MosaicOptions) -> np.ndarray:
    """Return the expected size of all coefficients; terms above the degree are held at zero."""
    size = np.full(_n_columns(options), options.correction_prior_arcsec)
    size[0] = options.search_radius_arcsec
    size[3:] *= BENDING
    size[_n_terms(degree) :] = HELD
    return size


def _validation_measurements(m: Measurements, fraction: float) -> np.ndarray:
    """Choose stars to keep out of the solution, of frames that have enough; return their measurements, shape (m,)."""
    n_frames, terms = m.parameter.shape
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
