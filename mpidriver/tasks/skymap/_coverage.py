"""Which patches many footprints touch: what `SkyMap` and `Tract` answer for one, for all frames of a survey at once."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from mpidriver.sphere import bounding_circles, polygons_overlap
from mpidriver.tasks.skymap._tract import overlap_in_plane

if TYPE_CHECKING:
    from mpidriver.tasks.skymap._sky import SkyMap
    from mpidriver.tasks.skymap._tract import Tract

__all__ = ["patches_under"]

#: Footprints that are looked for together, about as many as an exposure has.
GROUP_FRAMES = 128
#: Pairs of a footprint and a patch that are compared at a time: bounds the memory.
PAIRS_AT_A_TIME = 1 << 21


def patches_under(sky: "SkyMap", corners_xyz: np.ndarray) -> list[list[tuple[int, tuple[int, int]]]]:
    """Return the patches that each of many footprints touches.

    Parameters
    ----------
    sky
        Tracts and patches.
    corners_xyz : ndarray, shape (frame, corner, 3)
        Unit vectors of convex footprints.

    Returns
    -------
    list of list of (int, (int, int))
        For each footprint tract and index of its patches, in order; empty for one outside every tract.
    """
    corners = np.asarray(corners_xyz, dtype=float)
    found: list[list[tuple[int, tuple[int, int]]]] = [[] for _ in corners]
    for tract_id, frames in _frames_by_tract(sky, corners).items():
        tract = sky.tract(tract_id)
        frames = frames[polygons_overlap(tract.corners_xyz, corners[frames])]
        for frame, place in _patches_of_frames(tract, corners[frames]):
            found[frames[frame]].append((tract_id, tract.patches[place].index))
    for patches in found:
        patches.sort()
    return found


def _frames_by_tract(sky: "SkyMap", corners: np.ndarray) -> dict[int, np.ndarray]:
    """Return for each tract near a footprint the numbers of the footprints that may touch it.

    Neighbours in the list mostly are neighbours on the sky, as the detectors of an exposure: what no circle about a
    group of them touches is no concern of its members.
    """
    members: dict[int, list[np.ndarray]] = {}
    centres, radii = bounding_circles(corners) if len(corners) else (corners, corners)
    for first in range(0, len(corners), GROUP_FRAMES):
        group = slice(first, first + GROUP_FRAMES)
        middle = centres[first]
        reach = np.max(np.arccos(np.clip(centres[group] @ middle, -1.0, 1.0)) + radii[group])
        for tract_id in sky.tracts_near(middle, reach).tolist():
            members.setdefault(tract_id, []).append(np.arange(first, min(first + GROUP_FRAMES, len(corners))))
    return {tract_id: np.concatenate(members[tract_id]) for tract_id in sorted(members)}


def _patches_of_frames(tract: "Tract", corners: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield the pairs of a footprint and the number of a patch of the tract that it touches."""
    x, y = tract.xyz_to_pixel(corners)
    in_plane = np.isfinite(x).all(axis=1)
    for frame in np.flatnonzero(~in_plane):  # a corner beyond the horizon has no place in the plane
        yield from ((int(frame), tract.patches.index(patch)) for patch in tract.patches_overlapping(corners[frame]))
    polygons = np.stack([x, y], axis=-1)
    boxes = tract.outer_boxes
    step = max(1, PAIRS_AT_A_TIME // len(boxes))
    inside = np.flatnonzero(in_plane)
    for some in (inside[first : first + step] for first in range(0, len(inside), step)):
        low, high = polygons[some].min(axis=1)[:, None], polygons[some].max(axis=1)[:, None]
        close = np.all((boxes[:, :2] <= high) & (boxes[:, 2:] >= low), axis=-1)
        frame, place = np.nonzero(close)
        touched = overlap_in_plane(polygons[some[frame]], boxes[place])
        yield from zip(some[frame[touched]].tolist(), place[touched].tolist(), strict=True)
