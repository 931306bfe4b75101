"""Each source alone: its surroundings without the other sources, cut out and laid side by side as one image.

What measures an image at a list of places measures tiles as well, so that apertures, centroids and moments know nothing
of deblending.
"""

import dataclasses

import numpy as np

from mpidriver.tasks.multiband._models import PROFILES, Models, without_sources
from mpidriver.tasks.multiband._scene import Scene
from mpidriver.tasks.multiband._stamp_kernels import cut_tiles

__all__ = ["Tiles", "tiles_of"]

#: Half widths of tiles, px, and pixels of all tiles of a batch.
HALVES_PX = (24, 48, 96, 200)
_BATCH_PIXELS = 4_000_000


@dataclasses.dataclass(frozen=True)
class Tiles:
    """Some of a band's sources, each on a tile of its own."""

    rows: np.ndarray
    """Which sources, shape (tile,)."""
    scene: Scene
    """All tiles; its mask is empty."""
    x: np.ndarray
    """Where the sources are on it, px, shape (tile,)."""
    y: np.ndarray
    half_px: int
    """Half width of a tile; nothing may be summed further from its middle."""
    models: Models
    """The models of the sources, at their places on the tiles."""
    offsets: np.ndarray
    """What is to be added to x and y on the tiles for those of the image, shape (tile, 2)."""


def tiles_of(scene, models, reach_px):
    """Yield the sources of a band on tiles, batch by batch.

    Parameters
    ----------
    scene : Scene
    models : Models
    reach_px : ndarray, shape (source,)
        How far from a source it is to be measured; the largest tile ends at 200 px.

    Yields
    ------
    Tiles
    """
    residual = without_sources(scene, models)
    size_class = np.minimum(np.searchsorted(HALVES_PX, reach_px), len(HALVES_PX) - 1)
    for number, half_px in enumerate(HALVES_PX):
        members = np.flatnonzero(size_class == number)
        per_batch = max(1, _BATCH_PIXELS // (2 * half_px + 3) ** 2)
        for start in range(0, members.size, per_batch):
            yield _cut(scene, residual, models, members[start : start + per_batch], half_px)


def _cut(scene, residual, models, rows, half_px):
    size = 2 * half_px + 3
    columns = int(np.ceil(np.sqrt(rows.size)))
    shape = (-(-rows.size // columns) * size, columns * size)
    image, variance, usable = np.zeros(shape, np.float32), np.zeros(shape, np.float32), np.zeros(shape, bool)
    sources, matrices = models.sources[rows], models.psf_matrices[rows]
    planes = (image, variance, usable)
    cut_tiles(residual, scene.variance, scene.usable, sources, matrices, models.psf, PROFILES, half_px, planes)
    number = np.arange(rows.size)
    middle = np.column_stack([number % columns, number // columns]) * size + half_px + 1
    offsets = np.rint(sources[:, :2]) - middle
    placed = sources.copy()
    placed[:, :2] -= offsets
    x, y = (np.ascontiguousarray(placed[:, axis]) for axis in (0, 1))
    tiles = Scene(image, variance, usable, np.zeros(shape, np.int32))
    return Tiles(rows, tiles, x, y, half_px, Models(placed, matrices, models.psf), offsets)
