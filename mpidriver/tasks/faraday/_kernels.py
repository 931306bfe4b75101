"""RM synthesis of a tile of pixels, vectorised along the pixels.

A tile is `LANES` pixels; a row of scratch holds one grid point, channel or Faraday depth of all of them, real parts
first, then imaginary parts. Every step is then one operation, a banded real matrix times rows, made of the 4 × 4
blocks of `_multiply_add`:

    channels --spread--> λ² grid --Fourier transform, or cos and sin--> coarse φ --interpolate--> wanted φ

The tables come from `mpidriver.tasks.faraday._plan`. Row length and block size are compile-time constants: the
compiler then knows that rows do not overlap and keeps the four output rows in vector registers. Pixels never meet, so
a pixel's result depends neither on its neighbours nor on how tiles are dealt to threads.

A tile touches a piece of 512 bytes in each of hundreds of planes, too short for the processor to see it coming: memory
is asked for ahead of its use.
"""

import numba
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

from mpidriver.tasks._jit import kernel
from mpidriver.tasks.faraday._fourier_kernels import transform_rows
from mpidriver.tasks.faraday._rows import BLOCK, LANES, ROW

__all__ = ["find_largest", "synthesise_tiles"]

CACHE_LINE = 64


def _prefetching(write):
    """Return a function (array, index) for kernels that asks for an element's cache line, to be read or written."""
    if numba.config.DISABLE_JIT:
        return lambda array, index: None

    @intrinsic
    def prefetch(typing_context, array, index):
        def generate(context, builder, signature, arguments):
            data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
            address = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(8).as_pointer())
            int32 = ir.IntType(32)
            kind = ir.FunctionType(ir.VoidType(), [address.type, int32, int32, int32])
            call = builder.module.declare_intrinsic("llvm.prefetch", [address.type], kind)
            # The last two: into the second-level cache, data and not instructions.
            builder.call(call, [address, *(ir.Constant(int32, value) for value in (int(write), 2, 1))])
            return context.get_dummy_value()

        return numba.types.void(array, numba.types.intp), generate

    return prefetch


_prefetch_to_read = _prefetching(write=False)
_prefetch_to_write = _prefetching(write=True)


@kernel(fastmath={"contract"})
def _multiply_add(c, x, y):
    """Add to four rows `y` the 4 × 4 matrix `c` times the four rows `x`."""
    c00, c01, c02, c03 = c[0], c[1], c[2], c[3]
    c10, c11, c12, c13 = c[4], c[5], c[6], c[7]
    c20, c21, c22, c23 = c[8], c[9], c[10], c[11]
    c30, c31, c32, c33 = c[12], c[13], c[14], c[15]
    for lane in range(ROW):
        x0, x1, x2, x3 = x[lane], x[ROW + lane], x[2 * ROW + lane], x[3 * ROW + lane]
        y[lane] += c00 * x0 + c01 * x1 + c02 * x2 + c03 * x3
        y[ROW + lane] += c10 * x0 + c11 * x1 + c12 * x2 + c13 * x3
        y[2 * ROW + lane] += c20 * x0 + c21 * x1 + c22 * x2 + c23 * x3
        y[3 * ROW + lane] += c30 * x0 + c31 * x1 + c32 * x2 + c33 * x3


@kernel(fastmath={"contract"})
def _load(q, u, weight, cosine, sine, row, weight_sum):
    """Write w (q + iu) exp(-2i φ_c x) of one channel into a row, 0 where flagged; add w to the sums."""
    zero = weight - weight
    cosine, sine = weight * cosine, weight * sine
    for lane in range(q.size):
        a, b = q[lane], u[lane]
        good = ((a - a) + (b - b)) == 0
        a = a if good else zero
        b = b if good else zero
        row[lane] = a * cosine + b * sine
        row[LANES + lane] = b * cosine - a * sine
        weight_sum[lane] += weight if good else zero


@kernel(fastmath={"contract"})
def _load_weighted(q, u, weight, weights, cosine, sine, row, weight_sum):
    """Do as `_load` with one more weight a voxel; those that are not positive and finite count as flags."""
    zero = weight - weight
    for lane in range(q.size):
        a, b, w = q[lane], u[lane], weights[lane]
        good = (((a - a) + (b - b) + (w - w)) == 0) & (w > 0)
        w = w * weight if good else zero
        a = w * a if good else zero
        b = w * b if good else zero
        row[lane] = a * cosine + b * sine
        row[LANES + lane] = b * cosine - a * sine
        weight_sum[lane] += w


@kernel
def _mirror(even, odd, norm, plus, minus):
    """Write F(+φ) = K (E - iO) and F(-φ) = K (E + iO) from the rows of E = Σ cos · p and O = Σ sin · p."""
    for lane in range(LANES):
        k = norm[lane]
        a, b = k * even[lane], k * even[LANES + lane]
        c, d = k * odd[lane], k * odd[LANES + lane]
        plus[lane] = a + d
        plus[LANES + lane] = b - c
        minus[lane] = a - d
        minus[LANES + lane] = b + c


@kernel(fastmath={"contract"})
def _scale(row, norm, cosine, sine, out):
    """Write K (cosine + i sine) times a row into another."""
    for lane in range(LANES):
        k = norm[lane]
        a, b = k * row[lane], k * row[LANES + lane]
        out[lane] = a * cosine - b * sine
        out[LANES + lane] = a * sine + b * cosine


@kernel(fastmath={"contract"})
def _emit(row, cosine, sine, out):
    """Write a row of F, turned by exp(-iα), as interleaved complex numbers."""
    for lane in range(out.size // 2):
        a, b = row[lane], row[LANES + lane]
        out[2 * lane] = a * cosine + b * sine
        out[2 * lane + 1] = b * cosine - a * sine


@kernel
def _ask_to_read(plane, start):
    """Ask for the tile of a plane that begins at pixel `start`, if it has a whole one there."""
    if start + LANES <= plane.size:
        for pixel in range(start, start + LANES, CACHE_LINE // plane.itemsize):
            _prefetch_to_read(plane, pixel)


@kernel
def _ask_to_write(row, start, stop):
    """Ask for a piece of a row of the result."""
    for value in range(start, stop, CACHE_LINE // row.itemsize):
        _prefetch_to_write(row, value)


@kernel
def _spread_tile(q, u, weights, tables, start, stop, rows, grid, weight_sum):
    """Spread the channels of a tile onto the λ² grid, four channels at a time."""
    per_voxel = weights.shape[0] > 0
    grid[:] = 0
    rows[:] = 0
    weight_sum[:] = 0
    for quad in range(tables.spread_row.size):
        for j in range(4):
            slot = 4 * quad + j
            chan = tables.chan[slot]
            row = rows[j * ROW : (j + 1) * ROW]
            if chan < 0:
                row[:] = 0
                continue
            _ask_to_read(q[chan], stop)
            _ask_to_read(u[chan], stop)
            scale, cosine, sine = tables.weight[slot], tables.shift_cos[slot], tables.shift_sin[slot]
            if per_voxel:
                _load_weighted(
                    q[chan, start:stop],
                    u[chan, start:stop],
                    scale,
                    weights[chan, start:stop],
                    cosine,
                    sine,
                    row,
                    weight_sum,
                )
            else:
                _load(q[chan, start:stop], u[chan, start:stop], scale, cosine, sine, row, weight_sum)
        at = tables.spread_row[quad] * ROW
        for block in range(tables.spread_first[quad], tables.spread_first[quad + 1]):
            _multiply_add(tables.spread[block], rows, grid[at : at + BLOCK])
            at += BLOCK


@kernel
def _transform_tile(tables, grid, norm, coarse):
    """Take the λ² grid to the coarse Faraday depths by a Fourier transform, windows taken out."""
    transform_rows(grid[: tables.size * ROW], tables.radices, tables.twiddles)
    for m in range(tables.source_row.size):
        at = tables.source_row[m] * ROW
        _scale(grid[at : at + ROW], norm, tables.factor_cos[m], tables.factor_sin[m], coarse[m * ROW : (m + 1) * ROW])


@kernel
def _multiply_tile(tables, grid, rows, norm, coarse):
    """Take the channels to the Faraday depths ±m by two real matrix products."""
    even, odd = rows[:BLOCK], rows[BLOCK : 2 * BLOCK]
    for quad in range(tables.cosine.shape[0]):
        rows[: 2 * BLOCK] = 0
        for k in range(tables.cosine.shape[1]):
            channels = grid[k * BLOCK : (k + 1) * BLOCK]
            _multiply_add(tables.cosine[quad, k], channels, even)
            _multiply_add(tables.sine[quad, k], channels, odd)
        for j in range(4):
            a, b = tables.plus_row[4 * quad + j] * ROW, tables.minus_row[4 * quad + j] * ROW
            e, o = even[j * ROW : (j + 1) * ROW], odd[j * ROW : (j + 1) * ROW]
            _mirror(e, o, norm, coarse[a : a + ROW], coarse[b : b + ROW])


@kernel
def _interpolate_tile(tables, coarse, rows, start, stop, out):
    """Interpolate from the coarse to the wanted Faraday depths, four at a time, and write them."""
    wanted = rows[:BLOCK]
    for quad in range(tables.interpolate_row.size):
        wanted[:] = 0
        for slot in range(4 * quad, 4 * quad + 4):
            if tables.phi[slot] >= 0:
                _ask_to_write(out[tables.phi[slot]], 2 * start, 2 * stop)
        at = tables.interpolate_row[quad] * ROW
        for block in range(tables.interpolate_first[quad], tables.interpolate_first[quad + 1]):
            _multiply_add(tables.interpolate[block], coarse[at : at + BLOCK], wanted)
            at += BLOCK
        for j in range(4):
            slot = 4 * quad + j
            phi = tables.phi[slot]
            if phi >= 0:
                target = out[phi, 2 * start : 2 * stop]
                _emit(wanted[j * ROW : (j + 1) * ROW], tables.turn_cos[slot], tables.turn_sin[slot], target)


@kernel
def synthesise_tiles(q, u, weights, tables, first_tile, last_tile, out):
    """RM synthesis of the tiles `first_tile` to `last_tile` - 1.

    Parameters
    ----------
    q, u : float (chan, pixel)
        Stokes Q and U; a voxel that is not finite in both is flagged.
    weights : float (chan, pixel) or (0, 0)
        Weights of the voxels, or none.
    tables : Tables
        The plan's tables, of the same precision.
    first_tile, last_tile : int
        Tiles of `LANES` pixels to do.
    out : float (phi, 2 * pixel)
        Receives real and imaginary parts by turns.
    """
    dtype = tables.weight.dtype
    grid = np.zeros(tables.grid_rows * ROW, dtype)
    coarse = np.zeros(tables.coarse_rows * ROW, dtype)
    rows = np.zeros(2 * BLOCK, dtype)
    weight_sum = np.zeros(LANES, np.float64)
    norm = np.zeros(LANES, dtype)
    for tile in range(first_tile, last_tile):
        start = tile * LANES
        stop = min(start + LANES, q.shape[1])
        _spread_tile(q, u, weights, tables, start, stop, rows[:BLOCK], grid, weight_sum)
        for lane in range(LANES):
            norm[lane] = 1 / weight_sum[lane] if weight_sum[lane] > 0 else np.nan
        if tables.size > 0:
            _transform_tile(tables, grid, norm, coarse)
        else:
            _multiply_tile(tables, grid, rows, norm, coarse)
        _interpolate_tile(tables, coarse, rows, start, stop, out)


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
