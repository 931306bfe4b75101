"""The loops of the warp.

Planes come padded by `PAD` pixels that carry NO_DATA, so that the edge of the input is nothing but masked pixels.
Indices are unsigned: numba then leaves out the test for indices from the end, which costs a third of the time.
"""

import numpy as np

from mpidriver.tasks._jit import kernel

__all__ = ["PAD", "fill_unusable", "flag_unusable", "mark_windows", "resample"]

#: Pixels added on every side of the input planes: the kernel's reach, and one since a window is read as 8 columns.
PAD = 4
_TAPS = 6
_LANES = 8
#: How far `fill_unusable` looks for neighbours, in pixels.
_REACH = 3
#: What fused multiply-add needs; NaN and infinities keep their meaning.
_FUSED = {"contract"}
#: The same, and the sum over lanes in any order.
_VECTOR = {"contract", "reassoc", "nsz"}


@kernel
def flag_unusable(image, variance, mask, no_data, interpolated):
    """Mark pixels as `no_data`, and not as `interpolated`, whose image or variance cannot be used.

    Parameters
    ----------
    image, variance : ndarray of float32, shape (row, col)
    mask : ndarray of int32, shape (row, col), changed in place
    no_data, interpolated : int
        Bits.
    """
    rows, cols = image.shape
    for row in range(rows):
        for col in range(cols):
            if not (abs(image[row, col]) < np.inf and variance[row, col] >= 0.0 and variance[row, col] < np.inf):
                mask[row, col] = (mask[row, col] | no_data) & ~interpolated


@kernel
def fill_unusable(image, variance, mask, planes, interpolated):
    """Replace pixels of `planes` by the mean of their usable neighbours within three pixels, or by 0.

    Neighbours count by the inverse square of their distance.

    Parameters
    ----------
    image, variance : ndarray of float32, shape (row, col), changed in place
    mask : ndarray of int32, shape (row, col)
    planes : int
        A pixel with any of these bits is replaced,
    interpolated : int
        unless it has this bit: its value was interpolated before.
    """
    rows, cols = image.shape
    for row in range(rows):
        for col in range(cols):
            if mask[row, col] & planes != 0 and mask[row, col] & interpolated == 0:
                flux, noise, weight = 0.0, 0.0, 0.0
                for near_row in range(max(row - _REACH, 0), min(row + _REACH + 1, rows)):
                    for near_col in range(max(col - _REACH, 0), min(col + _REACH + 1, cols)):
                        if mask[near_row, near_col] & planes == 0:
                            closeness = 1.0 / ((near_row - row) ** 2 + (near_col - col) ** 2)
                            flux += closeness * image[near_row, near_col]
                            noise += closeness * variance[near_row, near_col]
                            weight += closeness
                image[row, col] = flux / weight if weight > 0.0 else 0.0
                variance[row, col] = noise / weight if weight > 0.0 else 0.0


@kernel
def mark_windows(mask):
    """Return uint8, shape (row, col): 1 where the window of 6 x 6 pixels that starts there holds any mask bit."""
    rows, cols = mask.shape
    along_row = np.zeros((rows, cols), np.uint8)
    marked = np.zeros((rows, cols), np.uint8)
    for row in range(rows):
        until = -1
        for reverse in range(cols):
            col = cols - 1 - reverse
            if mask[row, col] != 0:
                until = col
            along_row[row, col] = until >= 0 and until < col + _TAPS
    for row in range(rows):
        for near in range(row, min(row + _TAPS, rows)):
            for col in range(cols):
                marked[row, col] |= along_row[near, col]
    return marked


@kernel
def _cubic_weights(t):
    """Return the weights of nodes -1, 0, 1, 2 for the cubic through them at `t` in [0, 1]."""
    return (
        -t * (t - 1.0) * (t - 2.0) / 6.0,
        (t + 1.0) * (t - 1.0) * (t - 2.0) / 2.0,
        -(t + 1.0) * t * (t - 2.0) / 2.0,
        (t + 1.0) * t * (t - 1.0) / 6.0,
    )


@kernel
def _node_line(nodes, row, step, line):
    """Fill `line` with the nodes interpolated to output row `row` of the box."""
    cell = row // step
    w0, w1, w2, w3 = _cubic_weights((row - cell * step) / step)
    for node in range(line.size):
        line[node] = (
            w0 * nodes[cell, node]
            + w1 * nodes[cell + 1, node]
            + w2 * nodes[cell + 2, node]
            + w3 * nodes[cell + 3, node]
        )


@kernel
def _pixel_line(line, weights, step, values):
    """Fill `values` with the node line interpolated to every output column of the box.

    `weights`, shape (step, 4), holds the cubic weights of the positions inside a cell.
    """
    cols = values.size
    for cell in range(line.size - 3):
        first = cell * step
        for offset in range(min(step, cols - first)):
            values[first + offset] = (
                weights[offset, 0] * line[cell]
                + weights[offset, 1] * line[cell + 1]
                + weights[offset, 2] * line[cell + 2]
                + weights[offset, 3] * line[cell + 3]
            )


@kernel
def _window_bits(mask, row, col, taps_x, taps_y, mask_weight):
    """Return the mask bits of the window's pixels whose weight is at least `mask_weight`."""
    bits = np.int32(0)
    for j in range(_TAPS):
        for i in range(_TAPS):
            if abs(taps_y[j] * taps_x[i]) >= mask_weight:
                bits |= mask[row + j, col + i]
    return bits


@kernel(fastmath=_FUSED)
def _taps(table, phase, taps):
    """Fill `taps` with the kernel's weights at a phase in [0, 1]."""
    position = phase * (table.shape[0] - 1)
    # A position a hair below an integer has a phase that rounds to 1: the last step of the table, not one beyond it.
    index = min(np.uintp(position), np.uintp(table.shape[0] - 2))
    t = np.float32(position - index)
    for k in range(_LANES):
        taps[k] = table[index, k] + t * (table[index + np.uintp(1), k] - table[index, k])


@kernel(fastmath=_VECTOR)
def _window_sums(image, variance, first, stride, taps_x, taps_y):
    """Return image and variance interpolated over the window that starts at flat index `first`.

    The columns of the window are the lanes of one vector register; taps 6 and 7 are zero.
    """
    w0, w1, w2, w3, w4, w5 = taps_y[0], taps_y[1], taps_y[2], taps_y[3], taps_y[4], taps_y[5]
    s0, s1, s2, s3, s4, s5 = w0 * w0, w1 * w1, w2 * w2, w3 * w3, w4 * w4, w5 * w5
    second = first + stride
    third = second + stride
    fourth = third + stride
    fifth = fourth + stride
    sixth = fifth + stride
    flux = np.float32(0.0)
    noise = np.float32(0.0)
    for k in range(np.uintp(_LANES)):
        weight = taps_x[k]
        flux += weight * (
            (w0 * image[first + k] + w1 * image[second + k])
            + (w2 * image[third + k] + w3 * image[fourth + k])
            + (w4 * image[fifth + k] + w5 * image[sixth + k])
        )
        noise += (weight * weight) * (
            (s0 * variance[first + k] + s1 * variance[second + k])
            + (s2 * variance[third + k] + s3 * variance[fourth + k])
            + (s4 * variance[fifth + k] + s5 * variance[sixth + k])
        )
    return flux, noise


@kernel(fastmath=_FUSED)
def resample(
    image, variance, mask, marked, x_nodes, y_nodes, area_nodes, step, table, scale, mask_weight, no_data,
    out_image, out_variance, out_mask,
):  # fmt: skip
    """Interpolate the padded input at every pixel of the output box.

    Parameters
    ----------
    image, variance : ndarray of float32, shape (row, col)
        Padded by `PAD`, finite everywhere.
    mask : ndarray of int32, shape (row, col)
    marked : ndarray of uint8, shape (row, col)
        From `mark_windows`.
    x_nodes, y_nodes, area_nodes : ndarray of float64, shape (node row, node col)
        The pixel map, in unpadded input pixels.
    step : int, px
        Spacing of its nodes.
    table : ndarray of float32, shape (phase, tap)
    scale : float
        Factor on the image, its square on the variance.
    mask_weight : float
        Weight from which on an input pixel's bits count.
    no_data : int
        Bit of output pixels without input; their image and variance become NaN.
    out_image, out_variance : ndarray of float32, shape (row, col), written where input is found
    out_mask : ndarray of int32, shape (row, col), written where input is found
    """
    rows, cols = out_image.shape
    stride = np.uintp(image.shape[1])
    flat_image, flat_variance = image.ravel(), variance.ravel()
    last_x, last_y = image.shape[1] - 2.0 * PAD, image.shape[0] - 2.0 * PAD
    weights = np.empty((step, 4))
    for offset in range(step):
        w = _cubic_weights(offset / step)
        weights[offset, 0], weights[offset, 1], weights[offset, 2], weights[offset, 3] = w[0], w[1], w[2], w[3]
    x_line, y_line, area_line = np.empty(x_nodes.shape[1]), np.empty(x_nodes.shape[1]), np.empty(x_nodes.shape[1])
    x_row, y_row, area_row = np.empty(cols), np.empty(cols), np.empty(cols)
    taps_x, taps_y = np.empty(_LANES, np.float32), np.empty(_LANES, np.float32)
    for row in range(rows):
        _node_line(x_nodes, row, step, x_line)
        _node_line(y_nodes, row, step, y_line)
        _node_line(area_nodes, row, step, area_line)
        _pixel_line(x_line, weights, step, x_row)
        _pixel_line(y_line, weights, step, y_row)
        _pixel_line(area_line, weights, step, area_row)
        for col in range(cols):
            x, y = x_row[col], y_row[col]
            if not (x > -1.0 and x < last_x and y > -1.0 and y < last_y and area_row[col] < np.inf):
                continue
            floor_x, floor_y = np.floor(x), np.floor(y)
            _taps(table, x - floor_x, taps_x)
            _taps(table, y - floor_y, taps_y)
            from_col, from_row = np.uintp(floor_x + (PAD - 2)), np.uintp(floor_y + (PAD - 2))
            bits = np.int32(0)
            if marked[from_row, from_col] != 0:
                bits = _window_bits(mask, from_row, from_col, taps_x, taps_y, mask_weight)
            if bits & no_data == 0:
                factor = np.float32(scale * area_row[col])
                flux, noise = _window_sums(
                    flat_image, flat_variance, from_row * stride + from_col, stride, taps_x, taps_y
                )
                out_image[row, col] = factor * flux
                out_variance[row, col] = factor * factor * noise
                out_mask[row, col] = bits
            else:
                out_mask[row, col] |= bits
