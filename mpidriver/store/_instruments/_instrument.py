"""How the headers of raw frames are read: the tables [instrument] and [polarimeter] of survey.toml."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from mpidriver.errors import ConfigError
from mpidriver.options import option

__all__ = ["CALIBRATION_KINDS", "SOURCE_KEYS", "InstrumentOptions"]

#: Kinds of raw frames that calibration frames are made from.
CALIBRATION_KINDS = ("bias", "dark", "flat")

#: What a table that describes one value may hold.
SOURCE_KEYS = (
    *("keyword", "path", "column", "translated", "value"),
    *("pattern", "template", "format", "scale", "offset", "default", "optional"),
)

_SOURCES = ("exposure", "detector", "band", "exptime_s", "mjd", "gain", "read_noise", "saturation", "zero_point")
_HOW = "a keyword, a number, or a table of keyword|path|column|translated|value, pattern, scale … (docs/store.md)"


@dataclass(frozen=True)
class InstrumentOptions:
    """Where the values that describe a raw frame stand.

    Each value is a header keyword (of the image's HDU, else of the primary), a number, or a table: ``keyword`` (one,
    or a list of which the mean is taken), ``path`` (a regular expression on the file's path), ``column`` (of `table`),
    ``translated`` (a property of astro-metadata-translator) or ``value``; then ``pattern`` (a regular expression; its
    matched groups are joined), ``template`` (of `str.format`, for numbers that become names), ``format`` (of
    `strptime`, for dates), ``scale`` and ``offset`` (number · scale + offset), and ``default`` where there is nothing,
    or ``optional = true`` where nothing will do.
    """

    kind: str = option("image", "what a raw file holds", choices=("image", "stokes"))
    hdus: Any = option("all-images", "HDUs that are frames: 'all-images', 'first', or a list of numbers and names")
    only: dict[str, str] = option({}, "keyword = regular expression; HDUs that do not match are no frames")
    image_type: Any = option("", "what tells calibration frames from frames of the sky, as OBSTYPE or IMAGETYP")
    calibration_types: dict[str, str] = option(
        {"bias": "(?i)^(bias|zero)", "dark": "(?i)^dark", "flat": "(?i)^(dome|twilight|sky)? ?flat"},
        "regular expression of image_type for each kind of calibration frame: bias, dark, flat",
    )
    exposure: Any = option("EXPID", f"exposure number: {_HOW}; of texts the digits count")
    detector: Any = option("DETECTOR", "detector or beam number; of texts the digits count")
    band: Any = option("FILTER", "name of the band")
    exptime_s: Any = option("EXPTIME", "exposure time", unit="s")
    mjd: Any = option("MJD-OBS", "start of the exposure, also a date in ISO 8601", unit="d")
    gain: Any = option("GAIN", "gain", unit="electron/ADU")
    read_noise: Any = option("RDNOISE", "read noise", unit="electron")
    saturation: Any = option("SATURATE", "counts at which a pixel saturates", unit="ADU")
    zero_point: Any = option(None, "AB magnitude of one zero_point_unit", unit="mag")
    zero_point_unit: str = option(
        "electron", "what has the magnitude zero_point", choices=("electron", "electron/s", "ADU", "ADU/s")
    )
    overscan: Any = option("", "overscan of a raw image, a section as [2049:2112,1:4096] (BIASSEC); '' for none")
    science: Any = option("", "section of a raw image that is kept (TRIMSEC, DATASEC); '' for all of it")
    metadata: dict[str, Any] = option({}, "further values by name; what a header lacks is left out")
    wcs: str = option("header", "where coordinates stand", choices=("header", "table", "none"))
    table: str = option("", "table beside the frames, or in a folder above them, with a row a file: ECSV, CSV or FITS")
    table_key: str = option("file", "column of the table with the file names")
    weight: tuple[str, ...] = option((), "text in a file's name and what stands there in the weight map's name")
    mask: tuple[str, ...] = option((), "text in a file's name and what stands there in the mask map's name")
    mask_bits: int = option(-1, "bits of the mask map that mean a bad pixel; -1: any")

    def __post_init__(self) -> None:
        for name in _SOURCES:
            _check_source(name, getattr(self, name))
        for name, source in self.metadata.items():
            _check_source(f"metadata.{name}", source)
        for name in ("weight", "mask"):
            if len(getattr(self, name)) not in (0, 2):
                raise ConfigError(f"{name} must be two texts, as ['_ooi_', '_oow_'], got {list(getattr(self, name))}")
        if self.wcs == "table" and not self.table:
            raise ConfigError("wcs = 'table' needs the option table, the name of the table")
        if not (self.hdus in ("all-images", "first") or isinstance(self.hdus, (list, tuple))):
            raise ConfigError(f"hdus must be 'all-images', 'first' or a list, got {self.hdus!r}")
        for name, pattern in self.calibration_types.items():
            if name not in CALIBRATION_KINDS:
                raise ConfigError(f"calibration_types: unknown kind {name!r}; known: {', '.join(CALIBRATION_KINDS)}")
            _check_pattern(f"calibration_types.{name}", pattern)
        for keyword, pattern in self.only.items():
            _check_pattern(f"only.{keyword}", pattern)

    def __hash__(self) -> int:
        return hash(repr([getattr(self, item.name) for item in fields(self)]))


def _check_source(name: str, source: Any) -> None:
    if source is None and name == "zero_point":
        return
    if isinstance(source, bool) or not isinstance(source, (str, int, float, Mapping)):
        raise ConfigError(f"{name} must be {_HOW}, got {source!r}")
    if not isinstance(source, Mapping):
        return
    unknown = sorted(set(source) - set(SOURCE_KEYS))
    if unknown:
        raise ConfigError(f"{name}: unknown key {unknown[0]!r}; known keys: {', '.join(SOURCE_KEYS)}")
    if len({"keyword", "path", "column", "translated", "value"} & set(source)) != 1:
        raise ConfigError(f"{name} must have one of keyword, path, column, translated and value, got {dict(source)}")
    for key in ("pattern", "path"):
        if key in source:
            _check_pattern(f"{name}.{key}", source[key])


def _check_pattern(name: str, pattern: Any) -> None:
    try:
        re.compile(pattern)
    except (re.error, TypeError) as error:
        raise ConfigError(f"{name} is no regular expression: {error}, got {pattern!r}") from None
