"""A Fourier transform along rows of scratch, in place, vectorised along the pixels of a tile.

Decimation in frequency with radices 4, 3 and 2. A butterfly reads and writes two to four rows that lie far apart. The
result comes in the order of reversed digits, in which the caller reads it. Sizes and factors come from
`mpidriver.tasks.faraday._fourier`.
"""

from mpidriver.tasks._jit import kernel
from mpidriver.tasks.faraday._rows import LANES, ROW
from mpidriver.tasks.faraday._vectors import instructions

__all__ = ["transform_rows"]

SIN_60 = 0.8660254037844386


def _two(x):
    (a, b), (c, d) = x
    return (a + c, b + d), (a - c, b - d)


def _three(x):
    (a, b), (c, d), (e, f) = x
    sum_re, sum_im = c + e, d + f
    near_re, near_im = a - sum_re * 0.5, b - sum_im * 0.5
    turned_re, turned_im = (d - f) * SIN_60, (e - c) * SIN_60
    return (
        (a + sum_re, b + sum_im),
        (near_re + turned_re, near_im + turned_im),
        (near_re - turned_re, near_im - turned_im),
    )


def _four(x):
    (a, b), (c, d), (e, f), (g, h) = x
    even_re, even_im, odd_re, odd_im = a + e, b + f, c + g, d + h
    even_diff_re, even_diff_im, odd_diff_re, odd_diff_im = a - e, b - f, c - g, d - h
    return (
        (even_re + odd_re, even_im + odd_im),
        (even_diff_re + odd_diff_im, even_diff_im - odd_diff_re),
        (even_re - odd_re, even_im - odd_im),
        (even_diff_re - odd_diff_im, even_diff_im + odd_diff_re),
    )


_POINTS = {2: _two, 3: _three, 4: _four}
"""Fourier transforms of a few complex numbers (re, im), of anything that can be added and multiplied."""


def _turned(points, twiddles):
    """Return points of which all but the first are multiplied by complex factors."""
    first, *others = points
    return first, *((a * c - b * s, a * s + b * c) for (a, b), (c, s) in zip(others, twiddles, strict=True))


def _butterfly(radix):
    """Return a function (rows, first, leg, twiddles, at) for kernels: one butterfly on rows `leg` elements apart."""

    def in_numpy(rows, first, leg, twiddles, at):
        starts = [first + k * leg for k in range(radix)]
        points = [(rows[at : at + LANES].copy(), rows[at + LANES : at + ROW].copy()) for at in starts]
        factors = [tuple(twiddles[at + 2 * k : at + 2 * k + 2]) for k in range(radix - 1)]
        for start, (real, imag) in zip(starts, _turned(_POINTS[radix](points), factors), strict=True):
            rows[start : start + LANES], rows[start + LANES : start + ROW] = real, imag

    @instructions(in_numpy)
    def butterfly(code, rows, first, leg, twiddles, at):
        numbers = [code.number(twiddles, code.index(at, k)) for k in range(2 * radix - 2)]
        factors = [
            (code.repeat(real), code.repeat(imag)) for real, imag in zip(numbers[::2], numbers[1::2], strict=True)
        ]
        with code.loop(LANES // code.width) as strip:
            lane = code.index(first, (strip, code.width))
            places = [[code.index(lane, (leg, k), part) for part in (0, LANES)] for k in range(radix)]
            points = [[code.read(rows, place) for place in pair] for pair in places]
            for pair, results in zip(places, _turned(_POINTS[radix](points), factors), strict=True):
                for place, result in zip(pair, results, strict=True):
                    code.write(rows, place, result)

    return butterfly


_butterfly_2, _butterfly_3, _butterfly_4 = (_butterfly(radix) for radix in (2, 3, 4))


@kernel
def transform_rows(rows, radices, twiddles):
    """Replace rows x_g by Σ_g x_g exp(-2πi m g/N), m in the order of reversed digits.

    Parameters
    ----------
    rows : float (N * ROW,)
    radices : int (stage,)
        Of `stages`; their product is N.
    twiddles : float (...)
        Of `twiddles`.
    """
    count = rows.size // ROW
    length, at = count, 0
    for radix in radices:
        leg = length // radix
        for place in range(leg):
            for start in range(place, count, length):
                if radix == 4:
                    _butterfly_4(rows, start * ROW, leg * ROW, twiddles, at)
                elif radix == 3:
                    _butterfly_3(rows, start * ROW, leg * ROW, twiddles, at)
                else:
                    _butterfly_2(rows, start * ROW, leg * ROW, twiddles, at)
            at += 2 * (radix - 1)
        length = leg
