"""Which isolated tasks of a host run at the same time: as a rule all, and one alone that has run out of memory before.

Two bytes of a file that all ranks of the host have open are locked. A task that is to be alone locks the first, which
all others lock for a moment before they begin, so that no further one begins; then it waits for the second, on which
those that run have shared locks. The kernel gives back what a rank that dies has locked.
"""

import contextlib
import fcntl
from collections.abc import Iterator

__all__ = ["Neighbours"]

_DOOR, _ROOM = 1 << 20, (1 << 20) + 1
"""Positions behind the file's end: locks do not mind."""


class Neighbours:
    """The isolated tasks of one rank, among those of its host.

    Parameters
    ----------
    file
        Descriptor of a file that all ranks of the host have opened, each for itself; None where it has no neighbours.
    """

    def __init__(self, file: int | None = None) -> None:
        self._file = file

    @contextlib.contextmanager
    def among(self, *, alone: bool) -> Iterator[None]:
        """Wait until a task may run, and tell the others when it does no more."""
        if self._file is None:
            yield
            return
        self._lock(_DOOR, fcntl.LOCK_EX)
        try:
            self._lock(_ROOM, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        finally:
            self._lock(_DOOR, fcntl.LOCK_UN)
        try:
            yield
        finally:
            self._lock(_ROOM, fcntl.LOCK_UN)

    def _lock(self, position: int, how: int) -> None:
        assert self._file is not None
        fcntl.lockf(self._file, how, 1, position)
