"""The same numbers in memory layouts that callers bring along."""

import numpy as np

__all__ = ["LAYOUTS", "laid_out"]

LAYOUTS = ("columns first", "big endian", "double", "read-only", "every second", "upside down")


def laid_out(array, layout):
    """Return an equal array in another layout or number type; `array` is float32 or int32."""
    match layout:
        case "columns first":
            return np.asfortranarray(array)
        case "big endian":
            return array.astype(array.dtype.newbyteorder(">"))
        case "double":
            return array.astype(np.float64 if array.dtype.kind == "f" else np.int64)
        case "read-only":
            array = array.copy()
            array.flags.writeable = False
            return array
        case "every second":
            wide = np.zeros([2 * size for size in array.shape], array.dtype)
            wide[tuple(slice(None, None, 2) for _ in array.shape)] = array
            return wide[tuple(slice(None, None, 2) for _ in array.shape)]
        case "upside down":
            return np.ascontiguousarray(array[::-1])[::-1]
    raise ValueError(layout)
