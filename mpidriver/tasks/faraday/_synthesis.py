"""RM synthesis and the RMTF: checks of the input, weights, λ²_0, and tiles dealt to threads."""

import functools

import numpy as np

from mpidriver.errors import DataError
from mpidriver.tasks.faraday._grids import check_frequencies, check_phi, reference_lambda_sq
from mpidriver.tasks.faraday._kernels import LANES, synthesise_tiles
from mpidriver.tasks.faraday._plan import make_tables
from mpidriver.tasks.faraday._tiles import share_tiles

__all__ = ["cube_lambda0", "rm_synthesis", "rmtf"]

SAMPLE = 1000
"""Pixels whose flags are compared before the flags of all are."""


def rm_synthesis(q, u, freq_hz, phi_radm2, *, weights=None, lambda0_sq_m2=None, threads=None, dtype=np.complex64):
    """Return the Faraday dispersion function of every pixel.

    F(φ) = K Σ_j w_j (Q_j + iU_j) exp(-2iφ(λ²_j - λ²_0)), K = 1/Σ_j w_j over the pixel's own unflagged channels
    (Brentjens & de Bruyn 2005, A&A 441, 1217, eqs. 25, 36 and 38). A Faraday-thin source of polarised intensity p has
    a peak of p.

    Parameters
    ----------
    q, u : (chan, ...)
        Stokes Q and U, of the same shape. A voxel that is not finite in both is flagged.
    freq_hz : (chan,) Hz
        Channel centres in any order, with gaps where there are some.
    phi_radm2 : (phi,) rad/m²
        Any Faraday depths; a uniform grid need not be symmetric about 0.
    weights : (chan,) or (chan, ...), optional
        Weights of channels or voxels; those of a voxel flag it unless positive and finite. Default: equal.
    lambda0_sq_m2 : float, optional
        λ²_0 in m². Default: `cube_lambda0`, the weighted mean over the channels that are not blank everywhere.
    threads : int, optional
        Threads that share the pixels; the result does not depend on it. Default: one.
    dtype : complex64 or complex128
        Precision of the arithmetic and of the result.

    Returns
    -------
    complex64 (phi, ...)
        In the unit of q and u; NaN for a pixel without an unflagged channel.

    Raises
    ------
    DataError
        If shapes do not fit, frequencies are not in Hz, or no channel has a positive weight.
    """
    freq_hz, phi_radm2 = check_frequencies(freq_hz), check_phi(phi_radm2)
    real = _real_type(dtype)
    q, u = _check_cubes(q, u, freq_hz.size, real)
    channel_weights, voxel_weights = _split_weights(weights, q.shape, real)
    if lambda0_sq_m2 is None:
        lambda0_sq_m2 = cube_lambda0(q, u, freq_hz, weights=weights)
    tables = _tables(*(a.tobytes() for a in (freq_hz, phi_radm2, channel_weights)), float(lambda0_sq_m2), real)
    fdf = np.empty((phi_radm2.size, q[0].size), dtype)
    planes, out = (_planes(q), _planes(u), _planes(voxel_weights)), fdf.view(real)
    share_tiles(
        lambda first, last: synthesise_tiles(*planes, tables, first, last, out), -(-fdf.shape[1] // LANES), threads
    )
    return fdf.reshape(phi_radm2.size, *q.shape[1:])


def rmtf(freq_hz, phi_radm2, *, weights=None, flags=None, lambda0_sq_m2=None, threads=None, dtype=np.complex64):
    """Return the rotation measure transfer function R(φ) = K Σ_j w_j exp(-2iφ(λ²_j - λ²_0)), 1 at φ = 0.

    Parameters
    ----------
    freq_hz : (chan,) Hz
    phi_radm2 : (phi,) rad/m²
        RM-CLEAN needs `double_phi_grid`.
    weights : (chan,) or (chan, ...), optional
    flags : bool (chan,) or (chan, ...), optional
        True where a channel or voxel is not used. Pixels that share a pattern of flags are computed once.
    lambda0_sq_m2 : float, optional
        λ²_0 in m²; give the one of the Faraday spectra. Default: as `rm_synthesis`.
    threads, dtype
        As for `rm_synthesis`.

    Returns
    -------
    complex64 (phi,) or (phi, ...)
        One function for all where weights and flags are those of whole channels, else one a pixel, NaN where all is
        flagged.
    """
    freq_hz = check_frequencies(freq_hz)
    per_voxel = weights is not None and np.ndim(weights) > 1
    real = _real_type(dtype)
    unit = np.ones(np.shape(weights) if per_voxel else freq_hz.shape, real)
    inverse = None
    if flags is not None:
        flags = np.asarray(flags, dtype=bool)
        if flags.shape[:1] != freq_hz.shape:
            raise DataError(f"flags: expected {freq_hz.size} channels along the first axis, got shape {flags.shape}")
        shape = flags.shape[1:]
        if not per_voxel and flags.ndim > 1:
            flags, inverse = _distinct_columns(flags.reshape(freq_hz.size, -1))
        elif flags.ndim == 1:
            flags = np.broadcast_to(flags.reshape(-1, *[1] * (unit.ndim - 1)), unit.shape)
        unit = np.where(flags, np.array(np.nan, real), np.array(1.0, real))
    response = rm_synthesis(
        unit,
        np.zeros_like(unit),
        freq_hz,
        phi_radm2,
        weights=weights,
        lambda0_sq_m2=lambda0_sq_m2,
        threads=threads,
        dtype=dtype,
    )
    if inverse is None:
        return response
    return (response if inverse is ... else response[:, inverse]).reshape(len(response), *shape)


def cube_lambda0(q, u, freq_hz, *, weights=None):
    """Return λ²_0 of a cube: the weighted mean of λ² over the channels that are not blank everywhere, in m².

    A channel's weight is the mean of its unflagged voxels' weights, so that isolated flags do not move λ²_0. Where
    every channel is blank, it is the mean over all.
    """
    freq_hz = check_frequencies(freq_hz)
    for name, values in (("q", q), ("u", u), ("weights", freq_hz if weights is None else weights)):
        if np.shape(values)[:1] != freq_hz.shape:
            raise DataError(f"{name}: expected {freq_hz.size} channels along the first axis, got {np.shape(values)}")
    per_voxel = weights is not None and np.ndim(weights) > 1
    means = np.zeros(freq_hz.size)
    for chan in range(freq_hz.size):
        if per_voxel:
            means[chan] = _mean_weight(q[chan], u[chan], np.asarray(weights[chan]))
        elif weights is None or weights[chan] > 0:
            means[chan] = (1.0 if weights is None else weights[chan]) * _has_data(q[chan], u[chan])
    return reference_lambda_sq(freq_hz, weights=means if means.any() else None)


@functools.lru_cache(maxsize=8)
def _tables(freq_hz, phi_radm2, weights, lambda0_sq_m2, real):
    """Return the tables of an observation, whose float64 values come as bytes: cubes are done region by region."""
    return make_tables(*map(np.frombuffer, (freq_hz, phi_radm2, weights)), lambda0_sq_m2, real)


def _has_data(q, u):
    """Tell whether any voxel of a plane is finite in both; most planes show one in the first pixels."""
    q, u = q.ravel(), u.ravel()
    begin, length = 0, 64
    while begin < q.size:
        if np.any(np.isfinite(q[begin : begin + length]) & np.isfinite(u[begin : begin + length])):
            return True
        begin, length = begin + length, 8 * length
    return False


def _mean_weight(q, u, weights):
    with np.errstate(invalid="ignore"):
        used = np.isfinite(q) & np.isfinite(u) & np.isfinite(weights) & (weights > 0)
    return float(weights.mean(where=used, dtype=np.float64)) if used.any() else 0.0


def _real_type(dtype):
    kinds = {np.dtype(np.complex64): np.float32, np.dtype(np.complex128): np.float64}
    try:
        return kinds[np.dtype(dtype)]
    except KeyError:
        raise DataError(f"dtype: expected complex64 or complex128, got {np.dtype(dtype)}") from None


def _check_cubes(q, u, channels, real):
    q, u = np.asarray(q, dtype=real), np.asarray(u, dtype=real)
    if q.shape != u.shape:
        raise DataError(f"q and u: expected the same shape, got {q.shape} and {u.shape}")
    if q.shape[:1] != (channels,):
        raise DataError(f"q and u: expected {channels} channels (as freq_hz) along the first axis, got shape {q.shape}")
    return q, u


def _split_weights(weights, shape, real):
    """Return the weights as a vector of the channels, at most 1, and as a cube, which is empty if there is none."""
    no_cube = np.zeros((0, 0), real)
    if weights is None:
        return np.ones(shape[0]), no_cube
    if np.ndim(weights) > 1:
        if np.shape(weights) != shape:
            raise DataError(f"weights: expected shape ({shape[0]},) or {shape}, got {np.shape(weights)}")
        return np.ones(shape[0]), np.asarray(weights, dtype=real)
    weights = np.asarray(weights, dtype=np.float64)
    if weights.shape != shape[:1]:
        raise DataError(f"weights: expected shape ({shape[0]},) or {shape}, got {weights.shape}")
    weights = np.where(np.isnan(weights), 0.0, weights)
    if np.any(weights < 0) or not np.all(np.isfinite(weights)):
        raise DataError(f"weights: expected finite values of at least 0, got {weights.min():g} to {weights.max():g}")
    if not weights.any():
        raise DataError("weights: at least one channel must have a positive weight, all are 0")
    return weights / weights.max(), no_cube


def _planes(cube):
    """Return a cube as (chan, pixel), read-only: the kernel is compiled for one kind of array, whatever comes."""
    planes = np.ascontiguousarray(cube).reshape(len(cube), cube.size // max(len(cube), 1)).view()
    planes.flags.writeable = False
    return planes


def _distinct_columns(flags):
    """Return the distinct columns of bool (chan, pixel) and for each pixel which one is its own.

    A sample tells whether columns repeat; where they do not, all are returned, with ``...`` for "its own".
    """
    sample = flags[:, :: max(1, flags.shape[1] // SAMPLE)]
    if len(np.unique(_keys(sample))) > sample.shape[1] // 2:
        return flags, ...
    _, first, inverse = np.unique(_keys(flags), return_index=True, return_inverse=True)
    return flags[:, first], inverse


def _keys(flags):
    """Return each column of bool (chan, pixel) as one value that can be sorted."""
    packed = np.ascontiguousarray(np.packbits(flags, axis=0).T)
    return packed.view(np.dtype((np.void, packed.shape[1])))[:, 0]
