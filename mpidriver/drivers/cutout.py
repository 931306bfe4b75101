"""The cutout driver: squares of pixels about positions, out of whatever images hold them.

Which image holds which position is known from the state database; scatter the images, a few together; each rank opens
each of its images once and cuts all positions on it. Gather what was cut into one table.
"""

import csv
import dataclasses
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpidriver.drivers._cutouts._cutting import Cut, CutoutShape, cut_images
from mpidriver.drivers._cutouts._images import CutoutImage
from mpidriver.drivers._cutouts._positions import Positions
from mpidriver.sphere import unit_vectors
from mpidriver.store import atomic_batch, write_text

if TYPE_CHECKING:
    from mpidriver.pool import Pool

__all__ = ["CutoutReport", "CutoutRow", "CutoutShape", "cut_out"]

#: Name of the table among the cutouts.
TABLE = "cutouts.csv"
#: Name of the table of where positions lie, when nothing is cut.
PLACES = "pixels.csv"
#: Parts for each rank, so that ranks end together; and positions a part, so that the disk is synced rarely.
_PARTS_A_RANK, _POSITIONS_A_PART = 8, 400
#: What opening a file costs, in positions.
_FILE_COST = 10
#: Packed files written together.
_SOURCES_A_PART = 500


@dataclass(frozen=True)
class CutoutRow:
    """One row of the table: a cutout, or a position that was not cut."""

    position: int
    """Number of the position, from 0."""
    name: str
    """Its name."""
    ra: float
    """Right ascension, deg."""
    dec: float
    """Declination, deg."""
    status: str
    """``whole``; ``partial``: NaN beyond the image's edge; ``off``: on no image; ``failed``: the file is unreadable."""
    dataset: str = ""
    """What the image is."""
    exposure: int | None = None
    """Its exposure."""
    detector: int | None = None
    """Its detector."""
    band: str | None = None
    """Its filter, channel or Stokes parameter."""
    tract: int | None = None
    """Its tract."""
    patch: str | None = None
    """Its patch."""
    file: str = ""
    """Its file."""
    hdu: int | None = None
    """Number of its HDU."""
    x: float | None = None
    """Column of the position on the image, px, from 0."""
    y: float | None = None
    """Row of the position on the image, px, from 0."""
    size: int | None = None
    """Side of the cutout, px."""
    cutout: str = ""
    """File of the cutout."""
    extension: str = ""
    """Its image extension in a packed file."""
    reason: str = ""
    """Why it was not cut."""


@dataclass(frozen=True)
class CutoutReport:
    """What came of a request for cutouts."""

    rows: list[CutoutRow]
    """By position, then in the order of the images."""
    failures: list[tuple[str, str]]
    """Files that could not be read, each with the reason."""
    path: Path
    """The table of the rows."""

    def count(self, status: str) -> int:
        """Return how many rows have a status."""
        return sum(row.status == status for row in self.rows)

    def names(self, status: str) -> list[str]:
        """Return the names of the positions with a status, in their order."""
        return list(dict.fromkeys(row.name for row in self.rows if row.status == status))


def cut_out(
    images: Sequence[CutoutImage],
    positions: Positions,
    folder: Path,
    *,
    shape: CutoutShape,
    root: Path,
    pool: "Pool",
) -> CutoutReport:
    """Cut positions out of images, write the cutouts and a table of them.

    Parameters
    ----------
    images
        The images with their positions.
    positions
        All positions.
    folder
        Where cutouts and table go.
    shape
        What cutouts are like.
    root
        Files are named relative to it in headers and table.
    pool
        Reads and writes.
    """
    shared = pool.share(
        names=positions.names,
        ra_deg=positions.ra_deg,
        dec_deg=positions.dec_deg,
        vectors=unit_vectors(positions.ra_deg, positions.dec_deg),
        pixels=positions.pixels,
    )
    parts = list(_parts(images, len(positions), pool.size))

    def cut(part: Sequence[CutoutImage]) -> list[tuple[list[Cut], str]]:
        return cut_images(shared, folder, shape, root, part)

    results = [result for part in pool.map(cut, parts, name="cutouts") for result in part]
    ordered = [image for part in parts for image in part]
    if shape.packed:
        _pack(results, positions, folder, pool)
    failures = [(str(image.path), reason) for image, (_, reason) in zip(ordered, results, strict=True) if reason]
    rows = _rows(ordered, results, positions, root, packed=shape.packed)
    table = folder / (PLACES if shape.locate_only else TABLE)
    write_text(table, _csv(rows))
    return CutoutReport(rows, failures, table)


def _parts(images: Sequence[CutoutImage], everything: int, ranks: int) -> Iterator[list[CutoutImage]]:
    """Yield images in parts of about equal work."""
    costs = [_FILE_COST + (everything // 100 if image.rows is None else len(image.rows)) for image in images]
    enough = max(sum(costs) / (_PARTS_A_RANK * ranks), min(_POSITIONS_A_PART, sum(costs) / ranks))
    part: list[CutoutImage] = []
    cost = 0
    for image, own in zip(images, costs, strict=True):
        part.append(image)
        cost += own
        if cost >= enough:
            yield part
            part, cost = [], 0
    if part:
        yield part


def _pack(results: list[tuple[list[Cut], str]], positions: Positions, folder: Path, pool: "Pool") -> None:
    """Write one file a source with all of its cutouts, in the order of the images."""
    contents: dict[int, list[bytes]] = {}
    for cuts, _ in results:
        for cut in cuts:
            contents.setdefault(cut.row, []).append(cut.content)
    rows = sorted(contents)
    groups = [rows[start : start + _SOURCES_A_PART] for start in range(0, len(rows), _SOURCES_A_PART)]
    write = _packed_writer(folder)
    pool.map(write, [[(positions.names[row], b"".join(contents[row])) for row in group] for group in groups])


def _packed_writer(folder: Path) -> Callable[[list[tuple[str, bytes]]], None]:
    from mpidriver.store import EMPTY_PRIMARY

    def write(sources: list[tuple[str, bytes]]) -> None:
        with atomic_batch(folder) as begin:
            for name, content in sources:
                with open(begin(f"{name}.fits"), "wb", buffering=0) as file:
                    file.write(EMPTY_PRIMARY + content)

    return write


def _rows(
    images: Sequence[CutoutImage],
    results: Sequence[tuple[list[Cut], str]],
    positions: Positions,
    root: Path,
    *,
    packed: bool,
) -> list[CutoutRow]:
    """Return what was cut and what was not, by position, then in the order of the images."""
    found: list[tuple[int, CutoutRow]] = []
    for image, (cuts, reason) in zip(images, results, strict=True):
        about = _about(image, root)
        found += [(cut.row, _cut_row(cut, positions, about, packed=packed)) for cut in cuts]
        if reason and image.rows is not None:
            found += [
                (int(row), CutoutRow(*_place(positions, int(row)), "failed", **about, reason=reason))
                for row in image.rows
            ]
    known = {row for row, _ in found}
    found += [(row, _not_cut(positions, row)) for row in range(len(positions)) if row not in known]
    return [row for _, row in sorted(found, key=lambda pair: pair[0])]


def _not_cut(positions: Positions, row: int) -> CutoutRow:
    """Return the row of a position that lies on no image, as far as is known."""
    file = "" if positions.files is None else positions.files[row]
    reason = "" if positions.pixels is None else positions.pixels.reasons[row]
    status = "off" if reason in ("", _OFF) else "failed"
    return CutoutRow(*_place(positions, row), status, file=file, reason=reason or _OFF)


_OFF = "on no image"


def _cut_row(cut: Cut, positions: Positions, about: dict[str, Any], *, packed: bool) -> CutoutRow:
    return CutoutRow(
        *_place(positions, cut.row),
        "partial" if cut.partial else "whole",
        **about,
        hdu=cut.hdu,
        x=cut.x,
        y=cut.y,
        size=cut.size,
        cutout=f"{positions.names[cut.row] if packed else cut.name}.fits",
        extension=cut.name if packed else "",
    )


def _place(positions: Positions, row: int) -> tuple[int, str, float, float]:
    return row, positions.names[row], float(positions.ra_deg[row]), float(positions.dec_deg[row])


def _about(image: CutoutImage, root: Path) -> dict[str, Any]:
    """Return the columns that tell which image a cutout is from."""
    ids = image.data_id
    return {
        "dataset": image.dataset,
        "exposure": ids.exposure,
        "detector": ids.detector,
        "band": ids.band,
        "tract": ids.tract,
        "patch": None if ids.patch is None else f"{ids.patch[0]},{ids.patch[1]}",
        "file": str(image.path.relative_to(root) if image.path.is_relative_to(root) else image.path),
    }


def _csv(rows: Sequence[CutoutRow]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [field.name for field in dataclasses.fields(CutoutRow)]
    writer.writerow(names)
    writer.writerows([getattr(row, name) for name in names] for row in rows)
    return text.getvalue()
