"""The clipped mean of every superpixel of a frame."""

import numpy as np

from mpidriver.tasks._jit import kernel

__all__ = ["measure_superpixels"]

_CLIP_SIGMA = 3.0
_CLIP_ROUNDS = 10
_INFINITY = np.float32(np.inf)


@kernel
def _gather(image, mask, unusable, values):
    """Copy the pixels of a superpixel that show sky to the front of `values`; return how many there are."""
    count = 0
    for row in range(image.shape[0]):
        for col in range(image.shape[1]):
            value = image[row, col]
            values[count] = value
            count += 1 if (mask[row, col] & unusable) == 0 and abs(value) < _INFINITY else 0
    return count


@kernel
def _moments(values, count, origin):
    """Return mean and variance; squares are taken about a value near the mean, lest they cancel."""
    total, squares = 0.0, 0.0
    for index in range(count):
        shifted = np.float64(values[index]) - origin
        total += shifted
        squares += shifted * shifted
    mean = total / count
    return origin + mean, max(squares / count - mean * mean, 0.0)


@kernel
def _keep_within(values, count, mean, reach):
    """Move the values near the mean to the front; return how many they are."""
    kept = 0
    for index in range(count):
        value = values[index]
        values[kept] = value
        kept += 1 if abs(value - mean) <= reach else 0
    return kept


@kernel
def _clipped(values, count):
    """Return the mean within 3 sigma of itself and the variance of that mean."""
    mean, variance = _moments(values, count, np.float64(values[0]))
    for _ in range(_CLIP_ROUNDS):
        kept = _keep_within(values, count, mean, _CLIP_SIGMA * np.sqrt(variance))
        if kept == count or kept == 0:
            break
        count = kept
        mean, variance = _moments(values, count, mean)
    return mean, variance / count


@kernel
def measure_superpixels(image, mask, unusable, row_edges, col_edges, least_share, level, variance):
    """Write mean and its variance of each superpixel, NaN where too few pixels show sky."""
    values = np.empty(np.max(np.diff(row_edges)) * np.max(np.diff(col_edges)) + 1, np.float32)
    for i in range(row_edges.size - 1):
        for j in range(col_edges.size - 1):
            part = image[row_edges[i] : row_edges[i + 1], col_edges[j] : col_edges[j + 1]]
            mask_part = mask[row_edges[i] : row_edges[i + 1], col_edges[j] : col_edges[j + 1]]
            count = _gather(part, mask_part, unusable, values)
            if count < max(2.0, least_share * part.size):
                level[i, j] = variance[i, j] = np.nan
            else:
                level[i, j], variance[i, j] = _clipped(values, count)
