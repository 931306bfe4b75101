"""Pixels that do not work, by the dark and the flats."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from mpidriver.tasks.calibs._options import CalibsOptions

__all__ = ["find_defects"]

#: Side of the neighbourhood that a pixel's response is compared with.
_NEIGHBOURHOOD_PX = 15
_SIGMA_PER_MAD = 1.4826


def find_defects(dark: np.ndarray | None, flats: Sequence[np.ndarray], *, options: CalibsOptions) -> np.ndarray:
    """Return the pixels that are hot, dead or answer otherwise than their neighbours, bool, shape (row, col).

    Parameters
    ----------
    dark : ndarray, shape (row, col), ADU/s
    flats : sequence of ndarray, shape (row, col)
        A pixel is bad if it is in any band.
    options
        What counts as bad.
    """
    planes = [_misanswering(flat, options) for flat in flats]
    if dark is not None:
        planes.append(_hot(dark, options))
    return np.logical_or.reduce(planes)


def _hot(dark: np.ndarray, options: CalibsOptions) -> np.ndarray:
    median = np.nanmedian(dark)
    scatter = _SIGMA_PER_MAD * np.nanmedian(np.abs(dark - median))
    return ~(dark - median <= options.hot_sigma * max(scatter, np.finfo(np.float32).tiny))


def _misanswering(flat: np.ndarray, options: CalibsOptions) -> np.ndarray:
    whole = np.where(np.isfinite(flat), flat, np.nanmedian(flat))
    around = ndimage.median_filter(whole, size=_NEIGHBOURHOOD_PX, mode="nearest")
    with np.errstate(invalid="ignore", divide="ignore"):
        response = flat / around
    return ~((response >= options.response_min) & (response <= options.response_max))
