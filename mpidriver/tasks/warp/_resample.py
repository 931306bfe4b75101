"""The loops of the warp: every output pixel of a box from the prepared planes of the input.

An output row is done in steps that are vector code each: where its pixels lie, which taps they take, then pixel by
pixel the sums. Indices are unsigned: numba then leaves out the test for indices from the end, a third of the time.
"""

import numpy as np

from mpidriver.tasks._jit import ANY_ORDER, FUSED, kernel
from mpidriver.tasks.warp._map_rows import node_weights, row_of_map
from mpidriver.tasks.warp._prepare import PAD

__all__ = ["resample_by_cubic_spline", "resample_by_table"]

_TAPS = 6
_LANES = 8
#: Columns of float32 in a line of the cache.
_LINE = 16
#: So many output rows ahead the input is loaded.
_AHEAD = 8
_NAN = np.float32(np.nan)
_ONE = np.float32(1.0)


@kernel(fastmath=FUSED)
def _locate(x_row, y_row, area_row, last_x, last_y, stride, scale, index, phase_x, phase_y, factor):
    """Fill flat index of the first of six taps (-1 off the input), phases and factor of a row's pixels."""
    for col in range(x_row.size):
        x, y, area = x_row[col], y_row[col], area_row[col]
        inside = (x > -1.0) & (x < last_x) & (y > -1.0) & (y < last_y) & (area < np.inf)
        x, y = (x if inside else 0.0), (y if inside else 0.0)
        floor_x, floor_y = np.floor(x), np.floor(y)
        phase_x[col], phase_y[col] = x - floor_x, y - floor_y
        start = (np.int64(floor_y) + (PAD - 2)) * stride + (np.int64(floor_x) + (PAD - 2))
        index[col] = start if inside else -1
        factor[col] = scale * area


@kernel
def _touch_ahead(planes, index, before, y_row):
    """Load what output rows further down will read, so that it is in the cache by then; remember `index` as `before`.

    The processor cannot foresee an oblique walk through the input and would wait for memory half of the time.

    Returns
    -------
    float
        Of no meaning, but it must be used, or the loads are left out as dead code.
    """
    last = index.size - 1
    rows_a_col = abs(y_row[last] - y_row[0]) / max(last, 1)
    every = _LINE if rows_a_col * _LINE <= 1.0 else max(1, int(1.0 / rows_a_col))
    image, variance, _, marked, stride = planes
    total = np.float32(0.0)
    for col in range(0, index.size, every):
        ahead = index[col] + _AHEAD * (index[col] - before[col]) + 2 * np.int64(stride)
        if index[col] >= 0 and before[col] >= 0 and ahead >= 0 and ahead < image.size:
            total += image[np.uintp(ahead)] + variance[np.uintp(ahead)] + marked[np.uintp(ahead)]
        before[col] = index[col]
    return total


@kernel
def _window_bits(mask, first, stride, taps_x, taps_y, mask_weight):
    """Return the mask bits of the window's pixels whose weight is at least `mask_weight`, which is above 0.

    Columns 6 and 7 have no weight and fill a vector register.
    """
    bits = np.int32(0)
    for j in range(np.uintp(_TAPS)):
        start, weight = first + j * stride, taps_y[j]
        for i in range(np.uintp(_LANES)):
            plane = mask[start + i]
            bits |= plane if abs(weight * taps_x[i]) >= mask_weight else np.int32(0)
    return bits


@kernel(fastmath=FUSED)
def _taps(table, phase, taps):
    """Fill `taps` with a table's weights at a phase in [0, 1]."""
    position = phase * np.float32(table.shape[0] - 1)
    # A position a hair below an integer has a phase that rounds to 1: the last step of the table, not one beyond it.
    index = min(np.uintp(position), np.uintp(table.shape[0] - 2))
    t = position - np.float32(index)
    for k in range(_LANES):
        taps[k] = table[index, k] + t * (table[index + np.uintp(1), k] - table[index, k])


@kernel(fastmath=ANY_ORDER)
def _window_sum(plane, first, stride, taps_x, taps_y):
    """Return a plane interpolated over the window that starts at flat index `first`.

    The columns of the window are the lanes of one vector register; taps 6 and 7 are zero.
    """
    w0, w1, w2, w3, w4, w5 = taps_y[0], taps_y[1], taps_y[2], taps_y[3], taps_y[4], taps_y[5]
    second = first + stride
    third = second + stride
    fourth = third + stride
    fifth = fourth + stride
    sixth = fifth + stride
    total = np.float32(0.0)
    for k in range(np.uintp(_LANES)):
        total += taps_x[k] * (
            (w0 * plane[first + k] + w1 * plane[second + k])
            + (w2 * plane[third + k] + w3 * plane[fourth + k])
            + (w4 * plane[fifth + k] + w5 * plane[sixth + k])
        )
    return total


@kernel
def _blank(col, bits, no_data, image, variance, mask):
    image[col], variance[col], mask[col] = _NAN, _NAN, bits | no_data


@kernel(fastmath=FUSED)
def _row_by_table(planes, index, phase_x, phase_y, factor, tables, mask_weight, no_data, taps, image, variance, mask):
    """Interpolate one row with taps from tables."""
    in_image, in_variance, in_mask, marked, stride = planes
    values, variances, pixels = tables
    taps_x, taps_y = taps[0], taps[1]
    for col in range(index.size):
        if index[col] < 0:
            _blank(col, np.int32(0), no_data, image, variance, mask)
            continue
        first, bits = np.uintp(index[col]), np.int32(0)
        if marked[first] != 0:
            _taps(pixels, phase_x[col], taps_x)
            _taps(pixels, phase_y[col], taps_y)
            bits = _window_bits(in_mask, first, stride, taps_x, taps_y, mask_weight)
            if bits & no_data != 0:
                _blank(col, bits, no_data, image, variance, mask)
                continue
        _taps(values, phase_x[col], taps_x)
        _taps(values, phase_y[col], taps_y)
        image[col] = factor[col] * _window_sum(in_image, first, stride, taps_x, taps_y)
        _taps(variances, phase_x[col], taps_x)
        _taps(variances, phase_y[col], taps_y)
        variance[col] = factor[col] * factor[col] * _window_sum(in_variance, first, stride, taps_x, taps_y)
        mask[col] = bits


@kernel(fastmath=FUSED)
def _cubic_taps(phase, taps):
    """Fill `taps`, shape (col, 4), with the cubic B-spline times 6, which is the gain of its filter."""
    for col in range(phase.size):
        t = phase[col]
        s = _ONE - t
        before, after = s * s * s, t * t * t
        here = np.float32(4.0) - t * t * (np.float32(6.0) - np.float32(3.0) * t)
        taps[col, 0], taps[col, 1], taps[col, 2], taps[col, 3] = (
            before, here, np.float32(6.0) - before - here - after, after,
        )  # fmt: skip


@kernel(fastmath=ANY_ORDER)
def _cubic_sum(plane, first, stride, taps_x, taps_y, col):
    """Return the spline over the window of 4 x 4 coefficients that starts at flat index `first`."""
    w0, w1, w2, w3 = taps_y[col, 0], taps_y[col, 1], taps_y[col, 2], taps_y[col, 3]
    second = first + stride
    third = second + stride
    fourth = third + stride
    total = np.float32(0.0)
    for k in range(np.uintp(4)):
        total += taps_x[col, k] * (
            (w0 * plane[first + k] + w1 * plane[second + k]) + (w2 * plane[third + k] + w3 * plane[fourth + k])
        )
    return total


@kernel(fastmath=FUSED)
def _bilinear(plane, corner, stride, t_x, t_y):
    """Return a plane between the four pixels from flat index `corner` on."""
    one = np.uintp(1)
    above = plane[corner] + t_x * (plane[corner + one] - plane[corner])
    below = plane[corner + stride] + t_x * (plane[corner + stride + one] - plane[corner + stride])
    return above + t_y * (below - above)


@kernel(fastmath=FUSED)
def _cubic_noise(phase):
    """Return the sum of the squared cardinal weights at a phase: 1 - 3 s^2 - 2.0829 sqrt(3) s^3, s = t (1 - t)."""
    s = phase * (_ONE - phase)
    return _ONE - s * s * (np.float32(3.0) + np.float32(3.6076951545867364) * s)


@kernel(fastmath=FUSED)
def _row_by_cubic_spline(
    planes, index, phase_x, phase_y, factor, cubic_x, cubic_y, pixels, mask_weight, no_data, taps, image, variance, mask
):
    """Interpolate one row with the cubic B-spline."""
    coefficients, in_variance, in_mask, marked, stride = planes
    one = np.uintp(1)
    for col in range(index.size):
        if index[col] < 0:
            _blank(col, np.int32(0), no_data, image, variance, mask)
            continue
        first, bits = np.uintp(index[col]), np.int32(0)
        if marked[first] != 0:
            _taps(pixels, phase_x[col], taps[0])
            _taps(pixels, phase_y[col], taps[1])
            bits = _window_bits(in_mask, first, stride, taps[0], taps[1], mask_weight)
            if bits & no_data != 0:
                _blank(col, bits, no_data, image, variance, mask)
                continue
        inner = first + stride + one
        image[col] = factor[col] * _cubic_sum(coefficients, inner, stride, cubic_x, cubic_y, np.uintp(col))
        noise = _cubic_noise(phase_x[col]) * _cubic_noise(phase_y[col]) * factor[col] * factor[col]
        variance[col] = noise * _bilinear(in_variance, inner + stride + one, stride, phase_x[col], phase_y[col])
        mask[col] = bits


@kernel(fastmath=FUSED)
def resample_by_table(planes, nodes, step, tables, scale, mask_weight, no_data, out):
    """Interpolate the padded input at every pixel of the output box, with taps from tables.

    Parameters
    ----------
    planes : tuple of ndarray, shape (row, col)
        Image or coefficients, and variance, float32 and finite everywhere; mask, int32; uint8 from `mark_windows`.
    nodes : tuple of ndarray of float64, shape (node row, node col)
        x, y and area of the pixel map, in unpadded input pixels.
    step : int, px
        Spacing of its nodes.
    tables : tuple of ndarray of float32, shape (phase, tap)
        Values, variances and pixels of `Taps`.
    scale : float
        Factor on the image, its square on the variance.
    mask_weight : float32
        Weight from which on an input pixel's bits count.
    no_data : int32
        Bit of output pixels without input; their image and variance become NaN.
    out : tuple of ndarray, shape (row, col)
        Image, variance and mask to write.
    """
    rows, cols = out[0].shape
    stride = planes[0].shape[1]
    last_x, last_y = planes[0].shape[1] - 2.0 * PAD, planes[0].shape[0] - 2.0 * PAD
    flat = (planes[0].ravel(), planes[1].ravel(), planes[2].ravel(), planes[3].ravel(), np.uintp(stride))
    weights, line = node_weights(step), np.empty(nodes[0].shape[1])
    x, y, area, index = np.empty(cols), np.empty(cols), np.empty(cols), np.empty(cols, np.int64)
    phase_x, phase_y, factor = np.empty(cols, np.float32), np.empty(cols, np.float32), np.empty(cols, np.float32)
    taps = np.empty((2, _LANES), np.float32)
    before, touched = np.full(cols, -1), np.float32(0.0)
    for row in range(rows):
        row_of_map(nodes[0], row, weights, line, x)
        row_of_map(nodes[1], row, weights, line, y)
        row_of_map(nodes[2], row, weights, line, area)
        _locate(x, y, area, last_x, last_y, stride, scale, index, phase_x, phase_y, factor)
        touched += _touch_ahead(flat, index, before, y)
        _row_by_table(
            flat, index, phase_x, phase_y, factor, tables, mask_weight, no_data, taps,
            out[0][row], out[1][row], out[2][row],
        )  # fmt: skip
    return touched


@kernel(fastmath=FUSED)
def resample_by_cubic_spline(planes, nodes, step, pixels, scale, mask_weight, no_data, out):
    """Do what `resample_by_table` does for the cubic B-spline, in half the time.

    Parameters
    ----------
    planes, nodes, step, scale, mask_weight, no_data, out
        As there.
    pixels : ndarray of float32, shape (phase, tap)
        Cardinal weights, for mask bits.
    """
    rows, cols = out[0].shape
    stride = planes[0].shape[1]
    last_x, last_y = planes[0].shape[1] - 2.0 * PAD, planes[0].shape[0] - 2.0 * PAD
    flat = (planes[0].ravel(), planes[1].ravel(), planes[2].ravel(), planes[3].ravel(), np.uintp(stride))
    weights, line = node_weights(step), np.empty(nodes[0].shape[1])
    x, y, area, index = np.empty(cols), np.empty(cols), np.empty(cols), np.empty(cols, np.int64)
    phase_x, phase_y, factor = np.empty(cols, np.float32), np.empty(cols, np.float32), np.empty(cols, np.float32)
    cubic_x, cubic_y = np.empty((cols, 4), np.float32), np.empty((cols, 4), np.float32)
    taps = np.empty((2, _LANES), np.float32)
    before, touched = np.full(cols, -1), np.float32(0.0)
    for row in range(rows):
        row_of_map(nodes[0], row, weights, line, x)
        row_of_map(nodes[1], row, weights, line, y)
        row_of_map(nodes[2], row, weights, line, area)
        _locate(x, y, area, last_x, last_y, stride, scale, index, phase_x, phase_y, factor)
        touched += _touch_ahead(flat, index, before, y)
        _cubic_taps(phase_x, cubic_x)
        _cubic_taps(phase_y, cubic_y)
        _row_by_cubic_spline(
            flat, index, phase_x, phase_y, factor, cubic_x, cubic_y, pixels, mask_weight, no_data, taps,
            out[0][row], out[1][row], out[2][row],
        )  # fmt: skip
    return touched
