"""Arrays as users give them: real numbers in the wanted precision, or an error that says what came instead."""

import numpy as np

from mpidriver.errors import DataError

__all__ = ["real_type", "real_values", "split_weights"]

KINDS = {"c": "complex numbers", "U": "text", "S": "text", "O": "objects", "M": "dates", "m": "times", "V": "records"}
"""What numpy's kinds of values that are not real numbers are called."""


def real_values(name, values, dtype=np.float64):
    """Return an array of real numbers, NaN where it is masked; DataError names what holds something else."""
    if np.ma.isMaskedArray(values):
        values = values.astype(np.result_type(values.dtype, np.float32)).filled(np.nan)
    try:
        array = np.asarray(values)
    except ValueError:
        raise DataError(f"{name}: expected an array of real numbers, got rows of different lengths") from None
    if array.dtype.kind == "c":
        raise DataError(
            f"{name}: expected real numbers, got complex ones; of Q + iU give the real part as Q and the "
            "imaginary part as U"
        )
    if array.dtype.kind in KINDS:
        raise DataError(f"{name}: expected real numbers, got {KINDS[array.dtype.kind]}")
    return array.astype(dtype, copy=False)


def real_type(dtype):
    """Return the float type of the parts of complex64 or complex128; DataError for any other type."""
    kinds = {np.dtype(np.complex64): np.float32, np.dtype(np.complex128): np.float64}
    try:
        return kinds[np.dtype(dtype)]
    except KeyError:
        raise DataError(f"dtype: expected complex64 or complex128, got {np.dtype(dtype)}") from None


def split_weights(weights, shape, real):
    """Return the weights as a vector of the channels, at most 1, and as a cube, None if there is none."""
    if weights is None:
        return np.ones(shape[0]), None
    if np.shape(weights) not in (shape[:1], shape):
        raise DataError(f"weights: expected shape ({shape[0]},) or {shape}, got {np.shape(weights)}")
    if np.ndim(weights) > 1:
        return np.ones(shape[0]), real_values("weights", weights, real)
    weights = real_values("weights", weights)
    weights = np.where(np.isnan(weights), 0.0, weights)
    if np.any(weights < 0) or not np.all(np.isfinite(weights)):
        raise DataError(f"weights: expected finite values of at least 0, got {weights.min():g} to {weights.max():g}")
    if not weights.any():
        raise DataError("weights: at least one channel must have a positive weight, all are 0")
    return weights / weights.max(), None
