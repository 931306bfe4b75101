"""Numbers as they stand in a file: words of 32 bits, perhaps with their bytes the other way round."""

import numpy as np

from mpidriver.tasks._jit import kernel
from mpidriver.tasks.planes import swapped_word

__all__ = ["as_float", "as_int"]


@kernel
def _native(word, swapped):
    return swapped_word(word) if swapped else word


@kernel
def as_float(word, swapped):
    """Return a word's float32."""
    return np.uint32(_native(word, swapped)).view(np.float32)


@kernel
def as_int(word, swapped):
    """Return a word's int32."""
    return np.uint32(_native(word, swapped)).view(np.int32)
