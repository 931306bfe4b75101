"""What is in the sky of a few epochs alone: satellites, asteroids, ghosts, found by comparing each with the static sky.

The median of all epochs is the static sky. Each epoch's difference from it, smoothed to the width of a star, is marked
where it stands out; what belongs together is an artefact of that epoch if the greater part of it stands out in few
epochs. A variable star stands out in many. The idea is that of LSST's CompareWarp (AlSayyad, DMTN-080).
"""

import dataclasses

import numpy as np
from scipy import ndimage

from mpidriver.tasks.coadd._epoch_kernels import (
    CELL_PX,
    REACH,
    covered_cells,
    differences,
    differing_cells,
    smooth,
)

__all__ = ["Artefacts", "find_artefacts"]

#: Sigma of the smoothing: about a star's in the pixels of a sky map.
_SMOOTHING_PX = 1.7
#: Every so many pixels along each axis tell the noise of a smoothed difference.
_SAMPLE_EVERY = 5
#: Least share of a footprint's cells that stand out in few epochs.
_FEW_SHARE = 0.5
#: Artefacts grow by this many cells on every side.
_GROWTH_CELLS = 1
_SIGMA_PER_MAD = 1.4826
_EIGHT = np.ones((3, 3), bool)


@dataclasses.dataclass(frozen=True)
class Artefacts:
    """Which cells of which images are artefacts."""

    cells: dict[int, np.ndarray]
    """Number of an image to its cells, packed bits along each row."""
    cols: int
    """Columns of the coadd."""

    def of_rows(self, number, rows):
        """Return where an image has artefacts, bool of shape (row, col), or None if it has none in these rows."""
        packed = self.cells.get(number)
        if packed is None:
            return None
        part = np.arange(rows.start, rows.stop) // CELL_PX
        if not packed[part].any():
            return None
        cells = np.unpackbits(packed[part], axis=1).astype(bool)
        return np.repeat(cells, CELL_PX, axis=1)[:, : self.cols]


def find_artefacts(template, images, *, bad_planes, n_sigma, fraction, share):
    """Return what single images have beside the static sky.

    Parameters
    ----------
    template : ndarray of float32, shape (row, col)
        The static sky; NaN where there is none.
    images : iterable of (int, tuple)
        Number of each image, and its image, variance and mask as words, uint32 of shape (row, col), and whether their
        bytes are swapped; one after the other, so that they may share memory.
    bad_planes : int32
        Pixels with any of these bits are not compared.
    n_sigma, fraction : float
        A difference stands out beyond `n_sigma` of its own noise plus this fraction of the static sky.
    share : float
        What stands out in at most this share of the images of a place, or in one, is an artefact.

    Returns
    -------
    Artefacts
    """
    taps = np.exp(-0.5 * (np.arange(REACH + 1) / _SMOOTHING_PX) ** 2)
    taps = (taps / (2 * taps.sum() - taps[0])).astype(np.float32)
    difference, inverse_sigma, lines, smoothed = (np.empty(template.shape, np.float32) for _ in range(4))
    sky = np.empty(template.shape, np.float32)
    smooth(np.nan_to_num(template), taps, lines, sky)
    cell_shape = tuple(-(-size // CELL_PX) for size in template.shape)
    covered, standing_out = np.zeros(cell_shape, np.int32), np.zeros(cell_shape, np.int32)
    marked = {}
    for number, (image, variance, mask, swapped) in images:
        differences(image, variance, mask, swapped, template, bad_planes, difference, inverse_sigma)
        smooth(difference, taps, lines, smoothed)
        cells = np.zeros(cell_shape, bool)
        limit = np.float32(n_sigma * _noise(smoothed, inverse_sigma))
        differing_cells(smoothed, inverse_sigma, sky, limit, np.float32(fraction), cells)
        covered_cells(inverse_sigma, covered)
        standing_out += cells
        if cells.any():
            marked[number] = np.packbits(cells, axis=1)
    few = standing_out <= np.maximum(1, np.floor(share * covered))
    return Artefacts({number: _artefacts(bits, few) for number, bits in marked.items()}, template.shape[1])


def _noise(smoothed, inverse_sigma):
    """Return the standard deviation of a smoothed difference from the median absolute one; correlations included."""
    some = np.s_[::_SAMPLE_EVERY, ::_SAMPLE_EVERY]
    values = np.abs(smoothed[some][inverse_sigma[some] > 0])
    return _SIGMA_PER_MAD * float(np.median(values)) if values.size else np.inf


def _artefacts(bits, few):
    """Return the footprints of which most cells stand out in few images, grown, as packed bits."""
    cells = np.unpackbits(bits, axis=1, count=few.shape[1]).astype(bool)
    labels, count = ndimage.label(cells, structure=_EIGHT)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    rare = np.bincount(labels[few], minlength=count + 1)
    chosen = rare >= _FEW_SHARE * sizes
    chosen[0] = False
    grown = ndimage.binary_dilation(chosen[labels], structure=_EIGHT, iterations=_GROWTH_CELLS)
    return np.packbits(grown, axis=1)
