"""The clipped mean of every superpixel of a frame."""

import numpy as np

from mpidriver.tasks._jit import kernel
from mpidriver.tasks.sky import clipped_moments

__all__ = ["measure_superpixels"]

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
                kept, mean, deviation = clipped_moments(values[:count])
                level[i, j], variance[i, j] = mean, deviation * deviation / kept
