"""Values on their way between files and kernels: byte order and the order of axes, at the speed of memory.

numpy swaps bytes at a sixth of the speed at which a compiled loop does, and transposes a spectrum at a time.
"""

import numpy as np

from mpidriver.tasks._jit import kernel

__all__ = ["count_channels", "native_cube", "split_parts", "swapped_word"]

BLOCK = 32
"""Pixels and channels of a block that is transposed within the cache."""


@kernel
def swapped_word(value):
    """Return the 32 bits of a value in the other byte order."""
    return (
        ((value >> np.uint32(24)) & np.uint32(0x000000FF))
        | ((value >> np.uint32(8)) & np.uint32(0x0000FF00))
        | ((value << np.uint32(8)) & np.uint32(0x00FF0000))
        | ((value << np.uint32(24)) & np.uint32(0xFF000000))
    )


@kernel
def _swap(values):
    """Swap the bytes of values in place."""
    for index in range(values.size):
        values[index] = swapped_word(values[index])


@kernel
def _transpose(spectra, swap, planes):
    """Write spectra (pixel, chan) as planes (chan, pixel), block by block."""
    pixels, channels = spectra.shape
    for first in range(0, pixels, BLOCK):
        for start in range(0, channels, BLOCK):
            for chan in range(start, min(start + BLOCK, channels)):
                for pixel in range(first, min(first + BLOCK, pixels)):
                    value = spectra[pixel, chan]
                    planes[chan, pixel] = swapped_word(value) if swap else value


def native_cube(stored, dtype=np.float32):
    """Return a region of a cube as kernels want it: contiguous (chan, row, col) in the machine's byte order.

    Parameters
    ----------
    stored : (chan, row, col)
        As it was read: any type, byte order and order of axes in memory. It may be changed in place.
    dtype : float32 or float64
    """
    dtype = np.dtype(dtype)
    if dtype != np.float32 or stored.dtype.kind != "f" or stored.itemsize != 4:
        return np.ascontiguousarray(stored, dtype=dtype)
    swap = not stored.dtype.isnative
    if stored.flags.c_contiguous:
        words = stored.view(np.uint32)
        if swap:
            _swap(words.reshape(-1))
        return words.view(np.float32)
    spectra = stored.transpose(1, 2, 0)
    if spectra.strides[0] != spectra.shape[1] * spectra.strides[1]:
        return np.ascontiguousarray(stored, dtype=dtype)
    words = spectra.view(np.dtype(np.uint32)).reshape(-1, stored.shape[0])
    planes = np.empty((stored.shape[0], words.shape[0]), np.uint32)
    _transpose(words, swap, planes)
    return planes.view(np.float32).reshape(stored.shape)


@kernel
def _split(row, real, imaginary, modulus):
    """Write the real and imaginary parts and the modulus of a row of complex numbers, given as pairs."""
    for pixel in range(real.size):
        a, b = row[2 * pixel], row[2 * pixel + 1]
        real[pixel] = a
        imaginary[pixel] = b
        modulus[pixel] = np.sqrt(a * a + b * b)


@kernel
def _split_rows(rows, parts, words, swap):
    """Split each row; swap the bytes of the parts, of which `words` are the bits, while they are in the cache."""
    for number in range(rows.shape[0]):
        _split(rows[number], parts[0, number], parts[1, number], parts[2, number])
        if swap:
            for part in range(3):
                _swap(words[part, number])


def split_parts(spectra, stored):
    """Return real part, imaginary part and modulus of complex spectra as they are stored, (3, plane, row, col).

    Parameters
    ----------
    spectra : complex (plane, row, col)
    stored : str or dtype
        Type on disk, as ``>f4``.
    """
    stored = np.dtype(stored)
    rows = np.ascontiguousarray(spectra).reshape(len(spectra), -1)
    parts = np.empty((3, *rows.shape), rows.real.dtype)
    in_place = stored.itemsize == parts.itemsize == 4
    _split_rows(rows.view(parts.dtype), parts, parts.view(np.uint32), in_place and not stored.isnative)
    kept = parts.view(stored) if in_place else parts.astype(stored)
    return kept.reshape(3, *spectra.shape)


@kernel
def _count(q, u, counts):
    for pixel in range(counts.size):
        a, b = q[pixel], u[pixel]
        counts[pixel] += 1 if ((a - a) + (b - b)) == 0 else 0


def count_channels(q, u):
    """Return int32 (row, col): in how many channels a pixel of two contiguous cubes (chan, row, col) is finite."""
    counts = np.zeros(q[0].size, np.int32)
    for plane_q, plane_u in zip(q, u, strict=True):
        _count(plane_q.reshape(-1), plane_u.reshape(-1), counts)
    return counts.reshape(q.shape[1:])
