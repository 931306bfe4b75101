"""Numbers of objects: tract, patch and place in one 64-bit integer.

Bits 0-21 number the objects of a patch by position, bits 22-28 and 29-35 are the patch's y and x, bits 36-62 the tract.
"""

import numpy as np

from mpidriver.errors import DataError

__all__ = ["object_id", "split_object_id"]

_NUMBER_BITS, _PATCH_BITS, _TRACT_BITS = 22, 7, 27
_Y_SHIFT = _NUMBER_BITS
_X_SHIFT = _Y_SHIFT + _PATCH_BITS
_TRACT_SHIFT = _X_SHIFT + _PATCH_BITS


def object_id(tract, patch, number):
    """Return the ids of objects.

    Parameters
    ----------
    tract : int
        Below 2^27.
    patch : tuple of int, (x, y)
        Each below 2^7.
    number : array_like of int
        Running number in the patch, below 2^22.

    Returns
    -------
    ndarray of int64
    """
    number = np.asarray(number, dtype=np.int64)
    x, y = (int(value) for value in patch)
    parts = ((int(tract), _TRACT_BITS, "tract"), (x, _PATCH_BITS, "patch x"), (y, _PATCH_BITS, "patch y"))
    for value, bits, name in (*parts, (int(number.max(initial=0)), _NUMBER_BITS, "number")):
        if not 0 <= value < 1 << bits:
            raise DataError(f"object ids: {name} must be at least 0 and below 2^{bits} = {1 << bits}, got {value}")
    return number | (int(tract) << _TRACT_SHIFT | x << _X_SHIFT | y << _Y_SHIFT)


def split_object_id(ids):
    """Return tract, patch x, patch y and number of object ids, each an ndarray of int64."""
    ids = np.asarray(ids, dtype=np.int64)
    patch_mask, number_mask = (1 << _PATCH_BITS) - 1, (1 << _NUMBER_BITS) - 1
    return ids >> _TRACT_SHIFT, ids >> _X_SHIFT & patch_mask, ids >> _Y_SHIFT & patch_mask, ids & number_mask
