"""Sky frames: the pattern that a detector shows of an even sky, scaled to each frame."""

import numpy as np

from mpidriver.errors import DataError
from mpidriver.tasks.image import MaskedImage
from mpidriver.tasks.sky import mesh_statistics

__all__ = ["subtract_sky_pattern"]

#: Fewest meshes that show how strong the pattern is.
_MESHES_MIN = 6
_ROUNDS = 20


def subtract_sky_pattern(frame, pattern, options):
    """Subtract the pattern of the sky with the amplitude that the meshes of the frame show.

    A constant and the amplitude are fitted to the meshes; residuals count less as they grow (Huber 1964), because
    sources are in many of them.

    Parameters
    ----------
    frame : MaskedImage
        Electrons, the sky still in it.
    pattern : ndarray, shape (row, col)
        In units of the sky, about 0; NaN where nothing is known, which is left alone.
    options : SingleFrameOptions

    Returns
    -------
    MaskedImage

    Raises
    ------
    DataError
        If the pattern has another shape.
    """
    if np.shape(pattern) != frame.image.shape:
        raise DataError(f"calibrations: sky has the shape {np.shape(pattern)}, the frame {frame.image.shape}")
    pattern = np.nan_to_num(np.asarray(pattern, dtype=np.float32))
    good = frame.mask == 0
    levels, shown = (mesh_statistics(image, good, options.superpixel_px)[0] for image in (frame.image, pattern))
    known = np.isfinite(levels) & np.isfinite(shown)
    amplitude = _slope(shown[known], levels[known])
    return MaskedImage(frame.image - np.float32(amplitude) * pattern, frame.variance, frame.mask)


def _slope(x, y):
    """Return the slope of a line through points that have outliers, 0 if they are few or all the same."""
    if x.size < _MESHES_MIN or not np.ptp(x) > 0:
        return 0.0
    weight = np.ones(x.size)
    for _ in range(_ROUNDS):
        middle_x, middle_y = np.average(x, weights=weight), np.average(y, weights=weight)
        slope = np.sum(weight * (x - middle_x) * (y - middle_y)) / np.sum(weight * (x - middle_x) ** 2)
        residual = np.abs(y - middle_y - slope * (x - middle_x))
        spread = max(1.4826 * float(np.median(residual)), 1e-6)
        weight = 1 / np.maximum(residual / spread, 1)
    return float(slope)
