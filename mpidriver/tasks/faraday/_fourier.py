"""Sizes, stages and twiddle factors of the Fourier transform of `mpidriver.tasks.faraday._fourier_kernels`."""

import numpy as np

__all__ = ["fast_size", "order_of_results", "stages", "twiddles"]

RADICES = (4, 3, 2)


def stages(size):
    """Return the radices, largest first, whose product is `size`; None if there are other prime factors."""
    radices = []
    for radix in RADICES:
        while size % radix == 0:
            radices.append(radix)
            size //= radix
    return radices if size == 1 else None


def fast_size(minimum):
    """Return the even size from `minimum` on, of factors 2 and 3 only, whose stages touch the fewest rows."""
    start = minimum + minimum % 2
    sizes = [size for size in range(start, 2 * start + 1, 2) if stages(size) is not None]
    return min(sizes, key=lambda size: size * len(stages(size)))


def twiddles(radices):
    """Return cosine and sine of all factors but the first of each place in a leg, stage by stage, float64."""
    length, angles = int(np.prod(radices, dtype=np.intp)), [np.zeros(0)]
    for radix in radices:
        angles.append(np.outer(np.arange(length // radix), np.arange(1, radix)).ravel() / length)
        length //= radix
    angle = -2.0 * np.pi * np.concatenate(angles)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).ravel()


def order_of_results(radices):
    """Return the row in which each frequency 0 ... N - 1 is found: the digits of its number reversed."""
    row = np.zeros(1, np.intp)
    for radix in reversed(radices):
        row = (row[:, None] + row.size * np.arange(radix)).ravel()
    return row
