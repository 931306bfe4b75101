"""Zero points: every frame's is shifted and every detector has a flat; the stars' magnitudes are free, a band apart.

A frame's zero point is that of its exposure and that of its detector in the band, and scatters a little about their
sum, as much as the exposure shows. So frames with few stars have theirs from the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mpidriver.tasks.least_squares import Fit, Measurements, grouped_rms, precision_about, solve_robustly, weighted_rms
from mpidriver.tasks.mosaic._flat import n_flat_terms
from mpidriver.tasks.mosaic._grouping import detector_numbers, exposure_numbers, membership, robust_fit
from mpidriver.tasks.mosaic._matching import Matches
from mpidriver.tasks.mosaic._options import MosaicOptions
from mpidriver.tasks.mosaic._records import FrameSources
from mpidriver.tasks.mosaic._stars import FrameStars
from mpidriver.tasks.scattering import Ranks

__all__ = ["Photometry", "solve_photometry"]

#: A detector has so many measurements for each term of its flat, or gets a lower degree.
STARS_A_TERM = 30
#: Deviation of frames from the sums that is expected before it is measured, mag.
FIRST_SCATTER_MAG = 0.02
#: Expected size of a coefficient that is held at zero, mag.
HELD = 1e-6


@dataclass(frozen=True)
class Photometry:
    """The solution of all bands."""

    zero_point_mag: np.ndarray
    """Of each frame, shape (f,)."""
    flat_mag: np.ndarray
    """Of each frame's detector, by `flat_terms`, shape (f, k); zeros where there are too few stars."""
    frame_rms_mmag: np.ndarray
    """Shape (f,)."""
    rms_mmag: float


def solve_photometry(
    frames: Sequence[FrameSources],
    stars: list[FrameStars],
    matches: Matches,
    reference: np.ndarray | None,
    options: MosaicOptions,
    ranks: Ranks,
) -> Photometry:
    """Solve the frames' zero points.

    Parameters
    ----------
    frames
        Bands and input zero points.
    stars
        Stars of each frame.
    matches
        Which of them are the same; the first stars are those of the reference.
    reference
        Reference stars with mag_<band> and perhaps mag_<band>_err; None if there are none.
    options
        Priors and clipping.
    ranks
        Who sets up the normal equations.
    """
    bands = sorted({frame.band for frame in frames})
    band_of_frame = np.array([bands.index(frame.band) for frame in frames])
    detectors = detector_numbers(frames)
    exposures = exposure_numbers(frames)
    design = np.hstack([membership(exposures), membership(detectors)])
    start = _start(frames, band_of_frame, design, options)
    ties = [_reference_magnitudes(reference, band, matches.n_stars, options) for band in bands]
    frame = matches.frame_numbers()
    magnitude = matches.gather([each.magnitude for each in stars])
    size = _flat_size(np.bincount(frame, minlength=len(frames)), detectors, options)
    m = Measurements(
        frame=frame,
        star=band_of_frame[frame] * matches.n_stars + matches.gather(matches.star),  # a star has one magnitude a band
        basis=np.column_stack([np.ones(len(frame)), matches.gather([each.flat_terms for each in stars])]),
        value=(magnitude + start[frame])[:, None],
        sigma=matches.gather([each.magnitude_error for each in stars]),
        tie=np.concatenate([magnitudes for magnitudes, _ in ties])[:, None],
        tie_sigma=np.concatenate([sigma for _, sigma in ties]),
        parameter=np.column_stack([np.arange(len(frames)), len(frames) + _flat_numbers(detectors, size.shape[1])]),
        precision=_precision(design, size, np.full(len(frames), FIRST_SCATTER_MAG), options),
    )
    fit = _solve(m, options, ranks)
    scatter = _scatter(m, fit, design, exposures, options)
    fit = _solve(replace(m, precision=_precision(design, size, scatter, options)), options, ranks)
    frame_rms = grouped_rms(fit.residual, m.sigma, fit.share, fit.used, frame, len(frames))
    return Photometry(
        zero_point_mag=start + fit.coefficients[:, 0, 0],
        flat_mag=np.where(size[detectors] > HELD, fit.coefficients[:, 1:, 0], 0.0),
        frame_rms_mmag=frame_rms * 1000.0,
        rms_mmag=weighted_rms(fit.residual, m.sigma, fit.share, fit.used) * 1000.0,
    )


def _solve(m: Measurements, options: MosaicOptions, ranks: Ranks) -> Fit:
    everything = np.ones(len(m.frame), dtype=bool)
    return solve_robustly(
        m, everything, clip_sigma=options.clip_sigma, max_iterations=options.max_iterations, ranks=ranks
    )


def _scatter(
    m: Measurements, fit: Fit, design: np.ndarray, exposures: np.ndarray, options: MosaicOptions
) -> np.ndarray:
    """Return by how much the zero points of each frame's exposure deviate from the sums, noise taken off, mag.

    That is little in clear nights, and more in clouds.
    """
    n_frames = len(design)
    information = np.bincount(m.frame, np.where(fit.used, (1.0 - fit.share) * m.sigma**-2.0, 0.0), n_frames)
    noise = np.minimum(np.divide(1.0, information, out=np.ones(n_frames), where=information > 0), 1.0)
    weight = 1.0 / np.sqrt(noise + FIRST_SCATTER_MAG**2)
    shift = fit.coefficients[:, 0, 0]
    common = np.linalg.lstsq(design * weight[:, None], shift * weight, rcond=None)[0]
    freedom = max(n_frames - np.linalg.matrix_rank(design), 1) / n_frames
    square = (shift - design @ common) ** 2 / freedom - noise
    number = np.bincount(exposures)
    mean = np.bincount(exposures, square) / number
    return np.sqrt(np.maximum(mean, (options.zero_point_scatter_mmag / 1000.0) ** 2))[exposures]


def _start(
    frames: Sequence[FrameSources], band_of_frame: np.ndarray, design: np.ndarray, options: MosaicOptions
) -> np.ndarray:
    """Return zero points that are sums of an exposure's and a detector's and, band by band, lie where the input does.

    Input that is far off is not counted. A band without input begins at 0.
    """
    given = np.array([float(frame.zero_point_mag) for frame in frames])
    start = np.zeros(len(frames))
    for band in np.unique(band_of_frame):
        own = band_of_frame == band
        known = own & np.isfinite(given)
        if not known.any():
            continue
        level = np.median(given[known])
        size = np.full(design.shape[1], options.zero_point_prior_mag)
        start[own] = (
            level + design[own] @ robust_fit(design[known], given[known, None] - level, size, FIRST_SCATTER_MAG)[:, 0]
        )
        near = known & (np.abs(given - start) <= options.zero_point_prior_mag)
        start[own] += np.mean((given - start)[near]) if near.any() else 0.0
    return start


def _flat_numbers(detectors: np.ndarray, n_terms: int) -> np.ndarray:
    """Number the coefficients of the detectors' flats; return those of each frame, shape (f, n_terms)."""
    return detectors[:, None] * n_terms + np.arange(n_terms)


def _flat_size(n_stars: np.ndarray, detectors: np.ndarray, options: MosaicOptions) -> np.ndarray:
    """Return the expected size of each coefficient of each detector's flat, mag, shape (n_detectors, k).

    What its stars cannot carry is held at zero; one frame does not tell a flat from errors of the reference.
    """
    size = np.full((detectors.max(initial=-1) + 1, n_flat_terms(options.flat_degree)), HELD)
    for number in range(len(size)):
        own = n_stars[detectors == number]
        degree = options.flat_degree if np.count_nonzero(own) > 1 else 0
        while degree and own.sum() < STARS_A_TERM * n_flat_terms(degree):
            degree -= 1
        size[number, : n_flat_terms(degree)] = options.flat_prior_mmag / 1000.0
    return size


def _precision(design: np.ndarray, flat_size: np.ndarray, scatter: np.ndarray, options: MosaicOptions) -> np.ndarray:
    """Return the inverse covariance of all frames' zero points and then all flats."""
    n_frames, n_common = design.shape
    precision = np.zeros((n_frames + flat_size.size,) * 2)
    precision[:n_frames, :n_frames] = precision_about(
        design,
        np.full(n_common, options.zero_point_prior_mag),
        scatter,
    )
    flats = np.arange(n_frames, len(precision))
    precision[flats, flats] = flat_size.ravel() ** -2.0
    return precision


def _reference_magnitudes(
    reference: np.ndarray | None, band: str, n_stars: int, options: MosaicOptions
) -> tuple[np.ndarray, np.ndarray]:
    """Return the stars' reference magnitudes in one band and their errors, infinite where there is none."""
    magnitude, sigma = np.full(n_stars, np.nan), np.full(n_stars, np.inf)
    names = (reference.dtype.names or ()) if reference is not None else ()
    if f"mag_{band}" not in names:
        return magnitude, sigma
    known = np.flatnonzero(np.isfinite(reference[f"mag_{band}"]))
    magnitude[known] = reference[f"mag_{band}"][known]
    sigma[known] = options.reference_error_mmag / 1000.0
    if f"mag_{band}_err" in names:
        error = reference[f"mag_{band}_err"][known]
        sigma[known] = np.where(error > 0, error, sigma[known])
    return magnitude, sigma
