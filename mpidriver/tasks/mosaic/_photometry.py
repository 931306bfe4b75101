"""Zero points: every frame's zero point is shifted, the stars' magnitudes are free, each band by itself."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mpidriver.tasks.least_squares import Measurements, grouped_rms, solve_robustly, weighted_rms
from mpidriver.tasks.mosaic._matching import Matches
from mpidriver.tasks.mosaic._options import MosaicOptions
from mpidriver.tasks.mosaic._records import FrameSources
from mpidriver.tasks.mosaic._stars import FrameStars

__all__ = ["Photometry", "solve_photometry"]


@dataclass(frozen=True)
class Photometry:
    """The solution of all bands."""

    zero_point_mag: np.ndarray
    """Of each frame, shape (f,)."""
    frame_rms_mmag: np.ndarray
    """Shape (f,)."""
    rms_mmag: float


def solve_photometry(
    frames: Sequence[FrameSources],
    stars: list[FrameStars],
    matches: Matches,
    reference: np.ndarray | None,
    options: MosaicOptions,
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
    """
    bands = sorted({frame.band for frame in frames})
    band_of_frame = np.array([bands.index(frame.band) for frame in frames])
    start = _input_zero_points(frames, band_of_frame)
    ties = [_reference_magnitudes(reference, band, matches.n_stars, options) for band in bands]
    frame = matches.frame_numbers()
    magnitude = matches.gather([each.magnitude for each in stars])
    m = Measurements(
        frame=frame,
        star=band_of_frame[frame] * matches.n_stars + matches.gather(matches.star),  # a star has one magnitude a band
        basis=np.ones((len(frame), 1)),
        value=(magnitude + start[frame])[:, None],
        sigma=matches.gather([each.magnitude_error for each in stars]),
        tie=np.concatenate([magnitudes for magnitudes, _ in ties])[:, None],
        tie_sigma=np.concatenate([sigma for _, sigma in ties]),
        parameter=np.arange(len(frames))[:, None],
        prior=np.full(len(frames), options.zero_point_prior_mag),
    )
    everything = np.ones(len(frame), dtype=bool)
    fit = solve_robustly(m, everything, clip_sigma=options.clip_sigma, max_iterations=options.max_iterations)
    frame_rms = grouped_rms(fit.residual, m.sigma, fit.share, fit.used, frame, len(frames))
    return Photometry(
        zero_point_mag=start + fit.coefficients[:, 0, 0],
        frame_rms_mmag=frame_rms * 1000.0,
        rms_mmag=weighted_rms(fit.residual, m.sigma, fit.share, fit.used) * 1000.0,
    )


def _input_zero_points(frames: Sequence[FrameSources], band_of_frame: np.ndarray) -> np.ndarray:
    """Return the input zero points; a frame without one gets the median of its band, or 0 if no frame has one."""
    start = np.array([float(frame.zero_point_mag) for frame in frames])
    for band in np.unique(band_of_frame):
        known = start[(band_of_frame == band) & np.isfinite(start)]
        start[(band_of_frame == band) & ~np.isfinite(start)] = np.median(known) if len(known) else 0.0
    return start


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
