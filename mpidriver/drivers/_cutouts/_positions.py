"""Lists of sky positions: from the command line, a catalogue or messages."""

import csv
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpidriver.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Pixels", "Positions", "positions_at", "read_catalogue", "read_messages", "read_pixels"]

#: Names that columns are known by, the likeliest first.
_COLUMNS = {
    "ra": ("ra", "ra_deg", "raj2000", "ra_icrs", "alpha_j2000", "right_ascension", "_raj2000"),
    "dec": ("dec", "dec_deg", "dej2000", "decj2000", "de_icrs", "delta_j2000", "declination", "_dej2000"),
    "name": ("name", "id", "source_id", "object_id", "designation"),
}
_TABLE_ENDINGS = (".ecsv", ".vot", ".votable", ".xml")


@dataclass(frozen=True, eq=False)
class Pixels:
    """Where positions lie on images, as an earlier run found out."""

    x: "np.ndarray"
    """Column, px, 0-based; NaN for positions on no image."""
    y: "np.ndarray"
    """Row."""
    hdus: tuple[int, ...]
    """Number of the image's HDU; -1 for positions on no image."""
    size: "np.ndarray"
    """Side of the cutout, px."""
    cutouts: tuple[str, ...]
    """Name of the cutout's file."""
    reasons: tuple[str, ...]
    """Why there is nothing to cut, empty where there is."""


@dataclass(frozen=True, eq=False)
class Positions:
    """Positions on the sky, each with a name of its own."""

    names: tuple[str, ...]
    """Names, no two alike, fit for files."""
    ra_deg: "np.ndarray"
    """Right ascension, deg, ICRS; float64."""
    dec_deg: "np.ndarray"
    """Declination, deg; float64."""
    files: tuple[str, ...] | None = None
    """The file that each position is to be cut from; None: whatever images hold it."""
    pixels: "Pixels | None" = None
    """Where they lie there, if that is known already."""

    def __len__(self) -> int:
        return len(self.names)

    def __post_init__(self) -> None:
        wrong = [
            number
            for number, (ra, dec) in enumerate(zip(self.ra_deg, self.dec_deg, strict=True))
            if not (-360.0 <= ra <= 360.0 and -90.0 <= dec <= 90.0)
        ]
        if wrong:
            ra, dec = self.ra_deg[wrong[0]], self.dec_deg[wrong[0]]
            more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            raise ConfigError(
                f"position {wrong[0] + 1} is no place on the sky: ra {ra}, dec {dec}{more}; expected degrees"
            )


def positions_at(texts: Sequence[str]) -> Positions:
    """Return positions written as ``RA,DEC``: degrees, or ``hh:mm:ss.s,±dd:mm:ss``.

    Raises
    ------
    ConfigError
        If a text is no position.
    """
    pairs = [_pair(text) for text in texts]
    return _made([None] * len(pairs), pairs)


def _pair(text: str) -> tuple[float, float]:
    try:
        ra, dec = text.split(",")
        return (15.0 if ":" in ra else 1.0) * _degrees(ra), _degrees(dec)
    except ValueError:
        raise ConfigError(f"--at {text!r}: expected RA,DEC in degrees, or as 10:00:28.6,+02:12:21") from None


def _degrees(text: str) -> float:
    parts = [float(part) for part in text.strip().lstrip("+-").split(":")]
    if len(parts) > 3 or not all(math.isfinite(part) for part in parts):
        raise ValueError(text)
    value = sum(part / 60.0**place for place, part in enumerate(parts))
    return -value if text.strip().startswith("-") else value


def read_catalogue(path: str, columns: str | None = None) -> Positions:
    """Read positions from a FITS, CSV, ECSV or VOTable catalogue.

    Parameters
    ----------
    path
        The file.
    columns
        ``RA,DEC`` or ``RA,DEC,NAME``: names of columns in degrees and of the names; None: the usual ones.

    Raises
    ------
    ConfigError
        If the file cannot be read as a table or lacks a column.
    """
    table = _table(Path(path))
    found = _columns(path, list(table), columns)
    try:
        pairs = [(float(ra), float(dec)) for ra, dec in zip(table[found["ra"]], table[found["dec"]], strict=True)]
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{path}: columns {found['ra']!r} and {found['dec']!r} must be degrees: {error}") from None
    names = [str(name) for name in table[found["name"]]] if "name" in found else [None] * len(pairs)
    return _made(names, pairs)


def _table(path: Path) -> dict[str, Any]:
    """Return the columns of a table by their names."""
    if not path.is_file():
        raise ConfigError(f"--catalogue {path}: no such file")
    if path.name.lower().endswith((".fits", ".fit", ".fits.gz")):
        from mpidriver.store import read_table

        rows = read_table(path)
        return {name: rows[name] for name in rows.dtype.names or ()}
    if path.name.lower().endswith(_TABLE_ENDINGS):
        from astropy.table import Table

        table = Table.read(path)
        return {name: table[name] for name in table.colnames}
    try:
        lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise ConfigError(f"--catalogue {path}: neither FITS nor text; give FITS, CSV, ECSV or VOTable") from None
    while lines and lines[0].startswith("#") and "," not in lines[0]:
        lines.pop(0)
    rows = list(csv.reader(line.lstrip("#") for line in lines))
    heads = [head.strip() for head in rows[0]] if rows else []
    short = next((number for number, row in enumerate(rows[1:], 2) if len(row) != len(heads)), None)
    if short is not None:
        raise ConfigError(f"--catalogue {path}: line {short} has {len(rows[short - 1])} values, expected {len(heads)}")
    return {head: [row[place] for row in rows[1:]] for place, head in enumerate(heads)}


def _columns(path: str, there: list[str], wanted: str | None) -> dict[str, str]:
    if wanted is not None:
        chosen = dict(zip(("ra", "dec", "name"), wanted.split(","), strict=False))
        absent = [name for name in chosen.values() if name not in there]
        if absent or len(chosen) < 2:
            raise ConfigError(f"--columns {wanted}: expected RA,DEC[,NAME] of {path}, which has {', '.join(there)}")
        return chosen
    by_lower = {name.lower(): name for name in reversed(there)}
    found = {
        role: next((by_lower[name] for name in names if name in by_lower), None) for role, names in _COLUMNS.items()
    }
    if found["ra"] is None or found["dec"] is None:
        raise ConfigError(f"{path}: no columns ra and dec among {', '.join(there)}; name them: --columns RA,DEC")
    return {role: name for role, name in found.items() if name is not None}


def read_messages(path: str) -> Positions:
    """Read positions, each with the file that it is to be cut from, from JSON lines or a JSON list.

    A message is ``{"file": "a.fits", "ra": 150.1, "dec": 2.2}`` with an optional ``"name"``; files are relative and
    lie below one folder.

    Raises
    ------
    ConfigError
        If the file is no such list; names the message.
    """
    names, pairs, files = [], [], []
    for number, message in enumerate(_messages(path), 1):
        where = f"{path}: message {number}"
        if not isinstance(message, dict) or not {"file", "ra", "dec"} <= set(message):
            raise ConfigError(f'{where}: expected {{"file": …, "ra": …, "dec": …}}, got {message!r}')
        ra, dec = message["ra"], message["dec"]
        if any(isinstance(value, bool) or not isinstance(value, (int, float)) for value in (ra, dec)):
            raise ConfigError(f"{where}: ra and dec must be degrees, got {ra!r} and {dec!r}")
        files.append(_inside(message["file"], where))
        pairs.append((float(ra), float(dec)))
        names.append(str(message["name"]) if "name" in message else None)
    made = _made(names, pairs)
    return Positions(made.names, made.ra_deg, made.dec_deg, tuple(files))


def _messages(path: str) -> Iterable[Any]:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--messages {path}: cannot be read: {error}") from None
    try:
        if text.lstrip().startswith("["):
            return json.loads(text)
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except json.JSONDecodeError as error:
        raise ConfigError(f"--messages {path}: neither JSON lines nor a JSON list: {error}") from None


def _inside(file: Any, where: str) -> str:
    """Return a file's path if it is relative and stays within its folder."""
    if not isinstance(file, str) or not file or "\n" in file:
        raise ConfigError(f"{where}: file must be a path, got {file!r}")
    parts = Path(file).parts
    if Path(file).is_absolute() or ".." in parts:
        raise ConfigError(f"{where}: file {file!r} must be relative to the remote's root, without ..")
    return str(Path(file))


def read_pixels(path: str) -> Positions:
    """Read the table of positions on images that `mpidriver cutout --locate-only` has written.

    Raises
    ------
    ConfigError
        If it is no such table.
    """
    import numpy as np

    table = _table(Path(path))
    absent = [name for name in _PIXEL_COLUMNS if name not in table]
    if absent:
        raise ConfigError(f"--pixels {path}: no column {absent[0]!r}; give the table that --locate-only has written")
    try:
        ra, dec, x, y = (np.array([float(text or "nan") for text in table[name]]) for name in ("ra", "dec", "x", "y"))
        hdus = tuple(int(text or -1) for text in table["hdu"])
        size = np.array([int(text or 0) for text in table["size"]])
    except ValueError as error:
        raise ConfigError(f"--pixels {path}: {error}") from None
    reasons = tuple(
        "" if status in ("whole", "partial") else reason or status
        for status, reason in zip(table["status"], table["reason"], strict=True)
    )
    pixels = Pixels(x, y, hdus, size, tuple(table["cutout"]), reasons)
    return Positions(tuple(table["name"]), ra, dec, tuple(table["file"]), pixels)


_PIXEL_COLUMNS = ("name", "ra", "dec", "status", "file", "hdu", "x", "y", "size", "cutout", "reason")


def _made(names: "Sequence[str | None]", pairs: Sequence[tuple[float, float]]) -> Positions:
    import numpy as np

    table = np.array(pairs, dtype=float).reshape(-1, 2)
    made: dict[str, None] = {}
    for name, (ra, dec) in zip(names, pairs, strict=True):
        wanted = re.sub(r"[^A-Za-z0-9_.+-]+", "_", name).strip("._-") if name else _name_of_place(ra, dec)
        wanted, number = wanted or "position", 1
        unique = wanted
        while unique in made:
            number += 1
            unique = f"{wanted}-{number}"
        made[unique] = None
    return Positions(tuple(made), table[:, 0], table[:, 1])


def _name_of_place(ra_deg: float, dec_deg: float) -> str:
    """Return the name of a position in the way of the IAU: ``J100028.60+021221.0``, cut off and not rounded."""
    if not (math.isfinite(ra_deg) and math.isfinite(dec_deg)):
        return "nowhere"
    hundredths = int(ra_deg % 360.0 * 24000.0)
    tenths = int(abs(dec_deg) * 36000.0)
    hours = f"{hundredths // 360000:02d}{hundredths // 6000 % 60:02d}{hundredths % 6000 / 100:05.2f}"
    degrees = f"{tenths // 36000:02d}{tenths // 600 % 60:02d}{tenths % 600 / 10:04.1f}"
    return f"J{hours}{'-' if dec_deg < 0 else '+'}{degrees}"
