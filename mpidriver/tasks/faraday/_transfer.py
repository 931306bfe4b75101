"""The rotation measure transfer function of an observation, or of each pixel where flags or weights differ."""

from typing import NamedTuple

import numpy as np

from mpidriver.errors import DataError
from mpidriver.tasks.faraday._checks import real_type, real_values, split_weights
from mpidriver.tasks.faraday._grids import check_frequencies, check_phi, lambda_sq, reference_lambda_sq
from mpidriver.tasks.faraday._lambda0 import check_lambda0
from mpidriver.tasks.faraday._plan import make_tables
from mpidriver.tasks.faraday._transform import planes, transform, turn

__all__ = ["rmtf"]

SAMPLED_RUNS, SAMPLED_RUN = 16, 64
"""Runs of neighbouring pixels, and pixels of each, whose flags are compared before the flags of all are."""


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
    freq_hz, phi_radm2, real = check_frequencies(freq_hz), check_phi(phi_radm2), real_type(dtype)
    coverage = _coverage(freq_hz, weights, flags, real)
    wanted = check_lambda0(lambda0_sq_m2, coverage.pixels or np.shape(lambda0_sq_m2))
    middle = float(lambda_sq(freq_hz).mean())
    common = coverage.lambda0(freq_hz) if wanted is None else wanted if isinstance(wanted, float) else middle
    tables = make_tables(freq_hz, phi_radm2, coverage.channel_weights, common, real)
    response = transform((coverage.voxels,), tables, phi_radm2.size, threads, dtype)
    if isinstance(wanted, str):
        turn(response, phi_radm2, reference_lambda_sq(freq_hz, weights=coverage.used()) - middle, threads)
    if coverage.kind is not None:
        response = np.take(response, coverage.kind, axis=1, mode="clip")
    if isinstance(wanted, np.ndarray):
        response = np.array(np.broadcast_to(response, (phi_radm2.size, wanted.size)), order="C")
        turn(response, phi_radm2, wanted.ravel() - middle, threads)
        return response.reshape(phi_radm2.size, *wanted.shape)
    return response.reshape(phi_radm2.size, *coverage.pixels)


class _Coverage(NamedTuple):
    """What pixels have seen of the band, each kind of pixel once."""

    channel_weights: np.ndarray
    """float64 (chan,)"""
    voxels: np.ndarray
    """(chan, kind): uint8, not 0 where flagged; or weights, those that are not positive and finite being flags."""
    kind: np.ndarray | None
    """int (pixel,), kind of each; None where each pixel is its own."""
    pixels: tuple
    """Shape of the pixels, () where one function holds for all."""

    def used(self):
        """Return the weights of all voxels, float64 (chan, kind), 0 where flagged."""
        if self.voxels.dtype == np.uint8:
            return self.channel_weights[:, None] * (self.voxels == 0)
        with np.errstate(invalid="ignore"):
            return np.where(np.isfinite(self.voxels) & (self.voxels > 0), self.voxels, 0).astype(np.float64)

    def lambda0(self, freq_hz):
        """Return λ²_0 as `cube_lambda0` has it for spectra with these flags and weights."""
        if self.voxels.dtype == np.uint8:
            means = self.channel_weights * (self.voxels.min(axis=1, initial=1) == 0)
        else:
            used = self.used()
            means = used.sum(axis=1) / np.maximum(np.count_nonzero(used, axis=1), 1)
        return reference_lambda_sq(freq_hz, weights=means if means.any() else None)


def _coverage(freq_hz, weights, flags, real):
    """Return the coverage that weights and flags describe, checked."""
    if flags is not None:
        flags = real_values("flags", flags, bool)
        if flags.shape[:1] != freq_hz.shape:
            raise DataError(f"flags: expected {freq_hz.size} channels along the first axis, got shape {flags.shape}")
    shape = np.shape(weights) if np.ndim(weights) > 1 else freq_hz.shape
    channel_weights, cube = split_weights(weights, (freq_hz.size, *shape[1:]), real)
    if cube is not None:
        return _Coverage(channel_weights, planes(_without_flagged(cube, flags)), None, shape[1:])
    if flags is None or flags.ndim == 1:
        voxels = np.zeros(freq_hz.shape, np.uint8) if flags is None else flags.view(np.uint8)
        return _Coverage(channel_weights, planes(voxels), None, ())
    columns, kind = _distinct_columns(flags.reshape(freq_hz.size, -1))
    return _Coverage(channel_weights, planes(columns).view(np.uint8), kind, flags.shape[1:])


def _without_flagged(weights, flags):
    """Return the weights of voxels, 0 where flagged."""
    if flags is None:
        return weights
    if flags.ndim > 1 and flags.shape != weights.shape:
        raise DataError(f"flags: expected shape ({len(weights)},) or, as weights, {weights.shape}, got {flags.shape}")
    return np.where(flags.reshape(len(flags), *flags.shape[1:] or [1] * (weights.ndim - 1)), 0, weights)


def _distinct_columns(flags):
    """Return the distinct columns of bool (chan, pixel) and for each pixel which one is its own, None if each is.

    A sample tells whether columns repeat; where they do not, all are returned.
    """
    pixels = flags.shape[1]
    starts = np.linspace(0, max(pixels - SAMPLED_RUN, 0), SAMPLED_RUNS, dtype=np.intp)
    sample = np.unique((starts[:, None] + np.arange(min(SAMPLED_RUN, pixels))).ravel())
    if 2 * len(np.unique(_keys(np.take(flags, sample, axis=1)))) > sample.size:
        return flags, None
    _, first, kind = np.unique(_keys(flags), return_index=True, return_inverse=True)
    return np.take(flags, first, axis=1), kind


def _keys(flags):
    """Return each column of bool (chan, pixel) as one value that can be sorted."""
    flags = flags.view(np.uint8)
    packed = np.zeros((-(-len(flags) // 8), flags.shape[1]), np.uint8)
    for bit in range(8):  # many times as fast as np.packbits along this axis
        part = flags[bit::8]
        packed[: len(part)] |= part << bit
    columns = np.ascontiguousarray(packed.T)
    return columns.view(np.dtype((np.void, columns.shape[1])))[:, 0]
