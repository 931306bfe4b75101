"""Memory for kernels that begins at a cache line, so that no vector of a row lies in two."""

import numpy as np

from mpidriver.tasks._jit import kernel

__all__ = ["CACHE_LINE", "aligned_zeros"]

CACHE_LINE = 64
"""Bytes."""


@kernel
def aligned_zeros(size, dtype):
    """Return zeros that begin at a cache line."""
    values = np.zeros(size + CACHE_LINE, dtype)
    first = -values.ctypes.data % CACHE_LINE // values.itemsize
    return values[first : first + size]
