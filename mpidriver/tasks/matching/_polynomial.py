"""Polynomials over a frame: u and v run from -1 to 1 along its longer side, from its centre."""

from collections.abc import Sequence

import numpy as np

__all__ = ["add_polynomial", "n_terms", "terms"]


def n_terms(degree: int) -> int:
    """Return how many terms a polynomial in two variables has."""
    return (degree + 1) * (degree + 2) // 2


def _powers(count: int) -> list[tuple[int, int]]:
    """Return the powers of u and v of the first terms: 1, u, v, u², uv, v² …"""
    powers: list[tuple[int, int]] = []
    total = 0
    while len(powers) < count:
        powers += [(total - j, j) for j in range(total + 1)]
        total += 1
    return powers[:count]


def terms(x: np.ndarray, y: np.ndarray, shape: tuple[int, int], count: int) -> np.ndarray:
    """Return the terms at pixel positions (0-based) of a frame, shape (n, count)."""
    u, v = _unit(x, shape[1], shape), _unit(y, shape[0], shape)
    return np.stack([u**i * v**j for i, j in _powers(count)], axis=-1)


def _unit(pixel: np.ndarray, size: int, shape: tuple[int, int]) -> np.ndarray:
    return (pixel - (size - 1) / 2) / (max(shape) / 2)


def add_polynomial(image: np.ndarray, coefficients: Sequence[float]) -> np.ndarray:
    """Return a frame with a polynomial added to it.

    Parameters
    ----------
    image : ndarray of float32, shape (row, col)
    coefficients
        Of 1, u, v, u², uv, v² …, in the image's unit; none or zeros leave the image as it is.
    """
    if not np.any(coefficients):
        return image
    powers = _powers(len(coefficients))
    side = max(i + j for i, j in powers) + 1
    table = np.zeros((side, side), np.float32)
    for (i, j), value in zip(powers, coefficients, strict=True):
        table[j, i] = value
    by_row, by_col = (
        np.vander(_unit(np.arange(size), size, image.shape), side, increasing=True).astype(np.float32)
        for size in image.shape
    )
    added = by_row @ table @ by_col.T
    added += image
    return added
