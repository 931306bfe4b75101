"""Products of banded matrices with rows of scratch: channels onto the λ² grid, and coarse depths to the wanted ones.

Four channels, or four depths, are worked on at once, one strip of a tile's pixels after the other, so that what is
needed again and again stays in vector registers. Each function has a twin in numpy for runs without compilation.
"""

import numpy as np

from mpidriver.tasks.faraday._rows import LANES, ROW
from mpidriver.tasks.faraday._vectors import instructions

__all__ = ["emit_four", "multiply_four", "spread_four"]

FOUR = 4


def _spread_in_numpy(grid, weight_sum, voxels, pixels, start, tables, four):
    slots, tile = slice(FOUR * four, FOUR * four + FOUR), slice(start, start + LANES)
    cubes = [cube[tables.chan[slots], tile] for cube in voxels]
    if cubes[0].dtype == np.uint8:
        cubes[0] = np.where(cubes[0] == 0, 1.0, 0.0)
    p = cubes.pop(0) + 1j * cubes.pop(0) if len(cubes) > 1 else np.ones((FOUR, LANES))
    weight = cubes.pop() if cubes else np.ones((FOUR, LANES))
    good = np.isfinite(p) & np.isfinite(weight) & (weight > 0)
    weight = np.where(good, weight, 0)
    p = np.where(good, p, 0) * weight * (tables.load_cos[slots] - 1j * tables.load_sin[slots])[:, None]
    weight_sum += tables.weight[slots] @ weight
    first, last = tables.spread_first[four : four + 2]
    rows = grid.reshape(-1, ROW)[tables.spread_row[four] :][: last - first]
    rows += tables.spread[first:last] @ np.hstack([p.real, p.imag])


@instructions(_spread_in_numpy)
def spread_four(code, grid, weight_sum, voxels, pixels, start, tables, four):
    """Add to the λ² grid what four channels w (q + iu) exp(-2iφ_c x) give to it; flagged voxels count for nothing.

    Parameters
    ----------
    grid : float (row * ROW,)
    weight_sum : float64 (LANES,)
        Receives the sums of the weights too.
    voxels : tuple of arrays (chan, pixel)
        Q and U; or Q, U and weights, one that is not positive and finite being a flag; or weights alone, or uint8 flags
        alone, of spectra that are 1.
    pixels, start : int
        Pixels of a plane, and the first of the tile.
    tables : Tables
    four : int
        Number of the four channels.
    """
    slots = [code.index((four, FOUR), j) for j in range(FOUR)]
    planes = [code.index((code.number(tables["chan"], slot), pixels), start) for slot in slots]
    factors = [
        [code.repeat(code.number(tables[name], slot)) for name in ("weight", "load_cos", "load_sin")] for slot in slots
    ]
    first, count = _band(code, tables["spread_first"], four)
    top = code.index((code.number(tables["spread_row"], four), ROW))
    with code.strips(LANES) as lane:
        channels = [[] for _ in range(FOUR)]
        for shift in code.shifts():
            here, total = code.index(lane, shift), code.zero()
            for plane, factor, parts in zip(planes, factors, channels, strict=True):
                place = code.index(plane, here)
                weight, *turned = _read_voxels(code, voxels, place, factor)
                total = total + weight
                parts.append(turned)
                # A piece of a plane is too short for the processor to see the next tile coming.
                for cube in voxels:
                    code.prefetch(cube, code.index(place, LANES))
            code.write(weight_sum, here, code.read(weight_sum, here) + code.double(total))
        channels = [[turned[part] for part in (0, 1) for turned in parts] for parts in channels]
        with code.loop(count) as row:
            taps = _four_numbers(code, tables["spread"], first, row)
            for k, place in enumerate(_places(code, lane)):
                place = code.index(top, (row, ROW), place)
                # The four are added first: each rounding at the size of the sum costs accuracy.
                given = taps[0] * channels[0][k]
                for tap, channel in zip(taps[1:], channels[1:], strict=True):
                    given = given + tap * channel[k]
                code.write(grid, place, code.read(grid, place) + given)


def _read_voxels(code, voxels, place, factor):
    """Return vectors of the weight, and of the real and imaginary part of w (q + iu) exp(-2iφ_c x)."""
    weight, cosine, sine = factor
    if len(voxels) == 1:
        return _read_weights(code, voxels[0], place, (weight, cosine, code.zero() - sine))
    a, b = code.read(voxels[0], place), code.read(voxels[1], place)
    parts, nothing = (weight, a * cosine + b * sine, b * cosine - a * sine), a * 0.0 + b * 0.0
    if len(voxels) == 2:
        return (code.where(code.equal(nothing, code.zero()), part) for part in parts)
    own = code.read(voxels[2], place)
    good = code.both(code.equal(nothing + own * 0.0, code.zero()), code.greater(own, code.zero()))
    return (code.where(good, own * part) for part in parts)


def _read_weights(code, cube, place, parts):
    """Return vectors of the parts of a spectrum that is 1, times its weights, or zero where it is flagged."""
    if code.holds_bytes(cube):
        return (code.where(code.is_zero(cube, place), part) for part in parts)
    own = code.read(cube, place)
    good = code.both(code.equal(own * 0.0, code.zero()), code.greater(own, code.zero()))
    return (code.where(good, own * part) for part in parts)


def _emit_in_numpy(rows, norm, tables, four, start, length, out, streaming):
    slots = slice(FOUR * four, FOUR * four + FOUR)
    first, last = tables.interpolate_first[four : four + 2]
    x = rows.reshape(-1, ROW)[tables.source_row[tables.interpolate_row[four] :][: last - first]]
    wanted = norm * (tables.interpolate[first:last].T @ (x[:, :LANES] + 1j * x[:, LANES:]))
    wanted *= (tables.turn_cos[slots] - 1j * tables.turn_sin[slots])[:, None]
    out[tables.phi[slots], 2 * start : 2 * (start + LANES)] = wanted.astype(np.result_type(out, 1j)).view(out.dtype)


@instructions(_emit_in_numpy)
def emit_four(code, rows, norm, tables, four, start, length, out, streaming):
    """Interpolate four wanted depths, scale and turn them by exp(-iα), and write them as interleaved complex numbers.

    Parameters
    ----------
    rows : float (row * ROW,)
        Coarse depths.
    norm : float (LANES,)
        Scale of each pixel.
    tables : Tables
    four : int
        Number of the four depths.
    start, length : int
        The tile's first pixel, and floats in a row of `out`.
    out : float (phi, 2 * pixel)
    streaming : bool
        Whether to write past the caches; pieces must then begin at multiples of a cache line.
    """
    slots = [code.index((four, FOUR), j) for j in range(FOUR)]
    turns = [[code.repeat(code.number(tables[name], slot)) for name in ("turn_cos", "turn_sin")] for slot in slots]
    targets = [code.index((code.number(tables["phi"], slot), length), (start, 2)) for slot in slots]
    first, count = _band(code, tables["interpolate_first"], four)
    source = code.number(tables["interpolate_row"], four)
    with code.strips(LANES) as lane:
        sums = _sums(
            code,
            count,
            lambda column: code.index((code.number(tables["source_row"], code.index(source, column)), ROW), lane),
            lambda column: _four_numbers(code, tables["interpolate"], first, column),
            rows,
        )
        for wanted, (cosine, sine), target in zip(sums, turns, targets, strict=True):
            half = len(wanted) // 2
            for shift, real, imag in zip(code.shifts(), wanted[:half], wanted[half:], strict=True):
                scale = code.read(norm, code.index(lane, shift))
                a, b = scale * real, scale * imag
                pair = code.interleave(a * cosine + b * sine, b * cosine - a * sine)
                code.write_pair(out, code.index(target, (lane, 2), 2 * shift), pair, streaming)


def _multiply_in_numpy(rows, factors, count, out):
    out.reshape(FOUR, ROW)[:] = factors.T @ rows.reshape(-1, ROW)[:count]


@instructions(_multiply_in_numpy)
def multiply_four(code, rows, factors, count, out):
    """Write four rows: a matrix times `count` rows, its factors as (count, 4)."""
    with code.strips(LANES) as lane:
        sums = _sums(
            code,
            count,
            lambda column: code.index((column, ROW), lane),
            lambda column: _four_numbers(code, factors, 0, column),
            rows,
        )
        for j, row in enumerate(sums):
            for place, vector in zip(_places(code, lane), row, strict=True):
                code.write(out, code.index(j * ROW, place), vector)


def _band(code, first, four):
    """Return where the band of four neighbours begins and how many rows it has."""
    begin, end = (code.number(first, code.index(four, k)) for k in range(2))
    return begin, code.builder.sub(end, begin)


def _places(code, lane):
    """Return where in a row the vectors of a strip begin: real parts, then imaginary parts."""
    return [code.index(lane, part + shift) for part in (0, LANES) for shift in code.shifts()]


def _four_numbers(code, band, first, row):
    """Return the four numbers of one row of a band, each repeated."""
    return [code.repeat(code.number(band, code.index((first, FOUR), (row, FOUR), j))) for j in range(FOUR)]


def _sums(code, count, begin, factors, rows):
    """Return for each of four the vectors of Σ factor · row over `count` rows, which begin at `begin(number)`."""
    places = _places(code, 0)
    sums = [code.zero() for _ in range(FOUR * len(places))]
    with code.summing(count, sums) as number:
        top = begin(number)
        x = [code.read(rows, code.index(top, place)) for place in places]
        terms = [factor * vector for factor in factors(number) for vector in x]
        sums[:] = [total + term for total, term in zip(sums, terms, strict=True)]
    return [sums[len(places) * j : len(places) * (j + 1)] for j in range(FOUR)]
