"""How strong cross-talk is, by frames of the sky: what a victim shows where its source is bright."""

from typing import TYPE_CHECKING

import numpy as np

from mpidriver.tasks.sky import joined_meshes, mesh_statistics

if TYPE_CHECKING:
    from mpidriver.tasks.single_frame import Coupling

__all__ = ["coupling_sums"]

#: Side of the meshes of the victim's own sky.
_MESH_PX = 64
#: Residuals beyond this many sigma of the victim's noise are its own sources.
_CLIP_SIGMA = 4.0
_ROUNDS = 4


def coupling_sums(coupling: "Coupling", victim: np.ndarray, source: np.ndarray, *, least_adu: float) -> np.ndarray:
    """Return what one frame adds to the least-squares solution of a coefficient: Σ s²/σ², Σ s v/σ², pixels.

    s are the source's counts above its median, v the victim's above its own sky, σ the victim's noise, over pixels
    where the source is bright. Whatever else the victim shows there is clipped.

    Parameters
    ----------
    coupling
        Whose coefficient is asked for, as if it were the only one.
    victim, source
        Counts of both detectors above the bias, shape (row, col); NaN where saturated or defect.
    least_adu
        Counts above the sky from which a source is bright.

    Returns
    -------
    ndarray, shape (3,)

    Raises
    ------
    DataError
        As for `crosstalk`.
    """
    seen, shown = coupling.sections(victim, source)
    if not np.isfinite(shown).any():
        return np.zeros(3)
    shown = shown - np.nanmedian(shown)
    known = np.isfinite(seen)
    bright = known & (shown > least_adu)
    levels, spreads = mesh_statistics(np.nan_to_num(seen), known & ~bright, _MESH_PX)
    if not bright.any() or not np.isfinite(levels).any():
        return np.zeros(3)
    light = (seen - joined_meshes(levels, seen.shape))[bright].astype(float)
    noise = joined_meshes(spreads, seen.shape)[bright].astype(float)
    return _clipped_sums(shown[bright].astype(float), light, noise)


def _clipped_sums(source: np.ndarray, light: np.ndarray, noise: np.ndarray) -> np.ndarray:
    coefficient, sums = float(np.median(light / source)), np.zeros(3)
    for _ in range(_ROUNDS):
        kept = np.abs(light - coefficient * source) < _CLIP_SIGMA * noise
        s, v, weight = source[kept], light[kept], noise[kept] ** -2.0
        sums = np.array([np.sum(weight * s * s), np.sum(weight * s * v), np.count_nonzero(kept)])
        if not sums[0] > 0:
            return np.zeros(3)
        coefficient = sums[1] / sums[0]
    return sums
