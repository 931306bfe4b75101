"""Sky between the sources by meshes: clipped means, joined by splines (Bertin & Arnouts 1996, section 3).

The mean and not the mode: photon noise is skew, and so is the light of sources too faint to be seen, of which an
aperture on a star holds its share like any other.
"""

import numpy as np
from scipy import ndimage
from scipy.interpolate import CubicSpline

from mpidriver.tasks._jit import ANY_ORDER, kernel

__all__ = [
    "clipped_mean",
    "clipped_moments",
    "joined_meshes",
    "mesh_centres",
    "mesh_size",
    "mesh_sky",
    "mesh_statistics",
]

#: A mesh with a smaller share of sky takes the value of its neighbours.
_LEAST_SKY = 0.15
_CLIP_SIGMA = 3.0
#: Standard deviation of a normal distribution cut off at 3 sigma.
_CLIPPED_DEVIATION = 0.98658
_CLIP_ROUNDS = 10


def mesh_sky(image, sky_pixels, mesh_px, filter_meshes):
    """Return level and noise of the sky at every pixel, or None where no mesh has enough pixels of it.

    Parameters
    ----------
    image : ndarray of float32, shape (row, col)
    sky_pixels : ndarray of bool, shape (row, col)
        Good pixels without sources.
    mesh_px : int, px
        About the side of a mesh.
    filter_meshes : int
        Side of the median filter over the meshes.

    Returns
    -------
    tuple of ndarray of float32, shape (row, col), or None
    """
    mean, rms = mesh_statistics(image, sky_pixels, mesh_px)
    if not np.isfinite(mean).any():
        return None
    mean, rms = (_median_filter(_fill_from_nearest(g), filter_meshes) for g in (mean, rms))
    noise = _interpolate(rms, image.shape)
    return _interpolate(mean, image.shape), np.maximum(noise, np.float32(rms.min()), out=noise)


def joined_meshes(grid, shape):
    """Return the values of meshes, NaN where the nearest ones stand in, at every pixel: float32, shape (row, col)."""
    return _interpolate(_fill_from_nearest(grid), shape)


def mesh_statistics(image, sky_pixels, mesh_px):
    """Return clipped mean and rms of each mesh, shape (2, mesh row, mesh col); NaN where there is too little sky."""
    height, width = (mesh_size(size, mesh_px) for size in image.shape)
    return _mesh_statistics(np.ascontiguousarray(image), np.ascontiguousarray(sky_pixels), height, width)


def clipped_mean(values):
    """Return mean and standard deviation of values within 3 sigma of their mean, clipped until nothing changes.

    The deviation is corrected for the tails that a normal distribution loses by the clipping.
    """
    return _clipped_mean(np.ascontiguousarray(values))


@kernel
def _mesh_statistics(image, sky_pixels, height, width):
    rows, cols = image.shape
    grid = np.full((2, -(-rows // height), -(-cols // width)), np.nan)
    values = np.empty(height * width, image.dtype)
    for i in range(grid.shape[1]):
        for j in range(grid.shape[2]):
            mesh = slice(i * height, (i + 1) * height), slice(j * width, (j + 1) * width)
            count = _gather(image[mesh], sky_pixels[mesh], values)
            if count >= _LEAST_SKY * sky_pixels[mesh].size:
                grid[0, i, j], grid[1, i, j] = _clipped_mean(values[:count])
    return grid


@kernel
def _gather(image, chosen, values):
    """Write the chosen pixels one after the other; return how many there are."""
    count = 0
    for row in range(image.shape[0]):
        for col in range(image.shape[1]):
            values[count] = image[row, col]
            count += chosen[row, col]
    return count


@kernel
def _clipped_mean(values):
    _, mean, deviation = clipped_moments(values)
    return mean, deviation / _CLIPPED_DEVIATION


@kernel
def clipped_moments(values):
    """Return number, mean and deviation of the values within 3 sigma of their mean, clipped until nothing changes."""
    mean, deviation, kept = np.nan, np.nan, 0.0
    low, high = -np.inf, np.inf
    origin = np.float64(values[values.size // 2]) if values.size > 0 else 0.0
    for _ in range(_CLIP_ROUNDS):
        number, total, squares = _sums_within(values, values.dtype.type(low), values.dtype.type(high), origin)
        if number in (0.0, kept):
            break
        kept, mean = number, origin + total / number
        deviation = np.sqrt(max(squares / number - (total / number) ** 2, 0.0))
        low, high = max(low, mean - _CLIP_SIGMA * deviation), min(high, mean + _CLIP_SIGMA * deviation)
        origin = mean
    return kept, mean, deviation


@kernel(fastmath=ANY_ORDER)
def _sums_within(values, low, high, origin):
    """Return how many values lie from `low` to `high`, and sum and sum of squares of what is above a value near them.

    Squares about a value near the mean do not cancel.
    """
    number, total, squares = 0.0, 0.0, 0.0
    for i in range(values.size):
        within = (values[i] >= low) & (values[i] <= high)
        above = np.float64(values[i]) - origin if within else 0.0
        number += 1.0 if within else 0.0
        total += above
        squares += above * above
    return number, total, squares


def _fill_from_nearest(grid):
    holes = ~np.isfinite(grid)
    if not holes.any():
        return grid
    nearest = ndimage.distance_transform_edt(holes, return_distances=False, return_indices=True)
    return grid[tuple(nearest)]


def _median_filter(grid, side):
    """Return the median of `side` x `side` meshes about a plane, so that a slope is not flattened at the edges."""
    row, col = (axis.ravel() for axis in np.indices(grid.shape))
    design = np.column_stack([np.ones(grid.size), row, col])
    solution, *_ = np.linalg.lstsq(design, grid.ravel(), rcond=None)
    plane = (design @ solution).reshape(grid.shape)
    return plane + ndimage.median_filter(grid - plane, side)


def _interpolate(grid, shape):
    """Return values of meshes at every pixel by natural cubic splines, going on linearly outside the mesh centres.

    Splines are linear in their values: what each mesh adds to each row and column is found once.
    """
    by_row, by_col = (_spline_weights(meshes, size) for meshes, size in zip(grid.shape, shape, strict=True))
    return by_row.astype(np.float32) @ (grid @ by_col.T).astype(np.float32)


def _spline_weights(meshes, size):
    """Return the weight of each mesh at each pixel along one axis, shape (pixel, mesh)."""
    centres = mesh_centres(size, meshes)
    if meshes == 1:
        return np.ones((size, 1))
    spline = CubicSpline(centres, np.eye(meshes), bc_type="natural")
    pixels = np.arange(size)
    inside = np.clip(pixels, centres[0], centres[-1])
    return spline(inside) + spline.derivative()(inside) * (pixels - inside)[:, None]


def mesh_centres(size, meshes):
    """Return the middle of each mesh along an axis of `size` pixels, px."""
    edges = np.minimum(np.arange(meshes + 1) * -(-size // meshes), size)
    return (edges[:-1] + edges[1:] - 1) / 2


def mesh_size(size, mesh_px):
    """Return the side of the meshes near `mesh_px` that divide `size` pixels about evenly, no thin one at the edge."""
    count = max(1, round(size / mesh_px))
    return -(-size // count)
