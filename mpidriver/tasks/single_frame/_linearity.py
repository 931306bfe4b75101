"""Linearity: from the counts that a detector gives to counts in proportion to its light."""

import dataclasses

import numpy as np

from mpidriver.errors import DataError

__all__ = ["Linearity", "linearise"]


@dataclasses.dataclass(frozen=True)
class Linearity:
    """How the counts of a detector above its bias are corrected: by a polynomial, or by a table."""

    coefficients: np.ndarray | None = None
    """c of ``corrected = counts * (1 + c[0] counts + c[1] counts**2 + …)``, shape (n,), ADU^-1, ADU^-2 …"""
    counts: np.ndarray | None = None
    """Counts of a table, upwards from above 0, shape (n,), ADU."""
    corrected: np.ndarray | None = None
    """What they become, shape (n,), ADU; the ratio is interpolated, and kept beyond both ends."""

    def __post_init__(self) -> None:
        if (self.coefficients is None) == (self.counts is None) or (self.counts is None) != (self.corrected is None):
            raise DataError("linearity: either coefficients are needed, or counts with what they become")
        for name, values in vars(self).items():
            if values is not None and (np.ndim(values) != 1 or not np.size(values) or not np.isfinite(values).all()):
                raise DataError(f"linearity: {name} must be a list of numbers, got {values!r}")
        if self.counts is not None and (np.shape(self.counts) != np.shape(self.corrected) or not self._rises()):
            raise DataError("linearity: counts must rise from above 0, and have one corrected value each")

    def _rises(self) -> bool:
        return bool(self.counts[0] > 0 and np.all(np.diff(self.counts) > 0))


def linearise(counts, linearity):
    """Return counts in proportion to the light.

    Parameters
    ----------
    counts : ndarray of float32, shape (row, col), ADU
        Above the bias; NaN stays NaN.
    linearity : Linearity

    Returns
    -------
    ndarray of float32, shape (row, col)
    """
    if linearity.counts is not None:
        ratio = np.asarray(linearity.corrected) / np.asarray(linearity.counts)
        return counts * np.interp(counts, linearity.counts, ratio).astype(np.float32)
    factor = np.zeros_like(counts)
    for coefficient in np.asarray(linearity.coefficients, dtype=np.float32)[::-1]:
        factor += coefficient
        factor *= counts
    factor += np.float32(1)
    factor *= counts
    return factor
