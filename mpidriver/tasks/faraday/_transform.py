"""Pixels through the kernel of RM synthesis, tiles dealt to threads, into memory that suits it."""

import math

import numpy as np

from mpidriver.tasks.faraday._kernels import synthesise_tiles
from mpidriver.tasks.faraday._rows import LANES
from mpidriver.tasks.faraday._scratch_kernels import CACHE_LINE
from mpidriver.tasks.faraday._tiles import share_tiles
from mpidriver.tasks.faraday._turn_kernels import turn_tiles

__all__ = ["planes", "transform", "turn"]


def transform(voxels, tables, depths, threads, dtype):
    """Return Faraday spectra, complex (phi, pixel).

    Parameters
    ----------
    voxels : tuple of arrays (chan, pixel)
        Of `planes`, as `synthesise_tiles` takes them.
    tables : Tables
    depths : int
    threads : int or None
    dtype : complex64 or complex128
        Of the result, twice as wide as the tables.
    """
    fdf = _empty_at_cache_line((depths, voxels[0].shape[1]), dtype)
    out = fdf.view(fdf.real.dtype)
    whole, rest = divmod(fdf.shape[1], LANES)
    share_tiles(lambda first, last: synthesise_tiles(voxels, tables, first, last, out), whole, threads)
    if rest:
        own = np.empty((depths, 2 * LANES), out.dtype)
        last = tuple(planes(np.pad(cube[:, whole * LANES :], ((0, 0), (0, LANES - rest)))) for cube in voxels)
        synthesise_tiles(last, tables, 0, 1, own)
        out[:, 2 * whole * LANES :] = own[:, : 2 * rest]
    return fdf


def _empty_at_cache_line(shape, dtype):
    """Return an array that begins at a cache line, as the kernel needs it to write past the caches."""
    room = np.empty(math.prod(shape) * np.dtype(dtype).itemsize + CACHE_LINE, np.uint8)
    first = -room.ctypes.data % CACHE_LINE
    return room[first : first + room.size - CACHE_LINE].view(dtype).reshape(shape)


def turn(fdf, phi_radm2, shift, threads):
    """Turn complex spectra (phi, pixel) by exp(2i φ shift) in place."""
    out = fdf.view(fdf.real.dtype)
    share_tiles(lambda first, last: turn_tiles(out, phi_radm2, shift, first, last), -(-shift.size // LANES), threads)


def planes(cube):
    """Return a cube as (chan, pixel), read-only: the kernel is compiled for one kind of array, whatever comes."""
    flat = np.ascontiguousarray(cube).reshape(len(cube), cube.size // max(len(cube), 1)).view()
    flat.flags.writeable = False
    return flat
