"""The calibration frames of all detectors beside each other."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mpidriver.report._figure import finite_limits, picture

__all__ = ["draw_calibrations"]

#: Longest side of a thumbnail, in pixels.
_THUMBNAIL_PX = 160
#: Detectors a row of the picture has at most.
_MOST_DETECTORS = 12


def draw_calibrations(path: Path, frames: Mapping[str, Mapping[int, np.ndarray]], *, title: str) -> None:
    """Draw calibration frames, a row a kind and a column a detector, each row on one scale.

    Parameters
    ----------
    path
        The picture.
    frames
        Kind to detector to image, shape (row, col); kinds as ``flat r``. Detectors after the first few are left out.
    title
        Title.
    """
    detectors = sorted({detector for row in frames.values() for detector in row})[:_MOST_DETECTORS]
    width_in, height_in = 1.8 + 1.25 * max(len(detectors), 3), 0.7 + 1.35 * len(frames)
    with picture(path, title, width_in=width_in, height_in=height_in) as figure:
        axes = figure.subplots(len(frames), len(detectors), squeeze=False)
        for axis, detector in zip(axes[0], detectors, strict=True):
            axis.set_title(str(detector), loc="center", fontsize=8)
        for row, (kind, images) in zip(axes, frames.items(), strict=True):
            small = {detector: binned(image) for detector, image in images.items() if detector in detectors}
            low, high = finite_limits(np.concatenate([image.ravel() for image in small.values()]))
            for axis, detector in zip(row, detectors, strict=True):
                axis.set(xticks=[], yticks=[])
                if detector in small:
                    shown = axis.imshow(small[detector], vmin=low, vmax=high, cmap="viridis")
            row[0].set_ylabel(kind)
            figure.colorbar(shown, ax=list(row), fraction=0.03, pad=0.01)


def binned(image: np.ndarray) -> np.ndarray:
    """Return an image whose longest side is at most a thumbnail's, by means of what is finite."""
    side = max(1, -(-max(image.shape) // _THUMBNAIL_PX))
    rows, cols = (max(1, size // side) for size in image.shape)
    blocks = np.asarray(image, dtype=np.float32)[: rows * side, : cols * side]
    if min(image.shape) < side:
        return blocks
    blocks = blocks.reshape(rows, side, cols, side)
    finite = np.isfinite(blocks)
    with np.errstate(invalid="ignore"):
        return np.where(finite, blocks, 0).sum(axis=(1, 3)) / finite.sum(axis=(1, 3))
