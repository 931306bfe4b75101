"""Sky background by meshes (Bertin & Arnouts 1996, section 3) and the noise that it shows."""

import dataclasses

import numpy as np
import sep

from mpidriver.tasks.image import MaskedImage
from mpidriver.tasks.polynomials import polynomial_plane
from mpidriver.tasks.sky import mesh_size, mesh_sky

__all__ = ["Sky", "add_missing_sky_noise", "given_sky", "mode_sky", "pixel_noise", "source_free_sky", "without_nan"]

#: Above this share of sources, too little sky is left between them for a mean.
_MOST_COVERED = 0.7
#: Excess of measured over expected variance that tells a frame whose sky was subtracted before.
_MISSING_SKY = 1.3
#: Pixels that are enough for a median of the noise.
_SAMPLES = 1_000_000


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
    residual_e: float = 0.0
    """Typical level that the frame's own meshes show above `level`, e."""
    residual_rms_e: float = 0.0
    """Spread over the frame of what its own meshes show above `level`, e."""


def mode_sky(image, mask, options, *, binning=1):
    """Return the sky by the mode of each mesh, which sources hardly shift but the skewness of photon noise does.

    Parameters
    ----------
    image : ndarray of float32, shape (row, col)
        Electrons.
    mask : ndarray of int32, shape (row, col)
    options : SingleFrameOptions
    binning : int
        Side of the squares of pixels that the image's are sums of.

    Returns
    -------
    Sky
        In units of the image.
    """
    bad = mask != 0
    if bad.all():
        bad = ~np.isfinite(image)
    width, height = (mesh_size(size, options.background_mesh_px / binning) for size in image.shape[::-1])
    side = options.background_filter
    model = sep.Background(np.ascontiguousarray(without_nan(image)), mask=bad, bw=width, bh=height, fw=side, fh=side)
    return _sky(image, ~bad, model.back(dtype=np.float32), model.rms(dtype=np.float32))


def without_nan(image):
    """Return finite pixels: the image itself, or a copy with 0 for NaN, as for `numpy.nan_to_num`, if it is not."""
    return image if np.isfinite(image).all() else np.nan_to_num(image)


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
    if np.count_nonzero(sky_pixels) < (1 - _MOST_COVERED) * np.count_nonzero(frame.mask == 0):
        return mode_sky(frame.image, frame.mask, options)
    sky = mesh_sky(frame.image, sky_pixels, options.background_mesh_px, options.background_filter)
    return mode_sky(frame.image, frame.mask, options) if sky is None else _sky(frame.image, sky_pixels, *sky)


def given_sky(own, model):
    """Return the sky of a model with the noise that the frame shows, and how far the frame's own sky is from it.

    Parameters
    ----------
    own : Sky
        What the frame's meshes show.
    model : ndarray, shape (n, n), e
        As for `polynomial_plane`.

    Returns
    -------
    Sky
    """
    level = polynomial_plane(model, own.level.shape)
    above = (own.level - level)[:: _step(level.shape[0]), :: _step(level.shape[1])]
    return Sky(level, own.rms, _typical(level), own.rms_e, float(np.median(above)), float(np.std(above)))


def _sky(image, sky_pixels, level, rms):
    """Return the record; noise is never zero, so that it can divide."""
    rms_e = _typical(rms) or pixel_noise(image, sky_pixels)
    floor = np.float32(max(1e-3 * rms_e, 1e-6))
    np.maximum(rms, floor, out=rms)
    return Sky(level, rms, _typical(level), max(rms_e, float(floor)))


def _typical(plane):
    """Return the median of a smooth plane from a sample of its rows and columns."""
    return float(np.median(plane[:: _step(plane.shape[0]), :: _step(plane.shape[1])]))


def _step(size):
    return max(1, size // 256)


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
