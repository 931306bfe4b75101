"""Raw files that were written again since they were ingested: they are noticed, and their headers read again."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mpidriver.drivers._quantum import DataId
from mpidriver.drivers.ingest import files_of, in_the_place_of, instruments_of, read_frames
from mpidriver.errors import DataError
from mpidriver.store import file_stamp, files_digest

if TYPE_CHECKING:
    from mpidriver.drivers._stage import Context
    from mpidriver.pool import Pool
    from mpidriver.store import Frame, InstrumentOptions, StateDatabase

__all__ = ["refresh_frames"]

#: Files whose size and time a rank looks up at a time.
FILES_AT_A_TIME = 256
#: Files that a note names.
NAMED = 3


class KnownFile(NamedTuple):
    """What the database knows of a raw file and its maps."""

    paths: tuple[str, ...]
    stamp: str
    digest: str


class Change(NamedTuple):
    """What has become of a raw file whose size or time is another one than at ingest."""

    paths: tuple[str, ...]
    stamp: str
    frames: "list[Frame] | None"
    """Its frames as read again, none if the content is the same."""
    error: str = ""
    """Why it cannot be read any more."""


def refresh_frames(
    context: "Context", state: "StateDatabase", selected: Callable[[DataId], bool], *, pool: "Pool"
) -> list[str]:
    """Take in again what was written into raw files since they were ingested; return notes for people.

    Size and time of each file are looked up by all ranks; only where they differ from those at ingest is the file read.
    A file that is gone is not looked for: its frame may have been reduced long ago.

    Parameters
    ----------
    context, state
        The repository and its state database, open for writing.
    selected
        Which frames take part, by exposure, detector and band.
    pool
        Looks at the files.
    """
    frames: dict[KnownFile, list[Frame]] = {}
    for frame in state.frames():
        if frame.stamp and selected(DataId(exposure=frame.exposure, detector=frame.detector, band=frame.band)):
            frames.setdefault(KnownFile(tuple(files_of(frame)), frame.stamp, frame.digest), []).append(frame)
    files = list(frames)
    chunks = [files[first : first + FILES_AT_A_TIME] for first in range(0, len(files), FILES_AT_A_TIME)]
    look = functools.partial(_changes, context.root, instruments_of(context.config))
    changes = {change.paths: change for some in pool.map(look, chunks) for change in some}
    known = [(frame, changes[file.paths]) for file, some in frames.items() if file.paths in changes for frame in some]
    state.replace_frames(_renewed(known))
    return _notes(list(changes.values()), known)


def _changes(root: str, instruments: "Sequence[InstrumentOptions]", files: Sequence[KnownFile]) -> list[Change]:
    """Return those of some files that are not as they were ingested; runs on any rank."""
    found = []
    for file in files:
        paths = [Path(root) / path for path in file.paths]
        try:
            stamp = file_stamp(paths)
            if stamp == file.stamp:
                continue
            same = files_digest(paths) == file.digest
            found.append(Change(file.paths, stamp, None if same else read_frames(instruments, paths[0])))
        except FileNotFoundError:
            continue
        except (DataError, OSError) as error:
            found.append(Change(file.paths, file.stamp, None, str(error).replace(f"{root}/", "")))
    return found


def _renewed(known: "Sequence[tuple[Frame, Change]]") -> "list[Frame]":
    """Return the frames that are to be replaced; those that a file does not hold any more stay as they were."""
    renewed = []
    for frame, change in known:
        again = {other.key: other for other in change.frames or ()}
        if change.frames is None and not change.error:
            renewed.append(replace(frame, stamp=change.stamp))
        elif frame.key in again:
            renewed.append(in_the_place_of(frame, again[frame.key]))
    return renewed


def _notes(changes: Sequence[Change], known: "Sequence[tuple[Frame, Change]]") -> list[str]:
    notes = [f"changed since it was ingested, and cannot be read: {change.error}" for change in changes if change.error]
    again: dict[str, None] = {}
    for frame, change in known:
        if change.frames is None:
            continue
        if any(other.key == frame.key for other in change.frames):
            again[frame.path] = None
        else:
            name = f"exposure {frame.exposure}, detector {frame.detector}, band {frame.band}"
            notes.append(f"{frame.path} does not hold {name} any more; enter what it holds with `mpidriver ingest`")
    if again:
        more = f" and {len(again) - NAMED} more" if len(again) > NAMED else ""
        notes.append(f"changed since ingested, read again: {', '.join(list(again)[:NAMED])}{more}")
    return notes
