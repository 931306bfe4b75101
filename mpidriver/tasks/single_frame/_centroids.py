"""Centroids in Gaussian windows (SExtractor's XWIN_IMAGE) without the light of neighbours, and their errors."""

import numpy as np

from mpidriver.tasks._jit import kernel
from mpidriver.tasks.gaussian_windows import MOVING, SETTLED, next_centroid

__all__ = ["windowed_centroids"]

#: FWHM of a Gaussian of sigma 1.
_FWHM_PER_SIGMA = 2.3548200450309493
#: Windows end at this many sigmas.
_REACH = 4.0
_STEPS = 30
#: A shorter step than this, in px squared, is the last.
_SETTLED_PX2 = 1e-8


def windowed_centroids(image, variance, segments, x, y, width_px):
    """Return centroids in a Gaussian window, near the Cramer-Rao limit if it is as wide as the source.

    Where a pixel belongs to another source, the one opposite to it stands for it (SExtractor's MASK_TYPE CORRECT).

    Parameters
    ----------
    image, variance : ndarray of float32, shape (row, col)
        Sky subtracted, finite.
    segments : tuple of ndarray
        The segmentation, shape (row, col), and the number of each source in it, shape (n,).
    x, y : ndarray, shape (n,), px
        Isophotal centroids.
    width_px : ndarray, shape (n,), px
        FWHM of each window.

    Returns
    -------
    x, y, x_err, y_err : ndarray, shape (n,), px
    failed : ndarray of bool, shape (n,)
        The window wandered off by more than half its width; the isophotal centroid was kept.
    """
    segmentation, numbers = segments
    sigma_px = np.asarray(width_px, np.float64) / _FWHM_PER_SIGMA
    found = _centroids(image, variance, segmentation, numbers, x, y, sigma_px)
    return *found[:, :4].T, found[:, 4] == 0


@kernel
def _centroids(image, variance, segmentation, numbers, x, y, sigma):
    """Return x, y, their errors, and 1 where the window settled, float64, shape (source, 5)."""
    out = np.empty((x.size, 5))
    weights = np.empty((2, int(2 * _REACH * sigma.max()) + 2 if sigma.size else 0))
    for i in range(x.size):
        stamp = image, segmentation, numbers[i], sigma[i], weights
        furthest = 0.5 * _FWHM_PER_SIGMA * sigma[i]
        at_x, at_y, state = x[i], y[i], MOVING
        for _ in range(_STEPS):
            sums = _sums(stamp, at_x, at_y)
            at_x, at_y, state = next_centroid(x[i], y[i], at_x, at_y, sums, furthest, _SETTLED_PX2)
            if state != MOVING:
                break
        if state != SETTLED:
            at_x, at_y = x[i], y[i]
        out[i, 0], out[i, 1], out[i, 4] = at_x, at_y, 1.0 if state == SETTLED else 0.0
        out[i, 2], out[i, 3] = _errors(stamp, variance, at_x, at_y)
    return out


@kernel
def _sums(stamp, x, y):
    """Return the window's sum of image, and of image times offset in x and in y."""
    image, segmentation, number, sigma, weights = stamp
    row0, row1 = _span(y, sigma, image.shape[0], weights[0])
    col0, col1 = _span(x, sigma, image.shape[1], weights[1])
    total, along_x, along_y = 0.0, 0.0, 0.0
    for row in range(row0, row1):
        for col in range(col0, col1):
            value = image[row, col]
            if segmentation[row, col] != number and segmentation[row, col] != 0:
                value = _opposite(image, segmentation, number, int(np.rint(2 * y)) - row, int(np.rint(2 * x)) - col)
            light = weights[0, row - row0] * weights[1, col - col0] * value
            total += light
            along_x += light * (col - x)
            along_y += light * (row - y)
    return total, along_x, along_y


@kernel
def _opposite(image, segmentation, number, row, col):
    """Return the value of a pixel, 0 if it is outside the image or another source's."""
    if row < 0 or col < 0 or row >= image.shape[0] or col >= image.shape[1]:
        return np.float32(0.0)
    if segmentation[row, col] != number and segmentation[row, col] != 0:
        return np.float32(0.0)
    return image[row, col]


@kernel
def _errors(stamp, variance, x, y):
    """Return the errors by SExtractor's ERRX2WIN: 4 sum(w^2 v dx^2) / sum(w I)^2; NaN without light."""
    image, _, _, sigma, weights = stamp
    total, _, _ = _sums(stamp, x, y)
    if not total > 0.0:
        return np.nan, np.nan
    row0, row1 = _span(y, sigma, image.shape[0], weights[0])
    col0, col1 = _span(x, sigma, image.shape[1], weights[1])
    noise_x, noise_y = 0.0, 0.0
    for row in range(row0, row1):
        for col in range(col0, col1):
            noise = (weights[0, row - row0] * weights[1, col - col0]) ** 2 * variance[row, col]
            noise_x += noise * (col - x) ** 2
            noise_y += noise * (row - y) ** 2
    return 2.0 * np.sqrt(noise_x) / total, 2.0 * np.sqrt(noise_y) / total


@kernel
def _span(centre, sigma, size, weights):
    """Write the window's weights along one axis; return its first and last-plus-one pixel."""
    low = max(int(np.ceil(centre - _REACH * sigma)), 0)
    high = min(int(np.floor(centre + _REACH * sigma)) + 1, size)
    for pixel in range(low, high):
        weights[pixel - low] = np.exp(-0.5 * ((pixel - centre) / sigma) ** 2)
    return low, high
