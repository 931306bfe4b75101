"""Polynomials over the pixels of an image, in coordinates that run from -1 to 1 between its outermost pixels."""

import numpy as np

__all__ = ["polynomial_nodes", "polynomial_plane", "polynomial_through"]


def polynomial_plane(coefficients, shape):
    """Return the values of a polynomial at every pixel.

    Parameters
    ----------
    coefficients : ndarray, shape (n, n)
        ``coefficients[i, j]`` belongs to ``v**i * u**j``, where v runs along the rows and u along the columns.
    shape : tuple of int
        Rows and columns.

    Returns
    -------
    ndarray of float32, shape (row, col)
    """
    v, u = (np.vander(_unit(np.arange(size), size), len(coefficients), increasing=True) for size in shape)
    return (v @ coefficients).astype(np.float32) @ u.T.astype(np.float32)


def polynomial_nodes(size, n):
    """Return the n pixel positions along an axis that fix a polynomial best: Chebyshev's, shape (n,)."""
    unit = -np.cos(np.pi * (np.arange(n) + 0.5) / n)
    return (unit + 1) / 2 * (size - 1)


def polynomial_through(values, shape):
    """Return the coefficients of the polynomial through values at `polynomial_nodes`.

    Parameters
    ----------
    values : ndarray, shape (n, n)
        At n nodes along the rows and n along the columns.
    shape : tuple of int
        Rows and columns of the image.

    Returns
    -------
    ndarray, shape (n, n)
        As for `polynomial_plane`.
    """
    n = len(values)
    v, u = (np.vander(_unit(polynomial_nodes(size, n), size), n, increasing=True) for size in shape)
    return np.linalg.solve(u, np.linalg.solve(v, values).T).T


def _unit(pixels, size):
    return 2.0 * pixels / max(size - 1, 1) - 1.0
