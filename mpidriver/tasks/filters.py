"""Kernels with which images are smoothed before sources are detected."""

import numpy as np

__all__ = ["gaussian_kernel", "mexican_hat_kernel"]

#: Wider kernels cost more than they find.
_FWHM_MAX_PX = 5.0


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
