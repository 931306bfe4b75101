"""λ², Faraday-depth grids and the figures of an observation that follow from its frequencies alone.

Conventions are those of RM-Tools 1.5 and POSSUM: FWHM 3.8/(λ²_max - λ²_min) after Dickey et al. (2019), λ²_0 the
weighted mean of λ² (Brentjens & de Bruyn 2005, A&A 441, 1217, eq. 32).
"""

import math

import numpy as np

from mpidriver.errors import DataError
from mpidriver.frequencies import LOWEST_FREQUENCY_HZ, SPEED_OF_LIGHT_M_S
from mpidriver.tasks.faraday._checks import real_values

__all__ = [
    "check_frequencies",
    "check_phi",
    "double_phi_grid",
    "lambda_sq",
    "max_scale",
    "phi_grid",
    "reference_lambda_sq",
    "rmtf_fwhm",
    "uniform_step",
]


def check_frequencies(freq_hz):
    """Return the frequencies as float64 (chan,); DataError names what is wrong with them."""
    freq_hz = real_values("freq_hz", freq_hz)
    if freq_hz.ndim != 1 or freq_hz.size == 0:
        raise DataError(f"freq_hz: expected at least one frequency along one axis, got shape {freq_hz.shape}")
    if not np.all(np.isfinite(freq_hz)):
        raise DataError(f"freq_hz: {np.count_nonzero(~np.isfinite(freq_hz))} of {freq_hz.size} values are not finite")
    if freq_hz.min() < LOWEST_FREQUENCY_HZ:
        raise DataError(
            f"freq_hz: expected Hz, got values from {freq_hz.min():g} to {freq_hz.max():g}; "
            "multiply MHz by 1e6 and GHz by 1e9"
        )
    return freq_hz


def check_phi(phi_radm2):
    """Return the Faraday depths as float64 (phi,); DataError names what is wrong with them."""
    phi_radm2 = real_values("phi_radm2", phi_radm2)
    if phi_radm2.ndim != 1 or phi_radm2.size == 0:
        raise DataError(f"phi_radm2: expected at least one Faraday depth along one axis, got shape {phi_radm2.shape}")
    if not np.all(np.isfinite(phi_radm2)):
        raise DataError("phi_radm2: every Faraday depth must be finite")
    return phi_radm2


def uniform_step(phi_radm2):
    """Return the step of ascending, uniform Faraday depths (phi,) in rad/m²; DataError if they are not so."""
    steps = np.diff(phi_radm2)
    if steps.size == 0:
        raise DataError("phi_radm2: one Faraday depth has no step")
    if not steps.min() > 0 or np.ptp(steps) > 1e-6 * np.abs(phi_radm2).max():
        raise DataError(
            f"phi_radm2: expected ascending depths with one step, got steps from {steps.min():g} to {steps.max():g}"
        )
    return float((phi_radm2[-1] - phi_radm2[0]) / steps.size)


def lambda_sq(freq_hz):
    """Return λ² of the channels.

    Parameters
    ----------
    freq_hz : (chan,) Hz
        Channel centres, in any order.

    Returns
    -------
    float64 (chan,) m²
    """
    return (SPEED_OF_LIGHT_M_S / check_frequencies(freq_hz)) ** 2


def reference_lambda_sq(freq_hz, *, weights=None):
    """Return λ²_0, the weighted mean of λ² (Brentjens & de Bruyn 2005, eq. 32).

    Parameters
    ----------
    freq_hz : (chan,) Hz
    weights : (chan,) or (chan, ...), optional
        Weights of the channels, or of the voxels: λ²_0 is then an array of the remaining axes, NaN where no weight is
        positive. Default: equal weights.

    Returns
    -------
    float or float64 (...), m²
    """
    lambda_sq_m2 = lambda_sq(freq_hz)
    if weights is None:
        return float(lambda_sq_m2.mean())
    weights = real_values("weights", weights)
    if weights.shape[:1] != lambda_sq_m2.shape:
        raise DataError(f"weights: expected {lambda_sq_m2.size} channels along the first axis, got {weights.shape}")
    total = weights.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.tensordot(lambda_sq_m2, weights, axes=(0, 0)) / total
    return float(mean) if mean.ndim == 0 else mean


def rmtf_fwhm(freq_hz):
    """Return the FWHM of the main lobe of the RMTF, 3.8/(λ²_max - λ²_min), in rad/m²; inf for a single channel."""
    lambda_sq_m2 = lambda_sq(freq_hz)
    span = float(lambda_sq_m2.max() - lambda_sq_m2.min())
    return 3.8 / span if span > 0 else math.inf


def max_scale(freq_hz):
    """Return the largest scale in Faraday depth to which the observation is sensitive, π/λ²_min, in rad/m²."""
    return math.pi / float(lambda_sq(freq_hz).min())


def phi_grid(freq_hz, *, phi_max_radm2=None, dphi_radm2=None, samples=10.0):
    """Return the uniform grid of Faraday depths, symmetric about 0, that suits an observation.

    Parameters
    ----------
    freq_hz : (chan,) Hz
    phi_max_radm2 : float, optional
        Largest depth wanted. Default: the larger of √3/max|Δλ²|, where the sensitivity has fallen to one half through
        depolarisation inside a channel, and ten FWHM.
    dphi_radm2 : float, optional
        Step. Default: FWHM/`samples`.
    samples : float
        Samples across the FWHM of the RMTF.

    Returns
    -------
    float64 (phi,) rad/m²
        2 round(φ_max/δφ) + 1 values with 0 in the middle.
    """
    fwhm = rmtf_fwhm(freq_hz)
    if math.isinf(fwhm) and (phi_max_radm2 is None or dphi_radm2 is None):
        raise DataError("phi_grid: one frequency has no resolution in Faraday depth; give phi_max_radm2 and dphi_radm2")
    step = fwhm / samples if dphi_radm2 is None else dphi_radm2
    if phi_max_radm2 is None:
        gaps = np.diff(np.unique(lambda_sq(freq_hz)))
        phi_max_radm2 = max(math.sqrt(3.0) / float(gaps.max()), 10.0 * fwhm)
    if not (step > 0 and phi_max_radm2 > 0):
        raise DataError(f"phi_grid: step and range must be positive, got {step:g} and {phi_max_radm2:g} rad/m²")
    half = round(phi_max_radm2 / step)
    return step * np.arange(-half, half + 1, dtype=np.float64)


def double_phi_grid(phi_radm2):
    """Return the grid of 2n + 1 depths, centred on 0 with the step of `phi_radm2`, on which RM-CLEAN needs the RMTF."""
    phi_radm2 = check_phi(phi_radm2)
    return uniform_step(phi_radm2) * np.arange(-phi_radm2.size, phi_radm2.size + 1, dtype=np.float64)
