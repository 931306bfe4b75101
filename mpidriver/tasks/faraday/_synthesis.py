"""RM synthesis and the RMTF: checks of the input, weights, λ²_0, and tiles dealt to threads."""

import math

import numpy as np

from mpidriver.errors import DataError
from mpidriver.tasks.faraday._grids import check_frequencies, check_phi, lambda_sq, reference_lambda_sq
from mpidriver.tasks.faraday._kernels import synthesise_tiles
from mpidriver.tasks.faraday._plan import make_tables
from mpidriver.tasks.faraday._rows import LANES
from mpidriver.tasks.faraday._scratch_kernels import CACHE_LINE
from mpidriver.tasks.faraday._tiles import share_tiles
from mpidriver.tasks.faraday._turn_kernels import turn_tiles

__all__ = ["cube_lambda0", "pixel_lambda0", "rm_synthesis", "rmtf"]

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
    lambda0_sq_m2 : float, (...) or "pixel", optional
        λ²_0 in m², for all or of each pixel; "pixel" is `pixel_lambda0`. Default: `cube_lambda0`, the weighted mean
        over the channels that are not blank everywhere.
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
    common, own = _lambda0(lambda0_sq_m2, q, u, freq_hz, weights)
    tables = make_tables(freq_hz, phi_radm2, channel_weights, common, real)
    fdf = _empty_at_cache_line((phi_radm2.size, q[0].size), dtype)
    planes, out = (_planes(q), _planes(u), _planes(voxel_weights)), fdf.view(real)
    whole, rest = divmod(fdf.shape[1], LANES)
    share_tiles(lambda first, last: synthesise_tiles(*planes, tables, first, last, out), whole, threads)
    if rest:
        _synthesise_rest(planes, tables, whole * LANES, out)
    if own is not None:
        _turn(fdf, phi_radm2, own.ravel() - common, threads)
    return fdf.reshape(phi_radm2.size, *q.shape[1:])


def _empty_at_cache_line(shape, dtype):
    """Return an array that begins at a cache line, as the kernel needs it to write past the caches."""
    room = np.empty(math.prod(shape) * np.dtype(dtype).itemsize + CACHE_LINE, np.uint8)
    first = -room.ctypes.data % CACHE_LINE
    return room[first : first + room.size - CACHE_LINE].view(dtype).reshape(shape)


def _synthesise_rest(planes, tables, start, out):
    """Transform the pixels from `start` on, fewer than a tile, in a tile of their own."""
    rest = planes[0].shape[1] - start
    own = np.empty((len(out), 2 * LANES), out.dtype)
    tile = (_planes(np.pad(plane[:, start:], ((0, 0), (0, LANES - rest)))) if plane.size else plane for plane in planes)
    synthesise_tiles(*tile, tables, 0, 1, own)
    out[:, 2 * start :] = own[:, : 2 * rest]


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
    lambda0_sq_m2 : float, (...) or "pixel", optional
        λ²_0 in m²; give that of the Faraday spectra. Default: as `rm_synthesis`.
    threads, dtype
        As for `rm_synthesis`.

    Returns
    -------
    complex64 (phi,) or (phi, ...)
        One function for all where weights and flags are those of whole channels, else one a pixel, NaN where all is
        flagged.
    """
    freq_hz, phi_radm2 = check_frequencies(freq_hz), check_phi(phi_radm2)
    own = lambda0_sq_m2 if np.ndim(lambda0_sq_m2) > 0 else None
    unit, inverse, shape = _unit_spectra(freq_hz, weights, flags, _real_type(dtype))
    response = rm_synthesis(
        unit,
        np.zeros_like(unit),
        freq_hz,
        phi_radm2,
        weights=weights,
        lambda0_sq_m2=lambda0_sq_m2 if own is None else float(lambda_sq(freq_hz).mean()),
        threads=threads,
        dtype=dtype,
    )
    if inverse is not None:
        response = (response if inverse is ... else response[:, inverse]).reshape(len(response), *shape)
    return response if own is None else _about_own_lambda0(response, freq_hz, phi_radm2, own, threads)


def _unit_spectra(freq_hz, weights, flags, real):
    """Return spectra of 1, NaN where flagged, whose transform is the RMTF, each once if only flags differ.

    Returns
    -------
    unit : (chan,), (chan, kind) or (chan, ...)
    inverse : int (pixel,), ... or None
        Kind of each pixel, ... where each is its own; None if `unit` has the pixels' own shape.
    shape : tuple
        Of the pixels, where there are kinds.
    """
    per_voxel = np.ndim(weights) > 1
    unit = np.ones(np.shape(weights) if per_voxel else freq_hz.shape, real)
    if flags is None:
        return unit, None, ()
    flags, inverse = np.asarray(flags, dtype=bool), None
    if flags.shape[:1] != freq_hz.shape:
        raise DataError(f"flags: expected {freq_hz.size} channels along the first axis, got shape {flags.shape}")
    shape = flags.shape[1:]
    if per_voxel and flags.ndim > 1 and flags.shape != unit.shape:
        raise DataError(f"flags: expected shape ({freq_hz.size},) or, as weights, {unit.shape}, got {flags.shape}")
    if not per_voxel and flags.ndim > 1:
        flags, inverse = _distinct_columns(flags.reshape(freq_hz.size, -1))
    elif flags.ndim == 1:
        flags = np.broadcast_to(flags.reshape(-1, *[1] * (unit.ndim - 1)), unit.shape)
    return np.where(flags, np.array(np.nan, real), np.array(1.0, real)), inverse, shape


def _about_own_lambda0(response, freq_hz, phi_radm2, lambda0_sq_m2, threads):
    """Return transfer functions (phi, ...) about the λ²_0 of each pixel instead of the mean λ² of the channels."""
    own = np.asarray(lambda0_sq_m2, dtype=np.float64)
    if response.ndim == 1:
        response = np.broadcast_to(response.reshape(-1, *[1] * own.ndim), (len(response), *own.shape))
    if response.shape[1:] != own.shape:
        raise DataError(f"lambda0_sq_m2: expected one value or shape {response.shape[1:]}, got {own.shape}")
    turned = np.array(response, order="C").reshape(len(response), own.size)
    _turn(turned, phi_radm2, own.ravel() - lambda_sq(freq_hz).mean(), threads)
    return turned.reshape(response.shape)


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


def pixel_lambda0(q, u, freq_hz, *, weights=None):
    """Return λ²_0 of every pixel: the weighted mean of λ² over its own unflagged channels, float64 (...) in m².

    There the polarisation angle and the Faraday depth of a pixel are independent. NaN where all is flagged.
    """
    freq_hz = check_frequencies(freq_hz)
    first, total = np.zeros(np.shape(q)[1:]), np.zeros(np.shape(q)[1:])
    for chan, lambda_sq_m2 in enumerate(lambda_sq(freq_hz)):
        weight = np.ones(()) if weights is None else np.asarray(weights[chan], dtype=np.float64)
        with np.errstate(invalid="ignore"):
            good = np.isfinite(q[chan]) & np.isfinite(u[chan]) & np.isfinite(weight) & (weight > 0)
        weight = np.where(good, weight, 0.0)
        total += weight
        first += weight * lambda_sq_m2
    with np.errstate(invalid="ignore"):
        return first / total


def _lambda0(wanted, q, u, freq_hz, weights):
    """Return λ²_0 with which to transform and, where pixels have their own, those too (...), else None."""
    if wanted is None:
        return cube_lambda0(q, u, freq_hz, weights=weights), None
    if isinstance(wanted, str):
        if wanted != "pixel":
            raise DataError(f'lambda0_sq_m2: expected a number, an array or "pixel", got {wanted!r}')
        wanted = pixel_lambda0(q, u, freq_hz, weights=weights)
    own = np.asarray(wanted, dtype=np.float64)
    if own.shape not in ((), q.shape[1:]):
        raise DataError(f"lambda0_sq_m2: expected one value or shape {q.shape[1:]}, got {own.shape}")
    return (float(own), None) if own.ndim == 0 else (float(lambda_sq(freq_hz).mean()), own)


def _turn(fdf, phi_radm2, shift, threads):
    """Turn complex spectra (phi, pixel) by exp(2i φ shift) in place."""
    out = fdf.view(fdf.real.dtype)
    share_tiles(lambda first, last: turn_tiles(out, phi_radm2, shift, first, last), -(-shift.size // LANES), threads)


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
