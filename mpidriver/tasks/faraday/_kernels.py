"""RM synthesis of a tile of pixels, vectorised along the pixels.

A tile is `LANES` pixels; a row of scratch holds one grid point, channel or Faraday depth of all of them, real parts
first, then imaginary parts. Every step is then one operation, a banded real matrix times rows:

    channels --spread--> λ² grid --Fourier transform, or cos and sin--> coarse φ --interpolate--> wanted φ

The tables come from `mpidriver.tasks.faraday._plan`. Pixels never meet, so a pixel's result depends neither on its
neighbours nor on how tiles are dealt to threads. A result that is too large for the caches is written past them: to
read a cache line only to overwrite all of it would take more time than all arithmetic.
"""

import numpy as np

from mpidriver.tasks._jit import kernel
from mpidriver.tasks.faraday._band_kernels import emit_four, multiply_four, spread_four
from mpidriver.tasks.faraday._fourier_kernels import transform_rows
from mpidriver.tasks.faraday._rows import BLOCK, LANES, ROW
from mpidriver.tasks.faraday._scratch_kernels import CACHE_LINE, aligned_zeros

__all__ = ["CACHED", "find_largest", "synthesise_tiles"]

CACHED = 1 << 24
"""Bytes of a result that may still be in the caches when its reader comes."""


@kernel
def _mirror(even, odd, plus, minus):
    """Write F(+φ) = E - iO and F(-φ) = E + iO from the rows of E = Σ cos · p and O = Σ sin · p."""
    for lane in range(LANES):
        a, b = even[lane], even[LANES + lane]
        c, d = odd[lane], odd[LANES + lane]
        plus[lane] = a + d
        plus[LANES + lane] = b - c
        minus[lane] = a - d
        minus[LANES + lane] = b + c


@kernel
def _multiply_tile(tables, grid, rows, coarse):
    """Take the channels to the Faraday depths ±m by two real matrix products."""
    even, odd = rows[:BLOCK], rows[BLOCK:]
    for four in range(tables.cosine.shape[0]):
        multiply_four(grid, tables.cosine[four], tables.cosine.shape[1], even)
        multiply_four(grid, tables.sine[four], tables.sine.shape[1], odd)
        for j in range(4):
            a, b = tables.plus_row[4 * four + j] * ROW, tables.minus_row[4 * four + j] * ROW
            e, o = even[j * ROW : (j + 1) * ROW], odd[j * ROW : (j + 1) * ROW]
            _mirror(e, o, coarse[a : a + ROW], coarse[b : b + ROW])


@kernel
def _spread_tile(voxels, tables, start, grid, norm, weight_sum):
    """Spread the channels of a tile onto the λ² grid; write 1/Σ weights, NaN where all is flagged."""
    grid[:] = 0
    weight_sum[:] = 0
    for four in range(tables.spread_row.size):
        spread_four(grid, weight_sum, voxels, voxels[0].shape[1], start, tables, four)
    for lane in range(LANES):
        norm[lane] = 1 / weight_sum[lane] if weight_sum[lane] > 0 else np.nan


@kernel
def _may_stream(out):
    """Tell whether a result is larger than the caches, and its rows begin at cache lines."""
    aligned = out.ctypes.data % CACHE_LINE == 0 and out.shape[1] * out.itemsize % CACHE_LINE == 0
    return aligned and out.size * out.itemsize > CACHED


@kernel
def synthesise_tiles(voxels, tables, first_tile, last_tile, out):
    """RM synthesis of the tiles `first_tile` to `last_tile` - 1.

    Parameters
    ----------
    voxels : tuple of arrays (chan, pixel)
        Whole tiles of Stokes Q and U, and weights; or of what else `spread_four` takes.
    tables : Tables
        The plan's tables, of the same precision.
    first_tile, last_tile : int
        Tiles of `LANES` pixels to do.
    out : float (phi, 2 * pixel)
        Receives real and imaginary parts by turns.
    """
    dtype = tables.weight.dtype
    grid = aligned_zeros(tables.grid_rows * ROW, dtype)
    coarse = grid if tables.size > 0 else aligned_zeros(tables.coarse_rows * ROW, dtype)
    rows = aligned_zeros(2 * BLOCK, dtype)
    norm, weight_sum = aligned_zeros(LANES, dtype), aligned_zeros(LANES, np.float64)
    streaming = _may_stream(out)
    for tile in range(first_tile, last_tile):
        start = tile * LANES
        _spread_tile(voxels, tables, start, grid, norm, weight_sum)
        if tables.size > 0:
            transform_rows(grid, tables.radices, tables.twiddles)
        else:
            _multiply_tile(tables, grid, rows, coarse)
        for four in range(tables.interpolate_row.size):
            emit_four(coarse, norm, tables, four, start, out.shape[1], out, streaming)


@kernel
def _keep_larger(row, number, best, index):
    for pixel in range(best.size):
        a, b = row[2 * pixel], row[2 * pixel + 1]
        power = a * a + b * b
        better = power > best[pixel]
        best[pixel] = power if better else best[pixel]
        index[pixel] = number if better else index[pixel]


@kernel
def find_largest(spectra, best, index):
    """Find the largest |F| of every spectrum in one pass in the order of memory.

    Parameters
    ----------
    spectra : float (phi, 2 * pixel)
        Real and imaginary parts by turns.
    best : float (pixel,)
        Receives |F|², -1 for a blank spectrum; begin with -1.
    index : int32 (pixel,)
        Receives the first sample that has it, -1 for a blank spectrum; begin with -1.
    """
    for k in range(spectra.shape[0]):
        _keep_larger(spectra[k], np.int32(k), best, index)
