"""λ²_0 of cubes and of pixels: the weighted mean of λ² (Brentjens & de Bruyn 2005, eq. 32)."""

import numpy as np

from mpidriver.errors import DataError
from mpidriver.tasks.faraday._checks import real_values, split_weights
from mpidriver.tasks.faraday._grids import check_frequencies, lambda_sq, reference_lambda_sq
from mpidriver.tasks.faraday._lambda0_kernels import sum_weights
from mpidriver.tasks.faraday._transform import planes

__all__ = ["check_lambda0", "cube_lambda0", "pixel_lambda0"]

FIRST_PIXELS = 64
"""Of a row, that are looked at before the whole plane is."""


def check_lambda0(wanted, pixels):
    """Return what a caller has asked for, one of None, "pixel", a float and float64 of the shape of the pixels."""
    if isinstance(wanted, str) and wanted != "pixel":
        raise DataError(f'lambda0_sq_m2: expected a number, an array or "pixel", got {wanted!r}')
    if wanted is None or isinstance(wanted, str):
        return wanted
    own = real_values("lambda0_sq_m2", wanted)
    if own.shape not in ((), pixels):
        raise DataError(f"lambda0_sq_m2: expected one value or shape {pixels}, got {own.shape}")
    wrong = own[(own < 0) | np.isinf(own)] if own.ndim else own[~(own >= 0) | np.isinf(own)]
    if wrong.size:
        raise DataError(f"lambda0_sq_m2: expected m² of at least 0, got {wrong.flat[0]:g}")
    return own if own.ndim else float(own)


def cube_lambda0(q, u, freq_hz, *, weights=None):
    """Return λ²_0 of a cube: the weighted mean of λ² over the channels that are not blank everywhere, in m².

    A channel's weight is the mean of its unflagged voxels' weights, so that isolated flags do not move λ²_0. Where
    every channel is blank, it is the mean over all.
    """
    freq_hz = check_frequencies(freq_hz)
    for name, values in (("q", q), ("u", u), ("weights", freq_hz if weights is None else weights)):
        if np.shape(values)[:1] != freq_hz.shape:
            raise DataError(f"{name}: expected {freq_hz.size} channels along the first axis, got {np.shape(values)}")
    if weights is not None and np.ndim(weights) > 1:
        means = np.array([_mean_weight(*own) for own in zip(q, u, np.asarray(weights), strict=True)])
    else:
        means = _have_data(np.asarray(q), np.asarray(u)) * np.fmax(1.0 if weights is None else weights, 0.0)
    return reference_lambda_sq(freq_hz, weights=means if means.any() else None)


def pixel_lambda0(q, u, freq_hz, *, weights=None):
    """Return λ²_0 of every pixel: the weighted mean of λ² over its own unflagged channels, float64 (...) in m².

    There the polarisation angle and the Faraday depth of a pixel are independent. NaN where all is flagged.
    """
    freq_hz = check_frequencies(freq_hz)
    q, u = (real_values(name, part, _float_of(part)) for name, part in (("q", q), ("u", u)))
    if not q.shape == u.shape or q.shape[:1] != freq_hz.shape:
        raise DataError(f"q and u: expected one shape with {freq_hz.size} channels first, got {q.shape} and {u.shape}")
    channel_weights, cube = split_weights(weights, q.shape, q.dtype)
    total, first = np.zeros((2, q[0].size))
    voxel_weights = np.zeros((0, 0), q.dtype) if cube is None else planes(cube)
    sum_weights(planes(q), planes(u), voxel_weights, channel_weights, lambda_sq(freq_hz), total, first)
    with np.errstate(invalid="ignore"):
        return (first / total).reshape(q.shape[1:])


def _float_of(values):
    """Return float32 for values of that type, float64 for all others."""
    return np.float32 if getattr(values, "dtype", None) == np.float32 else np.float64


def _have_data(q, u):
    """Return whether any voxel of each plane is finite in both, bool (chan,); most show one in their first pixels."""
    first = (slice(None), *[slice(1)] * (q.ndim - 2), *[slice(FIRST_PIXELS)] * (q.ndim > 1))
    found = (np.isfinite(q[first]) & np.isfinite(u[first])).reshape(len(q), -1).any(axis=1)
    for chan in np.flatnonzero(~found):
        found[chan] = np.any(np.isfinite(q[chan]) & np.isfinite(u[chan]))
    return found


def _mean_weight(q, u, weights):
    with np.errstate(invalid="ignore"):
        used = np.isfinite(q) & np.isfinite(u) & np.isfinite(weights) & (weights > 0)
    return float(weights.mean(where=used, dtype=np.float64)) if used.any() else 0.0
