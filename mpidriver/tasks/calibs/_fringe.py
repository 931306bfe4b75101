"""What a frame of the sky says of its detector's fringes."""

import numpy as np

from mpidriver.errors import DataError
from mpidriver.tasks.single_frame._options import SingleFrameOptions
from mpidriver.tasks.single_frame._records import Calibrations, RawFrame
from mpidriver.tasks.single_frame._reduce import clean_frame, subtract_sky

__all__ = ["fringe_of"]


def fringe_of(raw: RawFrame, calibrations: Calibrations | None, options: SingleFrameOptions) -> np.ndarray:
    """Return a frame's deviation from a smooth sky in units of that sky, float32, shape (row, col).

    The mean of many such frames with their sources in different places is the fringe pattern of the detector and band.

    Parameters
    ----------
    raw
        Frame of the sky.
    calibrations
        As for the single-frame stage, without fringes.
    options
        How its sky and sources are found.

    Raises
    ------
    DataError
        If the frame has no signal, or its sky is not above zero.
    """
    frame, sky, *_ = subtract_sky(clean_frame(raw, calibrations, options), options)
    if not sky.level_e > 0:
        raise DataError(f"the sky of this frame is {sky.level_e:g} electrons: no fringes can be told from it")
    return np.where(frame.mask == 0, frame.image / sky.level_e, np.nan).astype(np.float32)
