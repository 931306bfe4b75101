"""Cells of the sky: whole numbers that stand for boxes of unit vectors, for databases that index numbers alone.

The cube about the sphere is cut into cells of four sizes, each a quarter of the one before; a cell's number holds its
size and its place. There is no pole and no wrap. A footprint is kept under the cells of the finest size of which it
needs few (its *own* cells), and under the coarser ones around these (cells that it lies *below*). Whoever looks for
what overlaps a polygon looks for what lies below the cells of the polygon, and for what has a cell around them as its
own: if two footprints share a point, they share the cells of that point. What is found is then tested exactly.

Chosen instead of HEALPix numbers because boxes of great-circle polygons are here already (`_footprints.boxes`), and
because a footprint of any size has few cells.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from mpidriver.store._state._footprints import boxes, padded_box

__all__ = ["footprint_cells", "query_cells"]

Floats = np.ndarray[Any, np.dtype[np.float64]]
Integers = np.ndarray[Any, np.dtype[np.int64]]

#: Number of sizes; the sides are 1/4, 1/16, 1/64 and 1/256 of the radius (14 deg to 13 arcmin).
LEVELS = 4
_COARSEST = 4
_RATIO_BITS = 2
#: A footprint's own cells are of the finest size of which it meets at most so many along each axis.
_WIDEST = 4
_PLACE_BITS = 10
#: How far a cell may miss the sphere and still count as touching it, for rounding.
_MARGIN = 1e-9


def footprint_cells(corners: Floats) -> list[list[int]]:
    """Return the cells that each of several footprints is kept under.

    Parameters
    ----------
    corners : ndarray, shape (frame, corner, 3)
        Unit vectors.
    """
    bounds = boxes(corners)
    cells: list[list[int]] = [[] for _ in bounds]
    for frames, level, covers in _covers(bounds):
        numbers = [_numbers(covers, level, own=True)]
        numbers += [_numbers(_around(covers, level, coarse), coarse, own=False) for coarse in range(level + 1)]
        together = np.concatenate(numbers, axis=1)
        for frame, row in zip(frames, together.tolist(), strict=True):
            cells[frame] = sorted({number for number in row if number >= 0})
    return cells


def query_cells(corners: Floats, pad_deg: float = 0.0) -> list[int]:
    """Return the cells under one of which every footprint is kept that comes within an angle of a polygon.

    Parameters
    ----------
    corners : ndarray, shape (corner, 3)
        Unit vectors of the polygon.
    pad_deg
        The angle.
    """
    ((_, level, covers),) = _covers(np.array([padded_box(corners, pad_deg)]))
    numbers = [_numbers(covers, level, own=False)]
    numbers += [_numbers(_around(covers, level, coarse), coarse, own=True) for coarse in range(level)]
    return sorted({number for part in numbers for number in part[0].tolist() if number >= 0})


def _covers(bounds: Floats) -> Iterator[tuple[Integers, int, Integers]]:
    """Yield, a size: which boxes cells of it cover, and the cells' places, shape (frame, cell, 3), -1 for none."""
    levels = np.array([_level_of(low, high) for low, high in zip(*_ends(bounds, LEVELS - 1), strict=True)])
    for level in range(LEVELS):
        frames = np.flatnonzero(levels == level)
        if frames.size:
            low, high = _ends(bounds[frames], level)
            yield frames, level, _places(low, high, level)


def _ends(bounds: Floats, level: int) -> tuple[Integers, Integers]:
    """Return the first and the last place of boxes along each axis, shape (frame, 3)."""
    scale = _COARSEST << (_RATIO_BITS * level)
    places = np.floor((np.clip(bounds, -1.0, 1.0) + 1.0) * scale).astype(np.int64)
    return places[:, 0::2], places[:, 1::2]


def _level_of(low: Integers, high: Integers) -> int:
    """Return the finest size of which a box meets few cells, by its ends at the finest size of all."""
    for level in range(LEVELS - 1, 0, -1):
        shift = _RATIO_BITS * (LEVELS - 1 - level)
        if int(((high >> shift) - (low >> shift)).max()) < _WIDEST:
            return level
    return 0


def _places(low: Integers, high: Integers, level: int) -> Integers:
    """Return the places between two ends whose cells touch the sphere; the others are -1."""
    width = int((high - low).max()) + 1
    steps = np.indices((width,) * 3).reshape(3, -1).T
    places = low[:, None] + steps
    scale = _COARSEST << (_RATIO_BITS * level)
    first, last = places / scale - 1.0, (places + 1) / scale - 1.0
    nearest = (np.clip(0.0, first, last) ** 2).sum(axis=2)
    farthest = np.maximum(first**2, last**2).sum(axis=2)
    inside = (places <= high[:, None]).all(axis=2) & (nearest <= 1.0 + _MARGIN) & (farthest >= 1.0 - _MARGIN)
    return np.where(inside[..., None], places, -1)


def _around(places: Integers, level: int, coarse: int) -> Integers:
    """Return the places of the coarser cells around cells; what is -1 stays so."""
    return places >> (_RATIO_BITS * (level - coarse))


def _numbers(places: Integers, level: int, *, own: bool) -> Integers:
    """Return the numbers of cells, shape (frame, cell); -1 where there is no cell."""
    x, y, z = np.moveaxis(places, -1, 0)
    packed = (((level << _PLACE_BITS | x) << _PLACE_BITS | y) << _PLACE_BITS | z) << 1 | int(own)
    return np.where(x < 0, -1, packed)
