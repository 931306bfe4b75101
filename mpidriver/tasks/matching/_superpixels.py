"""The background of one frame by superpixels."""

from dataclasses import dataclass

import numpy as np

from mpidriver.tasks.image import MaskPlane
from mpidriver.tasks.matching._kernels import measure_superpixels

__all__ = ["Superpixels", "superpixels"]

#: A superpixel with a smaller share of sky is left out.
_LEAST_SKY = 0.25
#: Pixels of these planes show no sky, or not as it is.
_NO_SKY = int(
    MaskPlane.BAD
    | MaskPlane.SATURATED
    | MaskPlane.COSMIC_RAY
    | MaskPlane.INTERPOLATED
    | MaskPlane.NO_DATA
    | MaskPlane.DETECTED
    | MaskPlane.SUSPECT
)


@dataclass(frozen=True)
class Superpixels:
    """The background of one frame."""

    level: np.ndarray
    """Clipped mean of each superpixel, float32, shape (row, col), in the frame's unit; NaN where sources cover it."""
    variance: np.ndarray
    """Of that mean, float32, shape (row, col)."""
    shape: tuple[int, int]
    """Rows and columns of the frame."""

    def pixel_noise(self) -> float:
        """Return the typical noise of one pixel; NaN if no superpixel is known."""
        known = np.isfinite(self.level)
        pixels = self.shape[0] * self.shape[1] / self.level.size
        return float(np.sqrt(np.median(self.variance[known]) * pixels)) if known.any() else float("nan")


def superpixels(image: np.ndarray, mask: np.ndarray, *, size_px: int = 32) -> Superpixels:
    """Measure the background of a frame in squares: mean of what shows sky, clipped at 3 sigma.

    Parameters
    ----------
    image : ndarray of float32, shape (row, col)
        NaN counts as no sky.
    mask : ndarray of int32, shape (row, col)
        Bits of `MaskPlane`; detected sources and bad pixels are left out.
    size_px
        About the side of a square; those of a frame are equal to a pixel.
    """
    rows, cols = (_edges(size, size_px) for size in image.shape)
    level = np.empty((len(rows) - 1, len(cols) - 1), np.float32)
    variance = np.empty_like(level)
    native = np.ascontiguousarray(image, np.float32), np.ascontiguousarray(mask, np.int32)
    measure_superpixels(*native, np.int32(_NO_SKY), rows, cols, _LEAST_SKY, level, variance)
    return Superpixels(level, variance, (image.shape[0], image.shape[1]))


def _edges(size: int, side: int) -> np.ndarray:
    count = max(1, round(size / side))
    return np.round(np.linspace(0, size, count + 1)).astype(np.int64)
