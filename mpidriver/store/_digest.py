"""Digests of files: BLAKE2b of the bytes, 128 bits, hexadecimal."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

__all__ = ["HashingWriter", "WrittenFile", "file_digest", "file_stamp", "files_digest"]

_CHUNK_BYTES = 1 << 20


def new_hash() -> "hashlib.blake2b":
    """Return the empty hash that every digest of a file starts from."""
    return hashlib.blake2b(digest_size=16)


def file_digest(path: str | os.PathLike[str]) -> str:
    """Return the digest of a file's bytes, 32 hexadecimal digits."""
    total = new_hash()
    buffer = memoryview(bytearray(_CHUNK_BYTES))
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            total.update(buffer[:count])
    return total.hexdigest()


def files_digest(paths: Sequence[str | os.PathLike[str]]) -> str:
    """Return the digest of several files in order; of one file, its own."""
    digests = [file_digest(path) for path in paths]
    if len(digests) == 1:
        return digests[0]
    total = new_hash()
    total.update(" ".join(digests).encode())
    return total.hexdigest()


def file_stamp(paths: Iterable[str | os.PathLike[str]]) -> str:
    """Return sizes and modification times of files: as long as they are the same, nobody has written the files.

    Raises
    ------
    OSError
        If a file is missing.
    """
    found = map(os.stat, paths)
    return " ".join(f"{status.st_size}:{status.st_mtime_ns}" for status in found)


@dataclass(frozen=True)
class WrittenFile:
    """What a writer leaves."""

    path: Path
    """The file."""
    digest: str
    """Digest of its bytes, as `file_digest` gives it."""
    size: int
    """Bytes."""


class HashingWriter:
    """A binary file that is written from front to back and hashed on the way.

    Parameters
    ----------
    file
        Open binary file.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = new_hash()
        self.size = 0

    def write(self, content: Any) -> None:
        """Append bytes or a contiguous array."""
        view = memoryview(content)
        if view.nbytes:
            view = view.cast("B")
            self._file.write(view)
            self._hash.update(view)
            self.size += view.nbytes

    @property
    def digest(self) -> str:
        """Digest of what was written so far; equals `file_digest` of the file."""
        return self._hash.hexdigest()
