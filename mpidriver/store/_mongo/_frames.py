"""The frames and their footprints in MongoDB, each a document."""

import json
from collections.abc import Collection, Iterable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from pymongo import ReplaceOne, UpdateOne

from mpidriver.errors import DataError
from mpidriver.store._mongo._connection import Document, MongoConnection
from mpidriver.store._mongo._insert import batches, insert_missing
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

__all__ = ["MongoFrames"]

Condition = int | str | Collection[int] | Collection[str] | None

_NAMES = tuple(field.name for field in fields(Frame))
_JSON = ("metadata", "quality")
_CORNERS = ("corners", "solved_corners")
_ORDER = [("exposure", 1), ("detector", 1), ("band", 1)]


class MongoFrames:
    """Frames of one database.

    Parameters
    ----------
    connection
        The database.
    """

    def __init__(self, connection: MongoConnection) -> None:
        self._connection = connection

    def add(self, frames: Iterable[Frame]) -> int:
        """Add frames that are not there; see `StateDatabase.add_frames`."""
        new: dict[str, Frame] = {}
        for frame in frames:
            known = new.setdefault(_id(*frame.key), frame)
            check_content(frame, known.digest, known.hdu, known.path)

        def examine(known: Document) -> None:
            check_content(new[known["_id"]], known["digest"], known["hdu"], known["path"])

        documents = _with_cells([_document(frame) for frame in new.values()])
        return insert_missing(self._connection, "frames", documents, examine)

    def update(self, updates: Iterable[FrameUpdate]) -> None:
        """Keep new coordinates and quality; see `StateDatabase.update_frames`."""
        updates = list(updates)
        known: set[str] = set()
        for names in batches([_id(update.exposure, update.detector, update.band) for update in updates]):
            known |= {found["_id"] for found in self._find({"_id": {"$in": names}}, {"_id": 1})}
        for update in updates:
            if _id(update.exposure, update.detector, update.band) not in known:
                raise DataError(f"no frame of {frame_name(update.exposure, update.detector, update.band)} to update")
        for batch in batches([_write(update) for update in updates]):
            self._connection.change(lambda database, writes: database.frames.bulk_write(writes, ordered=True), batch)

    def replace(self, frames: Iterable[Frame]) -> None:
        """Put new contents in the place of frames; see `StateDatabase.replace_frames`."""
        new = {_id(*frame.key): frame for frame in frames}
        known: dict[str, Document] = {}
        for names in batches(list(new)):
            known.update((found["_id"], found) for found in self._find({"_id": {"$in": names}}, {}))
        for name, frame in new.items():
            if name not in known:
                raise DataError(f"no frame of {frame_name(*frame.key)} to update")
        documents = _with_cells([_replacement(frame, known[name]) for name, frame in new.items()])
        for batch in batches([ReplaceOne({"_id": document["_id"]}, document) for document in documents]):
            self._connection.change(lambda database, writes: database.frames.bulk_write(writes, ordered=True), batch)

    def select(self, conditions: dict[str, Condition]) -> list[Frame]:
        """Return the frames that meet all conditions, by exposure, detector and band."""
        tests = {name: _test(condition) for name, condition in conditions.items() if condition is not None}
        return [_frame(document) for document in self._find(tests, {"cells": 0})]

    def one(self, exposure: int, detector: int, band: str | None) -> Frame:
        """Return one frame; see `StateDatabase.frame`."""
        found = self.select({"exposure": exposure, "detector": detector, "band": band})
        return choose(found, frame_name(exposure, detector, band), self._connection.place)

    def overlapping(self, corners_xyz: "np.ndarray[Any, Any]", pad_deg: float) -> list[Frame]:
        """Return the frames near a polygon; see `StateDatabase.frames_overlapping`."""
        import numpy as np

        from mpidriver.sphere import unit_vectors
        from mpidriver.store._state._cells import query_cells
        from mpidriver.store._state._footprints import overlapping

        polygon = np.asarray(corners_xyz, dtype=float)
        near = {"cells": {"$in": query_cells(polygon, pad_deg)}}
        found = [_frame(document) for document in self._find(near, {"cells": 0})]
        if not found:
            return []
        sky = np.array([frame.footprint for frame in found], dtype=float)
        overlaps = overlapping(polygon, unit_vectors(sky[..., 0], sky[..., 1]), pad_deg)
        return [frame for frame, keep in zip(found, overlaps, strict=True) if keep]

    def _find(self, condition: Document, shown: Document) -> list[Document]:
        return self._connection.call(lambda database: list(database.frames.find(condition, shown).sort(_ORDER)))


def _id(exposure: int, detector: int, band: str) -> str:
    return f"{int(exposure)} {int(detector)} {band}"


def _test(condition: Condition) -> Any:
    if isinstance(condition, Collection) and not isinstance(condition, str):
        return {"$in": [plain(value) for value in condition]}
    return plain(condition)


def _document(frame: Frame) -> Document:
    values = {name: plain(getattr(frame, name)) for name in _NAMES if name not in (*_JSON, *_CORNERS, "shape")}
    document = {name: value for name, value in values.items() if value is not None}
    document |= {name: as_json(getattr(frame, name)) for name in _JSON}
    for name in _CORNERS:
        corners = getattr(frame, name)
        if corners is not None:
            document[name] = finite_corners(corners).ravel().tolist()
    return {"_id": _id(*frame.key), **document, "shape": [int(length) for length in frame.shape]}


def _replacement(frame: Frame, known: Document) -> Document:
    """Return the document of new content; what was found out of the same content stays."""
    document = _document(frame)
    if known["digest"] == frame.digest:
        document = {name: value for name, value in document.items() if name not in SOLUTION}
        document |= {name: known[name] for name in SOLUTION if name in known}
    return document


def _frame(document: Document) -> Frame:
    import numpy as np

    values = {name: document[name] for name in _NAMES if name in document}
    values |= {name: json.loads(values[name]) for name in _JSON}
    for name in _CORNERS:
        if name in values:
            values[name] = np.array(values[name], dtype="<f8").reshape(-1, 2)
    return Frame(**{**values, "shape": tuple(values["shape"])})


def _with_cells(documents: list[Document]) -> list[Document]:
    """Add the cells of those that have a footprint."""
    placed = [document for document in documents if _footprint(document) is not None]
    for document, cells in zip(placed, _cells([_footprint(document) for document in placed]), strict=True):
        document["cells"] = cells
    return documents


def _footprint(document: Document) -> list[float] | None:
    return document.get("solved_corners", document.get("corners"))


def _cells(footprints: list[Any]) -> list[list[int]]:
    if not footprints:
        return []
    import numpy as np

    from mpidriver.sphere import unit_vectors
    from mpidriver.store._state._cells import footprint_cells

    sky = np.array(footprints, dtype=float).reshape(len(footprints), -1, 2)
    return footprint_cells(unit_vectors(sky[..., 0], sky[..., 1]))


def _write(update: FrameUpdate) -> UpdateOne:
    """Return the change of one frame's document."""
    corners = known_corners(update.corners)
    values: Document = {"quality": as_json(dict(update.quality))}
    gone: Document = {}
    if update.wcs_header is None:
        gone["solved_wcs_header"] = ""
    else:
        values["solved_wcs_header"] = update.wcs_header
    if corners is None:
        gone["solved_corners"] = ""
    else:
        values["solved_corners"] = corners.ravel().tolist()
        (values["cells"],) = _cells([values["solved_corners"]])
    name = _id(update.exposure, update.detector, update.band)
    return UpdateOne({"_id": name}, {"$set": values, "$unset": gone} if gone else {"$set": values})
