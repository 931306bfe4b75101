"""Which regions of a job's cubes are filled: a file of lines beside them, by which a later run goes on.

While the job runs its journal is ``.partial-<verb>-journal``: a first line with the digest of the job, then one for
each region that is on disk. When the cubes have their final names ``.<verb>.done`` says by which job they were made.
"""

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from mpidriver.errors import RepositoryError
from mpidriver.store._atomic import PARTIAL_PREFIX, make_directory, refusals_named, write_text
from mpidriver.store._state._run_lock import RunLock

__all__ = ["RegionJournal"]


class RegionJournal:
    """The journal of one job in one folder, for a ``with`` block; one process at a time may have it.

    Parameters
    ----------
    folder
        Where the cubes lie.
    verb
        What names its files.
    digest
        What the job is: inputs, options and regions.
    """

    def __init__(self, folder: Path, verb: str, digest: str) -> None:
        self._folder = folder
        self._digest = digest
        self._path = folder / f"{PARTIAL_PREFIX}{verb}-journal"
        self._done_path = folder / f".{verb}.done"
        self._lock_path = folder / f"{PARTIAL_PREFIX}{verb}-lock"
        self._lock = RunLock(self._lock_path)
        self._descriptor: int | None = None
        self.filled: dict[int, Any] = {}
        """Number of each region that is on disk, and what its task returned."""

    def __enter__(self) -> "RegionJournal":
        with refusals_named(self._path):
            make_directory(self._folder)
            if not self._lock.acquire():
                raise RepositoryError(f"{self._folder}: another run writes there; wait for it or write elsewhere")
            self.filled = self._read()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._lock_path.unlink(missing_ok=True)
        self._lock.release()

    @property
    def is_done(self) -> bool:
        """Whether the job has been done to its end, as far as the folder says; the cubes may have gone since."""
        try:
            return self._done_path.read_text(encoding="ascii").strip() == self._digest
        except (OSError, UnicodeDecodeError):
            return False

    def start(self, *, fresh: bool) -> None:
        """Begin to write, behind what is there unless `fresh`."""
        with refusals_named(self._path):
            if fresh:
                self.filled = {}
                self._done_path.unlink(missing_ok=True)
            # Written anew: a last line that was torn must not become part of the next one.
            lines = [json.dumps({"digest": self._digest}), *map(_line, self.filled, self.filled.values())]
            write_text(self._path, "\n".join(lines) + "\n")
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND)

    def add(self, region: int, value: Any) -> None:
        """Note that a region is on disk, and what its task returned."""
        self.filled[region] = value
        line = _line(region, value) + "\n"
        with refusals_named(self._path):
            assert self._descriptor is not None
            os.write(self._descriptor, line.encode("ascii"))

    def close(self, *, keep: bool) -> None:
        """Note that the cubes have their final names; with `keep` a later run of the same job knows it."""
        if keep:
            write_text(self._done_path, self._digest + "\n")
        self._path.unlink(missing_ok=True)

    def _read(self) -> dict[int, Any]:
        """Return what an earlier run of the same job has filled; a last line that was torn does not count."""
        try:
            lines = self._path.read_text(encoding="ascii").split("\n")
        except (OSError, UnicodeDecodeError):
            return {}
        try:
            if json.loads(lines[0])["digest"] != self._digest:
                return {}
            entries = [json.loads(line) for line in lines[1:-1]]
            return {int(entry["region"]): entry["value"] for entry in entries}
        except (ValueError, KeyError, TypeError):
            return {}


def _line(region: int, value: Any) -> str:
    return json.dumps({"region": region, "value": value})
