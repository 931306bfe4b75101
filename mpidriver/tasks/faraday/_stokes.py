"""Stokes spectra of sources as they come: checked, of one shape, in float64."""

from typing import NamedTuple

import numpy as np

from mpidriver.errors import DataError
from mpidriver.tasks.faraday._checks import real_values

__all__ = ["Stokes", "check_stokes", "median"]


class Stokes(NamedTuple):
    """Stokes parameters and their errors, float64 (source, chan)."""

    i: np.ndarray
    """NaN if there is no Stokes I."""
    q: np.ndarray
    u: np.ndarray
    di: np.ndarray
    dq: np.ndarray
    du: np.ndarray

    @property
    def good(self):
        """False where Q and U are flagged: not finite, or without positive finite errors."""
        with np.errstate(invalid="ignore", over="ignore"):
            finite = np.isfinite(self.q) & np.isfinite(self.u) & np.isfinite(self.dq) & np.isfinite(self.du)
            return finite & (self.dq > 0) & (self.du > 0)


def check_stokes(channels, i, q, u, di, dq, du):
    """Return spectra of one shape.

    Parameters
    ----------
    channels : int
    i : (source, chan) or None
    q, u : (source, chan)
    di : number, (chan,), (source, chan) or None
        Default: the mean of `dq` and `du`.
    dq, du : number, (chan,) or (source, chan)

    Raises
    ------
    DataError
        If a shape does not fit.
    """
    q, u = _spectra("q", q, channels), _spectra("u", u, channels)
    i = np.broadcast_to(np.nan, q.shape) if i is None else _spectra("i", i, channels)
    if not q.shape == u.shape == i.shape:
        raise DataError(f"q, u and i: expected the same shape, got {q.shape}, {u.shape} and {i.shape}")
    dq, du = _errors("error of q", dq, q.shape), _errors("error of u", du, q.shape)
    di = 0.5 * (dq + du) if di is None else _errors("error of i", di, q.shape)
    return Stokes(i, q, u, di, dq, du)


def median(values):
    """Return the median along the first axis of what is not NaN, NaN where all is; sorting beats `np.nanmedian`."""
    count = np.isfinite(values).sum(axis=0)
    ordered, column = np.sort(values, axis=0), np.arange(values.shape[1])
    middle = ordered[np.maximum(count - 1, 0) // 2, column] + ordered[np.minimum(count // 2, len(values) - 1), column]
    return np.where(count > 0, 0.5 * middle, np.nan)


def _spectra(name, values, channels):
    values = real_values(name, values)
    if values.ndim != 2 or values.shape[1] != channels:
        raise DataError(f"{name}: expected (source, {channels}) with the channels of freq_hz, got shape {values.shape}")
    return values


def _errors(name, values, shape):
    values = real_values(name, values)
    try:
        return np.broadcast_to(values, shape)
    except ValueError:
        raise DataError(f"{name}: expected a number, ({shape[1]},) or {shape}, got shape {values.shape}") from None
