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
"""Channels, and depths, are handled in fours: see `mpidriver.tasks.faraday._band_kernels`."""

GRID_TAPS, GRID_OVERSAMPLING = 9, 1.5
DEPTH_TAPS, DEPTH_OVERSAMPLING = 8, 1.75
"""Windows on the λ² grid and between coarse depths: the cheapest that keep real surveys below 1e-6 of the peak."""
SMALLEST_TRANSFORM = 64
"""So that the grid, window and all, fits into its rows."""
TRANSFORM_COST = 10
"""Of a row in a stage of the transform, in the multiplications of the other steps: it is bound by loads and stores."""


class Tables(NamedTuple):
    """What the kernel needs; slots are places in lists padded to a multiple of four.

    Bands are matrices (row, 4) of four neighbours, one below the other.
    """

    chan: np.ndarray
    """Channel of each slot, ascending in λ²."""
    weight: np.ndarray
    load_cos: np.ndarray
    load_sin: np.ndarray
    """Weight of each channel, and weight times its turn by 2φ_c x."""
    spread_row: np.ndarray
    """Grid row at which the band of each four channels begins."""
    spread_first: np.ndarray
    """First row of the band of each four channels, and the number of all."""
    spread: np.ndarray
    """Bands (row, 4): what each of four channels gives to a grid row."""
    size: int
    """Of the Fourier transform; 0 for the direct way."""
    radices: np.ndarray
    twiddles: np.ndarray
    cosine: np.ndarray
    sine: np.ndarray
    """Matrices (four depths, channel, 4) of the direct way."""
    plus_row: np.ndarray
    minus_row: np.ndarray
    """Coarse rows that receive +ψ and -ψ."""
    source_row: np.ndarray
    """Row in which each coarse depth is found."""
    interpolate_row: np.ndarray
    interpolate_first: np.ndarray
    interpolate: np.ndarray
    """As for spreading: what each of four wanted depths takes from a coarse one."""
    phi: np.ndarray
    """Wanted depth of each slot, ascending."""
    turn_cos: np.ndarray
    turn_sin: np.ndarray
    """Turn of each wanted depth by 2φ(λ²_c - λ²_0)."""
    grid_rows: int
    coarse_rows: int


class _Matrices(NamedTuple):
    """A plan before it is cut into bands; the direct way has no transform, the gridded no cosine and sine."""

    spread_first: np.ndarray
    spread: np.ndarray
    interpolate_first: np.ndarray
    interpolate: np.ndarray
    grid_rows: int
    source_row: np.ndarray
    radices: list[int] | None = None
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

    spread_row, spread_first, spread = _bands(matrices.spread_first, matrices.spread)
    interpolate_row, interpolate_first, interpolate = _bands(matrices.interpolate_first, matrices.interpolate)
    radices = matrices.radices or []
    weight, chan_turn, turn = weights[chan], 2.0 * phi_centre * x, 2.0 * phi_radm2[order] * (x_centre - lambda0_sq_m2)
    return Tables(
        chan=_padded(chan),
        weight=_padded(weight, 0).astype(dtype),
        load_cos=_padded(weight * np.cos(chan_turn), 0).astype(dtype),
        load_sin=_padded(weight * np.sin(chan_turn), 0).astype(dtype),
        spread_row=spread_row,
        spread_first=spread_first,
        spread=spread.astype(dtype),
        size=math.prod(radices) if radices else 0,
        radices=np.array(radices, np.intp),
        twiddles=twiddles(radices).astype(dtype),
        cosine=_fours(matrices.cosine).astype(dtype),
        sine=_fours(matrices.sine).astype(dtype),
        plus_row=_padded(matrices.plus_row),
        minus_row=_padded(matrices.minus_row),
        source_row=matrices.source_row,
        interpolate_row=interpolate_row,
        interpolate_first=interpolate_first,
        interpolate=interpolate.astype(dtype),
        phi=_padded(order),
        turn_cos=_padded(np.cos(turn)).astype(dtype),
        turn_sin=_padded(np.sin(turn)).astype(dtype),
        grid_rows=matrices.grid_rows,
        coarse_rows=0 if radices else matrices.source_row.size,
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
        # A row that nobody reads takes what is not wanted. The middle depth is its own mirror image.
        source_row=np.arange(psi.size + 1),
        cosine=np.cos(angle),
        sine=np.sin(angle),
        plus_row=plus_row,
        minus_row=np.where(2 * plus_row == psi.size - 1, psi.size, psi.size - 1 - plus_row)
        if mirrored
        else np.full(count, psi.size),
    )


def _gridded(x, psi):
    """Return spreading, the transform, and interpolation with the windows taken out."""
    coarse, grid, m_max, _, size = _windows(x, psi)
    m = np.arange(-m_max, m_max + 1)
    # Grid point g lies in row g + N/2, which the transform answers with a factor (-1)^m.
    factor = (1.0 - 2.0 * (m % 2)) / grid.transform(coarse.step * m)
    first = coarse.first(psi) + m_max
    return _Matrices(
        spread_first=grid.first(x) + size // 2,
        spread=grid.interpolation(x) / coarse.transform(x)[:, None],
        interpolate_first=first,
        interpolate=coarse.interpolation(psi) * factor[first[:, None] + np.arange(coarse.taps)],
        grid_rows=size,
        source_row=order_of_results(stages(size))[m % size],
        radices=stages(size),
    )


def _padded(values, fill=None):
    """Return values with as many of `fill`, or of the last one, behind them as make a multiple of four."""
    missing = -len(values) % QUAD
    if missing == 0:
        return values
    last = values[-1:] if fill is None else np.full_like(values[-1:], fill)
    return np.concatenate([values, *[last] * missing])


def _fours(matrix):
    """Cut (row, column) into (four rows, column, 4), padded with repeated rows."""
    rows = _padded(matrix)
    return np.ascontiguousarray(rows.reshape(len(rows) // QUAD, QUAD, matrix.shape[1]).transpose(0, 2, 1))


def _bands(first, taps):
    """Cut a banded matrix whose row r has `taps[r]` from column `first[r]` on.

    Returns
    -------
    begin : int (four,)
        Column at which each four neighbours begin.
    start : int (four + 1,)
        First row in `band` of each four, and the number of all.
    band : float (column, 4)
    """
    begins, starts, bands = [], [0], [np.zeros((0, QUAD))]
    first, taps = _padded(first), _padded(taps)
    for four in range(0, first.size, QUAD):
        own = first[four : four + QUAD]
        begins.append(int(own.min()))
        band = np.zeros((int(own.max()) - begins[-1] + taps.shape[1], QUAD))
        for j, offset in enumerate(own - begins[-1]):
            band[offset : offset + taps.shape[1], j] = taps[four + j]
        bands.append(band)
        starts.append(starts[-1] + len(band))
    return np.array(begins, np.intp), np.array(starts, np.intp), np.concatenate(bands)
