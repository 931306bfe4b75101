"""The loops of the coadd, over short runs of neighbouring pixels so that every step is vector code.

A run holds `RUN` columns of one row of every input: ``values[input, pixel]`` with infinity where the input does not
count, and ``weights[input, pixel]`` with 0 there.
"""

import numpy as np

from mpidriver.tasks._jit import kernel

__all__ = ["CLIPPED", "MEAN", "MEDIAN", "combine", "sorting_network"]

#: What `combine` may do.
MEAN, CLIPPED, MEDIAN = 0, 1, 2
#: Pixels of a run: a stack of 20 of them stays in the second-level cache, and short loops cost more than they compute.
RUN = 512
_INFINITY = np.float32(np.inf)
_ZERO = np.float32(0.0)
_HALF = np.float32(0.5)
_NAN = np.float32(np.nan)
_NONE = np.int32(0)
_COUNT = np.int32(1)


def sorting_network(size):
    """Return the comparisons of Batcher's odd-even merge sort for `size` values.

    Parameters
    ----------
    size : int

    Returns
    -------
    ndarray of intp, shape (comparison, 2)
        Pairs (low, high) of positions to be put in order, one after the other (Batcher 1968; Knuth, TAOCP 5.2.2 M).
    """
    pairs = []
    power = 1
    while power < size:
        distance = power
        while distance >= 1:
            for start in range(distance % power, size - distance, 2 * distance):
                for i in range(start, min(start + distance, size - distance)):
                    if i // (2 * power) == (i + distance) // (2 * power):
                        pairs.append((i, i + distance))
            distance //= 2
        power *= 2
    return np.array(pairs, dtype=np.intp).reshape(-1, 2)


@kernel
def _swap_bytes(run):
    """Turn around the bytes of each number of a run, in place: what was read from a FITS file becomes numbers."""
    words = run.view(np.uint32)
    for p in range(words.size):
        word = words[p]
        words[p] = (
            (word << np.uint32(24))
            | ((word << np.uint32(8)) & np.uint32(0xFF0000))
            | ((word >> np.uint32(8)) & np.uint32(0xFF00))
            | (word >> np.uint32(24))
        )


@kernel
def _load(image, variance, mask, bad_planes, weight, values, weights, counts):
    """Load one input's run: its values and weights where it counts, infinity and 0 elsewhere.

    All planes are read before anything is decided, and decisions are selections, or it would not be vector code.
    """
    for p in range(image.size):
        x, v, bits = image[p], variance[p], mask[p]
        good = ((bits & bad_planes) == 0) & (abs(x) < _INFINITY) & (v >= _ZERO) & (v < _INFINITY)
        values[p] = x if good else _INFINITY
        weights[p] = weight if good else _ZERO
        counts[p] += _COUNT if good else _NONE


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
def _median(ordered, counts, least, median):
    """Fill `median` with that of the first ``counts[p]`` ordered values of each pixel, NaN for fewer than `least`."""
    count = counts[0]
    same = True
    for p in range(RUN):
        same &= counts[p] == count
    if same and count >= least:
        low, high = ordered[(count - 1) // 2], ordered[count // 2]
        for p in range(RUN):
            median[p] = _HALF * (low[p] + high[p])
        return
    for p in range(RUN):
        count = counts[p]
        median[p] = _HALF * (ordered[(count - 1) // 2, p] + ordered[count // 2, p]) if count >= least else _NAN


@kernel
def _clip(values, variance, median, n_sigma, fraction, weights, clipped):
    """Take the weight of one input's pixels where ``|x - median| > n_sigma * sigma + fraction * |median|``."""
    for p in range(variance.size):
        weight = weights[p]
        excess = abs(values[p] - median[p]) - fraction * abs(median[p])
        out = (weight > _ZERO) & (excess > _ZERO) & (excess * excess > n_sigma * n_sigma * variance[p])
        weights[p] = _ZERO if out else weight
        clipped[p] += _COUNT if out else _NONE


@kernel
def _clip_pair(variances, row, col, values, p, n_sigma, fraction, weights):
    """Of the two inputs that count at pixel `p`, drop the brighter if they disagree; return how many were dropped.

    With two values the median tells nothing; cosmic rays and satellites only add light.
    """
    low, high = -1, -1
    for i in range(weights.shape[0]):
        if weights[i, p] > _ZERO:
            if low < 0 or values[i, p] < values[low, p]:
                low, high = i, low
            else:
                high = i
    sigma = np.sqrt(variances[low, row, col] + variances[high, row, col])
    if values[high, p] - values[low, p] > n_sigma * sigma + fraction * abs(values[low, p]):
        weights[high, p] = _ZERO
        return 1
    return 0


@kernel
def _clip_brighter(values, p, median, input_weights, weights):
    """Restore the inputs at or below the median of pixel `p`, where clipping left none; return how many stay out."""
    dropped = 0
    for i in range(weights.shape[0]):
        if values[i, p] <= median:
            weights[i, p] = input_weights[i]
        elif values[i, p] < _INFINITY:
            dropped += 1
    return dropped


@kernel
def _take_any(images, variances, masks, row, col, no_data, input_weights, values, p, weights):
    """Let every input with a value count at pixel `p`, whatever its mask; return their number."""
    count = 0
    for i in range(weights.shape[0]):
        x, v = images[i, row, col], variances[i, row, col]
        if abs(x) < _INFINITY and v >= _ZERO and v < _INFINITY and masks[i, row, col] & no_data == 0:
            values[i, p], weights[i, p] = x, input_weights[i]
            count += 1
    return count


@kernel
def _median_run(values, counts, pairs, least, scratch):
    """Return the medians of a run, a row of `scratch`, which has one row more than there are inputs."""
    n_inputs = values.shape[0]
    median = scratch[n_inputs]
    for i in range(n_inputs):
        _copy(values[i], scratch[i])
    for k in range(pairs.shape[0]):
        _compare(scratch[pairs[k, 0]], scratch[pairs[k, 1]])
    _median(scratch, counts, least, median)
    return median


@kernel
def _clip_run(variances, row, first, size, values, counts, median, n_sigma, fraction, input_weights, weights, clipped):
    """Take the weight of outliers in a run."""
    for i in range(values.shape[0]):
        _clip(values[i], variances[i, row, first : first + size], median, n_sigma, fraction, weights[i], clipped)
    for p in range(size):
        if counts[p] == 2:
            clipped[p] = _clip_pair(variances, row, first + p, values, p, n_sigma, fraction, weights)
        elif counts[p] > 2 and clipped[p] == counts[p]:
            clipped[p] = _clip_brighter(values, p, median[p], input_weights, weights)


@kernel
def _add(values, variance, mask, weights, flux, noise, total, bits, used):
    """Add one input's run to the sums."""
    for p in range(variance.size):
        weight, x, v, plane = weights[p], values[p], variance[p], mask[p]
        counts = weight > _ZERO
        flux[p] += weight * x if counts else _ZERO
        noise[p] += weight * weight * v if counts else _ZERO
        total[p] += weight
        bits[p] |= plane if counts else _NONE
        used[p] += _COUNT if counts else _NONE


@kernel
def combine(
    images, variances, masks, swapped, input_weights, n_rows, pairs, statistic, factors, n_sigma, fraction,
    bad_planes, no_data, clipped_bit, out_image, out_variance, out_mask, out_n_image,
):  # fmt: skip
    """Average a stack of rows.

    Parameters
    ----------
    images, variances : ndarray of float32, shape (input, row, col)
    masks : ndarray of int32, shape (input, row, col)
        All three are changed in place if `swapped`.
    swapped : bool
        Whether the bytes of all numbers stand the wrong way round.
    input_weights : ndarray of float32, shape (input,)
        All positive; their number says how many inputs of the stack are filled.
    n_rows : int
        How many rows of the stack are filled.
    pairs : ndarray of intp, shape (comparison, 2)
        From `sorting_network`.
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
    n_inputs, cols = input_weights.size, images.shape[2]
    values = np.empty((n_inputs, RUN), np.float32)
    weights = np.empty((n_inputs, RUN), np.float32)
    scratch = np.empty((n_inputs + 1, RUN), np.float32)
    sums = np.empty((3, RUN), np.float32)
    tallies = np.empty((4, RUN), np.int32)
    flux, noise, total = sums[0], sums[1], sums[2]
    counts, clipped, bits, used = tallies[0], tallies[1], tallies[2], tallies[3]
    for row in range(n_rows):
        for first in range(0, cols, RUN):
            size = min(RUN, cols - first)
            last = first + size
            values[:], weights[:], sums[:], tallies[:] = _INFINITY, _ZERO, _ZERO, _NONE
            for i in range(n_inputs):
                if swapped:
                    _swap_bytes(images[i, row, first:last])
                    _swap_bytes(variances[i, row, first:last])
                    _swap_bytes(masks[i, row, first:last])
                _load(
                    images[i, row, first:last], variances[i, row, first:last], masks[i, row, first:last], bad_planes,
                    input_weights[i], values[i], weights[i], counts,
                )  # fmt: skip
            for p in range(size):
                if counts[p] == 0:
                    counts[p] = _take_any(
                        images, variances, masks, row, first + p, no_data, input_weights, values, p, weights
                    )
            if statistic == CLIPPED:
                median = _median_run(values, counts, pairs, 3, scratch)
                _clip_run(
                    variances, row, first, size, values, counts, median, n_sigma, fraction, input_weights, weights,
                    clipped,
                )  # fmt: skip
            for i in range(n_inputs):
                _add(
                    values[i], variances[i, row, first:last], masks[i, row, first:last], weights[i], flux, noise, total,
                    bits, used,
                )  # fmt: skip
            if statistic == MEDIAN:
                median = _median_run(values, counts, pairs, 1, scratch)
                for p in range(size):
                    flux[p] = median[p] * total[p]
                    noise[p] *= factors[used[p]]
            for p in range(size):
                col = first + p
                out_n_image[row, col] = used[p]
                if used[p] > 0:
                    out_image[row, col] = flux[p] / total[p]
                    out_variance[row, col] = noise[p] / (total[p] * total[p])
                    out_mask[row, col] = bits[p] | (clipped_bit if clipped[p] > 0 else _NONE)
                else:
                    out_image[row, col], out_variance[row, col] = _NAN, _NAN
                    for i in range(n_inputs):
                        bits[p] |= masks[i, row, col]
                    out_mask[row, col] = bits[p] | no_data
