"""Cutting on one rank: every position of one file, which is opened once."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpidriver.drivers._cutouts._images import CutoutImage
from mpidriver.errors import DataError
from mpidriver.store import (
    Cards,
    CutoutHeader,
    atomic_batch,
    hdu_bytes,
    physical_values,
    region_planes,
)
from mpidriver.tasks.cutout import clip_box, first_pixel, is_on_image, paste
from mpidriver.tasks.positions import AnyCoordinates, TangentCoordinates

if TYPE_CHECKING:
    from mpidriver.store import RegionPlane
    from mpidriver.tasks.positions import Coordinates

__all__ = ["Cut", "CutoutShape", "cut_images"]


@dataclass(frozen=True)
class CutoutShape:
    """What a cutout is like."""

    size: float = 20.0
    """Side of the square."""
    unit: str = "pixel"
    """Unit of `size`: ``pixel`` or ``arcsec``."""
    image_only: bool = False
    """Leave out variance, mask and the other planes of an image."""
    packed: bool = False
    """One file a source with all of its cutouts, instead of a file a cutout."""
    locate_only: bool = False
    """Find out where positions lie, cut nothing."""


@dataclass(frozen=True, eq=False)
class Cut:
    """One cutout."""

    row: int
    """Number of its position."""
    hdu: int
    """Number of the image's HDU."""
    x: float
    """Column of the position on the image, px, 0-based."""
    y: float
    """Row of the position."""
    size: int
    """Side, px."""
    partial: bool
    """Whether it reaches over the image's edge."""
    name: str
    """Its file, or its image extensions in the packed file, which begin so."""
    content: bytes = b""
    """Its HDUs as extensions, if it is to be packed."""


def cut_images(
    shared: Any, folder: Path, shape: CutoutShape, root: Path, images: Sequence[CutoutImage]
) -> list[tuple[list[Cut], str]]:
    """Cut all positions of some files; files of cutouts appear together when all are cut.

    Parameters
    ----------
    shared
        The positions, as ``names``, ``ra_deg`` and ``dec_deg``.
    folder
        Where the cutouts go.
    shape
        Their size and planes.
    root
        Files are named in headers relative to it.
    images
        The files.

    Returns
    -------
    list
        For each file its cutouts, and what is wrong with the file if anything is: then there are none.
    """
    results = []
    with atomic_batch(folder) as begin:
        for image in images:
            try:
                cuts = []
                for cut, pieces in _cut_image(shared, shape, root, image):
                    if not (shape.packed or shape.locate_only):
                        with open(begin(f"{cut.name}.fits"), "wb", buffering=0) as file:
                            file.write(b"".join(pieces))
                    cuts.append(cut)
                results.append((cuts, ""))
            except DataError as error:
                results.append(([], str(error)))
    return results


def _cut_image(shared: Any, shape: CutoutShape, root: Path, image: CutoutImage) -> Iterator[tuple[Cut, list[Any]]]:
    with region_planes(image.path) as planes:
        for planes_of_one in _images(planes, image):
            yield from _cut_planes(shared, shape, root, image, planes_of_one)


def _images(planes: "Sequence[RegionPlane]", image: CutoutImage) -> "list[list[RegionPlane]]":
    """Return the images to cut, each with the planes that belong to it: variance, mask and so on."""
    first = planes[0] if planes else None
    if first is not None and first.number == 0 and {"VARIANCE", "MASK"} <= {plane.name for plane in planes[1:]}:
        return [[plane for plane in planes if plane.shape == first.shape]]
    if image.hdu is not None:
        found = [plane for plane in planes if image.hdu in (plane.number, plane.name)]
        if not found:
            there = ", ".join(plane.name or str(plane.number) for plane in planes)
            raise DataError(f"{image.path}: no image HDU {image.hdu!r}; it has {there or 'no image'}")
        return [[plane] for plane in found]
    found = [plane for plane in planes if "CTYPE1" in plane.header]
    if not found:
        raise DataError(f"{image.path}: no image with coordinates")
    return [[plane] for plane in found]


def _cut_planes(
    shared: Any, shape: CutoutShape, root: Path, image: CutoutImage, planes: "list[RegionPlane]"
) -> Iterator[tuple[Cut, list[Any]]]:
    main = planes[0]
    places = _places(shared, shape, image, main)
    if shape.locate_only:
        yield from ((place, []) for place in places)
        return
    if shape.image_only:
        planes = planes[:1]
    boxes = [clip_box(*_corner(place), place.size, main.shape) for place in places]
    headers = [CutoutHeader(plane.header, wcs_header=image.wcs_header) for plane in planes]
    tables = main.tables()
    if tables and shape.packed:
        raise DataError(f"{image.path}: its coordinates stand in tables, of which a packed file cannot hold several")
    parts = zip(*(plane.read(boxes) for plane in planes), strict=True)
    for place, box, pixels in zip(places, boxes, parts, strict=True):
        values = _values(shared, place, image, root)
        pieces: list[Any] = []
        for plane, header, part in zip(planes, headers, pixels, strict=True):
            filled, float_bytes = _filled(part, plane, box, place, is_main=plane is main)
            text = header.of_box(
                *_corner(place),
                filled.shape,
                name=_extension(plane, main, place.name, packed=shape.packed),
                values=values if plane is main else {},
                float_bytes=float_bytes,
            )
            pieces += hdu_bytes(text, filled)
        pieces += tables
        yield (dataclasses.replace(place, content=b"".join(pieces)) if shape.packed else place), pieces


def _places(shared: Any, shape: CutoutShape, image: CutoutImage, plane: "RegionPlane") -> list[Cut]:
    """Return what is to be cut out of an image, from its lower rows to the upper ones."""
    if shared.pixels is not None:
        return _known_places(shared, image, plane)
    sky = _coordinates(image, plane)
    rows, x, y = _on_image(shared, image, sky, plane.shape)
    size = _size_px(shape, sky) if len(rows) else 0
    label = image.label if image.hdu is not None or plane.number == 0 else f"{image.label}-{plane.number}"
    return [
        _place(row, plane, x, y, size, label if shape.packed else f"{shared.names[row]}-{label}")
        for row, x, y in zip(rows.tolist(), x.tolist(), y.tolist(), strict=True)
    ]


def _known_places(shared: Any, image: CutoutImage, plane: "RegionPlane") -> list[Cut]:
    """Return the same, of positions of which an earlier run has found out where they lie."""
    pixels = shared.pixels
    assert image.rows is not None
    rows = image.rows[is_on_image(pixels.x[image.rows], pixels.y[image.rows], plane.shape)]
    rows = rows[np.argsort(pixels.y[rows], kind="stable")]
    return [
        _place(
            row, plane, float(pixels.x[row]), float(pixels.y[row]), int(pixels.size[row]), _stem(pixels.cutouts[row])
        )
        for row in rows.tolist()
    ]


def _stem(name: str) -> str:
    return name.removesuffix(".fits")


def _place(row: int, plane: "RegionPlane", x: float, y: float, size: int, name: str) -> Cut:
    x0, y0 = int(first_pixel(x, size)), int(first_pixel(y, size))
    height, width = plane.shape[-2:]
    is_whole = x0 >= 0 and y0 >= 0 and x0 + size <= width and y0 + size <= height
    return Cut(row, plane.number, x, y, size, not is_whole, name)


def _corner(place: Cut) -> tuple[int, int]:
    """Return the first column and row of a cutout on its image."""
    return int(first_pixel(place.x, place.size)), int(first_pixel(place.y, place.size))


def _values(shared: Any, place: Cut, image: CutoutImage, root: Path) -> dict[str, str | int | float]:
    """Return what a cutout's header says of it beyond that of its image."""
    x0, y0 = _corner(place)
    return {
        "CUTNAME": shared.names[place.row],
        "CUTRA": float(shared.ra_deg[place.row]),
        "CUTDEC": float(shared.dec_deg[place.row]),
        "CUTFILE": _relative(image.path, root),
        "CUTHDU": place.hdu,
        "CUTX0": x0,
        "CUTY0": y0,
        "CUTSTATE": "partial" if place.partial else "whole",
    }


def _extension(plane: "RegionPlane", main: "RegionPlane", name: str, *, packed: bool) -> str | None:
    """Return the EXTNAME of a plane in a cutout's file, None for its primary HDU."""
    if packed:
        return name if plane is main else f"{name}-{plane.name}"
    return None if plane is main else plane.name


def _coordinates(image: CutoutImage, plane: "RegionPlane") -> "Coordinates":
    """Return the coordinates of an image's first two axes on the sky."""
    header = plane.header if image.wcs_header is None else Cards(image.wcs_header)
    try:
        simple = TangentCoordinates.of_header(header.get)
    except (TypeError, ValueError):
        simple = None
    return AnyCoordinates(_celestial(f"{image.path}[{plane.number}]", header.text)) if simple is None else simple


def _celestial(where: str, header: str) -> Any:
    from mpidriver.store import wcs_from_header  # loads astropy, which takes longer than a thousand cutouts

    try:
        wcs = wcs_from_header(header)
    except Exception as error:
        raise DataError(f"{where}: its coordinates cannot be read: {error}") from None
    if not wcs.has_celestial:
        raise DataError(f"{where}: has no coordinates on the sky")
    if {wcs.wcs.lng, wcs.wcs.lat} != {0, 1}:
        raise DataError(f"{where}: its first two axes are not those of the sky")
    return wcs.celestial if wcs.naxis > 2 else wcs


def _on_image(shared: Any, image: CutoutImage, sky: "Coordinates", shape: tuple[int, ...]) -> tuple[Any, Any, Any]:
    """Return the positions that lie on an image, from its lower rows to the upper ones: numbers, x and y."""
    rows = _near(shared, sky, shape) if image.rows is None else image.rows
    x, y = sky.to_pixel(shared.ra_deg[rows], shared.dec_deg[rows]) if len(rows) else (rows, rows)
    on = np.flatnonzero(is_on_image(x, y, shape))
    on = on[np.argsort(y[on], kind="stable")]
    return rows[on], x[on], y[on]


def _near(shared: Any, sky: "Coordinates", shape: tuple[int, ...]) -> "np.ndarray":
    """Return the numbers of the positions that are no farther from an image's middle than its corners are."""
    from mpidriver.sphere import unit_vectors

    height, width = shape[-2:]
    x = np.array([(width - 1) / 2, -0.5, width / 2, width - 0.5, width - 0.5, width - 0.5, width / 2, -0.5, -0.5])
    y = np.array([(height - 1) / 2, -0.5, -0.5, -0.5, height / 2, height - 0.5, height - 0.5, height - 0.5, height / 2])
    outline = unit_vectors(*sky.to_sky(x, y))
    if not np.isfinite(outline).all():
        return np.arange(len(shared.ra_deg))
    reach = np.min(outline @ outline[0])
    limit = math.cos(1.05 * math.acos(min(max(reach, -1.0), 1.0)))
    return np.flatnonzero(shared.vectors @ outline[0] >= limit)


def _size_px(shape: CutoutShape, sky: "Coordinates") -> int:
    """Return the side of a cutout on an image, px."""
    if shape.unit == "pixel":
        return round(shape.size)
    return max(1, math.ceil(shape.size / 3600.0 / sky.pixel_scale_deg - 1e-9))


def _filled(
    part: "np.ndarray", plane: "RegionPlane", box: Any, place: Cut, *, is_main: bool
) -> "tuple[np.ndarray, int]":
    """Return the pixels of a cutout, and their bytes if they were made floats to let NaN stand beyond the edge."""
    if not place.partial:
        return part, 0
    corner = _corner(place)
    if part.dtype.kind == "f":
        return paste(part, box, *corner, place.size, fill=np.nan), 0
    if is_main:
        physical = physical_values(part, plane.header)
        return paste(physical, box, *corner, place.size, fill=np.nan), physical.itemsize
    return paste(part, box, *corner, place.size, fill=_nothing(plane)), 0


def _nothing(plane: "RegionPlane") -> int:
    """Return the stored value that stands for no data in a mask, and for 0 in other planes of integers."""
    bit = plane.header.get("MP_NO_DATA")
    if bit is not None:
        return 1 << int(bit)
    return -int(plane.header.get("BZERO", 0))


def _relative(path: Path, root: Path) -> str:
    return str(path.relative_to(root) if path.is_relative_to(root) else path.name)
