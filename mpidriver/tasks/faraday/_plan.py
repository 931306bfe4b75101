"""The plan of an RM synthesis: the three real matrices that all pixels share, built once in float64.

F(φ) = K Σ w P exp(-2iφ(λ² - λ²_0)) is split, with x = λ² - λ²_c and ψ = φ - φ_c measured from the middles of their
ranges, into a turn of the channels exp(-2iφ_c x), a sum over exp(-2iψx), and a turn of the result
exp(-2iφ(λ²_c - λ²_0)). The sum is done in one of two ways.

*Direct*: cos(2ψx) and sin(2ψx) for ψ ≥ 0, since ±ψ share both. Best for few channels or few depths.

*Gridded* (a type-3 non-uniform Fourier transform by tables): channels are spread onto a λ² grid; a fast Fourier
transform leads to coarse ψ, just dense enough for the range of λ²; the wanted depths are interpolated. An observation
has far fewer degrees of freedom, 2 Δφ Δλ²/(2π), than it has channels or wanted depths: that is where the time is saved.

Both have the same shape for the kernel, direct having unit matrices for spreading and interpolation. Tables are
computed in float64 whatever the precision of the result: phases reach hundreds of radians, and their rounding in
float32 is what limits other codes to 1e-5.
"""

import functools
import math
from typing import NamedTuple

import numpy as np

from mpidriver.tasks.faraday._fourier import fast_size, order_of_results, stages, twiddles
from mpidriver.tasks.faraday._grids import lambda_sq
from mpidriver.tasks.faraday._spreading import Window

__all__ = ["Tables", "make_tables"]

PLANS_KEPT = 8
QUAD = 4
"""Rows are handled in fours: see `mpidriver.tasks.faraday._kernels`."""

GRID_TAPS, GRID_OVERSAMPLING = 9, 1.5
DEPTH_TAPS, DEPTH_OVERSAMPLING = 8, 1.75
"""Windows on the λ² grid and between coarse depths: the cheapest that keep real surveys below 1e-6 of the peak."""
SMALLEST_TRANSFORM = 64
"""So that the grid, window and all, fits into its rows."""
TRANSFORM_COST = 14
"""Of a row in a stage of the transform, in the multiplications of the other steps: it is bound by loads and stores."""


class Tables(NamedTuple):
    """What the kernel needs; a slot is a place in a list padded to a multiple of four, -1 where it is empty."""

    chan: np.ndarray
    """Channel of each slot, ascending in λ²."""
    weight: np.ndarray
    shift_cos: np.ndarray
    shift_sin: np.ndarray
    """Turn of each channel by 2φ_c x."""
    spread_row: np.ndarray
    """Grid row at which the blocks of each four channels begin."""
    spread_first: np.ndarray
    """First block of each four channels, and the number of all."""
    spread: np.ndarray
    """Blocks (block, 16)."""
    size: int
    """Of the Fourier transform; 0 for the direct way."""
    radices: np.ndarray
    twiddles: np.ndarray
    source_row: np.ndarray
    """Grid row in which the transform leaves each coarse depth."""
    factor_cos: np.ndarray
    factor_sin: np.ndarray
    """Factors of the coarse depths: the window taken out, and the turn for a grid that does not begin at x = 0."""
    cosine: np.ndarray
    sine: np.ndarray
    """Blocks (four depths, four channels, 16) of the direct way."""
    plus_row: np.ndarray
    minus_row: np.ndarray
    """Coarse rows that receive +ψ and -ψ."""
    interpolate_row: np.ndarray
    interpolate_first: np.ndarray
    interpolate: np.ndarray
    """As for spreading, from coarse rows to four wanted depths."""
    phi: np.ndarray
    """Wanted depth of each slot, ascending."""
    turn_cos: np.ndarray
    turn_sin: np.ndarray
    """Turn of each wanted depth by 2φ(λ²_c - λ²_0)."""
    grid_rows: int
    coarse_rows: int


class _Matrices(NamedTuple):
    """A plan before it is cut into blocks; the direct way has no transform, the gridded no cosine and sine."""

    spread_first: np.ndarray
    spread: np.ndarray
    interpolate_first: np.ndarray
    interpolate: np.ndarray
    grid_rows: int
    coarse_rows: int
    radices: list[int] | None = None
    frequency: np.ndarray = np.zeros(0, np.intp)
    factor: np.ndarray = np.zeros(0, complex)
    """Frequency of the transform, 0 ... N - 1, and complex factor of each coarse depth."""
    cosine: np.ndarray = np.zeros((0, 0))
    sine: np.ndarray = np.zeros((0, 0))
    plus_row: np.ndarray = np.zeros(0, np.intp)
    minus_row: np.ndarray = np.zeros(0, np.intp)


def make_tables(freq_hz, phi_radm2, weights, lambda0_sq_m2, dtype):
    """Return the tables for an observation.

    Parameters
    ----------
    freq_hz : float64 (chan,) Hz
    phi_radm2 : float64 (phi,) rad/m²
        In any order, uniform or not.
    weights : float64 (chan,)
        Not negative; channels of weight 0 are left out.
    lambda0_sq_m2 : float
    dtype : float32 or float64
        float64 is always done directly: gridding is as accurate as float32.

    Returns
    -------
    Tables
        The last ones are kept: a caller that comes with one batch of pixels after another has them made once.
    """
    arrays = (np.ascontiguousarray(values, dtype=np.float64).tobytes() for values in (freq_hz, phi_radm2, weights))
    return _kept_tables(*arrays, lambda0_sq_m2, np.dtype(dtype))


@functools.lru_cache(maxsize=PLANS_KEPT)
def _kept_tables(freq_hz, phi_radm2, weights, lambda0_sq_m2, dtype):
    """Return tables; arrays come as the bytes of float64."""
    freq_hz, phi_radm2, weights = (np.frombuffer(values) for values in (freq_hz, phi_radm2, weights))
    lambda_sq_m2 = lambda_sq(freq_hz)
    chan = np.argsort(lambda_sq_m2, kind="stable")
    chan = chan[weights[chan] > 0]
    order = np.argsort(phi_radm2, kind="stable")
    x, x_centre = _centred(lambda_sq_m2[chan])
    psi, phi_centre = _centred(phi_radm2[order])
    matrices = _best(x, psi, gridding_allowed=dtype == np.float32)

    spread_row, spread_first, spread = _blocks_of_columns(matrices.spread_first, matrices.spread)
    interpolate_row, interpolate_first, interpolate = _blocks_of_rows(matrices.interpolate_first, matrices.interpolate)
    radices = matrices.radices or []
    turn = 2.0 * phi_radm2[order] * (x_centre - lambda0_sq_m2)
    return Tables(
        chan=_padded(chan, -1),
        weight=_padded(weights[chan], 0).astype(dtype),
        shift_cos=_padded(np.cos(2.0 * phi_centre * x), 0).astype(dtype),
        shift_sin=_padded(np.sin(2.0 * phi_centre * x), 0).astype(dtype),
        spread_row=spread_row,
        spread_first=spread_first,
        spread=spread.astype(dtype),
        size=math.prod(radices) if radices else 0,
        radices=np.array(radices, np.intp),
        twiddles=twiddles(radices).astype(dtype),
        source_row=order_of_results(radices)[matrices.frequency],
        factor_cos=matrices.factor.real.astype(dtype),
        factor_sin=matrices.factor.imag.astype(dtype),
        cosine=_dense_blocks(matrices.cosine).astype(dtype),
        sine=_dense_blocks(matrices.sine).astype(dtype),
        plus_row=_padded(matrices.plus_row, matrices.coarse_rows),
        minus_row=_padded(matrices.minus_row, matrices.coarse_rows),
        interpolate_row=interpolate_row,
        interpolate_first=interpolate_first,
        interpolate=interpolate.astype(dtype),
        phi=_padded(order, -1),
        turn_cos=_padded(np.cos(turn), 0).astype(dtype),
        turn_sin=_padded(np.sin(turn), 0).astype(dtype),
        # Blocks may reach past the last row that counts; these rows are zero, or written and not read.
        grid_rows=matrices.grid_rows + 2 * QUAD,
        coarse_rows=matrices.coarse_rows + 4 * QUAD,
    )


def _centred(values):
    """Return values measured from the middle of their range, and that middle."""
    if values.size == 0:
        return values, 0.0
    middle = 0.5 * (values.min() + values.max())
    return values - middle, float(middle)


def _best(x, psi, *, gridding_allowed):
    """Return the matrices of the cheaper way, counted in multiplications a pixel."""
    x_max, psi_max = np.abs(x).max(initial=0.0), np.abs(psi).max(initial=0.0)
    if not gridding_allowed or x_max == 0 or psi_max == 0:
        return _direct(x, psi)
    coarse, grid, _, _, size = _windows(x, psi)
    cost_direct = 4 * x.size * (psi.size // 2 + 1 if _mirrored(psi) else psi.size) + 8 * (x.size + psi.size)
    cost_transform = TRANSFORM_COST * size * len(stages(size))
    cost_gridded = cost_transform + 2 * (grid.taps + 7) * x.size + 2 * (coarse.taps + 3) * psi.size
    return _gridded(x, psi) if cost_gridded < cost_direct else _direct(x, psi)


def _windows(x, psi):
    """Return the windows for depths and for λ², the largest coarse and grid index, and the size of the transform."""
    coarse = Window(np.abs(x).max(), DEPTH_TAPS, DEPTH_OVERSAMPLING)
    m_max = _reach(coarse, psi)
    size = fast_size(max(math.ceil(2.0 * GRID_OVERSAMPLING * m_max), SMALLEST_TRANSFORM))
    grid = Window(m_max * coarse.step, GRID_TAPS, size / (2.0 * m_max))
    return coarse, grid, m_max, _reach(grid, x), size


def _reach(window, z):
    first = window.first(z)
    return int(max(-first.min(), first.max() + window.taps - 1))


def _mirrored(psi):
    """Tell whether ascending depths are symmetric about their middle, to the accuracy that float64 allows."""
    return bool(np.all(np.abs(psi + psi[::-1]) <= 1e-12 * np.abs(psi).max(initial=0.0)))


def _direct(x, psi):
    """Return cosine and sine of every channel and depth between unit matrices."""
    mirrored = _mirrored(psi)
    count = psi.size - psi.size // 2 if mirrored else psi.size
    plus_row = np.arange(psi.size - count, psi.size)
    angle = 2.0 * np.outer(psi[plus_row], x)
    return _Matrices(
        spread_first=np.arange(x.size),
        spread=np.ones((x.size, 1)),
        interpolate_first=np.arange(psi.size),
        interpolate=np.ones((psi.size, 1)),
        grid_rows=x.size,
        coarse_rows=psi.size,
        cosine=np.cos(angle),
        sine=np.sin(angle),
        plus_row=plus_row,
        # A row that nobody reads takes what is not wanted. The middle depth is its own mirror image.
        minus_row=np.where(2 * plus_row == psi.size - 1, psi.size, psi.size - 1 - plus_row)
        if mirrored
        else np.full(count, psi.size),
    )


def _gridded(x, psi):
    """Return spreading, the transform with the windows taken out, and interpolation."""
    coarse, grid, m_max, g_max, size = _windows(x, psi)
    m = np.arange(-m_max, m_max + 1)
    return _Matrices(
        spread_first=grid.first(x) + g_max,
        spread=grid.interpolation(x) / coarse.transform(x)[:, None],
        interpolate_first=coarse.first(psi) + m_max,
        interpolate=coarse.interpolation(psi),
        grid_rows=size,
        coarse_rows=m.size,
        radices=stages(size),
        frequency=m % size,
        # Grid point g lies in row g + g_max.
        factor=np.exp(2j * np.pi * (m * g_max % size) / size) / grid.transform(coarse.step * m),
    )


def _padded(values, fill):
    """Return values with as many of `fill` behind them as make a multiple of four."""
    missing = -len(values) % QUAD
    return np.concatenate([values, np.full(missing, fill, dtype=np.asarray(values).dtype)])


def _dense_blocks(matrix):
    """Cut (row, column) into blocks (quad of rows, quad of columns, 16), padded with zeros."""
    rows, columns = (-size % QUAD for size in matrix.shape)
    full = np.pad(matrix, ((0, rows), (0, columns)))
    cut = full.reshape(full.shape[0] // QUAD, QUAD, full.shape[1] // QUAD, QUAD)
    return np.ascontiguousarray(cut.transpose(0, 2, 1, 3)).reshape(cut.shape[0], cut.shape[2], QUAD * QUAD)


def _bands(first, taps):
    """Yield for each four neighbours where their taps begin, and the band (4, width), width a multiple of 4."""
    for start in range(0, first.size, QUAD):
        own, values = first[start : start + QUAD], taps[start : start + QUAD]
        begin = int(own.min())
        width = int(own.max()) - begin + taps.shape[1]
        band = np.zeros((QUAD, width + -width % QUAD))
        for j, offset in enumerate(own - begin):
            band[j, offset : offset + taps.shape[1]] = values[j]
        yield begin, band


def _blocks_of_rows(first, taps):
    """Cut a banded matrix, whose row r has `taps[r]` from column `first[r]` on, into blocks for each four rows."""
    begins, counts, blocks = [], [0], [np.zeros((0, QUAD * QUAD))]
    for begin, band in _bands(first, taps):
        begins.append(begin)
        blocks.append(_dense_blocks(band)[0])
        counts.append(counts[-1] + len(blocks[-1]))
    return np.array(begins, np.intp), np.array(counts, np.intp), np.concatenate(blocks)


def _blocks_of_columns(first, taps):
    """Do the same for a matrix whose column c has `taps[c]` from row `first[c]` on, for each four columns."""
    begins, counts, blocks = _blocks_of_rows(first, taps)
    return begins, counts, np.ascontiguousarray(blocks.reshape(-1, QUAD, QUAD).transpose(0, 2, 1)).reshape(-1, QUAD**2)
