"""Which images of a survey hold which positions, from the state database and the sky map alone.

No image is opened: frames are found by their footprints, patches by the sky map and the products that were recorded.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpidriver.drivers._cutouts._positions import Positions
from mpidriver.drivers._quantum import DataId
from mpidriver.sphere import points_near_polygon, square_about, unit_vectors
from mpidriver.store import DATASETS

if TYPE_CHECKING:
    from mpidriver.drivers._stage import Context
    from mpidriver.store import Frame, StateDatabase

__all__ = ["KINDS", "CutoutImage", "images_of_files", "images_of_messages", "images_of_pixels", "images_of_survey"]

#: What cutouts can be made of.
KINDS = ("frames", "coadds", "cubes", "raw")

#: Positions are looked up in cells of the sky of about this size.
_CELL = 0.004
#: How far the footprint of an image may be from its true edge, which may be bent.
_MARGIN_DEG = 10.0 / 3600


@dataclass(frozen=True, eq=False)
class CutoutImage:
    """One file with the positions that are to be looked for on it."""

    path: Path
    """The file, absolute."""
    dataset: str
    """What it is: a frame, a coadd, a cube, a raw frame or just a file."""
    label: str
    """Its name within the names of cutouts."""
    data_id: DataId
    """What it shows."""
    rows: "np.ndarray | None"
    """Numbers of the positions to look for; None: all."""
    hdu: int | str | None = None
    """The image's HDU; None: each image of the file that has coordinates."""
    wcs_header: str | None = None
    """Coordinates as text; None: those in the file."""


def images_of_survey(
    context: "Context",
    state: "StateDatabase",
    positions: Positions,
    kinds: Sequence[str],
    selected: Callable[[DataId], bool],
) -> list[CutoutImage]:
    """Return the images of a survey that hold positions.

    Parameters
    ----------
    context, state
        The survey.
    positions
        Where.
    kinds
        Some of `KINDS`.
    selected
        Tells which data ids count; of cubes the band is the Stokes parameter.
    """
    found: list[CutoutImage] = []
    for kind in kinds:
        if kind in ("frames", "raw"):
            found += _frames(context, state, positions, kind, selected)
        else:
            found += _patches(context, state, positions, kind, selected)
    return found


def images_of_files(files: Sequence[Path], positions: Positions, hdu: int | str | None) -> list[CutoutImage]:
    """Return files as images; all positions are looked for on each, unless they name their files themselves."""
    labels = _labels([path.name for path in files])
    return [
        CutoutImage(path, "file", label, DataId(), None, hdu=hdu) for path, label in zip(files, labels, strict=True)
    ]


def images_of_messages(folder: Path, positions: Positions, hdu: int | str | None) -> list[CutoutImage]:
    """Return the files that positions name, below a folder, each with its positions."""
    rows: dict[str, list[int]] = {}
    for row, file in enumerate(positions.files or ()):
        rows.setdefault(file, []).append(row)
    labels = _labels(list(rows))
    return [
        CutoutImage(folder / file, "file", label, DataId(), np.array(chosen), hdu=hdu)
        for (file, chosen), label in zip(rows.items(), labels, strict=True)
    ]


def images_of_pixels(root: Path, positions: Positions) -> list[CutoutImage]:
    """Return the images on which positions are known to lie, by their files relative to `root`."""
    assert positions.pixels is not None
    assert positions.files is not None
    rows: dict[tuple[str, int], list[int]] = {}
    for row, (file, hdu) in enumerate(zip(positions.files, positions.pixels.hdus, strict=True)):
        if hdu >= 0:
            rows.setdefault((file, hdu), []).append(row)
    return [
        CutoutImage(root / file, "file", "", DataId(), np.array(chosen), hdu=hdu)
        for (file, hdu), chosen in rows.items()
    ]


def _labels(names: Sequence[str]) -> list[str]:
    """Return names of files as parts of names of files, no two alike."""
    made: dict[str, None] = {}
    for name in names:
        base = re.sub(r"\.(fits|fit|fts)(\.gz|\.fz)?$", "", name, flags=re.IGNORECASE)
        base = re.sub(r"[^A-Za-z0-9_.+-]+", "_", base).strip("._-") or "file"
        label, number = base, 1
        while label in made:
            number += 1
            label = f"{base}-{number}"
        made[label] = None
    return list(made)


def _frames(
    context: "Context",
    state: "StateDatabase",
    positions: Positions,
    kind: str,
    selected: Callable[[DataId], bool],
) -> Iterator[CutoutImage]:
    rows: dict[tuple[int, int, str], list[np.ndarray]] = {}
    frames: dict[tuple[int, int, str], Frame] = {}
    for members, points in _cells(positions):
        polygon = square_about(points.mean(axis=0) / np.linalg.norm(points.mean(axis=0)), _radius_deg(points))
        for frame in state.frames_overlapping(polygon, pad_deg=_MARGIN_DEG):
            near = points_near_polygon(points, unit_vectors(*frame.footprint.T), _MARGIN_DEG)
            if near.any() and selected(_data_id(frame)):
                frames[frame.key] = frame
                rows.setdefault(frame.key, []).append(members[near])
    made = {product.path for dataset in _FRAME_DATASETS.values() for product in state.products(dataset=dataset)}
    for key, frame in sorted(frames.items()):
        image = _raw(context, frame) if kind == "raw" else _calibrated(context, frame, made)
        if image is not None:
            path, dataset, hdu, wcs_header = image
            label = f"{dataset}-{frame.exposure}-{frame.detector}-{frame.band}"
            where = np.sort(np.concatenate(rows[key]))
            yield CutoutImage(path, dataset, label, _data_id(frame), where, hdu=hdu, wcs_header=wcs_header)


def _cells(positions: Positions) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the positions of each cell of the sky that has some: their numbers and unit vectors."""
    if not len(positions):
        return
    points = unit_vectors(positions.ra_deg, positions.dec_deg)
    _, cells = np.unique(np.floor(points / _CELL).astype(int), axis=0, return_inverse=True)
    cells = cells.reshape(-1)
    order = np.argsort(cells, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(cells[order])) + 1):
        yield members, points[members]


def _radius_deg(points: np.ndarray) -> float:
    """Return the distance of the farthest point from the middle, never quite 0, deg."""
    middle = points.mean(axis=0)
    middle /= np.linalg.norm(middle)
    chord = np.linalg.norm(points - middle, axis=1).max()
    return float(np.degrees(2.0 * np.arcsin(chord / 2.0))) + 1e-6


#: Kind of a frame to the dataset of its calibrated image.
_FRAME_DATASETS = {"image": "frame", "stokes": "channel_frame"}

_Image = tuple[Path, str, int | str | None, str | None]


def _raw(context: "Context", frame: "Frame") -> _Image:
    return context.repository.resolve(frame.path), "raw", frame.hdu, frame.wcs_header


def _calibrated(context: "Context", frame: "Frame", made: set[str]) -> _Image | None:
    """Return the calibrated image of a frame, None if it has none yet."""
    dataset = _FRAME_DATASETS[frame.kind]
    path = context.repository.path(dataset, **_data_id(frame).arguments())
    return (path, dataset, 0, None) if context.repository.relative(path) in made else None


def _data_id(frame: "Frame") -> DataId:
    return DataId(exposure=frame.exposure, detector=frame.detector, band=frame.band)


#: Kind of images of patches to their dataset, and the name there of what this room calls the band.
_PATCH_DATASETS = {"coadds": ("coadd", "band"), "cubes": ("cube", "stokes")}


def _patches(
    context: "Context",
    state: "StateDatabase",
    positions: Positions,
    kind: str,
    selected: Callable[[DataId], bool],
) -> Iterator[CutoutImage]:
    """Yield the images of the one patch that each position belongs to."""
    dataset, band_name = _PATCH_DATASETS[kind]
    pattern = _pattern(dataset)
    matches = [match for product in state.products(dataset=dataset) if (match := pattern.fullmatch(product.path))]
    by_patch: dict[tuple[int, tuple[int, int]], list[Any]] = {}
    for match in matches:
        x, y = match["patch"].split(",")
        by_patch.setdefault((int(match["tract"]), (int(x), int(y))), []).append((match[band_name], match[0]))
    for (tract, patch), rows in _patches_of(context, positions, by_patch):
        for band, path in by_patch[tract, patch]:
            data_id = DataId(tract=tract, patch=patch, band=band)
            if selected(data_id):
                label = f"{dataset}-{tract}-{patch[0]},{patch[1]}-{band}"
                yield CutoutImage(context.repository.resolve(path), dataset, label, data_id, rows, hdu=0)


def _pattern(dataset: str) -> re.Pattern[str]:
    """Return the pattern of a dataset's paths, with its fields as groups."""
    pieces = re.split(r"\{(\w+)[^}]*\}", DATASETS[dataset])
    return re.compile("".join(f"(?P<{part}>.+?)" if n % 2 else re.escape(part) for n, part in enumerate(pieces)))


def _patches_of(
    context: "Context", positions: Positions, there: Any
) -> Iterator[tuple[tuple[int, tuple[int, int]], np.ndarray]]:
    """Yield tract and patch of those that have an image, each with the numbers of the positions that are its own."""
    tract_of = context.sky.find_tract(positions.ra_deg, positions.dec_deg)
    for tract in sorted({tract for tract, _ in there}):
        rows = np.flatnonzero(tract_of == tract)
        x, y = context.sky.tract(tract).sky_to_pixel(positions.ra_deg[rows], positions.dec_deg[rows])
        for patch in sorted(patch for other, patch in there if other == tract):
            own = context.sky.tract(tract).patch(patch).contains_inner(x, y)
            if own.any():
                yield (tract, patch), rows[own]
