"""Faraday rotation in the ionosphere, averaged over an exposure, and its correction."""

import numpy as np

from mpidriver.errors import DataError
from mpidriver.tasks.faraday import lambda_sq

__all__ = ["correct_rotation", "exposure_times", "ionospheric_factor", "series_at"]


def exposure_times(mjd, exptime_s, step_s):
    """Return the middles of equal steps through an exposure, of `step_s` at most; float64 (time,), MJD."""
    steps = max(1, int(np.ceil(exptime_s / step_s)))
    return mjd + exptime_s / 86400.0 * (np.arange(steps) + 0.5) / steps


def series_at(mjd, series_mjd, series_rm_radm2):
    """Return the RM at times from a table of RM against time, between its rows linearly.

    Raises
    ------
    DataError
        If a time is before the first row or after the last by more than the widest gap between rows.
    """
    order = np.argsort(series_mjd, kind="stable")
    times, values = np.asarray(series_mjd, float)[order], np.asarray(series_rm_radm2, float)[order]
    good = np.isfinite(times) & np.isfinite(values)
    times, values = times[good], values[good]
    gap = np.diff(times).max(initial=0.0)
    if not len(times) or mjd.min() < times[0] - gap or mjd.max() > times[-1] + gap:
        covered = f"MJD {times[0]:.4f} to {times[-1]:.4f}" if len(times) else "nothing"
        raise DataError(
            f"ionosphere: the table covers {covered}, the exposure is of {mjd.min():.4f} to {mjd.max():.4f}"
        )
    return np.interp(mjd, times, values)


def ionospheric_factor(rm_radm2, freq_hz):
    """Return what the ionosphere has multiplied Q + iU by in the mean over an exposure.

    Θ(λ²) = <exp 2i RM(t) λ²> as FRion has it: its angle is the rotation, its modulus, below 1, the
    depolarisation by the change during the exposure.

    Parameters
    ----------
    rm_radm2 : float (time,)
        At equal steps.
    freq_hz : float (chan,)

    Returns
    -------
    complex128 (chan,)
    """
    return np.exp(2j * np.multiply.outer(lambda_sq(freq_hz), np.asarray(rm_radm2, float))).mean(axis=-1)


def correct_rotation(stokes, factor):
    """Return Stokes I, Q, U (..., stokes, row, col) with the ionosphere taken out of Q + iU, which is divided by Θ."""
    corrected = np.array(stokes)
    inverse = 1.0 / factor
    q, u = stokes[..., 1, :, :], stokes[..., 2, :, :]
    corrected[..., 1, :, :] = q * inverse.real - u * inverse.imag
    corrected[..., 2, :, :] = q * inverse.imag + u * inverse.real
    return corrected
