"""Centroids in a Gaussian window (SExtractor's XWIN_IMAGE) and their errors."""

import numpy as np
import sep

__all__ = ["windowed_centroids"]

_CHUNK = 4_000
#: FWHM of a Gaussian of sigma 1.
FWHM_PER_SIGMA = 2.3548200450309493


def windowed_centroids(image, variance, x, y, *, fwhm_px):
    """Return centroids in a Gaussian window as wide as the stars, near the Cramer-Rao limit for them.

    Parameters
    ----------
    image, variance : ndarray of float32, shape (row, col)
        Sky subtracted, finite.
    x, y : ndarray, shape (n,), px
        Isophotal centroids.
    fwhm_px : float
        Width of the window.

    Returns
    -------
    x, y, x_err, y_err : ndarray, shape (n,), px
    failed : ndarray of bool, shape (n,)
        The window wandered off by more than half its width; the isophotal centroid was kept.
    """
    if x.size == 0:
        return x, y, x, y, np.zeros(0, dtype=bool)
    sigma = fwhm_px / FWHM_PER_SIGMA
    x_win, y_win, _ = sep.winpos(image, x, y, np.full(x.size, sigma), subpix=1)
    failed = ~(np.hypot(x_win - x, y_win - y) < 0.5 * fwhm_px)
    x_new, y_new = np.where(failed, x, x_win), np.where(failed, y, y_win)
    errors = [
        _window_errors(image, variance, x_new[part], y_new[part], sigma)
        for part in (slice(i, i + _CHUNK) for i in range(0, x.size, _CHUNK))
    ]
    x_err, y_err = (np.concatenate(axis) for axis in zip(*errors, strict=True))
    return x_new, y_new, x_err, y_err, failed


def _window_errors(image, variance, x, y, sigma):
    """Return the errors by SExtractor's ERRX2WIN: 4 sum(w^2 var dx^2) / sum(w I)^2."""
    half = int(np.ceil(4 * sigma))
    offsets = np.arange(-half, half + 1)
    rows = np.rint(y).astype(int)[:, None, None] + offsets[:, None]
    cols = np.rint(x).astype(int)[:, None, None] + offsets
    inside = (rows >= 0) & (rows < image.shape[0]) & (cols >= 0) & (cols < image.shape[1])
    at = (np.clip(rows, 0, image.shape[0] - 1), np.clip(cols, 0, image.shape[1] - 1))
    dx, dy = cols - x[:, None, None], rows - y[:, None, None]
    weight = np.exp(-0.5 * (dx**2 + dy**2) / sigma**2) * inside
    noise = weight**2 * variance[at]
    norm = np.sum(weight * image[at], axis=(1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        x_err = 2 * np.sqrt(np.sum(noise * dx**2, axis=(1, 2))) / np.where(norm > 0, norm, np.nan)
        y_err = 2 * np.sqrt(np.sum(noise * dy**2, axis=(1, 2))) / np.where(norm > 0, norm, np.nan)
    return x_err, y_err
