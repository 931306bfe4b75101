"""Cosmic rays by Laplacian edges: L.A.Cosmic (van Dokkum 2001, PASP 113, 1420).

The Laplacian is taken over the whole frame; the medians that tell a hit from a star are taken only around the few
pixels whose Laplacian is significant, which gives the same answer as medians of the whole frame at a fraction of the
time.
"""

import numpy as np

from mpidriver.tasks.image import MaskedImage, MaskPlane
from mpidriver.tasks.single_frame._bad_pixels import interpolate_bad_pixels

__all__ = ["find_cosmic_rays", "laplacian", "remove_cosmic_rays"]

_CHUNK = 20_000
#: Smallest fine structure in units of the noise (van Dokkum 2001, section 3.3).
_FINE_STRUCTURE_MIN = 0.01


def remove_cosmic_rays(frame, options):
    """Return `frame` with cosmic rays flagged COSMIC_RAY and interpolated over.

    Parameters
    ----------
    frame : MaskedImage
        Electrons, with sky or not, bad pixels filled.
    options : SingleFrameOptions

    Returns
    -------
    MaskedImage
    """
    for _ in range(options.cosmic_ray_iterations):
        hits = find_cosmic_rays(frame, options)
        if not hits.any():
            break
        mask = frame.mask.copy()
        mask[hits] |= MaskPlane.COSMIC_RAY
        frame = interpolate_bad_pixels(MaskedImage(frame.image, frame.variance, mask))
    return frame


def find_cosmic_rays(frame, options):
    """Return where cosmic rays hit that are not flagged yet; one pass of L.A.Cosmic.

    Parameters
    ----------
    frame : MaskedImage
        Finite wherever not NO_DATA.
    options : SingleFrameOptions
        Thresholds.

    Returns
    -------
    ndarray of bool, shape (row, col)
    """
    image, variance = np.nan_to_num(frame.image), np.nan_to_num(frame.variance, nan=0.0)
    threshold = options.cosmic_ray_sigma
    noise = np.sqrt(median_5x5_separable(variance)) + np.float32(1e-6)
    # Equation 10: two subpixels a pixel and axis, so that noise grows by the factor two.
    significance = laplacian(image) / (2 * noise)
    usable = frame.mask == 0
    rows, cols = np.nonzero((significance > threshold) & usable)
    excess = significance[rows, cols] - _median_around(significance, rows, cols, 2)
    keep = excess > threshold
    rows, cols, excess = rows[keep], cols[keep], excess[keep]
    fine = fine_structure(image, rows, cols) / noise[rows, cols]
    hits = np.zeros(image.shape, dtype=bool)
    keep = excess > options.cosmic_ray_contrast * np.maximum(fine, _FINE_STRUCTURE_MIN)
    hits[rows[keep], cols[keep]] = True
    for level in (threshold, threshold * options.cosmic_ray_neighbour):
        hits = _grow(hits, significance, usable, level)
    return hits


def laplacian(image):
    """Return the positive Laplacian on a grid of half pixels, averaged back to pixels (van Dokkum 2001, eq. 5-9).

    Each half pixel has two of its four neighbours in its own pixel, so that only one neighbour in each axis counts:
    no subsampled image is needed. A lone pixel of value p gives 2p.

    Parameters
    ----------
    image : ndarray of float32, shape (row, col)

    Returns
    -------
    ndarray of float32, shape (row, col)
    """
    padded = np.pad(image, 1, mode="edge")
    centre = 2 * image
    total = np.zeros_like(image)
    for vertical in (padded[:-2, 1:-1], padded[2:, 1:-1]):
        above = centre - vertical
        for horizontal in (padded[1:-1, :-2], padded[1:-1, 2:]):
            total += np.maximum(above - horizontal, 0)
    return total / 4


def fine_structure(image, rows, cols):
    """Return the fine structure M3 - M7(M3) at some pixels: large for stars, small for hits (equation 14).

    Parameters
    ----------
    image : ndarray, shape (row, col)
    rows, cols : ndarray of int, shape (n,)

    Returns
    -------
    ndarray, shape (n,), unit of the image
    """
    result = np.empty(rows.size, dtype=image.dtype)
    for chunk in _chunks(rows.size, _CHUNK // 8):
        windows = _windows(image, rows[chunk], cols[chunk], 4)
        inner = np.lib.stride_tricks.sliding_window_view(windows, (3, 3), axis=(1, 2))
        smooth = np.median(inner.reshape(*inner.shape[:3], 9), axis=-1)
        result[chunk] = smooth[:, 3, 3] - np.median(smooth.reshape(len(smooth), -1), axis=1)
    return result


def median_5x5_separable(image):
    """Return the median of 5 along rows of the median of 5 along columns, shape (row, col)."""
    for axis in (0, 1):
        pad = [(2, 2) if axis == i else (0, 0) for i in (0, 1)]
        padded = np.pad(image, pad, mode="edge")
        size = image.shape[axis]
        image = _median_of_5(*(np.take(padded, range(k, k + size), axis=axis) for k in range(5)))
    return image


def _median_of_5(a, b, c, d, e):
    """Return the median of five arrays by seven comparisons."""
    a, b = np.minimum(a, b), np.maximum(a, b)
    c, d = np.minimum(c, d), np.maximum(c, d)
    low, high = np.maximum(a, c), np.minimum(b, d)
    low, high = np.minimum(low, high), np.maximum(low, high)
    return np.maximum(low, np.minimum(high, e))


def _median_around(image, rows, cols, half):
    """Return the median of the window of ``2 half + 1`` px around some pixels, shape (n,)."""
    result = np.empty(rows.size, dtype=image.dtype)
    for chunk in _chunks(rows.size, _CHUNK):
        windows = _windows(image, rows[chunk], cols[chunk], half)
        result[chunk] = np.median(windows.reshape(len(windows), -1), axis=1)
    return result


def _grow(hits, significance, usable, level):
    """Return `hits` with those neighbours whose excess is above `level`."""
    rows, cols = np.nonzero(hits)
    near = np.zeros(np.add(hits.shape, 2), dtype=bool)
    for dy in range(3):
        for dx in range(3):
            near[rows + dy, cols + dx] = True
    near = near[1:-1, 1:-1] & ~hits & usable & (significance > level)
    rows, cols = np.nonzero(near)
    above = significance[rows, cols] - _median_around(significance, rows, cols, 2) > level
    grown = hits.copy()
    grown[rows[above], cols[above]] = True
    return grown


def _windows(image, rows, cols, half):
    """Return the windows around some pixels, shape (n, 2 half + 1, 2 half + 1); the edge is repeated outwards."""
    offsets = np.arange(-half, half + 1)
    at_row = np.clip(rows[:, None, None] + offsets[:, None], 0, image.shape[0] - 1)
    at_col = np.clip(cols[:, None, None] + offsets, 0, image.shape[1] - 1)
    return image[at_row, at_col]


def _chunks(count, size):
    return [slice(start, start + size) for start in range(0, count, size)]
