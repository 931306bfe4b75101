"""Beams of one channel smoothed to a common resolution and joined, each weighted by what it tells of the sky."""

import numpy as np

from mpidriver.sphere import angular_separation_deg, unit_vectors
from mpidriver.tasks.polarisation._beams import beam_area_ratio, smoothing_covariance
from mpidriver.tasks.polarisation._cutouts import offsets_deg, sky_positions

__all__ = ["Mosaic", "axis_distance_deg", "beam_weights", "smooth_cutouts"]


def smooth_cutouts(cutouts, beam_deg, common_deg, grid):
    """Smooth cut-outs of one beam to the common beam, in the unit a common beam.

    Parameters
    ----------
    cutouts : float32 (..., plane, row, col)
        Per beam; NaN where blank, in all planes or none. What is within the kernel's reach of it is NaN afterwards.
    beam_deg, common_deg : float (3,)
    grid : CutoutGrid

    Returns
    -------
    float32 (..., plane, row, col)
    """
    from scipy.fft import next_fast_len

    covariance = smoothing_covariance(beam_deg, common_deg)
    ratio = beam_area_ratio(beam_deg, common_deg)
    if covariance is None:
        return cutouts * np.float32(ratio)
    blank = ~np.isfinite(cutouts)
    size = next_fast_len(grid.size_px + _reach_px(covariance, grid), real=True)
    transfer = _transfer(covariance, grid, size)
    smooth = _convolved(np.where(blank, np.float32(0.0), cutouts), transfer, size) * np.float32(ratio)
    holes = blank.any(axis=-3, keepdims=True)
    if holes.any():
        covered = _convolved((~holes).astype(np.float32), transfer, size)
        inside = _convolved(np.ones(cutouts.shape[-2:], np.float32), transfer, size)  # what the border takes away
        smooth[np.broadcast_to(covered < 0.999 * inside, smooth.shape)] = np.nan
    return smooth


def _reach_px(covariance, grid):
    return int(np.ceil(5.0 * np.sqrt(np.linalg.eigvalsh(covariance)[-1]) / grid.pixel_deg))


def _transfer(covariance, grid, size):
    """Return the Fourier transform of a Gaussian of unit integral on the pixels of a cut-out; columns count west."""
    north = np.fft.fftfreq(size, grid.pixel_deg)[:, None]
    east = -np.fft.rfftfreq(size, grid.pixel_deg)
    form = covariance[0, 0] * east**2 + 2.0 * covariance[0, 1] * east * north + covariance[1, 1] * north**2
    return np.exp(-2.0 * np.pi**2 * form).astype(np.float32)


def _convolved(planes, transfer, size):
    from scipy.fft import irfft2, rfft2  # keep float32, unlike numpy's

    rows, cols = planes.shape[-2:]
    spectrum = rfft2(planes, s=(size, size)) * transfer
    return irfft2(spectrum, s=(size, size))[..., :rows, :cols]


def beam_weights(response, noise, *, corrected, cutoff):
    """Return what pixels of a beam are multiplied by in the sum, and what that adds to the sum of weights.

    With response A of the primary beam and noise σ of the uncorrected image, the best estimate of the sky is
    Σ A I/σ² / Σ A²/σ² of uncorrected, and Σ A² I/σ² / Σ A²/σ² of corrected images.

    Parameters
    ----------
    response : float (...)
        A, 1 on the axis; NaN or below `cutoff`: not used.
    noise : float
        σ of I, Q, U in the mean, of an image that is not corrected or on the axis of one that is.
    corrected : bool
    cutoff : float
    """
    used = np.where(np.nan_to_num(response) >= cutoff, response, 0.0)
    weight = (used / noise) ** 2
    return (weight if corrected else used / noise**2), weight


class Mosaic:
    """The weighted mean of the beams of one channel on the cut-outs of a group.

    Parameters
    ----------
    targets : int
        Cut-outs.
    grid : CutoutGrid
    """

    def __init__(self, targets, grid):
        self._total = np.zeros((targets, 3, grid.size_px, grid.size_px))
        self._weight = np.zeros((targets, grid.size_px, grid.size_px))

    def add(self, target, stokes, factor, weight):
        """Add a beam's I, Q, U (stokes, row, col) with a factor and weight of each pixel; blanks are left out."""
        used = np.isfinite(stokes).all(axis=0) & (weight > 0.0)
        self._total[target] += np.where(used, factor * np.where(used, stokes, 0.0), 0.0)
        self._weight[target] += np.where(used, weight, 0.0)

    def mean(self):
        """Return I, Q, U of all cut-outs, float32 (target, stokes, row, col); NaN where no beam reaches."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return (self._total / self._weight[:, None]).astype(np.float32)


def axis_distance_deg(grid, ra_deg, dec_deg, axis_deg):
    """Return the distance of a cut-out's pixels from the axis of a beam, float64 (row, col), deg."""
    east, north = offsets_deg(grid)
    return angular_separation_deg(unit_vectors(*sky_positions(ra_deg, dec_deg, east, north)), unit_vectors(*axis_deg))
