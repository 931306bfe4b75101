"""Patterns that the sky draws on a detector, scaled to each frame."""

import numpy as np

from mpidriver.errors import DataError
from mpidriver.tasks.image import MaskedImage

__all__ = ["subtract_scaled"]


def subtract_scaled(frame, kind, pattern, amplitude_of):
    """Subtract a pattern with the amplitude that the frame shows.

    Parameters
    ----------
    frame : MaskedImage
        Electrons.
    kind : str
        Which calibration the pattern is.
    pattern : ndarray, shape (row, col)
        NaN where nothing is known, which is left alone.
    amplitude_of : callable
        Takes the pattern, float32 with zeros where nothing is known, and returns its amplitude in the frame.

    Returns
    -------
    MaskedImage

    Raises
    ------
    DataError
        If the pattern has another shape.
    """
    if np.shape(pattern) != frame.image.shape:
        raise DataError(f"calibrations: {kind} has the shape {np.shape(pattern)}, the frame {frame.image.shape}")
    known = np.nan_to_num(np.asarray(pattern, dtype=np.float32))
    return MaskedImage(frame.image - np.float32(amplitude_of(known)) * known, frame.variance, frame.mask)
