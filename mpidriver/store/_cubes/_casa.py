"""Cubes as CASA images, read by python-casacore."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from mpidriver.errors import DataError
from mpidriver.store._cubes._axes import STOKES_NUMBERS, CubeAxes, find_axes, sky_header
from mpidriver.store._cubes._channels import header_frequencies, spectral_cards
from mpidriver.store._cubes._source import ALL, Array, CubeSource

__all__ = ["CasaCube", "open_casa"]

_DEGREES = {"rad": 180.0 / np.pi, "'": 1.0 / 60.0, "arcmin": 1.0 / 60.0, "arcsec": 1.0 / 3600.0, '"': 1.0 / 3600.0}
#: Reference frame of a direction -> keywords and the types of its axes.
_FRAMES = {
    "J2000": ({"RADESYS": "FK5", "EQUINOX": 2000.0}, ("RA---", "DEC--")),
    "ICRS": ({"RADESYS": "ICRS"}, ("RA---", "DEC--")),
    "B1950": ({"RADESYS": "FK4", "EQUINOX": 1950.0}, ("RA---", "DEC--")),
    "GALACTIC": ({}, ("GLON-", "GLAT-")),
}


@dataclass(frozen=True)
class CasaCube(CubeSource):
    """A CASA image."""

    axes: CubeAxes
    """Which axis is which."""
    is_masked: bool
    """Whether it has a mask, whose pixels become NaN."""

    def read(self, rows: slice, cols: slice, chans: slice = ALL) -> Array:
        """Return a region, (chan, row, col)."""
        axes = self.axes
        first, last = list(axes.at), list(axes.at)
        for axis, wanted in ((axes.chan, chans), (axes.row, rows), (axes.col, cols)):
            start, stop, _ = wanted.indices(axes.shape[axis])
            first[axis], last[axis] = start, stop - 1
        image = _opened(Path(self.path))
        region: Array = image.getdata(first, last)
        if self.is_masked:
            region = np.where(image.getmask(first, last), np.float32(np.nan), region)
        three = (axes.chan, axes.row, axes.col)
        kept = tuple(slice(None) if axis in three else 0 for axis in range(len(axes.at)))
        return region.reshape(_lengths(first, last))[kept].transpose(axes.order)


def _lengths(first: list[int], last: list[int]) -> list[int]:
    return [stop - start + 1 for start, stop in zip(first, last, strict=True)]


def open_casa(path: Path, stokes: str | None) -> CasaCube:
    """Open a CASA image."""
    image = _opened(path)
    shape = tuple(int(length) for length in image.shape())
    header = _header(image, len(shape))
    axes = find_axes(shape, header, str(path), stokes)
    chunks = _chunks(path, shape)
    return CasaCube(
        path=str(path.resolve()),
        shape=axes.cube_shape,
        header_text=sky_header(header, axes).tostring(),
        freq_hz=header_frequencies(header, axes),
        spectral_header=spectral_cards(header, axes),
        granularity=(chunks[axes.row], chunks[axes.col]),
        bytes_a_pixel=axes.cube_shape[0] * 8,
        stored="<f4",
        spectral_last=chunks[axes.chan] == axes.cube_shape[0],
        axes=axes,
        is_masked=_is_masked(path),
    )


def _opened(path: Path) -> Any:
    from casacore.images import image

    if not (path / "table.dat").exists():
        raise DataError(f"{path}: a folder without table.dat is no CASA image")
    try:
        return image(str(path))
    except RuntimeError as error:
        raise DataError(f"{path}: cannot be read as a CASA image: {error}") from None


def _chunks(path: Path, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of the tiles on disk, slowest axis first."""
    from casacore.tables import table

    with table(str(path), ack=False) as pixels:
        managers = pixels.getdminfo().values()
    for manager in managers:
        for cube in manager.get("SPEC", {}).get("HYPERCUBES", {}).values():
            tile = [int(length) for length in np.ravel(cube.get("TileShape", ()))]
            if len(tile) == len(shape):
                return tuple(min(a, b) for a, b in zip(reversed(tile), shape, strict=True))
    return shape


def _is_masked(path: Path) -> bool:
    """Tell whether one of the image's masks is its default."""
    from casacore.tables import table

    with table(str(path), ack=False) as pixels:
        return bool(pixels.getkeywords().get("Image_defaultmask"))


def _header(image: Any, axes: int) -> Any:
    """Return coordinates, unit and beam of a CASA image as a FITS header."""
    header = fits.Header()
    described = image.coordinates().dict()
    for name, coordinate in described.items():
        kind = name.rstrip("0123456789")
        numbers = [int(pixel) + 1 for pixel in described.get(f"pixelmap{name[len(kind) :]}", ())]
        if kind == "direction":
            _describe_sky(header, coordinate, numbers)
        elif kind == "spectral":
            _describe_spectrum(header, coordinate, numbers[0])
        elif kind == "stokes":
            values = [STOKES_NUMBERS.get(str(stokes), 0) for stokes in coordinate["stokes"]]
            step = values[1] - values[0] if len(values) > 1 else 1
            _describe_axis(header, numbers[0], "STOKES", values[0], 1.0, step)
    if image.unit():
        header["BUNIT"] = str(image.unit())
    beam = (image.imageinfo() or {}).get("restoringbeam", {})
    for key, word in (("BMAJ", "major"), ("BMIN", "minor"), ("BPA", "positionangle")):
        if word in beam:
            header[key] = _degrees(float(beam[word]["value"]), str(beam[word]["unit"]))
    return header


def _describe_axis(
    header: Any, number: int, kind: str, value: float, pixel: float, step: float, unit: str = ""
) -> None:
    header[f"CTYPE{number}"], header[f"CRVAL{number}"] = kind, value
    header[f"CRPIX{number}"], header[f"CDELT{number}"] = pixel, step
    if unit:
        header[f"CUNIT{number}"] = unit


def _describe_sky(header: Any, coordinate: Any, numbers: list[int]) -> None:
    cards, names = _FRAMES.get(str(coordinate["system"]), ({}, ("RA---", "DEC--")))
    header.update(cards)
    for index, number in enumerate(numbers):
        unit = str(coordinate["units"][index])
        value, step = (_degrees(float(coordinate[key][index]), unit) for key in ("crval", "cdelt"))
        kind = f"{names[index]}{coordinate['projection']}"
        _describe_axis(header, number, kind, value, float(coordinate["crpix"][index]) + 1.0, step, "deg")
    matrix = np.asarray(coordinate["pc"])
    for row, first in enumerate(numbers):
        for col, second in enumerate(numbers):
            if matrix[row, col] != float(row == col):
                header[f"PC{first}_{second}"] = float(matrix[row, col])
    for key, name in (("LONPOLE", "longpole"), ("LATPOLE", "latpole")):
        if name in coordinate:
            header[key] = float(coordinate[name])


def _degrees(value: float, unit: str) -> float:
    return value * _DEGREES.get(unit, 1.0)


def _describe_spectrum(header: Any, coordinate: Any, number: int) -> None:
    if "wcs" not in coordinate:  # a table of frequencies: not linear
        header[f"CTYPE{number}"] = "FREQ-TAB"
        return
    wcs = coordinate["wcs"]
    kind = str(wcs.get("ctype", "FREQ")).rstrip("\0 ")
    unit = str(coordinate.get("unit", "Hz"))
    _describe_axis(header, number, kind, float(wcs["crval"]), float(wcs["crpix"]) + 1.0, float(wcs["cdelt"]), unit)
