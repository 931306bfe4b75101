"""What the frames of an exposure, and those of a detector and band, have in common."""

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from mpidriver.tasks.mosaic._records import FrameSources

__all__ = ["connected_frames", "detector_numbers", "exposure_numbers", "membership", "robust_fit"]

ROUNDS = 30


def exposure_numbers(frames: Sequence[FrameSources]) -> np.ndarray:
    """Number the exposures, in order; return that of each frame, shape (f,)."""
    return np.unique([frame.exposure for frame in frames], return_inverse=True)[1]


def detector_numbers(frames: Sequence[FrameSources]) -> np.ndarray:
    """Number the detectors, each band by itself: optics and flats differ with colour; return that of each frame."""
    names = [(frame.detector, frame.band) for frame in frames]
    known = {name: number for number, name in enumerate(sorted(set(names)))}
    return np.array([known[name] for name in names])


def connected_frames(
    frame: np.ndarray, star: np.ndarray, tied: np.ndarray, n_frames: int
) -> tuple[np.ndarray, np.ndarray]:
    """Number the groups of frames that hang together by common stars, those that the reference ties among them.

    Parameters
    ----------
    frame, star : ndarray of int, shape (m,)
        Of each measurement that counts.
    tied : ndarray of bool, shape (s,)
        Which stars the reference has.
    n_frames
        How many frames there are.

    Returns
    -------
    group : ndarray of int, shape (n_frames,)
        Frames that the reference ties are of one group.
    is_tied : ndarray of bool, shape (n_groups,)
        Whether it is that one.
    """
    reference = n_frames + len(tied)
    held = np.flatnonzero(tied)
    edges = np.append(frame, np.full(len(held), reference)), n_frames + np.append(star, held)
    graph = sparse.coo_array((np.ones(len(edges[0])), edges), shape=(reference + 1, reference + 1))
    label = sparse.csgraph.connected_components(graph, directed=False)[1]
    names, group = np.unique(label[:n_frames], return_inverse=True)
    return group, names == label[reference]


def membership(group: np.ndarray) -> np.ndarray:
    """Return 1 where a frame belongs to a group, shape (f, n_groups)."""
    return (group[:, None] == np.arange(group.max(initial=-1) + 1)).astype(float)


def robust_fit(
    design: np.ndarray | sparse.csr_array, value: np.ndarray, size: np.ndarray, scatter: float
) -> np.ndarray:
    """Return the coefficients of terms that most values follow, however far off the others are.

    Weights fall with the residual beyond the scatter (Huber 1964), so that the end is near least absolute residuals.

    Parameters
    ----------
    design : ndarray or sparse array, shape (n, k)
    value : ndarray, shape (n, r)
    size : ndarray, shape (k,)
        Expected size of the coefficients, which settles what the values do not.
    scatter
        Expected deviation of a value.
    """
    weight = np.ones(len(value))
    for _ in range(ROUNDS):
        weighted = (design.T * weight).conj()
        normal = weighted @ design
        normal = (normal.toarray() if sparse.issparse(normal) else normal) + np.diag((scatter / size) ** 2)
        coefficients = np.linalg.solve(normal, weighted @ value)
        residual = np.linalg.norm(value - design @ coefficients, axis=1)
        weight = 1.0 / np.maximum(residual / scatter, 1.0)
    return coefficients
