"""The loops of the coadd, over short runs of neighbouring pixels so that every step is vector code.

A run holds `RUN` columns of one row of every input: ``values[input, pixel]`` with infinity where the input does not
count. Sums are made while the inputs are read, once; pixels with outliers, which are few, are then done again by
themselves (`_outliers`). A run's sums are rows of one array, and stand a constant number of items apart: of arrays of
their own the compiler would have to find out, in every run, that none overlaps another.
"""

import numpy as np

from mpidriver.tasks._jit import kernel
from mpidriver.tasks.coadd._outliers import add_pixel, keep_any, keep_inliers
from mpidriver.tasks.coadd._stored import as_float, as_int

__all__ = ["CLIPPED", "MEAN", "MEDIAN", "combine"]

#: What `combine` may do.
MEAN, CLIPPED, MEDIAN = 0, 1, 2
#: Pixels of a run: a stack of 20 of them stays in the second-level cache, and short loops cost more than they compute.
RUN = 512
#: Places of the sums of float32: weighted values, their variance, weights, least and largest value, least variance,
_FLUX, _NOISE, _TOTAL, _LOW, _HIGH, _QUIET = 0, RUN, 2 * RUN, 3 * RUN, 4 * RUN, 5 * RUN
_SUMS = 6 * RUN
#: and of int32: bits of the masks, number of inputs, number of those that were clipped.
_BITS, _USED, _CLIPPED = 0, RUN, 2 * RUN
_TALLIES = 3 * RUN
_INFINITY = np.float32(np.inf)
_ZERO = np.float32(0.0)
_HALF = np.float32(0.5)
_NAN = np.float32(np.nan)
_NONE = np.int32(0)
_COUNT = np.int32(1)


@kernel
def _begin(sums, tallies):
    """Set the sums of no inputs."""
    for p in range(RUN):
        sums[p + _FLUX], sums[p + _NOISE], sums[p + _TOTAL] = _ZERO, _ZERO, _ZERO
        sums[p + _LOW], sums[p + _HIGH], sums[p + _QUIET] = _INFINITY, -_INFINITY, _INFINITY
        tallies[p + _BITS], tallies[p + _USED], tallies[p + _CLIPPED] = _NONE, _NONE, _NONE


@kernel
def _add(image, variance, mask, swapped, bad_planes, weight, values, sums, tallies):
    """Add one input's run to the sums, and keep its values where it counts.

    All is read before anything is decided, and decisions are selections, or it would not be vector code.
    """
    square = weight * weight
    for p in range(image.size):
        x, v, bits = as_float(image[p], swapped), as_float(variance[p], swapped), as_int(mask[p], swapped)
        good = ((bits & bad_planes) == 0) & (abs(x) < _INFINITY) & (v >= _ZERO) & (v < _INFINITY)
        values[p] = x if good else _INFINITY
        low, high, quiet = sums[p + _LOW], sums[p + _HIGH], sums[p + _QUIET]
        sums[p + _FLUX] += weight * x if good else _ZERO
        sums[p + _NOISE] += square * v if good else _ZERO
        sums[p + _TOTAL] += weight if good else _ZERO
        sums[p + _LOW] = x if good & (x < low) else low
        sums[p + _HIGH] = x if good & (x > high) else high
        sums[p + _QUIET] = v if good & (v < quiet) else quiet
        tallies[p + _BITS] |= bits if good else _NONE
        tallies[p + _USED] += _COUNT if good else _NONE


@kernel
def _set_pixel(stack, row, col, p, input_weights, keep, sums, tallies):
    """Set the sums of one pixel to those of the inputs that are kept."""
    flux, noise, total, bits, used = add_pixel(stack, row, col, input_weights, keep)
    sums[p + _FLUX], sums[p + _NOISE], sums[p + _TOTAL] = flux, noise, total
    tallies[p + _BITS], tallies[p + _USED] = bits, used


@kernel
def _take_any(stack, row, first, size, no_data, input_weights, keep, values, sums, tallies):
    """Where no input is good let every one with a value count, whatever its mask."""
    for p in range(size):
        if tallies[p + _USED] == 0 and keep_any(stack, row, first + p, no_data, keep) > 0:
            _set_pixel(stack, row, first + p, p, input_weights, keep, sums, tallies)
            sums[p + _LOW], sums[p + _HIGH], sums[p + _QUIET] = -_INFINITY, _INFINITY, _ZERO
            for i in range(keep.size):
                values[i, p] = as_float(stack[0][i, row, first + p], stack[3]) if keep[i] else _INFINITY


@kernel
def _copy(source, target):
    """Copy a run; an array assignment does the same and takes 5 s to compile."""
    for p in range(RUN):
        target[p] = source[p]


@kernel
def _compare(low, high):
    """Order two runs of values pixel by pixel."""
    for p in range(RUN):
        a, b = low[p], high[p]
        low[p] = a if a < b else b
        high[p] = b if a < b else a


@kernel
def _all_count(tallies, size, count):
    same = True
    for p in range(size):
        same &= tallies[p + _USED] == count
    return same


@kernel
def _fill_medians(values, tallies, size, networks, scratch, median):
    """Fill `median` with that of the inputs that count at each pixel, NaN where none does."""
    n_inputs = values.shape[0]
    for i in range(n_inputs):
        _copy(values[i], scratch[i])
    full = _all_count(tallies, size, n_inputs)
    pairs = networks[1] if full else networks[0]
    for k in range(pairs.shape[0]):
        _compare(scratch[pairs[k, 0]], scratch[pairs[k, 1]])
    if full:
        low, high = scratch[(n_inputs - 1) // 2], scratch[n_inputs // 2]
        for p in range(size):
            median[p] = _HALF * (low[p] + high[p])
        return
    for p in range(size):
        count = tallies[p + _USED]
        median[p] = _HALF * (scratch[(count - 1) // 2, p] + scratch[count // 2, p]) if count > 0 else _NAN


@kernel
def _mark_suspects(size, median, n_sigma, fraction, sums, tallies, suspects):
    """Mark the pixels at which an input may have to be clipped; return whether there are any.

    None has to where the least and the largest value would both pass with the least variance.
    """
    some = False
    for p in range(size):
        above, below = sums[p + _HIGH] - median[p], median[p] - sums[p + _LOW]
        excess = (above if above > below else below) - fraction * abs(median[p])
        far = (excess > _ZERO) & (excess * excess > n_sigma * n_sigma * sums[p + _QUIET])
        count = tallies[p + _USED]
        suspects[p] = (far & (count > 2)) | (count == 2)
        some |= suspects[p]
    return some


@kernel
def _clip(stack, row, first, size, values, median, n_sigma, fraction, input_weights, suspects, keep, sums, tallies):
    """Do the suspect pixels of a run again without their outliers."""
    column = np.empty(keep.size, np.float32)
    for p in range(size):
        if suspects[p]:
            for i in range(keep.size):
                column[i] = values[i, p]
            dropped = keep_inliers(stack, row, first + p, column, median[p], n_sigma, fraction, keep)
            if dropped > 0:
                _set_pixel(stack, row, first + p, p, input_weights, keep, sums, tallies)
                tallies[p + _CLIPPED] = np.int32(dropped)


@kernel
def _finish(stack, row, first, size, no_data, clipped_bit, sums, tallies, image, variance, mask, n_image):
    """Write a run of the coadd."""
    masks, swapped = stack[2], stack[3]
    for p in range(size):
        total, used = sums[p + _TOTAL], tallies[p + _USED]
        image[p] = sums[p + _FLUX] / total if used > 0 else _NAN
        variance[p] = sums[p + _NOISE] / (total * total) if used > 0 else _NAN
        mask[p] = tallies[p + _BITS] | (clipped_bit if tallies[p + _CLIPPED] > 0 else _NONE)
        n_image[p] = used
    for p in range(size):
        if tallies[p + _USED] == 0:
            bits = no_data
            for i in range(masks.shape[0]):
                bits |= as_int(masks[i, row, first + p], swapped)
            mask[p] = bits


@kernel
def combine(
    stack, input_weights, n_rows, networks, statistic, factors, n_sigma, fraction, bad_planes, no_data, clipped_bit,
    out_image, out_variance, out_mask, out_n_image,
):  # fmt: skip
    """Average a stack of rows.

    Parameters
    ----------
    stack : tuple
        Image, variance (float32) and mask (int32) as words, uint32 (input, row, col), and whether the bytes of the
        words stand the wrong way round.
    input_weights : ndarray of float32, shape (input,)
        All positive.
    n_rows : int
        How many rows of the stack are filled.
    networks : tuple of ndarray of intp, shape (comparison, 2)
        From `sorting_network` and `median_network`.
    statistic : int
        MEAN, CLIPPED or MEDIAN; weights of a median must be 1.
    factors : ndarray of float32, shape (input + 1,)
        Variance of the median of so many values over that of their mean.
    n_sigma, fraction : float32
        Of the clip.
    bad_planes, no_data, clipped_bit : int32
    out_image, out_variance : ndarray of float32, shape (row, col), written
    out_mask : ndarray of int32, shape (row, col), written
    out_n_image : ndarray of int16, shape (row, col), written
    """
    images, variances, masks, swapped = stack
    n_inputs, cols = input_weights.size, images.shape[2]
    values, scratch = np.full((n_inputs, RUN), _INFINITY), np.empty((n_inputs, RUN), np.float32)
    sums, tallies = np.empty(_SUMS, np.float32), np.empty(_TALLIES, np.int32)
    median, suspects, keep = np.empty(RUN, np.float32), np.empty(RUN, np.bool_), np.empty(n_inputs, np.bool_)
    for row in range(n_rows):
        for first in range(0, cols, RUN):
            size = min(RUN, cols - first)
            last = first + size
            _begin(sums, tallies)
            for i in range(n_inputs):
                _add(
                    images[i, row, first:last], variances[i, row, first:last], masks[i, row, first:last], swapped,
                    bad_planes, input_weights[i], values[i], sums, tallies,
                )  # fmt: skip
            _take_any(stack, row, first, size, no_data, input_weights, keep, values, sums, tallies)
            if statistic != MEAN:
                _fill_medians(values, tallies, size, networks, scratch, median)
            if statistic == CLIPPED and _mark_suspects(size, median, n_sigma, fraction, sums, tallies, suspects):
                _clip(
                    stack, row, first, size, values, median, n_sigma, fraction, input_weights, suspects, keep, sums,
                    tallies,
                )  # fmt: skip
            if statistic == MEDIAN:
                for p in range(size):
                    sums[p + _FLUX] = median[p] * sums[p + _TOTAL]
                    sums[p + _NOISE] *= factors[tallies[p + _USED]]
            _finish(
                stack, row, first, size, no_data, clipped_bit, sums, tallies, out_image[row, first:last],
                out_variance[row, first:last], out_mask[row, first:last], out_n_image[row, first:last],
            )  # fmt: skip
