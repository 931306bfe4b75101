"""Cubes filled region by region over the ranks: what `rmsynth` and `rmclean` have in common.

Scatter the regions of the sky; each rank reads its region of the input, computes, and writes its region of every output
in place. Nothing is gathered but a few numbers a region, which the journal keeps.
"""

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mpidriver.errors import ConfigError
from mpidriver.pool import Pool
from mpidriver.store import CubeFile, NewCube, RegionJournal, create_cubes, find_cubes, publish_cubes

__all__ = ["Filled", "PixelObserver", "Region", "cut_regions", "fill_cubes"]

MIB = 1 << 20
#: What a rank's libraries take of its memory before it has read anything.
BASE_BYTES = 400 * MIB
#: Memory of a region: a share of the cube between these two, so that there are enough regions for many ranks.
SMALLEST_BYTES, LARGEST_BYTES, REGIONS = 8 * MIB, 128 * MIB, 128
#: Pieces shorter than this make the disk slow; regions grow for them as long as so many are left.
PIECE_BYTES, FEWEST_REGIONS = MIB // 4, 32


class PixelObserver(Protocol):
    """Who is told how far a job is, as a progress bar."""

    def grow(self, n: int, /) -> None:
        """Expect so many pixels more."""

    def advance(self, stage: str, status: str, count: int, /) -> None:
        """Hear that pixels are ``done`` or were done by an earlier run (``unchanged``)."""


@dataclass(frozen=True)
class Region:
    """A rectangle of the sky."""

    number: int
    first_row: int
    last_row: int
    """One behind the last."""
    first_col: int
    last_col: int

    @property
    def rows(self) -> slice:
        """Its rows."""
        return slice(self.first_row, self.last_row)

    @property
    def cols(self) -> slice:
        """Its columns."""
        return slice(self.first_col, self.last_col)

    @property
    def pixels(self) -> int:
        """How many it has."""
        return (self.last_row - self.first_row) * (self.last_col - self.first_col)


@dataclass(frozen=True)
class Filled:
    """What came of a job."""

    files: tuple[Path, ...]
    """The cubes and maps."""
    values: tuple[Any, ...]
    """What the tasks returned, by region; nothing if the job had been done before."""
    was_done: bool
    """Whether an earlier run had done the same job, so that nothing was left to do."""


def cut_regions(
    shape: tuple[int, int], *, granularity: tuple[int, int], bytes_a_pixel: int, memory_bytes: int
) -> list[Region]:
    """Cut the sky into regions that fit into a rank's memory; the number of ranks plays no part.

    Parameters
    ----------
    shape
        Rows and columns.
    granularity
        Rows and columns that are best read together.
    bytes_a_pixel
        Memory that a pixel takes while its region is computed.
    memory_bytes
        Limit for a rank, its libraries included.
    """
    rows, cols = shape
    room = memory_bytes - BASE_BYTES
    if room < bytes_a_pixel:
        least = math.ceil((BASE_BYTES + bytes_a_pixel) / MIB)
        raise ConfigError(f"--memory: a rank needs at least {least} MiB here, got {memory_bytes / MIB:.0f} MiB")
    total = rows * cols * bytes_a_pixel
    wanted = min(max(total // REGIONS, SMALLEST_BYTES), LARGEST_BYTES)
    for_pieces = math.ceil(PIECE_BYTES / (4 * cols)) * cols * bytes_a_pixel
    wanted = max(wanted, min(for_pieces, total // FEWEST_REGIONS))
    height, width = _region_shape(shape, granularity, min(wanted, room) // bytes_a_pixel, room // bytes_a_pixel)
    corners = itertools.product(range(0, rows, height), range(0, cols, width))
    return [
        Region(number, row, min(row + height, rows), col, min(col + width, cols))
        for number, (row, col) in enumerate(corners)
    ]


def _region_shape(shape: tuple[int, int], grain: tuple[int, int], wanted: int, most: int) -> tuple[int, int]:
    """Return rows and columns of a region of about `wanted` pixels: whole rows, or whole chunks, as far as possible."""
    rows, cols = shape
    for pixels in (wanted, most):
        if pixels >= grain[0] * cols:
            return min(pixels // cols // grain[0] * grain[0], rows), cols
        if grain[0] > 1 and pixels >= grain[0] * grain[1]:
            return grain[0], min(pixels // grain[0] // grain[1] * grain[1], cols)
    return (most // cols, cols) if most >= cols else (1, most)


def fill_cubes(
    pool: Pool,
    fill: Callable[[Mapping[str, CubeFile], Region], Any],
    regions: Sequence[Region],
    cubes: Mapping[str, NewCube],
    *,
    verb: str,
    digest: str,
    finish: Callable[[Mapping[str, CubeFile]], None] | None = None,
    observer: PixelObserver | None = None,
    keep_record: bool = True,
) -> Filled:
    """Fill cubes region by region over the ranks; go on where an earlier run of the same job has stopped.

    Parameters
    ----------
    pool
        The ranks.
    fill
        Called on a rank with the files and a region: writes it, returns what JSON can hold.
    regions
        All of the job.
    cubes
        Name to what is to be made; all in one folder.
    verb
        Name of the job.
    digest
        What the job is.
    finish
        Called on this rank when all regions are filled, to write what is none of theirs.
    observer
        Is told of pixels.
    keep_record
        Whether to leave a file by which the same job is known to be done.
    """
    folder = next(iter(cubes.values())).path.parent
    pixels = sum(region.pixels for region in regions)
    if observer is not None:
        observer.grow(pixels)
    paths = tuple(cube.path for cube in cubes.values())
    with RegionJournal(folder, verb, digest) as journal:
        if journal.is_done and _are_published(find_cubes(cubes, verb=verb, filled=True)):
            if observer is not None:
                observer.advance(verb, "unchanged", pixels)
            return Filled(paths, (), was_done=True)
        files = find_cubes(cubes, verb=verb, filled=len(journal.filled) == len(regions)) if journal.filled else None
        journal.start(fresh=files is None)
        if files is None:
            files = create_cubes(cubes, verb=verb)
        _fill_regions(pool, functools.partial(fill, files), regions, journal, verb, observer)
        if finish is not None:
            finish({name: file for name, file in files.items() if file.is_there})
        publish_cubes(list(files.values()))
        journal.close(keep=keep_record)
        return Filled(paths, tuple(journal.filled[region.number] for region in regions), was_done=False)


def _are_published(files: Mapping[str, CubeFile] | None) -> bool:
    return files is not None and all(file.is_published for file in files.values())


def _fill_regions(
    pool: Pool,
    fill: Callable[[Region], Any],
    regions: Sequence[Region],
    journal: RegionJournal,
    verb: str,
    observer: PixelObserver | None,
) -> None:
    left = [region for region in regions if region.number not in journal.filled]
    if observer is not None and len(left) < len(regions):
        observer.advance(verb, "unchanged", sum(r.pixels for r in regions) - sum(r.pixels for r in left))
    for outcome in pool.stream(fill, left, name=verb):
        journal.add(outcome.item.number, outcome.result())
        if observer is not None:
            observer.advance(verb, "done", outcome.item.pixels)
