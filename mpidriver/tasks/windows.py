"""Windows of pixels around a list of places, for work that is needed at few of a frame's pixels."""

import numpy as np

__all__ = ["chunks", "windows"]


def windows(image, rows, cols, half):
    """Return the pixels around some places; the edge of the image is repeated outwards.

    Parameters
    ----------
    image : ndarray, shape (row, col)
    rows, cols : ndarray of int, shape (n,)
    half : int
        Half width of a window.

    Returns
    -------
    ndarray, shape (n, 2 half + 1, 2 half + 1)
    """
    offsets = np.arange(-half, half + 1)
    at_row = np.clip(rows[:, None, None] + offsets[:, None], 0, image.shape[0] - 1)
    at_col = np.clip(cols[:, None, None] + offsets, 0, image.shape[1] - 1)
    return image[at_row, at_col]


def chunks(count, size):
    """Return slices that cut `count` items into pieces of at most `size`, so that windows stay small in memory."""
    return [slice(start, start + size) for start in range(0, count, size)]
