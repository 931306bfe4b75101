"""A Fourier transform along rows of scratch, in place, vectorised along the pixels of a tile.

Decimation in frequency with radices 4, 3 and 2. A butterfly reads and writes two to four rows that lie far apart in one
array, of which a compiler cannot know that they do not overlap; so it is written here as the vector instructions
themselves. The result comes in the order of reversed digits, in which the caller reads it. Sizes and factors come
from `mpidriver.tasks.faraday._fourier`.
"""

import numba
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

from mpidriver.tasks._jit import kernel
from mpidriver.tasks.faraday._rows import LANES, ROW

__all__ = ["transform_rows"]

VECTOR_BYTES = 64
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


class _Vector:
    """A vector register in the code that is being generated."""

    def __init__(self, builder, value):
        self.builder, self.value = builder, value

    def _operate(self, name, other):
        if isinstance(other, float):
            other = _Vector(self.builder, ir.Constant(self.value.type, [other] * self.value.type.count))
        return _Vector(self.builder, getattr(self.builder, name)(self.value, other.value, flags=("contract",)))

    def __add__(self, other):
        return self._operate("fadd", other)

    def __sub__(self, other):
        return self._operate("fsub", other)

    def __mul__(self, other):
        return self._operate("fmul", other)


def _make_butterfly(radix):
    """Return a function (rows, first, leg, twiddles, at) for kernels: one butterfly on rows `leg` elements apart."""
    if numba.config.DISABLE_JIT:

        def in_numpy(rows, first, leg, twiddles, at):
            starts = [first + k * leg for k in range(radix)]
            points = [(rows[at : at + LANES].copy(), rows[at + LANES : at + ROW].copy()) for at in starts]
            factors = [tuple(twiddles[at + 2 * k : at + 2 * k + 2]) for k in range(radix - 1)]
            for start, (real, imag) in zip(starts, _turned(_POINTS[radix](points), factors), strict=True):
                rows[start : start + LANES], rows[start + LANES : start + ROW] = real, imag

        return in_numpy

    @intrinsic
    def butterfly(typing_context, rows, first, leg, twiddles, at):
        def generate(context, builder, signature, arguments):
            _generate(context, builder, signature, arguments, radix)
            return context.get_dummy_value()

        return numba.types.void(rows, numba.types.intp, numba.types.intp, twiddles, numba.types.intp), generate

    return butterfly


def _generate(context, builder, signature, arguments, radix):
    """Write the instructions of a butterfly."""
    _, first, leg, _, at = arguments
    data, factors = (context.make_array(signature.args[k])(context, builder, arguments[k]).data for k in (0, 3))
    scalar = data.type.pointee
    width = VECTOR_BYTES // (4 if isinstance(scalar, ir.FloatType) else 8)
    vector = ir.VectorType(scalar, width)

    def constant(value):
        return ir.Constant(first.type, value)

    def pointer(index):
        return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())

    def broadcast(k):
        value = builder.load(builder.gep(factors, [builder.add(at, constant(k))]))
        one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), width), None)
        return _Vector(builder, builder.shuffle_vector(one, one, zeros))

    twiddles = [(broadcast(2 * k), broadcast(2 * k + 1)) for k in range(radix - 1)]
    starts = [builder.add(first, builder.mul(leg, constant(k))) for k in range(radix)]
    with cgutils.for_range(builder, constant(LANES // width)) as loop:
        shift = builder.mul(loop.index, constant(width))
        places = [
            [pointer(builder.add(builder.add(start, shift), constant(part))) for part in (0, LANES)] for start in starts
        ]
        align = VECTOR_BYTES // width
        points = [tuple(_Vector(builder, builder.load(place, align=align)) for place in pair) for pair in places]
        for pair, results in zip(places, _turned(_POINTS[radix](points), twiddles), strict=True):
            for place, result in zip(pair, results, strict=True):
                builder.store(result.value, place, align=align)


_butterfly_2, _butterfly_3, _butterfly_4 = (_make_butterfly(radix) for radix in (2, 3, 4))


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
