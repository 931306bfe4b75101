"""The input's planes made ready: flagged, filled, padded, and for splines turned into coefficients.

Planes come padded by `PAD` pixels on every side. The mask has NO_DATA there, so that the edge of the input is nothing
but masked pixels; image and variance are mirrored at the outermost pixels, as the splines' filter takes them to be.
"""

import numpy as np

from mpidriver.tasks._jit import FUSED, kernel

__all__ = ["PAD", "fill_unusable", "make_coefficients", "mark_windows", "mirror_padding", "padded_copies"]

#: Pixels added on every side of the input planes: the kernel's reach, and one since a window is read as 8 columns.
PAD = 4
_TAPS = 6
#: How far `fill_unusable` looks for neighbours, in pixels.
_REACH = 3
_OFFSETS = np.arange(-_REACH, _REACH + 1.0)
#: Inverse square of the distance of the neighbours; the pixel itself is unusable and never counts.
_CLOSENESS = 1.0 / np.maximum(_OFFSETS[:, None] ** 2 + _OFFSETS**2, 1.0)
#: Pixels that are looked through at once for any that is unusable.
_RUN = 64
#: A pole's response is cut off where it has fallen below this.
_NEGLIGIBLE = 1e-9


def padded_copies(image, variance, mask, no_data, interpolated, unusable):
    """Copy planes with room around them, and mark pixels whose image or variance cannot be used.

    Parameters
    ----------
    image, variance : ndarray of float32, shape (row, col)
    mask : ndarray of int32, shape (row, col)
    no_data, interpolated, unusable : int32
        Bits; pixels that cannot be used become `no_data`, and not `interpolated`.

    Returns
    -------
    image, variance, mask : ndarray, shape (row + 2 PAD, col + 2 PAD)
        The padding of the mask is `no_data`, that of the others 0.
    holes : bool
        Whether `fill_unusable` has anything to fill.
    """
    shape = (image.shape[0] + 2 * PAD, image.shape[1] + 2 * PAD)
    # Arrays of numpy lie on large pages, those of a kernel do not, and take twice the time.
    padded = tuple(np.empty(shape, plane.dtype) for plane in (image, variance, mask))
    return *padded, _copy_padded(image, variance, mask, no_data, interpolated, unusable, *padded)


@kernel
def _copy_padded(image, variance, mask, no_data, interpolated, unusable, out_image, out_variance, out_mask):
    """Fill the padded planes; return whether there is anything to fill."""
    rows, cols = image.shape
    holes = np.int32(0)
    for row in range(rows + 2 * PAD):
        planes = out_image[row], out_variance[row], out_mask[row]
        if PAD <= row < rows + PAD:
            source = image[row - PAD], variance[row - PAD], mask[row - PAD]
            holes |= _copy_flagged(*source, no_data, interpolated, unusable, *planes)
            _blank_columns(*planes, 0, PAD, no_data)
            _blank_columns(*planes, cols + PAD, cols + 2 * PAD, no_data)
        else:
            _blank_columns(*planes, 0, cols + 2 * PAD, no_data)
    return holes != 0


@kernel
def _copy_flagged(image, variance, mask, no_data, interpolated, unusable, out_image, out_variance, out_mask):
    """Copy one row; return the bits of unusable pixels that are to be filled.

    Decisions are selections, or it would not be vector code.
    """
    infinity, holes = np.float32(np.inf), np.int32(0)
    for col in range(image.size):
        x, v, bits = image[col], variance[col], mask[col]
        good = (abs(x) < infinity) & (v >= np.float32(0.0)) & (v < infinity)
        bits = bits if good else (bits | no_data) & ~interpolated
        out_image[col + PAD], out_variance[col + PAD], out_mask[col + PAD] = x, v, bits
        holes |= (bits & unusable) if bits & interpolated == 0 else np.int32(0)
    return holes


@kernel
def _blank_columns(image, variance, mask, first, last, no_data):
    for col in range(first, last):
        image[col], variance[col], mask[col] = np.float32(0.0), np.float32(0.0), no_data


@kernel
def fill_unusable(image, variance, mask, unusable, interpolated):
    """Replace pixels of the planes `unusable` by the mean of their usable neighbours within three pixels, or by 0.

    Neighbours count by the inverse square of their distance. The padding is left as it is.

    Parameters
    ----------
    image, variance : ndarray of float32, shape (row, col), changed in place
    mask : ndarray of int32, shape (row, col)
    unusable : int32
        A pixel with any of these bits is replaced,
    interpolated : int32
        unless it has this bit: its value was interpolated before.
    """
    rows, cols = image.shape
    for row in range(PAD, rows - PAD):
        for first in range(PAD, cols - PAD, _RUN):
            last = min(first + _RUN, cols - PAD)
            if _any_bit(mask[row, first:last], unusable):
                for col in range(first, last):
                    if mask[row, col] & unusable != 0 and mask[row, col] & interpolated == 0:
                        image[row, col], variance[row, col] = _around(image, variance, mask, row, col, unusable)


@kernel
def _any_bit(mask, bits):
    some = np.int32(0)
    for pixel in mask:
        some |= pixel
    return some & bits != 0


@kernel
def _around(image, variance, mask, row, col, unusable):
    """Return the mean image and variance of the usable pixels around one, 0 if there are none."""
    rows, cols = image.shape
    flux, noise, weight = 0.0, 0.0, 0.0
    for near_row in range(max(row - _REACH, 0), min(row + _REACH + 1, rows)):
        for near_col in range(max(col - _REACH, 0), min(col + _REACH + 1, cols)):
            if mask[near_row, near_col] & unusable == 0:
                closeness = _CLOSENESS[near_row - row + _REACH, near_col - col + _REACH]
                flux += closeness * image[near_row, near_col]
                noise += closeness * variance[near_row, near_col]
                weight += closeness
    return (flux / weight, noise / weight) if weight > 0.0 else (0.0, 0.0)


@kernel
def mark_windows(mask):
    """Return uint8, shape (row, col): 1 where the window of 6 x 6 pixels that starts there holds any mask bit."""
    rows, cols = mask.shape
    along_row = np.zeros((rows, cols), np.uint8)
    marked = np.zeros((rows, cols), np.uint8)
    for row in range(rows):
        bits = mask[row]
        for col in range(cols - _TAPS + 1):
            some = bits[col] | bits[col + 1] | bits[col + 2] | bits[col + 3] | bits[col + 4] | bits[col + 5]
            along_row[row, col] = np.uint8(some != 0)
        for col in range(max(cols - _TAPS + 1, 0), cols):
            for near in range(col, cols):
                along_row[row, col] |= np.uint8(bits[near] != 0)
    for row in range(rows):
        for near in range(row, min(row + _TAPS, rows)):
            for col in range(cols):
                marked[row, col] |= along_row[near, col]
    return marked


@kernel
def _mirrored(index, size):
    """Return the index within 0 … size - 1 that one beyond it stands for."""
    if size == 1:
        return 0
    period = 2 * (size - 1)
    index = abs(index) % period
    return index if index < size else period - index


@kernel
def mirror_padding(plane):
    """Fill the padding with the interior mirrored about its outermost pixels, in place."""
    rows, cols = plane.shape[0] - 2 * PAD, plane.shape[1] - 2 * PAD
    for row in range(PAD, PAD + rows):
        for beyond in range(1, PAD + 1):
            plane[row, PAD - beyond] = plane[row, PAD + _mirrored(-beyond, cols)]
            plane[row, PAD + cols - 1 + beyond] = plane[row, PAD + _mirrored(cols - 1 + beyond, cols)]
    for beyond in range(1, PAD + 1):
        plane[PAD - beyond] = plane[PAD + _mirrored(-beyond, rows)]
        plane[PAD + rows - 1 + beyond] = plane[PAD + _mirrored(rows - 1 + beyond, rows)]


@kernel(fastmath=FUSED)
def make_coefficients(plane, poles):
    """Turn an image into the coefficients of the B-spline through its pixels, less the filter's gain, in place.

    Each pole is a first-order recursion along every axis, there and back (Unser, Aldroubi & Eden 1993, IEEE Trans.
    Signal Process. 41, 821), over the image mirrored about its outermost pixels.

    Parameters
    ----------
    plane : ndarray of float32, shape (row, col), changed in place
        Padded, finite everywhere.
    poles : ndarray of float32, shape (pole,)
    """
    for pole in poles:
        horizon = int(np.ceil(np.log(_NEGLIGIBLE) / np.log(abs(pole))))
        if plane.shape[1] > 2 * PAD + 1:
            for row in range(PAD, plane.shape[0] - PAD, 4):
                _filter_four_rows(plane, row, pole, horizon)
        else:
            _scale(plane, pole)
        if plane.shape[0] > 2 * PAD + 1:
            _filter_columns(plane, pole, horizon)
        else:
            _scale(plane, pole)
    mirror_padding(plane)


@kernel
def _scale(plane, pole):
    """Do what the filter does to a constant: an axis of one pixel is one."""
    factor = -pole / ((np.float32(1.0) - pole) * (np.float32(1.0) - pole))
    for row in range(plane.shape[0]):
        for col in range(plane.shape[1]):
            plane[row, col] *= factor


@kernel(fastmath=FUSED)
def _filter_four_rows(plane, row, pole, horizon):
    """Filter four rows at once: each step waits for the one before it, but not for the other rows'.

    The last rows of the image may go with rows of the padding, which is filled afterwards.
    """
    first, last = PAD, plane.shape[1] - PAD - 1
    r0, r1, r2, r3 = plane[row], plane[row + 1], plane[row + 2], plane[row + 3]
    a0 = a1 = a2 = a3 = np.float32(0.0)
    weight = np.float32(1.0)
    for step in range(horizon):
        col = first + _mirrored(step, last - first + 1)
        a0, a1, a2, a3 = a0 + weight * r0[col], a1 + weight * r1[col], a2 + weight * r2[col], a3 + weight * r3[col]
        weight *= pole
    r0[first], r1[first], r2[first], r3[first] = a0, a1, a2, a3
    for col in range(first + 1, last + 1):
        a0, a1, a2, a3 = r0[col] + pole * a0, r1[col] + pole * a1, r2[col] + pole * a2, r3[col] + pole * a3
        r0[col], r1[col], r2[col], r3[col] = a0, a1, a2, a3
    turn = pole / (pole * pole - np.float32(1.0))
    a0, a1 = turn * (r0[last] + pole * r0[last - 1]), turn * (r1[last] + pole * r1[last - 1])
    a2, a3 = turn * (r2[last] + pole * r2[last - 1]), turn * (r3[last] + pole * r3[last - 1])
    r0[last], r1[last], r2[last], r3[last] = a0, a1, a2, a3
    for col in range(last - 1, first - 1, -1):
        a0, a1, a2, a3 = pole * (a0 - r0[col]), pole * (a1 - r1[col]), pole * (a2 - r2[col]), pole * (a3 - r3[col])
        r0[col], r1[col], r2[col], r3[col] = a0, a1, a2, a3


@kernel(fastmath=FUSED)
def _filter_columns(plane, pole, horizon):
    """Filter all columns at once, row by row."""
    first, last = PAD, plane.shape[0] - PAD - 1
    cols = plane.shape[1]
    top = np.zeros(cols, np.float32)
    weight = np.float32(1.0)
    for step in range(horizon):
        row = first + _mirrored(step, last - first + 1)
        for col in range(cols):
            top[col] += weight * plane[row, col]
        weight *= pole
    plane[first] = top
    for row in range(first + 1, last + 1):
        for col in range(cols):
            plane[row, col] += pole * plane[row - 1, col]
    turn = pole / (pole * pole - np.float32(1.0))
    for col in range(cols):
        plane[last, col] = turn * (plane[last, col] + pole * plane[last - 1, col])
    for row in range(last - 1, first - 1, -1):
        for col in range(cols):
            plane[row, col] = pole * (plane[row + 1, col] - plane[row, col])
