"""Sky frames: the pattern that a detector shows of an even sky, scaled to each frame."""

import numpy as np

from mpidriver.tasks.single_frame._patterns import subtract_scaled
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

    def amplitude_of(known):
        good = frame.mask == 0
        levels, shown = (mesh_statistics(image, good, options.superpixel_px)[0] for image in (frame.image, known))
        both = np.isfinite(levels) & np.isfinite(shown)
        return _slope(shown[both], levels[both])

    return subtract_scaled(frame, "sky", pattern, amplitude_of)


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
