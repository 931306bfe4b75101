"""Vector instructions written into kernels, where a compiler makes none, or narrow ones, of a loop.

Rows of scratch lie in one array, of which a compiler cannot know that they do not overlap, and it keeps few of them in
registers. So the innermost loops are written as instructions: a function that writes them is given a `Writer` and the
kernel's arguments, and `instructions` makes of it what kernels can call.
"""

import contextlib
import functools
import inspect

import llvmlite.binding
import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

__all__ = ["Writer", "instructions"]

INT, INT32, BYTE = ir.IntType(64), ir.IntType(32), ir.IntType(8)


@functools.cache
def _has_avx512():
    return bool(llvmlite.binding.get_host_cpu_features().get("avx512f"))


class Vector:
    """The value of a vector register in the code that is being written."""

    def __init__(self, builder, value):
        self.builder, self.value = builder, value

    def _operate(self, name, other):
        if isinstance(other, float):
            other = Vector(self.builder, ir.Constant(self.value.type, [other] * self.value.type.count))
        return Vector(self.builder, getattr(self.builder, name)(self.value, other.value, flags=("contract",)))

    def __add__(self, other):
        return self._operate("fadd", other)

    def __sub__(self, other):
        return self._operate("fsub", other)

    def __mul__(self, other):
        return self._operate("fmul", other)


class Writer:
    """Writes instructions on numbers, and on vectors of one kind of float. Indices count elements."""

    def __init__(self, builder, scalar):
        self.builder = builder
        self.width = (64 if _has_avx512() else 32) // _size(scalar)
        self.together = 2 if _has_avx512() else 1
        """Vectors in a strip: AVX-512 has twice as many registers as what came before."""
        self.vector = ir.VectorType(scalar, self.width)

    def index(self, *terms):
        """Return the sum of integers; each is a value, a number, or a tuple of factors."""
        total = None
        for term in terms:
            product = None
            for factor in term if isinstance(term, tuple) else (term,):
                factor = ir.Constant(INT, factor) if isinstance(factor, int) else factor
                product = factor if product is None else self.builder.mul(product, factor)
            total = product if total is None else self.builder.add(total, product)
        return total

    def shifts(self):
        """Return where the vectors of a strip begin in it."""
        return [k * self.width for k in range(self.together)]

    def number(self, array, index):
        """Read one element."""
        return self.builder.load(self.builder.gep(array, [index]))

    def repeat(self, number):
        """Return a vector of one number."""
        one = self.builder.insert_element(ir.Constant(self.vector, ir.Undefined), number, ir.Constant(INT32, 0))
        zeros = ir.Constant(ir.VectorType(INT32, self.width), None)
        return Vector(self.builder, self.builder.shuffle_vector(one, one, zeros))

    def zero(self):
        """Return a vector of zeros."""
        return Vector(self.builder, ir.Constant(self.vector, None))

    def constant(self, value):
        """Return a vector of one number that is known now."""
        return Vector(self.builder, ir.Constant(self.vector, [value] * self.width))

    def count_from(self, first):
        """Return a vector of the numbers from one on."""
        return Vector(self.builder, ir.Constant(self.vector, [float(first + k) for k in range(self.width)]))

    def read(self, array, index):
        """Read a vector from an index on."""
        place, scalar = self._place(array, index)
        return Vector(self.builder, self.builder.load(place, align=_size(scalar)))

    def holds_bytes(self, array):
        """Tell whether an array holds bytes instead of floats."""
        return array.type.pointee == BYTE

    def is_zero(self, array, index):
        """Return where the bytes from an index on are zero."""
        kind = ir.VectorType(BYTE, self.width)
        place = self.builder.bitcast(self.builder.gep(array, [index]), kind.as_pointer())
        return self.builder.icmp_unsigned("==", self.builder.load(place, align=1), ir.Constant(kind, None))

    def write(self, array, index, vector):
        """Write a vector from an index on."""
        place, scalar = self._place(array, index)
        self.builder.store(vector.value, place, align=_size(scalar))

    def write_pair(self, array, index, pair, streaming):
        """Write two vectors, past the caches where `streaming`: they must then lie at multiples of their size."""
        with self.builder.if_else(cgutils.is_not_null(self.builder, streaming)) as (past_caches, plain):
            with past_caches:
                for k, vector in enumerate(pair):
                    place, scalar = self._place(array, self.index(index, k * self.width))
                    store = self.builder.store(vector.value, place, align=self.width * _size(scalar))
                    store.set_metadata("nontemporal", self.builder.module.add_metadata([ir.Constant(INT32, 1)]))
            with plain:
                for k, vector in enumerate(pair):
                    self.write(array, self.index(index, k * self.width), vector)

    def _place(self, array, index):
        scalar = array.type.pointee
        kind = ir.VectorType(scalar, self.width).as_pointer()
        return self.builder.bitcast(self.builder.gep(array, [index]), kind), scalar

    def prefetch(self, array, index):
        """Ask for the cache line of an element that will be read."""
        address = self.builder.bitcast(self.builder.gep(array, [index]), BYTE.as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [address.type, INT32, INT32, INT32])
        call = self.builder.module.declare_intrinsic("llvm.prefetch", [address.type], kind)
        # Not to be written, into the second-level cache, data and not instructions.
        self.builder.call(call, [address, *(ir.Constant(INT32, value) for value in (0, 2, 1))])

    def equal(self, a, b):
        """Return where two vectors are equal."""
        return self.builder.fcmp_ordered("==", a.value, b.value)

    def greater(self, a, b):
        """Return where one vector is greater than another."""
        return self.builder.fcmp_ordered(">", a.value, b.value)

    def both(self, a, b):
        """Return where two conditions hold."""
        return self.builder.and_(a, b)

    def either(self, a, b):
        """Return where one of two conditions holds, or both."""
        return self.builder.or_(a, b)

    def where(self, condition, vector):
        """Return a vector with zeros where a condition does not hold."""
        return Vector(self.builder, self.builder.select(condition, vector.value, self.zero().value))

    def choose(self, condition, vector, other):
        """Return a vector with the elements of another where a condition does not hold."""
        return Vector(self.builder, self.builder.select(condition, vector.value, other.value))

    def double(self, vector):
        """Return a vector in float64, of as many elements."""
        kind = ir.VectorType(ir.DoubleType(), self.width)
        return vector if vector.value.type == kind else Vector(self.builder, self.builder.fpext(vector.value, kind))

    def rotate(self, vector, distance):
        """Return a vector whose elements come from others so many places farther on, in a circle."""
        order = [(k + distance) % self.width for k in range(self.width)]
        mask = ir.Constant(ir.VectorType(INT32, self.width), order)
        return Vector(self.builder, self.builder.shuffle_vector(vector.value, vector.value, mask))

    def interleave(self, even, odd):
        """Return two vectors that hold the elements of two by turns."""
        half, kind, pair = self.width // 2, ir.VectorType(INT32, self.width), []
        for first in (0, half):
            order = [k for j in range(first, first + half) for k in (j, self.width + j)]
            pair.append(self.builder.shuffle_vector(even.value, odd.value, ir.Constant(kind, order)))
        return [Vector(self.builder, value) for value in pair]

    @contextlib.contextmanager
    def loop(self, count):
        """Repeat what is written inside; gives the number of the round, from 0 on."""
        with cgutils.for_range(self.builder, self.index(count), intp=INT) as loop:
            yield loop.index

    @contextlib.contextmanager
    def strips(self, lanes):
        """Repeat what is written inside for the strips of a row; gives where a strip begins."""
        step = self.together * self.width
        with self.loop(lanes // step) as strip:
            yield self.index((strip, step))

    @contextlib.contextmanager
    def summing(self, count, sums):
        """Repeat, at least once, what is written inside and replaces the vectors in a list; gives the round."""
        before, body, after = self.builder.block, *(self.builder.append_basic_block(name) for name in ("sum", "summed"))
        self.builder.branch(body)
        self.builder.position_at_end(body)
        number, *states = (self.builder.phi(kind) for kind in (INT, *(vector.value.type for vector in sums)))
        for state, value in zip((number, *states), (self.index(0), *(v.value for v in sums)), strict=True):
            state.add_incoming(value, before)
        sums[:] = [Vector(self.builder, state) for state in states]
        yield number
        following = self.index(number, 1)
        for state, value in zip((number, *states), (following, *(v.value for v in sums)), strict=True):
            state.add_incoming(value, self.builder.block)
        self.builder.cbranch(self.builder.icmp_signed("<", following, count), body, after)
        self.builder.position_at_end(after)


def _size(scalar):
    """Return the bytes of a float."""
    return 4 if isinstance(scalar, ir.FloatType) else 8


def instructions(in_numpy):
    """Return a decorator that makes of a function that writes instructions one that kernels can call.

    The function is called as `write(code, *arguments)`, `code` being a `Writer` for the float type of the first array.
    Arrays come as pointers to their first element, named tuples as dictionaries, tuples as lists, numbers as they are.
    Without compilation `in_numpy(*arguments)` is called instead.
    """
    if numba.config.DISABLE_JIT:
        return lambda write: in_numpy

    def decorate(write):
        def typed(typing_context, *arguments):
            def generate(context, builder, signature, values):
                values = [_unpacked(context, builder, *pair) for pair in zip(signature.args, values, strict=True)]
                write(Writer(builder, values[0].type.pointee), *values)
                return context.get_dummy_value()

            return types.void(*arguments), generate

        typed.__signature__ = inspect.signature(write)
        return intrinsic(functools.wraps(write)(typed))

    return decorate


def _unpacked(context, builder, kind, value):
    """Return the pointer of an array, a dictionary of a named tuple, a list of a tuple, and another value as it is."""
    if isinstance(kind, types.Array):
        return context.make_array(kind)(context, builder, value).data
    if isinstance(kind, types.BaseTuple):
        parts = [
            _unpacked(context, builder, part, builder.extract_value(value, k)) for k, part in enumerate(kind.types)
        ]
        return dict(zip(kind.fields, parts, strict=True)) if isinstance(kind, types.NamedTuple) else parts
    return value
