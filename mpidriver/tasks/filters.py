"""Kernels with which images are smoothed before sources are detected, and the smoothing itself."""

import numpy as np

from mpidriver.tasks._jit import ANY_ORDER
from mpidriver.tasks._jit import kernel as compiled

__all__ = ["gaussian_kernel", "mexican_hat_kernel", "smooth"]

#: Wider kernels cost more than they find.
_FWHM_MAX_PX = 5.0
#: Parts of a kernel below this share of the largest are rounding errors.
_LEAST_PART = 1e-6


def gaussian_kernel(fwhm_px):
    """Return a round Gaussian out to 1 FWHM, of sum 1, float32, shape (odd, odd): 0.1 % of its power lies beyond."""
    radius2, sigma2 = _kernel_grid(fwhm_px, 1.0)
    kernel = np.exp(-0.5 * radius2 / sigma2)
    return (kernel / kernel.sum()).astype(np.float32)


def mexican_hat_kernel(fwhm_px):
    """Return the negative Laplacian of a Gaussian out to 2 FWHM, of sum 0, float32, shape (odd, odd).

    It answers to peaks of the stars' width and not to what is smoother, so that stars on a common plateau part
    (as the find routine of DAOPHOT, Stetson 1987). Its absolute values sum to 1, as sep scales them.
    """
    radius2, sigma2 = _kernel_grid(fwhm_px, 2.0)
    kernel = (1 - 0.5 * radius2 / sigma2) * np.exp(-0.5 * radius2 / sigma2)
    kernel -= kernel.mean()
    return (kernel / np.abs(kernel).sum()).astype(np.float32)


def _kernel_grid(fwhm_px, reach_fwhm):
    """Return squared distances from the middle, px^2, and the Gaussian's sigma^2."""
    fwhm_px = min(fwhm_px, _FWHM_MAX_PX)
    half = max(1, int(np.ceil(reach_fwhm * fwhm_px - 0.5)))  # the outermost pixels end half a pixel further
    offsets = np.arange(-half, half + 1)
    return offsets[:, None] ** 2 + offsets**2, fwhm_px**2 / (8 * np.log(2))


def smooth(image, kernel):
    """Return an image convolved with a symmetric kernel, float32; beyond its edge lies 0.

    The kernel is a sum of products of a column and a row, its singular vectors: one for a Gaussian, a few for a Mexican
    hat.

    Parameters
    ----------
    image : ndarray of float32, shape (row, col)
        Finite.
    kernel : ndarray, shape (odd, odd)

    Returns
    -------
    ndarray of float32, shape (row, col)
    """
    columns, strength, rows = np.linalg.svd(kernel.astype(np.float64))
    parts = np.flatnonzero(strength > _LEAST_PART * strength[0])
    columns, rows = (columns * strength).T[parts].astype(np.float32), rows[parts].astype(np.float32)
    smoothed = np.empty(image.shape, np.float32)
    _convolve(np.ascontiguousarray(image), np.ascontiguousarray(columns), np.ascontiguousarray(rows), smoothed)
    return smoothed


@compiled
def _convolve(image, columns, rows, smoothed):
    """Write the sum of convolutions with columns, shape (part, tap), and then rows."""
    side = columns.shape[1]
    half = side // 2
    line = np.zeros(image.shape[1] + 2 * half, np.float32)
    middle = line[half : half + image.shape[1]]
    for row in range(image.shape[0]):
        smoothed[row] = np.float32(0.0)
        for part in range(columns.shape[0]):
            middle[:] = np.float32(0.0)
            for tap in range(side):
                source = row + tap - half
                if 0 <= source < image.shape[0]:
                    _add(image[source], columns[part, tap], middle)
            for tap in range(side):
                _add(line[tap : tap + image.shape[1]], rows[part, tap], smoothed[row])


@compiled(fastmath=ANY_ORDER)
def _add(values, weight, total):
    for i in range(total.size):
        total[i] += weight * values[i]
