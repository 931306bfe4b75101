"""Single pixels of the coadd that need a second look: outliers among their inputs, or none that is good.

They are few, so this may take its time: a pixel's inputs are looked at one by one, and its sums made anew.
"""

import numpy as np

from mpidriver.tasks._jit import kernel
from mpidriver.tasks.coadd._stored import as_float, as_int

__all__ = ["add_pixel", "keep_any", "keep_inliers"]

_INFINITY = np.float32(np.inf)
_ZERO = np.float32(0.0)


@kernel
def keep_any(stack, row, col, no_data, keep):
    """Keep every input that has a value at a pixel, whatever else its mask says; return how many there are."""
    images, variances, masks, swapped = stack
    count = 0
    for i in range(keep.size):
        x, v = as_float(images[i, row, col], swapped), as_float(variances[i, row, col], swapped)
        keep[i] = abs(x) < _INFINITY and v >= _ZERO and v < _INFINITY
        keep[i] = keep[i] and as_int(masks[i, row, col], swapped) & no_data == 0
        count += keep[i]
    return count


@kernel
def keep_inliers(stack, row, col, values, median, n_sigma, fraction, keep):
    """Keep the inputs of a pixel that are no outliers; return how many of those that count are left out.

    Parameters
    ----------
    stack : tuple
        Image, variance and mask as words, shape (input, row, col), and whether their bytes are swapped.
    row, col : int
        Of the stack.
    values : ndarray of float32, shape (input,)
        Infinity where an input does not count.
    median : float32
        Of the values, if they are three or more.
    n_sigma, fraction : float32
        Of the clip.
    keep : ndarray of bool, shape (input,), written
    """
    variances, swapped = stack[1], stack[3]
    count, left = 0, 0
    for i in range(keep.size):
        keep[i] = values[i] < _INFINITY
        count += keep[i]
    if count == 2:
        return _drop_brighter(variances, row, col, swapped, values, n_sigma, fraction, keep)
    for i in range(keep.size):
        excess = abs(values[i] - median) - fraction * abs(median)
        limit = n_sigma * n_sigma * as_float(variances[i, row, col], swapped)
        keep[i] = keep[i] and not (excess > _ZERO and excess * excess > limit)
        left += keep[i]
    if left == 0:
        for i in range(keep.size):
            keep[i] = values[i] <= median
            left += keep[i]
    return count - left


@kernel
def _drop_brighter(variances, row, col, swapped, values, n_sigma, fraction, keep):
    """Of the two inputs that are kept, drop the brighter if they disagree; return how many were dropped."""
    low, high = -1, -1
    for i in range(keep.size):
        if keep[i]:
            if low < 0 or values[i] < values[low]:
                low, high = i, low
            else:
                high = i
    noise = as_float(variances[low, row, col], swapped) + as_float(variances[high, row, col], swapped)
    if values[high] - values[low] > n_sigma * np.sqrt(noise) + fraction * abs(values[low]):
        keep[high] = False
        return 1
    return 0


@kernel
def add_pixel(stack, row, col, input_weights, keep):
    """Return a pixel's sums over the inputs that are kept: flux, noise, weight, bits of the mask, number."""
    images, variances, masks, swapped = stack
    flux, noise, total, bits, used = _ZERO, _ZERO, _ZERO, np.int32(0), np.int32(0)
    for i in range(keep.size):
        if keep[i]:
            weight = input_weights[i]
            flux += weight * as_float(images[i, row, col], swapped)
            noise += weight * weight * as_float(variances[i, row, col], swapped)
            total += weight
            bits |= as_int(masks[i, row, col], swapped)
            used += np.int32(1)
    return flux, noise, total, bits, used
