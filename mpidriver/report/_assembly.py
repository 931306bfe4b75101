"""A tract as one image: its patches, binned while they are read, on a common canvas."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpidriver.errors import DataError
from mpidriver.report._sky import SHOWN_PX
from mpidriver.store import read_header, read_image, wcs_from_header

if TYPE_CHECKING:
    from astropy.wcs import WCS

__all__ = ["Canvas", "canvas_of"]


@dataclass(frozen=True)
class Canvas:
    """The pixels that hold all patches of a tract.

    Patches of a tract are windows of one tangent plane, so that their headers differ in CRPIX alone.
    """

    wcs: "WCS"
    """Of the canvas, unbinned."""
    shape: tuple[int, int]
    """(row, col), unbinned."""
    corners: dict[Path, tuple[int, int]]
    """First row and column of each patch's file."""
    binning: int
    """Pixels of the patches along a side of one of the canvas."""

    def binned_wcs(self) -> "WCS":
        """Return the WCS of the binned canvas."""
        wcs = self.wcs.deepcopy()
        wcs.wcs.crpix = (np.asarray(wcs.wcs.crpix) - 0.5) / self.binning + 0.5
        if wcs.wcs.has_cd():
            wcs.wcs.cd = np.asarray(wcs.wcs.cd) * self.binning
        else:
            wcs.wcs.cdelt = np.asarray(wcs.wcs.cdelt) * self.binning
        wcs.wcs.set()
        return wcs

    def mean(self, paths: Sequence[Path], *, hdu: int | str = 0) -> np.ndarray:
        """Return the mean of the finite pixels of the files in each pixel of the binned canvas.

        Returns
        -------
        ndarray of float32, shape (ceil(row / binning), ceil(col / binning))
            NaN where no file has a finite pixel.
        """
        shape = tuple(-(-n // self.binning) for n in self.shape)
        total, count = np.zeros(shape), np.zeros(shape)
        for path in paths:
            image = np.asarray(read_image(path, hdu=hdu)[0], dtype=np.float32)
            finite = np.isfinite(image)
            _add_blocks(total, np.where(finite, image, 0.0), self.corners[path], self.binning)
            _add_blocks(count, finite.astype(np.float64), self.corners[path], self.binning)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(count > 0, total / count, np.nan).astype(np.float32)

    def share_of(self, paths: Sequence[Path], bits: int, *, no_data: int) -> np.ndarray:
        """Return which share of the pixels of masks in each pixel of the binned canvas has one of some bits.

        Pixels with a bit of `no_data` do not count.

        Returns
        -------
        ndarray of float32, shape (ceil(row / binning), ceil(col / binning))
            0 to 1, NaN where there are no data.
        """
        shape = tuple(-(-n // self.binning) for n in self.shape)
        total, count = np.zeros(shape), np.zeros(shape)
        for path in paths:
            mask = np.asarray(read_image(path, hdu="MASK")[0])
            known = mask & no_data == 0
            _add_blocks(total, (known & (mask & bits != 0)).astype(np.float64), self.corners[path], self.binning)
            _add_blocks(count, known.astype(np.float64), self.corners[path], self.binning)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(count > 0, total / count, np.nan).astype(np.float32)

    def pasted(self, paths: Sequence[Path]) -> np.ndarray:
        """Return the unbinned canvas with the first finite value of each pixel; where patches overlap, of the first.

        Returns
        -------
        ndarray of float32, shape (row, col)
        """
        canvas = np.full(self.shape, np.nan, dtype=np.float32)
        for path in paths:
            image = np.squeeze(read_image(path)[0])
            row, col = self.corners[path]
            window = canvas[row : row + image.shape[0], col : col + image.shape[1]]
            window[...] = np.where(np.isfinite(window), window, image)
        return canvas


def canvas_of(paths: Sequence[Path], *, largest_px: int = SHOWN_PX) -> Canvas:
    """Return the canvas that holds the images of some patches of one tract.

    Parameters
    ----------
    paths
        Images whose headers have a WCS.
    largest_px
        Longest side after binning.

    Raises
    ------
    DataError
        If there is no image, or one has no celestial WCS.
    """
    if not paths:
        raise DataError("a canvas needs at least one image, got none")
    headers = {path: read_header(path) for path in paths}
    wcs = {path: _celestial(header, path) for path, header in headers.items()}
    # Differences first: CRPIX itself is often half-integer.
    reference = np.array(wcs[paths[0]].wcs.crpix)
    starts = {path: np.round(reference - own.wcs.crpix)[::-1].astype(int) for path, own in wcs.items()}
    ends = {path: starts[path] + (headers[path]["NAXIS2"], headers[path]["NAXIS1"]) for path in paths}
    low, high = np.min(list(starts.values()), axis=0), np.max(list(ends.values()), axis=0)
    whole = wcs[paths[0]].deepcopy()
    whole.wcs.crpix = reference - low[::-1]
    whole.wcs.set()
    rows, cols = (int(n) for n in high - low)
    corners = {path: tuple(int(n) for n in start - low) for path, start in starts.items()}
    return Canvas(whole, (rows, cols), corners, max(1, -(-max(rows, cols) // largest_px)))


def _celestial(header: Any, path: Path) -> "WCS":
    wcs = wcs_from_header(header)
    if not wcs.has_celestial:
        raise DataError(f"{path}: no celestial WCS; a tract's picture needs one in each patch")
    return wcs.celestial


def _add_blocks(canvas: np.ndarray, image: np.ndarray, corner: tuple[int, int], binning: int) -> None:
    """Add the block sums of `image`, whose first pixel is `corner` of the unbinned canvas, to the binned `canvas`."""
    if image.size == 0:
        return
    sums = image
    first = [start // binning for start in corner]
    for axis, start in enumerate(corner):
        edges = np.arange(first[axis] * binning, start + image.shape[axis], binning) - start
        sums = np.add.reduceat(sums, np.maximum(edges, 0), axis=axis)
    canvas[first[0] : first[0] + sums.shape[0], first[1] : first[1] + sums.shape[1]] += sums
