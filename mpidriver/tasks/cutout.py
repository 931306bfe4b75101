"""Cutouts: squares of pixels about positions, whole or reaching over the image's edge.

Pixel positions are 0-based with integers at pixel centres. The box of a cutout is the one whose centre is nearest to
the position: for an odd size the pixel that holds the position is its middle one, for an even size and a position in
the middle of a pixel that pixel is the one after the box's middle.
"""

import numpy as np

__all__ = ["clip_box", "first_pixel", "is_on_image", "paste"]

#: Positions that are pixel centres but for rounding count as such, whoever computed them.
_ROUNDING_PX = 1e-6


def is_on_image(x, y, shape):
    """Tell which positions lie on an image's pixels; False for NaN.

    Parameters
    ----------
    x, y : ndarray, px
    shape : tuple of int, (…, rows, cols)

    Returns
    -------
    ndarray of bool
    """
    return (x >= -0.5) & (x < shape[-1] - 0.5) & (y >= -0.5) & (y < shape[-2] - 0.5)


def first_pixel(position, size):
    """Return the first pixel, along one axis, of the box of `size` pixels that is centred nearest to each position.

    Parameters
    ----------
    position : ndarray, px
        Finite.
    size : int, px

    Returns
    -------
    ndarray of int64
    """
    return np.ceil(np.asarray(position) - size / 2.0 - _ROUNDING_PX).astype(np.int64)


def clip_box(x0, y0, size, shape):
    """Return the part of a box that lies on an image, as slices of rows and columns of the image.

    Parameters
    ----------
    x0, y0 : int, px
        First column and row of the box, which must share a pixel with the image.
    size : int, px
    shape : tuple of int, (…, rows, cols)

    Returns
    -------
    tuple of slice
        Rows and columns.
    """
    rows, cols = shape[-2:]
    return slice(max(y0, 0), min(y0 + size, rows)), slice(max(x0, 0), min(x0 + size, cols))


def paste(part, box, x0, y0, size, *, fill):
    """Return the box of a cutout with the part that lies on the image in its place.

    Parameters
    ----------
    part : ndarray, shape (…, row, col)
        Pixels of `box`.
    box : tuple of slice
        Rows and columns of the image, from `clip_box`.
    x0, y0 : int, px
        First column and row of the whole box.
    size : int, px
    fill : scalar
        Value beyond the image.

    Returns
    -------
    ndarray, shape (…, size, size)
    """
    rows, cols = box
    if part.shape[-2:] == (size, size):
        return part
    whole = np.full((*part.shape[:-2], size, size), fill, dtype=part.dtype)
    whole[..., rows.start - y0 : rows.stop - y0, cols.start - x0 : cols.stop - x0] = part
    return whole
