"""Raw files to frames: their headers are read once, and no pixel but for the digest."""

import functools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from mpidriver.errors import DataError
from mpidriver.store._digest import file_stamp, files_digest
from mpidriver.store._fits._headers import wcs_from_header
from mpidriver.store._fits._raw import image_headers
from mpidriver.store._fits._scan import quiet
from mpidriver.store._instruments._header_values import Sources
from mpidriver.store._instruments._instrument import InstrumentOptions
from mpidriver.store._instruments._stokes import stokes_metadata
from mpidriver.store._state._records import Frame

__all__ = ["read_headers"]

_BAND = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9_.+-]*")
_SECTION = re.compile(r"\[(\d+):(\d+),(\d+):(\d+)\]")
_NUMBERS_OF_WCS = re.compile(r"(CRVAL|CRPIX|CDELT|CROTA)\d|(CD|PC)\d_\d|PV\d_\d+|[AB]P?_\d_\d")
_TABLE_WCS = re.compile(r"(CRVAL|CRPIX|CDELT|CTYPE|CUNIT)\d|(CD|PC)\d_\d|P[VS]\d_\d+|[AB]P?_(\d_\d|ORDER)")


def read_headers(path: str | Path, options: InstrumentOptions) -> list[Frame]:
    """Return the frames of one raw file.

    Parameters
    ----------
    path
        FITS file; the frames' paths are absolute.
    options
        Where the values stand.

    Raises
    ------
    DataError
        If the file cannot be read, has no image of this kind, or a value or the coordinates are missing.
    """
    path = Path(path).absolute()
    primary, images = image_headers(path)
    chosen = [image for image in _chosen(path, images, options) if _wanted((image[2], primary), options)]
    if not chosen:
        raise DataError(f"{path}: no image that [instrument] takes as a frame, of {len(images)} images")
    weight, mask = _companion(path, options.weight), _companion(path, options.mask)
    files = [path, *(other for other in (weight, mask) if other is not None)]
    stamp = file_stamp(files)  # before they are read: a change from now on is noticed
    digest = files_digest(files)
    row = _table_row(path, options) if options.table else None
    frames = []
    for number, _, header in chosen:
        sources = Sources(path, number, (header, primary), row)
        frames.append(replace(_frame(sources, options, digest, weight, mask), stamp=stamp))
    return frames


def _chosen(path: Path, images: list[Any], options: InstrumentOptions) -> Iterator[Any]:
    if options.hdus == "all-images":
        yield from images
    elif options.hdus == "first":
        yield from images[:1]
    else:
        for wanted in options.hdus:
            found = [image for image in images if wanted in (image[0], image[1])]
            if not found:
                raise DataError(f"{path}: no image HDU {wanted!r}; it has {[image[1] or image[0] for image in images]}")
            yield found[0]


def _wanted(headers: tuple[Any, ...], options: InstrumentOptions) -> bool:
    for keyword, pattern in options.only.items():
        value = next((header[keyword] for header in headers if keyword in header), "")
        if re.search(pattern, str(value)) is None:
            return False
    return True


def _companion(path: Path, substitution: tuple[str, ...]) -> Path | None:
    if not substitution:
        return None
    old, new = substitution
    if old not in path.name:
        raise DataError(f"{path}: {old!r} is not in the file's name, so that its map cannot be named")
    companion = path.with_name(path.name.replace(old, new))
    if not companion.exists():
        raise DataError(f"{path}: its map {companion.name} is not beside it")
    return companion


def _frame(sources: Sources, options: InstrumentOptions, digest: str, weight: Path | None, mask: Path | None) -> Frame:
    header = sources.headers[0]
    shape = tuple(int(header[f"NAXIS{axis}"]) for axis in range(int(header["NAXIS"]), 0, -1))
    kind = _kind(sources, options)
    optical = options.kind == "image"
    where = f"{sources.path}[{sources.hdu}]"
    metadata = stokes_metadata(where, header, shape) if not optical else _no_cube(sources, shape)
    found = {name: sources.optional(name, source) for name, source in options.metadata.items()}
    exptime_s = sources.number("exptime_s", options.exptime_s)
    if exptime_s is not None and exptime_s < 0:
        raise DataError(f"{sources.path}[{sources.hdu}]: exptime_s: expected at least 0 s, got {exptime_s}")
    gain = sources.number("gain", options.gain) if optical else None
    sections = {name: _section(sources, name, getattr(options, name)) for name in ("overscan", "science")}
    metadata |= {name: section for name, section in sections.items() if section is not None}
    has_place = kind == options.kind
    wcs_header, corners = _coordinates(sources, options, shape, sections["science"]) if has_place else (None, None)
    return Frame(
        exposure=sources.integer("exposure", options.exposure),
        detector=sources.integer("detector", options.detector),
        band=kind if kind in ("bias", "dark") else _band(sources, options),  # no filter plays a part
        path=str(sources.path),
        hdu=sources.hdu,
        digest=digest,
        exptime_s=exptime_s,
        mjd=sources.date("mjd", options.mjd),
        gain=gain,
        read_noise=sources.number("read_noise", options.read_noise) if optical else None,
        saturation=sources.number("saturation", options.saturation) if optical else None,
        wcs_header=wcs_header,
        corners=corners,
        kind=kind,
        shape=shape,
        zero_point_mag=_zero_point(sources, options, gain, exptime_s) if optical else None,
        weight_path=None if weight is None else str(weight),
        weight_hdu=sources.hdu,
        mask_path=None if mask is None else str(mask),
        mask_hdu=sources.hdu,
        mask_bits=options.mask_bits,
        metadata=metadata | {name: value for name, value in found.items() if value is not None},
    )


def _kind(sources: Sources, options: InstrumentOptions) -> str:
    """Tell frames of the sky from those of the calibration."""
    if not options.image_type:
        return options.kind
    image_type = sources.text("image_type", options.image_type)
    kinds = (kind for kind, pattern in options.calibration_types.items() if re.search(pattern, image_type))
    return next(kinds, options.kind)


def _section(sources: Sources, name: str, source: Any) -> list[int] | None:
    """Return a section of the image as x0, y0, x1, y1, counted from 0 and half open; none if there is none."""
    if not source:
        return None
    text = sources.text(name, source)
    match = _SECTION.fullmatch(text.replace(" ", ""))
    if match is None:
        raise DataError(f"{sources.path}[{sources.hdu}]: {name}: expected a section as [1:2048,1:4096], got {text!r}")
    x0, x1, y0, y1 = map(int, match.groups())
    return [x0 - 1, y0 - 1, x1, y1]


def _band(sources: Sources, options: InstrumentOptions) -> str:
    band = sources.text("band", options.band)
    if not _BAND.fullmatch(band):
        raise DataError(
            f"{sources.path}[{sources.hdu}]: band {band!r} cannot be part of a file name; give band a pattern"
        )
    return band


def _zero_point(
    sources: Sources, options: InstrumentOptions, gain: float | None, exptime_s: float | None
) -> float | None:
    """Return the AB magnitude of one electron in the frame: m = zp − 2.5 log10(counts), counts = electrons/(gain·s)."""
    zero_point = sources.number("zero_point", options.zero_point)
    if zero_point is None:
        return None
    factors = {"gain": gain} if options.zero_point_unit.startswith("ADU") else {}
    if options.zero_point_unit.endswith("/s"):
        factors["exposure time"] = exptime_s
    for name, factor in factors.items():
        if not factor or factor <= 0:
            raise DataError(
                f"{sources.path}[{sources.hdu}]: zero_point a {options.zero_point_unit} with {name} {factor}"
            )
        zero_point += 2.5 * math.log10(factor)
    return zero_point


def _no_cube(sources: Sources, shape: tuple[int, ...]) -> dict[str, Any]:
    if len(shape) != 2:
        raise DataError(f"{sources.path}[{sources.hdu}]: expected an image of two axes, the array has shape {shape}")
    return {}


def _coordinates(
    sources: Sources, options: InstrumentOptions, shape: tuple[int, ...], science: list[int] | None
) -> tuple[str | None, "np.ndarray[Any, np.dtype[np.float64]] | None"]:
    """Return the celestial coordinates as header text, and the outer corners, shape (4, 2), ra and dec in degrees."""
    if options.wcs == "none":
        return None, None
    where = f"{sources.path}[{sources.hdu}]"
    try:
        header = _table_wcs(sources) if options.wcs == "table" else sources.headers[0]
        _refuse_text(where, header)
        wcs = wcs_from_header(header)
        if not wcs.has_celestial:
            raise DataError(f"{where}: no celestial coordinates in the header; set wcs to 'table' or 'none'")
        with quiet():
            celestial = wcs.celestial
            text = celestial.to_header(relax=True).tostring()
        rows, columns = shape[-2:]
        x0, y0, x1, y1 = science or (0, 0, columns, rows)
        x, y = np.array([x0, x1, x1, x0]) - 0.5, np.array([y0, y0, y1, y1]) - 0.5
        corners = np.stack(celestial.all_pix2world(x, y, 0), axis=-1)
    except DataError:
        raise
    except Exception as error:  # astropy.wcs raises many kinds
        raise DataError(f"{where}: the coordinates cannot be used: {str(error).strip().splitlines()[-1]}") from error
    if not np.isfinite(corners).all():
        raise DataError(f"{where}: the coordinates give no position for the corners: {corners.tolist()}")
    corners[:, 0] %= 360.0
    return text, corners


def _refuse_text(where: str, header: Any) -> None:
    """Refuse coordinates with text for a number, which astropy.wcs takes for the default without a word."""
    for card in header.cards:
        if _NUMBERS_OF_WCS.fullmatch(card.keyword) and isinstance(card.value, str):
            raise DataError(f"{where}: the coordinates cannot be used: {card.keyword} = {card.value!r} is not a number")


def _table_wcs(sources: Sources) -> Any:
    """Return a header of the WCS columns of the file's row; the projection is TAN where there is none."""
    header = fits.Header([("CTYPE1", "RA---TAN"), ("CTYPE2", "DEC--TAN"), ("CUNIT1", "deg"), ("CUNIT2", "deg")])
    for name, value in (sources.row or {}).items():
        if _TABLE_WCS.fullmatch(name):
            header[name] = value
    if "CRVAL1" not in header:
        raise DataError(f"{sources.path}: its row of the table has no column CRVAL1")
    return header


def _table_row(path: Path, options: InstrumentOptions) -> Mapping[str, Any] | None:
    """Return the file's row of the table; none without a table if coordinates do not depend on it."""
    table = next((folder / options.table for folder in path.parents if (folder / options.table).is_file()), None)
    if table is None and options.wcs != "table":
        return None
    if table is None:
        raise DataError(f"{path}: no table {options.table!r} beside it or in a folder above")
    rows = _table_rows(str(table), table.stat().st_mtime_ns, options.table_key)
    if path.name not in rows:
        raise DataError(f"{path}: {table.name} has no row with {options.table_key} = {path.name!r}")
    return rows[path.name]


@functools.lru_cache(maxsize=8)
def _table_rows(table: str, modified_ns: int, key: str) -> dict[str, Mapping[str, Any]]:
    """Read a table once: file name to the row's plain values; masked ones are left out."""
    from astropy.table import Table

    layout = {".ecsv": "ascii.ecsv", ".csv": "ascii.csv"}.get(Path(table).suffix.lower())
    try:
        with quiet():
            content = Table.read(table, format=layout)
        names = content.colnames
        rows = [dict(zip(names, (_plain(value) for value in row), strict=True)) for row in content]
        found = {Path(str(row[key]).strip()).name: row for row in rows}
    except Exception as error:
        raise DataError(f"{table}: cannot be read as a table with a column {key!r}: {error!r}") from error
    return {name: {column: value for column, value in row.items() if value is not None} for name, row in found.items()}


def _plain(value: Any) -> Any:
    if np.ma.is_masked(value):
        return None
    plain = value.item() if hasattr(value, "item") and np.ndim(value) == 0 else value
    return plain.decode() if isinstance(plain, bytes) else plain
