"""What frames of the sky say of the pattern that a detector shows of an even sky, on scales of many pixels."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from mpidriver.errors import DataError
from mpidriver.tasks.calibs._options import CalibsOptions
from mpidriver.tasks.single_frame._cover import cover_sources
from mpidriver.tasks.single_frame._options import SingleFrameOptions
from mpidriver.tasks.single_frame._records import Calibrations, RawFrame
from mpidriver.tasks.single_frame._reduce import clean_frame
from mpidriver.tasks.sky import joined_meshes, mesh_statistics

__all__ = ["SkyMeshes", "combine_skies", "sky_of"]


@dataclasses.dataclass(frozen=True)
class SkyMeshes:
    """The sky of one frame by meshes."""

    relative: np.ndarray
    """Level of each mesh over the frame's typical one, less 1, shape (mesh row, mesh col); NaN where there is none."""
    shape: tuple[int, int]
    """Rows and columns of the frame."""


def sky_of(raw: RawFrame, calibrations: Calibrations | None, options: SingleFrameOptions, *, mesh_px: int) -> SkyMeshes:
    """Return the sky between the sources of one frame by meshes.

    Parameters
    ----------
    raw
        Frame of the sky.
    calibrations
        As for the single-frame stage, without a sky frame.
    options
        How its sources are found.
    mesh_px
        About the side of a mesh.

    Raises
    ------
    DataError
        If the frame has no signal, or its sky is not above zero.
    """
    frame = clean_frame(raw, calibrations, dataclasses.replace(options, cosmic_rays=False))
    covered = cover_sources(frame, options).pixels
    levels, _ = mesh_statistics(frame.image, (frame.mask == 0) & ~covered, mesh_px)
    typical = float(np.nanmedian(levels)) if np.isfinite(levels).any() else np.nan
    if not typical > 0:
        raise DataError(f"the sky of this frame is {typical:g} electrons: no pattern can be told from it")
    return SkyMeshes(levels / typical - 1, frame.image.shape)


def combine_skies(skies: Sequence[SkyMeshes], options: CalibsOptions) -> np.ndarray:
    """Return the pattern that frames have in common, in units of the sky, float32, shape (row, col).

    Its median is 0. Each mesh is the median over the frames, so that halos of single bright stars do not count.

    Parameters
    ----------
    skies
        Of one detector and band, with their sources in different places.
    options
        How many are needed.

    Raises
    ------
    DataError
        If there are fewer frames than `options.frames_min`, or their shapes differ.
    """
    if len(skies) < options.frames_min:
        raise DataError(f"{len(skies)} frames, and at least {options.frames_min} are needed ([calibs] frames_min)")
    shapes = sorted({sky.shape for sky in skies})
    if len(shapes) > 1:
        raise DataError(f"the frames have different shapes: {', '.join(f'{rows} x {cols}' for rows, cols in shapes)}")
    stack = np.stack([sky.relative for sky in skies])
    known = np.isfinite(stack).any(axis=0)
    common = np.full(known.shape, np.nan)
    common[known] = np.nanmedian(stack[:, known], axis=0)
    return joined_meshes(common - np.median(common[known]), shapes[0])
