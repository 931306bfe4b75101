"""Sources and the sky between them, roughly: of pixels binned by 2 x 2, in a quarter of the time."""

import dataclasses

import numpy as np

from mpidriver.tasks._jit import kernel
from mpidriver.tasks.filters import gaussian_kernel
from mpidriver.tasks.image import MaskPlane
from mpidriver.tasks.single_frame._background import mode_sky
from mpidriver.tasks.single_frame._detection import detect
from mpidriver.tasks.single_frame._psf import DEFAULT_FWHM_PX, seeing_guess

__all__ = ["Cover", "cover_sources"]

#: Smaller images are not binned.
_BINNED_LEAST_PX = 64


@dataclasses.dataclass(frozen=True)
class Cover:
    """Where the sources of a frame are."""

    pixels: np.ndarray
    """Pixels of sources and around them, bool, shape (row, col)."""
    n_sources: int
    """How many there are, undeblended."""
    share: float
    """Share of the frame that they themselves cover."""
    fwhm_px: float
    """First guess of the stars' width."""


def cover_sources(frame, options):
    """Find the sources of a frame with its sky still in it, roughly.

    Parameters
    ----------
    frame : MaskedImage
        From `clean_frame`.
    options : SingleFrameOptions

    Returns
    -------
    Cover
    """
    side = 2 if min(frame.image.shape) >= _BINNED_LEAST_PX else 1
    image, mask = _binned(frame.image, frame.mask, side)
    sky = mode_sky(image, mask, options, binning=side)
    no_data = (mask & MaskPlane.NO_DATA) != 0
    above = image - sky.level
    above[no_data] = 0
    kernel = gaussian_kernel(DEFAULT_FWHM_PX / side)
    sources, segmentation = detect(above, sky.rms, no_data, options, kernel=kernel, deblend=False)
    fwhm_px = seeing_guess(frame, *_peaks(frame.image, sources, side), _of_a_pixel(sky, sources, side))
    grown = _grown(segmentation > 0, int(np.ceil(2 * fwhm_px / side)))
    share = np.count_nonzero(segmentation) / segmentation.size
    return Cover(_unbinned(grown, frame.image.shape, side), sources.size, share, fwhm_px)


@kernel
def _binned(image, mask, side):
    """Return the sum of `side` x `side` pixels, 0 for those that are not finite, and their mask bits.

    An odd last row or column is left out.
    """
    shape = image.shape[0] // side, image.shape[1] // side
    binned, bits = np.zeros(shape, np.float32), np.zeros(shape, mask.dtype)
    for row in range(shape[0] * side):
        for col in range(shape[1]):
            for at in range(side * col, side * (col + 1)):
                value = image[row, at]
                binned[row // side, col] += value if np.isfinite(value) else np.float32(0.0)
                bits[row // side, col] |= mask[row, at]
    return binned, bits


def _peaks(image, sources, side):
    """Return row and column of the brightest pixel of the binned one where each source peaks."""
    rows, cols = side * sources["ypeak"], side * sources["xpeak"]
    places = [(i, j) for i in range(side) for j in range(side)]
    values = np.array([image[rows + i, cols + j] for i, j in places])
    brightest = np.argmax(values, axis=0)
    return rows + brightest // side, cols + brightest % side


def _of_a_pixel(sky, sources, side):
    """Return level and noise of the sky of an unbinned pixel at each source, shape (n,)."""
    at = sources["ypeak"], sources["xpeak"]
    return sky.level[at] / side**2, sky.rms[at] / side


def _grown(pixels, reach):
    """Return pixels within a square of `reach` pixels around those that are set."""
    for axis in (0, 1):
        done = 0
        while done < reach:
            step = min(done + 1, reach - done)
            grown = pixels.copy()
            before, after = np.swapaxes(pixels, 0, axis), np.swapaxes(grown, 0, axis)
            after[step:] |= before[:-step]
            after[:-step] |= before[step:]
            pixels, done = grown, done + step
    return pixels


@kernel
def _unbinned(pixels, shape, side):
    """Return binned pixels in the shape of the frame, an odd last row or column as the one before."""
    unbinned = np.empty(shape, np.bool_)
    for row in range(shape[0]):
        line = pixels[min(row // side, pixels.shape[0] - 1)]
        for col in range(line.size):
            for at in range(side * col, side * (col + 1)):
                unbinned[row, at] = line[col]
        unbinned[row, line.size * side :] = line[-1]
    return unbinned
