"""What the frames of an exposure, and those of a detector and band, have in common."""

from collections.abc import Sequence

import numpy as np

from mpidriver.tasks.mosaic._records import FrameSources

__all__ = ["detector_numbers", "exposure_numbers", "membership", "robust_fit"]

ROUNDS = 30


def exposure_numbers(frames: Sequence[FrameSources]) -> np.ndarray:
    """Number the exposures, in order; return that of each frame, shape (f,)."""
    return np.unique([frame.exposure for frame in frames], return_inverse=True)[1]


def detector_numbers(frames: Sequence[FrameSources]) -> np.ndarray:
    """Number the detectors, each band by itself: optics and flats differ with colour; return that of each frame."""
    names = [(frame.detector, frame.band) for frame in frames]
    known = {name: number for number, name in enumerate(sorted(set(names)))}
    return np.array([known[name] for name in names])


def membership(group: np.ndarray) -> np.ndarray:
    """Return 1 where a frame belongs to a group, shape (f, n_groups)."""
    return (group[:, None] == np.arange(group.max(initial=-1) + 1)).astype(float)


def robust_fit(design: np.ndarray, value: np.ndarray, size: np.ndarray, scatter: float) -> np.ndarray:
    """Return the coefficients of terms that most values follow, however far off the others are.

    Weights fall with the residual beyond the scatter (Huber 1964), so that the end is near least absolute residuals.

    Parameters
    ----------
    design : ndarray, shape (n, k)
    value : ndarray, shape (n, r)
    size : ndarray, shape (k,)
        Expected size of the coefficients, which settles what the values do not.
    scatter
        Expected deviation of a value.
    """
    weight = np.ones(len(value))
    for _ in range(ROUNDS):
        weighted = design.conj().T * weight
        normal = weighted @ design + np.diag((scatter / size) ** 2)
        coefficients = np.linalg.solve(normal, weighted @ value)
        residual = np.linalg.norm(value - design @ coefficients, axis=1)
        weight = 1.0 / np.maximum(residual / scatter, 1.0)
    return coefficients
