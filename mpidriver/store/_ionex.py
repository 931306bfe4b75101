"""IONEX files: maps of the ionosphere's electron content (Schaer, Gurtner & Feltens 1998, version 1.0 and 1.1)."""

import gzip
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mpidriver.errors import DataError

__all__ = ["IonexMaps", "read_ionex"]

Array = np.ndarray[Any, Any]

#: Where the label of a line begins; what stands before it are its values.
LABEL_COLUMN = 60
MISSING = 9999
MJD_OF_ORDINAL = 678576


class IonexMaps(NamedTuple):
    """The maps of one file."""

    mjd: Array
    """Shape (time,), UTC, ascending."""
    latitude_deg: Array
    """Shape (lat,), geocentric, ascending."""
    longitude_deg: Array
    """Shape (lon,), east, ascending."""
    tecu: Array
    """Shape (time, lat, lon), 1e16 electrons/m²; NaN where unknown."""
    height_km: float
    """Height of the thin shell."""


def read_ionex(path: str | os.PathLike[str]) -> IonexMaps:
    """Read the maps of the electron content; those of its error are passed over.

    Parameters
    ----------
    path
        Text, also gzipped.

    Raises
    ------
    DataError
        If the file is missing or not IONEX, a map is incomplete, or there are fewer than two.
    """
    path = Path(path)
    lines = _lines(path)
    try:
        return _maps(path, lines)
    except (ValueError, KeyError, IndexError, StopIteration) as error:
        raise DataError(f"{path}: not readable as IONEX: {error!r}") from None


def _lines(path: Path) -> list[str]:
    try:
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    if b"IONEX VERSION / TYPE" not in content[:200]:
        kind = "compressed by compress (.Z): uncompress it first" if content[:2] == b"\x1f\x9d" else "not an IONEX file"
        raise DataError(f"{path}: {kind}")
    return content.decode("latin-1").splitlines()


def _maps(path: Path, lines: list[str]) -> IonexMaps:
    header = {line[LABEL_COLUMN:].strip(): line[:LABEL_COLUMN].split() for line in lines[: _header_length(lines)]}
    latitude, longitude = _axis(header["LAT1 / LAT2 / DLAT"]), _axis(header["LON1 / LON2 / DLON"])
    exponent = int(header.get("EXPONENT", ["-1"])[0])
    found: dict[float, Array] = {}
    start = 0
    for number, line in enumerate(lines):
        label = line[LABEL_COLUMN:].strip()
        if label == "START OF TEC MAP":
            start = number
        elif label == "END OF TEC MAP":
            mjd, values = _one_map(lines[start + 1 : number], exponent, (len(latitude), len(longitude)))
            found[mjd] = values
    if len(found) < 2:
        raise DataError(f"{path}: expected at least two maps of electron content, found {len(found)}")
    order = sorted(found)
    tecu = np.stack([found[mjd] for mjd in order])
    tecu = tecu[:, np.argsort(latitude), :][:, :, np.argsort(longitude)]
    height = float(header["HGT1 / HGT2 / DHGT"][0])
    return IonexMaps(np.array(order), np.sort(latitude), np.sort(longitude), tecu, height)


def _header_length(lines: list[str]) -> int:
    return next(number for number, line in enumerate(lines) if line[LABEL_COLUMN:].startswith("END OF HEADER"))


def _axis(words: list[str]) -> Array:
    first, last, step = map(float, words)
    return first + step * np.arange(round((last - first) / step) + 1)


def _one_map(lines: list[str], exponent: int, shape: tuple[int, int]) -> tuple[float, Array]:
    """Return the time and values of the lines of one map; an EXPONENT within holds for it."""
    import datetime

    rows: list[list[float]] = []
    mjd = np.nan
    for line in lines:
        label = line[LABEL_COLUMN:].strip()
        if label == "EPOCH OF CURRENT MAP":
            year, month, day, hour, minute, second = (int(word) for word in line[:LABEL_COLUMN].split())
            day_number = datetime.date(year, month, day).toordinal() - MJD_OF_ORDINAL
            mjd = day_number + (hour + minute / 60 + second / 3600) / 24
        elif label == "EXPONENT":
            exponent = int(line.split()[0])
        elif label == "LAT/LON1/LON2/DLON/H":
            rows.append([])
        else:
            rows[-1] += [float(line[at : at + 5]) for at in range(0, len(line.rstrip()), 5)]
    values = np.array(rows).reshape(shape)
    return float(mjd), np.where(values == MISSING, np.nan, values * 10.0**exponent)
