"""RM synthesis of spectra and cubes."""

import numpy as np

from mpidriver.errors import DataError
from mpidriver.tasks.faraday._checks import real_type, real_values, split_weights
from mpidriver.tasks.faraday._grids import check_frequencies, check_phi, lambda_sq
from mpidriver.tasks.faraday._lambda0 import check_lambda0, cube_lambda0, pixel_lambda0
from mpidriver.tasks.faraday._plan import make_tables
from mpidriver.tasks.faraday._transform import planes, transform, turn

__all__ = ["rm_synthesis"]


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
    freq_hz, phi_radm2, real = check_frequencies(freq_hz), check_phi(phi_radm2), real_type(dtype)
    q, u = _check_cubes(q, u, freq_hz.size, real)
    channel_weights, voxel_weights = split_weights(weights, q.shape, real)
    common, own = _lambda0(lambda0_sq_m2, q, u, freq_hz, weights)
    tables = make_tables(freq_hz, phi_radm2, channel_weights, common, real)
    voxels = tuple(planes(cube) for cube in (q, u, voxel_weights) if cube is not None)
    fdf = transform(voxels, tables, phi_radm2.size, threads, dtype)
    if own is not None:
        turn(fdf, phi_radm2, own.ravel() - common, threads)
    return fdf.reshape(phi_radm2.size, *q.shape[1:])


def _check_cubes(q, u, channels, real):
    q, u = real_values("q", q, real), real_values("u", u, real)
    if q.shape != u.shape:
        raise DataError(f"q and u: expected the same shape, got {q.shape} and {u.shape}")
    if q.shape[:1] != (channels,):
        raise DataError(f"q and u: expected {channels} channels (as freq_hz) along the first axis, got shape {q.shape}")
    return q, u


def _lambda0(wanted, q, u, freq_hz, weights):
    """Return λ²_0 with which to transform and, where pixels have their own, those too (...), else None."""
    wanted = check_lambda0(wanted, q.shape[1:])
    if wanted is None:
        return cube_lambda0(q, u, freq_hz, weights=weights), None
    if isinstance(wanted, float):
        return wanted, None
    own = pixel_lambda0(q, u, freq_hz, weights=weights) if isinstance(wanted, str) else wanted
    return float(lambda_sq(freq_hz).mean()), own
