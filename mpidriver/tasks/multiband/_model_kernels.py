"""Sources convolved with the PSF on pixels, and their derivatives.

A source is a row of eight numbers (see `_models`): x, y, the matrix of its half-light ellipse, the share of the de
Vaucouleurs profile, flux, and the half width of its window. A matrix of zeros is a point source.
"""

import numpy as np

from mpidriver.tasks._jit import kernel

__all__ = ["add_model", "add_models", "fill_templates", "window"]

#: Gaussians end at this many sigmas.
_REACH = 4.5


@kernel
def window(x, y, half, n_rows, n_cols):
    """Return first row, last row + 1, first column, last column + 1 of a source's window; empty outside the image."""
    row, col = int(np.rint(y)), int(np.rint(x))
    return (
        min(max(row - half, 0), n_rows),
        max(min(row + half + 1, n_rows), 0),
        min(max(col - half, 0), n_cols),
        max(min(col + half + 1, n_cols), 0),
    )


@kernel
def _gaussian_row(line, first, last, middle, height, inverse):
    """Fill ``line[first:last]`` with ``height exp(-inverse (col - middle)^2 / 2)``, by products from the top down."""
    top = min(max(int(np.rint(middle)), first), last - 1)
    offset = top - middle
    peak = height * np.exp(-0.5 * inverse * offset * offset)
    square = np.exp(-inverse)
    value, step = peak, np.exp(-inverse * (offset + 0.5))
    for col in range(top, last):
        line[col] = value
        value *= step
        step *= square
    value, step = peak, np.exp(inverse * (offset - 0.5))
    for col in range(top, first - 1, -1):
        line[col] = value
        value *= step
        step *= square


@kernel
def _add_gaussian(out, line, shape, centre, matrix, weights, spread, derive):
    """Add one Gaussian to the planes of `out`: both profiles, and the derivatives of their mixture.

    `weights` are its shares in the exponential, the de Vaucouleurs profile and the mixture; `spread` is the derivative
    of its matrix by the ellipse's.
    """
    n_rows, n_cols = shape
    x, y = centre
    xx, yy, xy = matrix
    share_exp, share_dev, share = weights
    determinant = xx * yy - xy * xy
    ia, ib, ic = yy / determinant, -xy / determinant, xx / determinant
    height = 1.0 / (2.0 * np.pi * np.sqrt(determinant))
    reach_y = _REACH * np.sqrt(yy)
    for row in range(max(int(np.ceil(y - reach_y)), 0), min(int(np.floor(y + reach_y)) + 1, n_rows)):
        dy = row - y
        middle = x - ib * dy / ia
        reach_x = np.sqrt(max(_REACH * _REACH - dy * dy / yy, 0.0) / ia)
        first, last = max(int(np.ceil(middle - reach_x)), 0), min(int(np.floor(middle + reach_x)) + 1, n_cols)
        if last <= first:
            continue
        _gaussian_row(line, first, last, middle, height * np.exp(-0.5 * dy * dy / yy), ia)
        for col in range(first, last):
            out[0, row, col] += share_exp * line[col]
            out[1, row, col] += share_dev * line[col]
        if derive:
            for col in range(first, last):
                dx = col - x
                light = share * line[col]
                u, v = ia * dx + ib * dy, ib * dx + ic * dy
                out[2, row, col] += light * u
                out[3, row, col] += light * v
                light *= spread
                out[4, row, col] += 0.5 * light * (u * u - ia)
                out[5, row, col] += 0.5 * light * (v * v - ic)
                out[6, row, col] += light * (u * v - ib)


@kernel
def fill_templates(out, line, shape, source, psf_matrix, psf, profiles, derive):
    """Fill planes with a source's exponential and de Vaucouleurs profile of flux 1, and the mixture's derivatives.

    Parameters
    ----------
    out : ndarray of float64, shape (7, row, col), changed in place
        Planes: both profiles, derivatives by x, y, and xx, yy, xy of the ellipse.
    line : ndarray of float64, shape (col,)
        Workspace.
    shape : tuple of int
        Rows and columns to fill.
    source : ndarray of float64
        Its position counts from the first pixel of `out`.
    psf_matrix : ndarray, shape (3,)
        xx, yy, xy that a component of variance 1 has here.
    psf : ndarray, shape (2, component)
        Variances and shares.
    profiles : ndarray, shape (3, component)
        Variances, and shares of both profiles.
    derive : bool
    """
    n_rows, n_cols = shape
    out[:, :n_rows, :n_cols] = 0.0
    pxx, pyy, pxy = psf_matrix[0], psf_matrix[1], psf_matrix[2]
    exx, eyy, exy, dev = source[2], source[3], source[4], source[5]
    centre = (source[0], source[1])
    if exx + eyy <= 0.0:
        for k in range(psf.shape[1]):
            matrix = (psf[0, k] * pxx, psf[0, k] * pyy, psf[0, k] * pxy)
            _add_gaussian(out, line, shape, centre, matrix, (psf[1, k], psf[1, k], psf[1, k]), 0.0, derive)
        return
    for j in range(profiles.shape[1]):
        in_exp, in_dev = profiles[1, j], profiles[2, j]
        mixed = (1.0 - dev) * in_exp + dev * in_dev
        for k in range(psf.shape[1]):
            s, t = psf[0, k], profiles[0, j]
            matrix = (s * pxx + t * exx, s * pyy + t * eyy, s * pxy + t * exy)
            weights = (in_exp * psf[1, k], in_dev * psf[1, k], mixed * psf[1, k])
            _add_gaussian(out, line, shape, centre, matrix, weights, t, derive)


@kernel
def add_models(image, sources, psf_matrices, psf, profiles, factor):
    """Add all sources times a factor to an image in place."""
    size = 2 * int(sources[:, 7].max()) + 1 if sources.shape[0] else 1
    planes, line = np.empty((7, size, size)), np.empty(size)
    for i in range(sources.shape[0]):
        add_model(image, sources[i], psf_matrices[i], psf, profiles, factor, planes, line)


@kernel
def add_model(image, source, psf_matrix, psf, profiles, factor, planes, line):
    row0, row1, col0, col1 = window(source[0], source[1], int(source[7]), image.shape[0], image.shape[1])
    shape = (row1 - row0, col1 - col0)
    if shape[0] <= 0 or shape[1] <= 0:
        return
    local = source.copy()
    local[0] -= col0
    local[1] -= row0
    fill_templates(planes, line, shape, local, psf_matrix, psf, profiles, False)
    exp, dev = factor * source[6] * (1.0 - source[5]), factor * source[6] * source[5]
    for row in range(shape[0]):
        for col in range(shape[1]):
            image[row0 + row, col0 + col] += exp * planes[0, row, col] + dev * planes[1, row, col]
