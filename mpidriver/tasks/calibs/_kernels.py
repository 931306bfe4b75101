"""The clipped mean of a stack, pixel by pixel."""

import numpy as np

from mpidriver.tasks._jit import kernel

__all__ = ["clipped_means", "scatters"]

#: A normal distribution's standard deviation in units of its median absolute deviation.
_SIGMA_PER_MAD = np.float32(1.4826)
_INFINITY = np.float32(np.inf)


@kernel
def _load(stack, pixel, values):
    """Sort the numbers of one pixel into `values`; return how many there are."""
    count = 0
    for image in range(stack.shape[0]):
        value = stack[image, pixel]
        if abs(value) < _INFINITY:
            place = count
            while place > 0 and values[place - 1] > value:
                values[place] = values[place - 1]
                place -= 1
            values[place] = value
            count += 1
    return count


@kernel
def _middle(ordered, count):
    """Return the median of ordered values."""
    half = count // 2
    return ordered[half] if count % 2 else np.float32(0.5) * (ordered[half - 1] + ordered[half])


@kernel
def _deviation(ordered, count, median):
    """Return the median absolute deviation of ordered values: both ends are walked in from outside."""
    low, high, deviation = 0, count - 1, np.float32(0.0)
    for _ in range(count - count // 2):
        below, above = median - ordered[low], ordered[high] - median
        if below > above:
            deviation, low = below, low + 1
        else:
            deviation, high = above, high - 1
    return deviation


@kernel
def scatters(stack, scatter):
    """Write the robust standard deviation of each pixel of a stack, NaN where there are fewer than two numbers.

    Parameters
    ----------
    stack : ndarray of float32, shape (image, pixel)
    scatter : ndarray of float32, shape (pixel,), written
    """
    values = np.empty(stack.shape[0], np.float32)
    for pixel in range(stack.shape[1]):
        count = _load(stack, pixel, values)
        scatter[pixel] = np.float32(np.nan)
        if count > 1:
            scatter[pixel] = _SIGMA_PER_MAD * _deviation(values, count, _middle(values, count))


@kernel
def clipped_means(stack, clip_sigma, noise, mean, counts):
    """Write the mean of each pixel of a stack without outliers.

    Parameters
    ----------
    stack : ndarray of float32, shape (image, pixel)
        Not finite where there is no number.
    clip_sigma : float
    noise : float
        A pixel's scatter is taken to be at least this: of few or quantised numbers it can come out as 0.
    mean : ndarray of float32, shape (pixel,), written
        NaN where there is no number.
    counts : ndarray of int16, shape (pixel,), written
        How many numbers were averaged.
    """
    values = np.empty(stack.shape[0], np.float32)
    for pixel in range(stack.shape[1]):
        count = _load(stack, pixel, values)
        mean[pixel], counts[pixel] = np.float32(np.nan), 0
        if count == 0:
            continue
        median = _middle(values, count)
        limit = clip_sigma * max(noise, _SIGMA_PER_MAD * _deviation(values, count, median))
        total, kept = 0.0, 0
        for i in range(count):
            if abs(values[i] - median) <= limit:
                total += values[i]
                kept += 1
        mean[pixel], counts[pixel] = total / kept, kept
