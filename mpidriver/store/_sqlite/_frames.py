"""The frames and their footprints in SQLite."""

import itertools
import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from mpidriver.errors import DataError
from mpidriver.store._sqlite._connection import Connection
from mpidriver.store._state._frame_values import (
    as_json,
    check_content,
    choose,
    finite_corners,
    frame_name,
    known_corners,
    plain,
)
from mpidriver.store._state._records import SOLUTION, Frame, FrameUpdate

if TYPE_CHECKING:
    import numpy as np

__all__ = ["FrameTable"]

#: Columns in the order of Frame's fields; JSON and corners are unpacked.
_COLUMNS = (
    "exposure, detector, band, path, hdu, digest, exptime_s, mjd, gain, read_noise, saturation, wcs_header, corners, "
    "kind, shape, zero_point_mag, weight_path, weight_hdu, mask_path, mask_hdu, mask_bits, metadata, "
    "solved_wcs_header, solved_corners, quality, stamp"
)
_INSERT = (
    f"INSERT INTO frames ({_COLUMNS}) VALUES ({', '.join('?' * len(_COLUMNS.split(', ')))}) "
    "ON CONFLICT (exposure, detector, band) DO NOTHING"
)
_JSON = (14, 21, 24)
_CORNERS = (12, 23)
_BATCH = 5000

Condition = int | str | Collection[int] | Collection[str] | None


class FrameTable:
    """Frames of one database.

    Parameters
    ----------
    connection
        The database.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, frames: Iterable[Frame]) -> int:
        """Add frames that are not there; see `StateDatabase.add_frames`."""
        new = 0
        frames = list(frames)
        with self._connection.transaction() as sqlite:
            for batch in _batches(frames):
                added = [(_insert(sqlite, frame), frame) for frame in batch]
                fresh = [(number, frame.footprint) for number, frame in added if number is not None]
                new += len(fresh)
                _place(sqlite, [(number, corners) for number, corners in fresh if corners is not None])
        return new

    def update(self, updates: Iterable[FrameUpdate]) -> None:
        """Keep new coordinates and quality; see `StateDatabase.update_frames`."""
        updates = list(updates)
        with self._connection.transaction() as sqlite:
            for update in updates:
                _keep(sqlite, update)

    def replace(self, frames: Iterable[Frame]) -> None:
        """Put new contents in the place of frames; see `StateDatabase.replace_frames`."""
        with self._connection.transaction() as sqlite:
            for frame in frames:
                _replace(sqlite, frame)

    def select(self, conditions: dict[str, Condition]) -> list[Frame]:
        """Return the frames that meet all conditions, by exposure, detector and band."""
        tests, values = _where(conditions)
        order = "ORDER BY exposure, detector, band"
        return [_frame(row) for row in self._connection.rows(f"SELECT {_COLUMNS} FROM frames {tests} {order}", values)]

    def one(self, exposure: int, detector: int, band: str | None) -> Frame:
        """Return one frame; see `StateDatabase.frame`."""
        found = self.select({"exposure": exposure, "detector": detector, "band": band})
        return choose(found, frame_name(exposure, detector, band), self._connection.path)

    def overlapping(self, corners_xyz: "np.ndarray[Any, Any]", pad_deg: float) -> list[Frame]:
        """Return the frames near a polygon; see `StateDatabase.frames_overlapping`."""
        import numpy as np

        from mpidriver.sphere import unit_vectors
        from mpidriver.store._state._footprints import overlapping, padded_box

        polygon = np.asarray(corners_xyz, dtype=float)
        x_min, x_max, y_min, y_max, z_min, z_max = padded_box(polygon, pad_deg)
        found = self._connection.rows(
            "SELECT frames.id, coalesce(solved_corners, corners) FROM footprints JOIN frames USING (id) WHERE "
            "x_max >= ? AND x_min <= ? AND y_max >= ? AND y_min <= ? AND z_max >= ? AND z_min <= ?",
            (x_min, x_max, y_min, y_max, z_min, z_max),
        )
        if not found:
            return []
        sky = np.frombuffer(b"".join(blob for _, blob in found), dtype="<f8").reshape(len(found), -1, 2)
        near = overlapping(polygon, unit_vectors(sky[..., 0], sky[..., 1]), pad_deg)
        return self.select({"id": [number for (number, _), keep in zip(found, near, strict=True) if keep]})


def _batches(frames: Iterable[Frame]) -> Iterable[list[Frame]]:
    iterator = iter(frames)
    return iter(lambda: list(itertools.islice(iterator, _BATCH)), [])


def _insert(sqlite: sqlite3.Connection, frame: Frame) -> int | None:
    """Insert a frame and return its number, none if it is there already."""
    done = sqlite.execute(_INSERT, _row(frame))
    if done.rowcount == 1:
        return done.lastrowid
    query = "SELECT digest, hdu, path FROM frames WHERE (exposure, detector, band) = (?, ?, ?)"
    check_content(frame, *sqlite.execute(query, frame.key).fetchone())
    return None


def _row(frame: Frame) -> list[Any]:
    values: list[Any] = [getattr(frame, name) for name in _COLUMNS.split(", ")]
    for place, value in enumerate(values):
        if place in _JSON:
            values[place] = as_json(value)
        elif place in _CORNERS:
            values[place] = None if value is None else finite_corners(value).tobytes()
        else:
            values[place] = plain(value)
    return values


def _frame(row: Sequence[Any]) -> Frame:
    values = list(row)
    for place in _JSON:
        values[place] = json.loads(values[place])
    for place in _CORNERS:
        values[place] = None if values[place] is None else _unblob(values[place])
    values[14] = tuple(values[14])
    return Frame(*values)


def _unblob(blob: bytes) -> "np.ndarray[Any, np.dtype[np.float64]]":
    import numpy as np

    return np.frombuffer(blob, dtype="<f8").reshape(-1, 2)


def _place(sqlite: sqlite3.Connection, footprints: "list[tuple[int, np.ndarray[Any, Any]]]") -> None:
    """Enter or move footprints in the R*-tree."""
    if not footprints:
        return
    import numpy as np

    from mpidriver.sphere import unit_vectors
    from mpidriver.store._state._footprints import boxes

    sky = np.stack([np.asarray(corners, dtype=float) for _, corners in footprints])
    bounds = boxes(unit_vectors(sky[..., 0], sky[..., 1])).tolist()
    rows = [(number, *box) for (number, _), box in zip(footprints, bounds, strict=True)]
    sqlite.executemany("INSERT OR REPLACE INTO footprints VALUES (?, ?, ?, ?, ?, ?, ?)", rows)


def _replace(sqlite: sqlite3.Connection, frame: Frame) -> None:
    number = _find(sqlite, *frame.key)
    (digest,) = sqlite.execute("SELECT digest FROM frames WHERE id = ?", [number]).fetchone()
    names, values = _COLUMNS.split(", "), _row(frame)
    if digest == frame.digest:
        names, values = _without_solution(names, values)
    assignments = ", ".join(f"{name} = ?" for name in names)
    sqlite.execute(f"UPDATE frames SET {assignments} WHERE id = ?", [*values, number])
    if digest != frame.digest:
        sqlite.execute("DELETE FROM footprints WHERE id = ?", [number])
        _place(sqlite, [] if frame.footprint is None else [(number, frame.footprint)])


def _without_solution(names: list[str], values: list[Any]) -> tuple[list[str], list[Any]]:
    kept = [place for place, name in enumerate(names) if name not in SOLUTION]
    return [names[place] for place in kept], [values[place] for place in kept]


def _keep(sqlite: sqlite3.Connection, update: FrameUpdate) -> None:
    """Keep one frame's new coordinates and quality; corners that are not finite leave its footprint as it is."""
    number = _find(sqlite, update.exposure, update.detector, update.band)
    corners = known_corners(update.corners)
    sqlite.execute(
        "UPDATE frames SET solved_wcs_header = ?, solved_corners = ?, quality = ? WHERE id = ?",
        (update.wcs_header, None if corners is None else corners.tobytes(), as_json(dict(update.quality)), number),
    )
    if corners is not None:
        _place(sqlite, [(number, corners)])


def _find(sqlite: sqlite3.Connection, exposure: int, detector: int, band: str) -> int:
    query = "SELECT id FROM frames WHERE (exposure, detector, band) = (?, ?, ?)"
    found = sqlite.execute(query, (int(exposure), int(detector), band)).fetchone()
    if found is None:
        raise DataError(f"no frame of {frame_name(exposure, detector, band)} to update")
    return int(found[0])


def _where(conditions: dict[str, Condition]) -> tuple[str, list[Any]]:
    tests, values = [], []
    for column, condition in conditions.items():
        if condition is None:
            continue
        several = isinstance(condition, Collection) and not isinstance(condition, str)
        tests.append(f"{column} IN (SELECT value FROM json_each(?))" if several else f"{column} = ?")
        values.append(as_json(list(condition)) if isinstance(condition, Collection) and several else plain(condition))
    return (f"WHERE {' AND '.join(tests)}" if tests else ""), values
