"""How bright each exposure of a flat field was, and how each detector answers."""

import dataclasses

import numpy as np

from mpidriver.errors import DataError

__all__ = ["Scales", "solve_scales"]

#: Levels this far from the solution, in their robust scatter, are left out of it.
_CLIP_SIGMA = 5.0
_SIGMA_PER_MAD = 1.4826
_ROUNDS = 5
#: Scatter below which nothing is an outlier: 1e-4 in brightness is better than any lamp.
_SCATTER_MIN = 1e-4


@dataclasses.dataclass(frozen=True)
class Scales:
    """The solution of log B = log exposure + log detector."""

    exposures: np.ndarray
    """Level of each exposure, shape (exposure,); NaN where no detector has one."""
    detectors: np.ndarray
    """Response of each detector, shape (detector,), with a geometric mean of 1; NaN where no exposure has one."""
    rms: float
    """Standard deviation of the levels about the solution, relative."""


def solve_scales(levels: np.ndarray) -> Scales:
    """Part levels into a factor an exposure and a factor a detector, by robust least squares in the logarithm.

    The levels of one exposure over the focal plane are then one number, so that what differs between detectors stays
    in their flats (as in the HSC pipeline, Bosch et al. 2018, PASJ 70, S5).

    Parameters
    ----------
    levels : ndarray, shape (exposure, detector)
        Positive levels, NaN where there is no frame.

    Raises
    ------
    DataError
        If no level is positive.
    """
    levels = np.asarray(levels, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        known = np.log(np.where(levels > 0, levels, np.nan))
    used = np.isfinite(known)
    if not used.any():
        raise DataError("flat field: no frame has a positive level")
    for _ in range(_ROUNDS):
        exposures, detectors = _solved(known, used)
        residuals = known - exposures[:, None] - detectors
        scatter = _SIGMA_PER_MAD * np.nanmedian(np.abs(residuals[used]))
        kept = np.isfinite(known) & (np.abs(residuals) <= _CLIP_SIGMA * max(scatter, _SCATTER_MIN))
        if np.array_equal(kept, used):
            break
        used = kept
    centre = np.nanmean(detectors)
    return Scales(np.exp(exposures + centre), np.exp(detectors - centre), float(np.std(residuals[used])))


def _solved(known: np.ndarray, used: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Solve the normal equations; of what cannot be told apart the smallest solution."""
    n_exposures, n_detectors = known.shape
    weights = used.astype(np.float64)
    values = np.where(used, known, 0.0)
    normal = np.block([[np.diag(weights.sum(1)), weights], [weights.T, np.diag(weights.sum(0))]])
    right = np.concatenate([values.sum(1), values.sum(0)])
    found = np.linalg.lstsq(normal, right, rcond=None)[0]
    found[np.diag(normal) == 0] = np.nan
    return found[:n_exposures], found[n_exposures : n_exposures + n_detectors]
