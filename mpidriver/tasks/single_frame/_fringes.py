"""Fringes: the pattern of night-sky lines that interfere in the detector, scaled to each frame."""

import numpy as np

from mpidriver.tasks.single_frame._background import mode_sky
from mpidriver.tasks.single_frame._patterns import subtract_scaled

__all__ = ["subtract_fringes"]

#: Pixels further than this from the sky, in its noise, belong to sources.
_SKY_SIGMA = 3.0


def subtract_fringes(frame, fringe, options):
    """Subtract the fringe pattern with the amplitude that fits the sky between the sources best (least squares).

    Parameters
    ----------
    frame : MaskedImage
        Electrons, the sky still in it.
    fringe : ndarray, shape (row, col)
        Pattern in units of the sky, of any amplitude; NaN where nothing is known, which is left alone.
    options : SingleFrameOptions

    Returns
    -------
    MaskedImage

    Raises
    ------
    DataError
        If the pattern has another shape.
    """

    def amplitude_of(pattern):
        sky = mode_sky(frame.image, frame.mask, options)
        above = np.nan_to_num(frame.image) - sky.level
        between = (frame.mask == 0) & (np.abs(above) < _SKY_SIGMA * sky.rms) & (pattern != 0)
        power = float(np.sum(pattern[between] ** 2, dtype=np.float64))
        return float(np.sum(pattern[between] * above[between], dtype=np.float64)) / power if power > 0 else 0.0

    return subtract_scaled(frame, "fringe", fringe, amplitude_of)
