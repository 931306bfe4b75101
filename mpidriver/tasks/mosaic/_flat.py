"""The flat of the stars: by how much a detector's zero point varies over its pixels, alike in all exposures of a band.

A flat field shows scattered light and pixels of uneven size as the sky does, but not as stars do (Padmanabhan et al.
2008; Burke et al. 2018). Polynomials are products of Legendre's, without the constant, so that the frame's zero point
is the mean over its pixels.
"""

from collections.abc import Sequence

import numpy as np
from numpy.polynomial import legendre

__all__ = ["flat_magnitudes", "flat_terms", "flatten", "n_flat_terms"]


def n_flat_terms(degree: int) -> int:
    """Return how many terms a flat of a degree has."""
    return (degree + 1) * (degree + 2) // 2 - 1


def flat_terms(x: np.ndarray, y: np.ndarray, shape: tuple[int, int], degree: int) -> np.ndarray:
    """Return the terms at pixel positions (0-based) of a frame, shape (n, n_flat_terms(degree))."""
    by_u, by_v = (legendre.legvander(_unit(*axis), degree) for axis in ((x, shape[1]), (y, shape[0])))
    terms = [by_u[..., i] * by_v[..., j] for i, j in _powers(degree)]
    return np.stack(terms, axis=-1) if terms else np.zeros((*np.shape(x), 0))


def flat_magnitudes(coefficients: Sequence[float], x: np.ndarray, y: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return what is to be added to a frame's zero point at pixel positions, mag, shape of x.

    Parameters
    ----------
    coefficients
        Of `flat_terms`, mag; none for a flat that is right.
    x, y : ndarray
        0-based.
    shape
        Rows and columns of the frame.
    """
    if not np.any(coefficients):
        return np.zeros(np.shape(x))
    return flat_terms(x, y, shape, _degree(len(coefficients))) @ np.asarray(coefficients)


def flatten(values: np.ndarray, variance: np.ndarray, coefficients: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return a frame and its variance with the stars' flat taken out.

    Parameters
    ----------
    values, variance : ndarray of float32, shape (row, col)
        Pixels, or squares of as many pixels each that cover the frame.
    coefficients
        As for `flat_magnitudes`.
    """
    if not np.any(coefficients):
        return values, variance
    degree = _degree(len(coefficients))
    table = np.zeros((degree + 1, degree + 1))
    for (i, j), coefficient in zip(_powers(degree), coefficients, strict=True):
        table[j, i] = coefficient
    by_row, by_column = (legendre.legvander(_unit(np.arange(size), size), degree) for size in values.shape)
    factor = ((-0.4 * np.log(10.0)) * (by_row @ table)).astype(np.float32) @ by_column.T.astype(np.float32)
    np.exp(factor, out=factor)
    return values * factor, variance * factor**2


def _powers(degree: int) -> list[tuple[int, int]]:
    """Return the degrees along u and v of all terms but the constant."""
    return [(total - j, j) for total in range(1, degree + 1) for j in range(total + 1)]


def _unit(pixel: np.ndarray, size: int) -> np.ndarray:
    """Return places from -1 to 1 between the outer edges of a frame."""
    return (2.0 * pixel + 1.0) / size - 1.0


def _degree(n_coefficients: int) -> int:
    degree = 1
    while n_flat_terms(degree) < n_coefficients:
        degree += 1
    return degree
