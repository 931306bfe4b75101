"""Sky background by meshes (Bertin & Arnouts 1996, section 3) and the noise that it shows."""

import dataclasses

import numpy as np
import sep
from scipy import ndimage
from scipy.interpolate import CubicSpline

from mpidriver.tasks.image import MaskedImage

__all__ = ["Sky", "add_missing_sky_noise", "clipped_mean", "mesh_size", "mode_sky", "pixel_noise", "source_free_sky"]

#: Above this share of sources, too little sky is left between them for a mean.
_MOST_COVERED = 0.7
#: A mesh with a smaller share of sky takes the value of its neighbours.
_LEAST_SKY = 0.15
#: Excess of measured over expected variance that tells a frame whose sky was subtracted before.
_MISSING_SKY = 1.3
#: Pixels that are enough for a median of the noise.
_SAMPLES = 1_000_000
_CLIP_SIGMA = 3.0
#: Standard deviation of a normal distribution cut off at 3 sigma.
_CLIPPED_DEVIATION = 0.98658
_CLIP_ROUNDS = 10


@dataclasses.dataclass(frozen=True)
class Sky:
    """The sky of a frame."""

    level: np.ndarray
    """float32, e, shape (row, col)."""
    rms: np.ndarray
    """float32, noise of the sky, e, shape (row, col)."""
    level_e: float
    """Typical level, e."""
    rms_e: float
    """Typical noise, e."""


def mode_sky(frame, options):
    """Return the sky by the mode of each mesh, which sources hardly shift but the skewness of photon noise does.

    Parameters
    ----------
    frame : MaskedImage
        Electrons.
    options : SingleFrameOptions

    Returns
    -------
    Sky
    """
    bad = frame.mask != 0
    if bad.all():
        bad = ~np.isfinite(frame.image)
    width, height = (mesh_size(size, options.background_mesh_px) for size in frame.image.shape[::-1])
    side = options.background_filter
    image = np.ascontiguousarray(np.nan_to_num(frame.image))
    model = sep.Background(image, mask=bad, bw=width, bh=height, fw=side, fh=side)
    return _sky(frame, ~bad, model.back(dtype=np.float32), model.rms(dtype=np.float32))


def source_free_sky(frame, sources, options):
    """Return the sky by the clipped mean of each mesh, sources left out; by `mode_sky` if they cover nearly all.

    Parameters
    ----------
    frame : MaskedImage
        Electrons.
    sources : ndarray of bool, shape (row, col)
        Pixels of sources with their surroundings.
    options : SingleFrameOptions

    Returns
    -------
    Sky
    """
    sky_pixels = (frame.mask == 0) & ~sources
    if sky_pixels.sum() < (1 - _MOST_COVERED) * np.count_nonzero(frame.mask == 0):
        return mode_sky(frame, options)
    mean, rms = _mesh_statistics(frame.image, sky_pixels, options.background_mesh_px)
    if not np.isfinite(mean).any():
        return mode_sky(frame, options)
    mean, rms = (_median_filter(_fill_from_nearest(g), options.background_filter) for g in (mean, rms))
    shape = frame.image.shape
    return _sky(frame, sky_pixels, _interpolate(mean, shape), np.maximum(_interpolate(rms, shape), rms.min()))


def _sky(frame, sky_pixels, level, rms):
    """Return the record; noise is never zero, so that it can divide."""
    rms_e = _typical(rms) or pixel_noise(frame.image, sky_pixels)
    floor = np.float32(max(1e-3 * rms_e, 1e-6))
    return Sky(level, np.maximum(rms, floor), _typical(level), max(rms_e, float(floor)))


def _typical(plane):
    """Return the median of a smooth plane from a sample of its rows and columns."""
    return float(np.median(plane[:: _step(plane.shape[0]), :: _step(plane.shape[1])]))


def _step(size):
    return max(1, size // 256)


def _mesh_statistics(image, sky_pixels, mesh_px):
    """Return clipped mean and rms of each mesh, shape (mesh row, mesh col); NaN where there is too little sky."""
    height, width = (mesh_size(size, mesh_px) for size in image.shape)
    starts = [range(0, size, side) for size, side in zip(image.shape, (height, width), strict=True)]
    grid = np.full((2, len(starts[0]), len(starts[1])), np.nan)
    for i, row in enumerate(starts[0]):
        for j, col in enumerate(starts[1]):
            part = (slice(row, row + height), slice(col, col + width))
            sky = sky_pixels[part]
            if sky.sum() >= _LEAST_SKY * sky.size:
                grid[:, i, j] = clipped_mean(image[part][sky])
    return grid


def clipped_mean(values):
    """Return mean and standard deviation of values within 3 sigma of their mean, clipped until nothing changes.

    The deviation is corrected for the tails that a normal distribution loses by the clipping.
    """
    kept = np.sort(values).astype(np.float64)
    for _ in range(_CLIP_ROUNDS):
        mean, deviation = kept.mean(), kept.std()
        first, last = np.searchsorted(kept, (mean - _CLIP_SIGMA * deviation, mean + _CLIP_SIGMA * deviation))
        if last - first in (0, kept.size):
            break
        kept = kept[first:last]
    return kept.mean(), kept.std() / _CLIPPED_DEVIATION


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
    """Return values of meshes at every pixel by natural cubic splines, going on linearly outside the mesh centres."""
    for axis, size in enumerate(shape):
        side = -(-size // grid.shape[axis])
        edges = np.minimum(np.arange(grid.shape[axis] + 1) * side, size)
        grid = _spline((edges[:-1] + edges[1:] - 1) / 2, grid, size, axis)
    return grid.astype(np.float32)


def _spline(centres, grid, size, axis):
    if centres.size == 1:
        return np.repeat(grid, size, axis=axis)
    spline = CubicSpline(centres, grid, axis=axis, bc_type="natural")
    pixels = np.arange(size)
    inside = np.clip(pixels, centres[0], centres[-1])
    values = spline(inside)
    outside = np.flatnonzero(pixels != inside)
    at = (slice(None),) * axis + (outside,)
    beyond = (pixels - inside)[outside].reshape((-1, 1) if axis == 0 else (1, -1))
    values[at] += spline.derivative()(inside[outside]) * beyond
    return values


def mesh_size(size, mesh_px):
    """Return the side of the meshes near `mesh_px` that divide `size` pixels about evenly, no thin one at the edge."""
    count = max(1, round(size / mesh_px))
    return -(-size // count)


def pixel_noise(image, good):
    """Return the noise from pixel to pixel in a row, blind to whatever is smooth over three pixels.

    The difference of a pixel from the mean of its two neighbours has 3/2 of the variance; the median absolute
    deviation keeps stars out. Of a large frame, a sample of the rows is taken.

    Parameters
    ----------
    image : ndarray, shape (row, col)
    good : ndarray of bool, shape (row, col)

    Returns
    -------
    float
        NaN if there are no three good pixels in a row.
    """
    step = max(1, image.size // _SAMPLES)
    image, good = image[::step], good[::step]
    use = good[:, 1:-1] & good[:, :-2] & good[:, 2:]
    if not use.any():
        return float("nan")
    difference = (image[:, 1:-1] - 0.5 * (image[:, :-2] + image[:, 2:]))[use]
    return float(1.4826 * np.median(np.abs(difference)) / np.sqrt(1.5))


def add_missing_sky_noise(frame):
    """Return `frame` with the photon noise of a sky that was subtracted before added to its variance.

    Counts that have lost their sky understate the noise. Where the noise from pixel to pixel exceeds the expected one,
    the difference is added everywhere; other frames come back as they are.

    Parameters
    ----------
    frame : MaskedImage

    Returns
    -------
    MaskedImage
    """
    good = frame.mask == 0
    if not good.any():
        return frame
    step = max(1, frame.image.size // _SAMPLES)
    image, variance = frame.image[good][::step], frame.variance[good][::step]
    expected = float(np.median(variance[image <= np.median(image)]))
    measured = pixel_noise(frame.image, good) ** 2
    if not measured > _MISSING_SKY * expected:
        return frame
    return MaskedImage(frame.image, frame.variance + np.float32(measured - expected), frame.mask)
