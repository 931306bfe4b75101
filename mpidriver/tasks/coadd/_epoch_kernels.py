"""The loops that compare one image with the static sky, over whole rows so that every step is vector code."""

import numpy as np

from mpidriver.tasks._jit import kernel
from mpidriver.tasks.coadd._stored import as_float, as_int

__all__ = ["CELL_PX", "REACH", "covered_cells", "differences", "differing_cells", "smooth"]

#: Side of the cells in which epochs are compared, px.
CELL_PX = 4
#: Taps on either side of the middle of the smoothing.
REACH = 4
_INFINITY = np.float32(np.inf)
_ZERO = np.float32(0.0)
_ONE = np.float32(1.0)


@kernel
def differences(image, variance, mask, swapped, template, bad_planes, difference, inverse_sigma):
    """Fill the difference of an image from the template in units of the pixel's noise, and the inverse of that noise.

    Both are 0 where either has no value.
    """
    for row in range(image.shape[0]):
        _difference_row(
            image[row], variance[row], mask[row], swapped, template[row], bad_planes, difference[row],
            inverse_sigma[row],
        )  # fmt: skip


@kernel
def _difference_row(image, variance, mask, swapped, template, bad_planes, difference, inverse_sigma):
    for p in range(image.size):
        x, v, m = as_float(image[p], swapped), as_float(variance[p], swapped), template[p]
        good = (as_int(mask[p], swapped) & bad_planes) == 0
        good = good & (abs(x) < _INFINITY) & (abs(m) < _INFINITY) & (v > _ZERO) & (v < _INFINITY)
        inverse = _ONE / np.sqrt(v if good else _ONE)
        difference[p] = (x - m) * inverse if good else _ZERO
        inverse_sigma[p] = inverse if good else _ZERO


@kernel
def _add_scaled(source, weight, target):
    for p in range(target.size):
        target[p] += weight * source[p]


@kernel
def smooth(plane, taps, lines, out):
    """Fill `out` with a plane convolved along both axes with symmetric taps, nothing beyond its edges.

    Parameters
    ----------
    plane, out : ndarray of float32, shape (row, col)
    taps : ndarray of float32, shape (REACH + 1,)
        The middle, and those on one side of it.
    lines : ndarray of float32, shape (row, col)
        Is overwritten.
    """
    rows, cols = plane.shape
    for row in range(rows):
        line = lines[row]
        line[:] = _ZERO
        _add_scaled(plane[row], taps[0], line)
        for k in range(1, min(REACH, cols - 1) + 1):
            _add_scaled(plane[row, k:], taps[k], line[: cols - k])
            _add_scaled(plane[row, : cols - k], taps[k], line[k:])
    for row in range(rows):
        out[row, :] = _ZERO
        for near in range(max(row - REACH, 0), min(row + REACH, rows - 1) + 1):
            _add_scaled(lines[near], taps[abs(near - row)], out[row])


@kernel
def differing_cells(significance, inverse_sigma, sky, limit, fraction, cells):
    """Mark the cells in which a smoothed difference passes ``limit + fraction * |sky| / sigma``."""
    for row in range(significance.shape[0]):
        for col in range(significance.shape[1]):
            bound = limit + fraction * abs(sky[row, col]) * inverse_sigma[row, col]
            if abs(significance[row, col]) > bound and inverse_sigma[row, col] > _ZERO:
                cells[row // CELL_PX, col // CELL_PX] = True


@kernel
def covered_cells(inverse_sigma, counts):
    """Count one more image in the cells of which it covers the first pixel."""
    for row in range(0, inverse_sigma.shape[0], CELL_PX):
        for col in range(0, inverse_sigma.shape[1], CELL_PX):
            if inverse_sigma[row, col] > _ZERO:
                counts[row // CELL_PX, col // CELL_PX] += 1
