"""One solution for the backgrounds of all frames of a tract and band.

The sky of each cell is free, as a star's position is in the mosaic, and each frame has a polynomial. What all frames
could have in common, a constant or a plane over the whole tract, differences do not tell: of all corrections that
match the frames equally the smallest is taken, which leaves the mean of the frames as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mpidriver.tasks.least_squares import Fit, Measurements, solve_robustly
from mpidriver.tasks.matching._cells import FrameCells
from mpidriver.tasks.matching._options import MatchingOptions
from mpidriver.tasks.scattering import ALONE, Ranks

__all__ = ["MatchedBackgrounds", "Seam", "match_backgrounds"]

#: A frame shares so many cells with others for each term of its polynomial, or gets but an offset.
_CELLS_A_TERM = 4
#: Expected size of a coefficient that is held at zero, in units of the others'.
_HELD = 1e-9


@dataclass(frozen=True)
class Seam:
    """The mean difference of two overlapping frames, nJy/arcsec²."""

    first: int
    """Index of a frame."""
    second: int
    """Index of another."""
    n_cells: int
    """Cells that they have in common."""
    before: float
    after: float


@dataclass(frozen=True)
class MatchedBackgrounds:
    """The solution of a tract and band."""

    coefficients: np.ndarray
    """Of the polynomial that is added to each frame, in its unit, shape (f, k); zeros for frames that overlap none."""
    n_cells: np.ndarray
    """Cells of each frame that the solution uses, shape (f,)."""
    seams: tuple[Seam, ...]
    """One for each pair of frames that overlap."""

    def seam_rms(self) -> tuple[float, float]:
        """Return the rms over all seams before and after, nJy/arcsec²; NaN if no frames overlap."""
        if not self.seams:
            return float("nan"), float("nan")
        seams = np.array([(seam.before, seam.after) for seam in self.seams])
        before, after = np.sqrt(np.mean(seams**2, axis=0))
        return float(before), float(after)


def match_backgrounds(
    frames: Sequence[FrameCells], *, options: MatchingOptions | None = None, ranks: Ranks = ALONE
) -> MatchedBackgrounds:
    """Find the polynomials that make the backgrounds of overlapping frames the same.

    Parameters
    ----------
    frames
        The background of each frame in the cells of the tract, in any order, all with as many terms.
    options
        Defaults if None.
    ranks
        Who sets up the normal equations, a pool for example; the solution does not depend on it.
    """
    options = options or MatchingOptions()
    count = frames[0].basis.shape[1] if frames else 0
    if not frames or not options.enabled:
        return MatchedBackgrounds(np.zeros((len(frames), count)), np.zeros(len(frames), dtype=int), ())
    frame, cell, shared = _shared_cells(frames)
    n_shared = np.bincount(frame, minlength=len(frames))
    m = Measurements(
        frame=frame,
        star=cell,
        basis=np.concatenate([each.basis for each in frames])[shared],
        value=np.concatenate([each.value for each in frames])[shared, None],
        sigma=np.concatenate([each.sigma for each in frames])[shared],
        tie=np.full((int(cell.max(initial=-1)) + 1, 1), np.nan),
        tie_sigma=np.full(int(cell.max(initial=-1)) + 1, np.inf),
        parameter=np.arange(len(frames) * count).reshape(len(frames), count),
        precision=_prior(frames, n_shared, options).ravel() ** -2.0,
    )
    if not len(frame):
        return MatchedBackgrounds(np.zeros((len(frames), count)), n_shared, ())
    everything = np.ones(len(frame), dtype=bool)
    fit = solve_robustly(
        m, everything, clip_sigma=options.clip_sigma, max_iterations=options.max_iterations, ranks=ranks
    )
    used = np.bincount(frame[fit.used], minlength=len(frames))
    return MatchedBackgrounds(fit.coefficients[:, :, 0], used, _seams(m, fit))


def _shared_cells(frames: Sequence[FrameCells]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return frame and new number of the cell of each measurement of cells that several frames see, and its index."""
    frame = np.repeat(np.arange(len(frames)), [len(each.cell) for each in frames])
    _, cell, seen = np.unique(np.concatenate([each.cell for each in frames]), return_inverse=True, return_counts=True)
    shared = np.flatnonzero(seen[cell] > 1)
    number = np.cumsum(seen > 1) - 1
    return frame[shared], number[cell[shared]], shared


def _prior(frames: Sequence[FrameCells], n_shared: np.ndarray, options: MatchingOptions) -> np.ndarray:
    """Return the expected size of each coefficient, shape (f, k)."""
    count = frames[0].basis.shape[1]
    noise = np.array([each.noise if each.noise > 0 else 1.0 for each in frames])
    prior = np.repeat(options.correction_prior * noise[:, None], count, axis=1)
    prior[n_shared < _CELLS_A_TERM * count, 1:] *= _HELD
    return prior


def _seams(m: Measurements, fit: Fit) -> tuple[Seam, ...]:
    """Return the mean differences of all pairs of frames, of the cells that the solution uses."""
    used = np.flatnonzero(fit.used)
    order = used[np.argsort(m.star[used], kind="stable")]
    star, frame = m.star[order], m.frame[order]
    before = m.value[order, 0]
    after = before + m.correction(fit.coefficients)[order, 0]
    n_frames = len(m.parameter)
    pairs, differences = [], []
    for step in range(1, int(np.bincount(star).max(initial=0))):
        same = np.flatnonzero(star[step:] == star[:-step])
        pairs.append(frame[same] * n_frames + frame[same + step])  # frames stand in their order within a cell
        differences.append(np.stack([values[same + step] - values[same] for values in (before, after)]))
    if not pairs:
        return ()
    known, pair = np.unique(np.concatenate(pairs), return_inverse=True)
    n_cells = np.bincount(pair)
    means = [np.bincount(pair, values) / n_cells for values in np.concatenate(differences, axis=1)]
    return tuple(
        Seam(int(key) // n_frames, int(key) % n_frames, int(n), float(a), float(b))
        for key, n, a, b in zip(known, n_cells, *means, strict=True)
    )
