"""Empty tables from their columns' units."""

from collections.abc import Mapping

import numpy as np

__all__ = ["empty_table"]

#: Columns that hold no floating-point numbers.
_NOT_FLOATS = {
    "id": "i8",
    "field": "i8",
    "exposure": "i8",
    "detector": "i8",
    "beam": "i8",
    "band": "U16",
    "kind": "U12",
}


def empty_table(units: Mapping[str, str], n: int) -> np.ndarray:
    """Return a structured array of `n` rows of zeros with one column for each entry of `units`."""
    return np.zeros(n, dtype=[(name, _NOT_FLOATS.get(name, "f8")) for name in units])
