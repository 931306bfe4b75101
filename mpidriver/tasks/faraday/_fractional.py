"""Fractional polarisation of cubes, and weights from variances."""

import numpy as np

from mpidriver.tasks.faraday._grids import lambda_sq

__all__ = ["fractional", "inverse_variance"]


def fractional(q, u, i, freq_hz, lambda0_sq_m2):
    """Return Q/I, U/I and Stokes I at λ²_0, by which the spectra of the quotients are multiplied again.

    Parameters
    ----------
    q, u, i : float (chan, ...)
        Q and U are divided in place. A voxel whose Stokes I is not finite and positive is flagged.
    freq_hz : (chan,) Hz
    lambda0_sq_m2 : float

    Returns
    -------
    q, u : float (chan, ...)
    i0 : float (...)
        Between the two usable channels next to λ²_0 by a straight line in λ², beyond all of them the nearest; NaN
        where there is none.
    """
    usable = np.isfinite(i) & (i > 0)
    i = np.where(usable, i, np.array(np.nan, i.dtype))
    np.divide(q, i, out=q)
    np.divide(u, i, out=u)
    return q, u, _interpolated(i, lambda_sq(freq_hz), lambda0_sq_m2)


def _interpolated(i, lambda_sq_m2, lambda0_sq_m2):
    """Return I at λ²_0 from the nearest usable channels below and above."""
    below, above = np.full((2, 2, *i.shape[1:]), np.nan)  # place and value
    for chan in np.argsort(lambda_sq_m2, kind="stable"):
        target, wanted = (below, True) if lambda_sq_m2[chan] <= lambda0_sq_m2 else (above, np.isnan(above[0]))
        take = np.isfinite(i[chan]) & wanted
        target[0][take] = lambda_sq_m2[chan]
        target[1][take] = i[chan][take]
    share = np.where(np.isnan(above[0]), 0.0, (lambda0_sq_m2 - below[0]) / (above[0] - below[0]))
    share = np.where(np.isnan(below[0]), 1.0, share)
    low, high = np.nan_to_num(below[1]), np.nan_to_num(above[1])
    i0 = np.where(np.isnan(below[0]) & np.isnan(above[0]), np.nan, (1.0 - share) * low + share * high)
    return i0.astype(i.dtype)


def inverse_variance(variance):
    """Return the weights 1/variance, 0 where the variance is not finite and positive."""
    usable = np.isfinite(variance) & (variance > 0)
    weights = np.zeros_like(variance)
    np.divide(1.0, variance, out=weights, where=usable)
    return weights
