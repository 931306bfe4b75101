"""Staging: files brought in from a remote and out to it, each verified.

A file counts as staged when name, size and hash agree on both sides, which is looked up after copying; what does not
agree is copied again, some times, and then named. Files that agree already are not copied, so that the same command
goes on where it was ended, however it was ended.

Files that come in are copied into a folder of this process beside their places and moved there when they are verified:
whatever is killed, no file under its final name is cut off.
"""

import contextlib
import hashlib
import os
import shutil
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from mpidriver.batch._rclone import Remote, StoredFile, copy_files, list_files
from mpidriver.errors import ConfigError, StagingError

__all__ = ["Staged", "check_names", "files_of_folders", "stage_in", "stage_out"]

#: Hashes that can be computed here, the quickest first.
_HASHES = ("md5", "sha1", "sha256")
_CHUNK_BYTES = 1 << 20
_TRIES = 3
_FOLDER_PREFIX = ".staging-"
#: A folder of a process of another host that has not changed for so long belongs to nobody.
_STALE_SECONDS = 86400.0


@dataclass
class Staged:
    """What came of staging."""

    copied: list[str] = field(default_factory=list)
    """Files that were copied and verified."""
    present: list[str] = field(default_factory=list)
    """Files that were there already, verified as well."""
    failures: dict[str, str] = field(default_factory=dict)
    """Files that are not there now, each with the reason."""
    bytes_copied: int = 0
    """Size of those that were copied."""


def check_names(names: Iterable[str]) -> list[str]:
    """Return names of files, each once, if all are relative paths that stay within their folder.

    Raises
    ------
    ConfigError
        If one is not; rclone would skip it without a word.
    """
    checked = dict.fromkeys(names)
    for name in checked:
        path = PurePosixPath(name)
        if path.is_absolute():
            raise ConfigError(f"staging: {name!r} is an absolute path; name files relative to the remote's folder")
        if not path.parts or ".." in path.parts or "\n" in name or str(path) != name:
            raise ConfigError(f"staging: {name!r} is no plain path of a file below the remote's folder")
    return list(checked)


def stage_in(remote: Remote, folder: Path, names: Iterable[str] | None = None, *, transfers: int = 8) -> Staged:
    """Bring files of a remote into a folder.

    Parameters
    ----------
    remote
        Where they are.
    folder
        Where they go, under the paths they have there.
    names
        Paths of the files; None: all.
    transfers
        Files copied at a time.

    Raises
    ------
    ConfigError
        If a name is absolute or leaves the folder.
    StagingError
        If the remote cannot be listed or rclone is missing.
    """
    wanted = None if names is None else check_names(names)
    stored = list_files(remote, wanted)
    wanted = sorted(stored) if wanted is None else wanted
    staged = Staged(failures={name: f"not at {remote}" for name in wanted if name not in stored})
    folder.mkdir(parents=True, exist_ok=True)
    _adopt(folder, stored)
    missing = _unlike(folder, {name: stored[name] for name in wanted if name in stored})
    staged.present = [name for name in wanted if name in stored and name not in missing]
    if missing:
        with _own_folder(folder) as landing:
            _bring(remote, landing, folder, {name: stored[name] for name in missing}, staged, transfers)
    return staged


def _bring(
    remote: Remote, landing: Path, folder: Path, wanted: Mapping[str, StoredFile], staged: Staged, transfers: int
) -> None:
    left = dict(wanted)
    said = ""
    for _ in range(_TRIES):
        said = copy_files(remote, landing, list(left), transfers=transfers) or said
        unlike = _unlike(landing, left)
        for name in [name for name in left if name not in unlike]:
            _place(landing / name, folder / name)
            staged.copied.append(name)
            staged.bytes_copied += left.pop(name).size
        if not left:
            return
        left = {name: file for name, file in list_files(remote, list(left)).items() if name in left} or left
    for name, reason in _unlike(landing, left).items():
        staged.failures[name] = f"{reason}{f'; {said}' if said else ''}"


def _place(landed: Path, final: Path) -> None:
    """Give a verified file its final name, durably."""
    final.parent.mkdir(parents=True, exist_ok=True)
    for path in (landed, final.parent):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            if path == landed:
                os.replace(landed, final)
        finally:
            os.close(descriptor)


def stage_out(folder: Path, remote: Remote, names: Iterable[str], *, transfers: int = 8) -> Staged:
    """Bring files of a folder to a remote.

    Parameters
    ----------
    folder
        Where they are.
    remote
        Where they go, under the paths they have there.
    names
        Paths of the files below `folder`.
    transfers
        Files copied at a time.

    Raises
    ------
    ConfigError
        If a name is absolute or leaves the folder.
    StagingError
        If the remote cannot be listed or rclone is missing.
    """
    wanted = check_names(names)
    absent = [name for name in wanted if not (folder / name).is_file()]
    staged = Staged(failures=dict.fromkeys(absent, f"no such file in {folder}"))
    there = [name for name in wanted if name not in staged.failures]
    left = _unlike(folder, _at(remote, there), there)
    staged.present = [name for name in there if name not in left]
    said = ""
    for _ in range(_TRIES):
        if not left:
            return staged
        said = copy_files(folder, remote, list(left), transfers=transfers) or said
        unlike = _unlike(folder, _at(remote, left), left)
        for name in [name for name in left if name not in unlike]:
            staged.copied.append(name)
            staged.bytes_copied += (folder / name).stat().st_size
        left = unlike
    staged.failures |= {name: f"{reason}{f'; {said}' if said else ''}" for name, reason in left.items()}
    return staged


def files_of_folders(root: Path, names: Iterable[str]) -> list[str]:
    """Return files and those below folders, as paths relative to `root`.

    Hidden files, as half-written ones are, are left out. Names of nothing come back as they are, to be missed later.

    Raises
    ------
    ConfigError
        If a name does not lie below `root`.
    """
    found: list[str] = []
    for name in check_names(names):
        if not (root / name).is_dir():
            found.append(name)
            continue
        paths = (path.relative_to(root) for path in sorted((root / name).rglob("*")) if path.is_file())
        found += [str(path) for path in paths if not any(part.startswith(".") for part in path.parts)]
    return found


def _at(remote: Remote, names: Iterable[str]) -> dict[str, StoredFile]:
    listed = list(names)
    return list_files(remote, listed) if listed else {}


def _unlike(folder: Path, stored: Mapping[str, StoredFile], names: "Iterable[str] | None" = None) -> dict[str, str]:
    """Return the files that are not the same in a folder as on a remote, each with the difference."""
    asked = list(stored if names is None else names)
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as threads:
        found = threads.map(lambda name: _difference(folder / name, stored.get(name)), asked)
        return {name: difference for name, difference in zip(asked, found, strict=True) if difference}


def _difference(path: Path, stored: StoredFile | None) -> str:
    """Say how a file differs from one on a remote, nothing if it does not."""
    if stored is None:
        return "it did not arrive"
    try:
        size = path.stat().st_size
        if size != stored.size:
            return f"corrupt: {size:,} bytes here, {stored.size:,} there"
        kind = next((kind for kind in _HASHES if kind in stored.hashes), None)
        if kind is None:
            return "it cannot be verified: the remote tells no hash"
        here = _hash(path, kind)
    except FileNotFoundError:
        return "it did not arrive"
    return "" if here == stored.hashes[kind] else f"corrupt: {kind} {here} here, {stored.hashes[kind]} there"


def _hash(path: Path, kind: str) -> str:
    total = hashlib.new(kind, usedforsecurity=False)
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(_CHUNK_BYTES):
            total.update(chunk)
    return total.hexdigest()


@contextlib.contextmanager
def _own_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder of this process within another, on the same file system; it is removed in the end."""
    own = folder / f"{_FOLDER_PREFIX}{socket.gethostname()}-{os.getpid()}"
    try:
        own.mkdir(exist_ok=True)
    except OSError as error:
        raise StagingError(f"{folder}: cannot be written to, {error.strerror}") from None
    try:
        yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _adopt(folder: Path, stored: Mapping[str, StoredFile]) -> None:
    """Take over what killed processes have brought in and not yet moved, and clear their folders away.

    An rclone that has outlived its process may still be writing there, but not to files that are complete.
    """
    for left in sorted(folder.glob(f"{_FOLDER_PREFIX}*")):
        if not _is_abandoned(left):
            continue
        landed = [str(path.relative_to(left)) for path in left.rglob("*") if path.is_file()]
        complete = {name: stored[name] for name in landed if name in stored}
        unlike = _unlike(left, complete)
        for name in complete:
            if name not in unlike:
                with contextlib.suppress(OSError):
                    _place(left / name, folder / name)
        shutil.rmtree(left, ignore_errors=True)


def _is_abandoned(folder: Path) -> bool:
    host, _, process = folder.name.removeprefix(_FOLDER_PREFIX).rpartition("-")
    if host != socket.gethostname() or not process.isdecimal():
        return time.time() - folder.stat().st_mtime > _STALE_SECONDS
    return not Path(f"/proc/{process}").exists()
