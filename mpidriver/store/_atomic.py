"""Files that appear whole or not at all: write beside, fsync, rename, fsync the directory.

A partial file is named ``.partial-<host>-<pid>-<number>-<name>``: hidden, recognisable, with the suffix of the final
name (writers that choose a format by suffix work) and on the same file system. A killed process can leave one; nothing
in a repository reads a name that begins so, and `remove_partials` clears them away.
"""

import contextlib
import contextvars
import errno
import itertools
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from mpidriver.errors import RepositoryError

__all__ = [
    "PARTIAL_PREFIX",
    "all_or_none",
    "atomic_batch",
    "atomic_path",
    "is_partial",
    "make_directory",
    "nothing_kept",
    "publish",
    "refusals_named",
    "remove_partials",
    "sync_directory",
    "write_text",
]

PARTIAL_PREFIX = ".partial-"

_ADVICE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some of the quota",
    errno.EFBIG: "raise the file size limit (ulimit -f)",
    errno.EROFS: "the file system is mounted read-only",
    errno.EACCES: "make the directory writable",
    errno.EPERM: "make the directory writable",
    errno.EIO: "check the file system",
    errno.EEXIST: "remove the file that stands where a directory is needed",
    errno.ENOTDIR: "remove the file that stands where a directory is needed",
}
_numbers = itertools.count()
_keeps = True
_appeared: contextvars.ContextVar[list[Path] | None] = contextvars.ContextVar("_appeared", default=None)


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a path beside `path` to write to; on success it becomes `path`, on an error it is removed.

    Parent directories are made. When the block has ended without an error the content is on disk under its final
    name; until then a reader sees the old file or none.

    Raises
    ------
    RepositoryError
        If the file system refuses: disk full, quota, read-only, not writable. A previous file is untouched.
    """
    final = Path(path)
    partial = _partial(final)
    try:
        with refusals_named(final):
            make_directory(final.parent)
            yield partial
            publish(partial, final)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def atomic_batch(directory: str | os.PathLike[str]) -> Iterator[Callable[[str], Path]]:
    """Yield a function that takes the name of a file of `directory` and returns the path to write it to.

    Syncing a file takes longer than writing a small one. So when the block has ended without an error the file system
    is synced once, and then all files get their final names; if it raises, none does.

    Raises
    ------
    RepositoryError
        If the file system refuses.
    """
    folder = Path(directory)
    begun: dict[Path, Path] = {}

    def begin(name: str) -> Path:
        begun[folder / name] = partial = _partial(folder / name)
        return partial

    try:
        with refusals_named(folder):
            make_directory(folder)
            yield begin
            if begun:
                _sync_file_system(folder)
                for final, partial in begun.items():
                    os.replace(partial, final)
                sync_directory(folder)
    except BaseException:
        for partial in begun.values():
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
        raise


def _partial(final: Path) -> Path:
    return final.with_name(f"{PARTIAL_PREFIX}{socket.gethostname()}-{os.getpid()}-{next(_numbers)}-{final.name}")


@contextlib.contextmanager
def nothing_kept() -> Iterator[None]:
    """Throw away what this process writes in the block: files are written and synced, then removed.

    What stood under their final names stays. It holds for all threads and tasks of the process.
    """
    global _keeps
    _keeps = False
    try:
        yield
    finally:
        _keeps = True


@contextlib.contextmanager
def all_or_none() -> Iterator[None]:
    """Make the files that are written in the block appear together: if it raises, those that are there go again."""
    appeared: list[Path] = []
    token = _appeared.set(appeared)
    try:
        yield
    except BaseException:
        for path in appeared:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        raise
    finally:
        _appeared.reset(token)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file atomically, as UTF-8."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


def is_partial(path: str | os.PathLike[str]) -> bool:
    """Tell whether a path names a file that was being written and is no product."""
    return Path(path).name.startswith(PARTIAL_PREFIX)


def remove_partials(root: str | os.PathLike[str]) -> list[Path]:
    """Remove partial files below a directory, of which no writer may be alive, and return what was removed."""
    found = [path for path in sorted(Path(root).rglob(f"{PARTIAL_PREFIX}*")) if path.is_file()]
    for path in found:
        path.unlink(missing_ok=True)
    return found


def publish(partial: Path, final: Path) -> None:
    """Put a partial file on disk and give it its final name."""
    if not partial.exists():
        raise RepositoryError(f"{final}: nothing was written to its partial file {partial.name}")
    _sync(partial, os.O_RDONLY)
    if not _keeps:
        partial.unlink()
        return
    os.replace(partial, final)
    appeared = _appeared.get()
    if appeared is not None:
        appeared.append(final)
    sync_directory(final.parent)


def make_directory(directory: Path) -> None:
    """Make a directory and its parents, durably: each new entry is synced in the directory that holds it."""
    missing = [folder for folder in (directory, *directory.parents) if not folder.exists()]
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError as error:  # though its parents were made: a file system of the kernel's own
        raise RepositoryError(f"{directory}: no directory can be made there; choose another place") from error
    for folder in reversed(missing):
        sync_directory(folder.parent)


def sync_directory(directory: Path) -> None:
    """Put a directory's entries on disk, where the file system knows how to."""
    try:
        _sync(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise


def _sync_file_system(directory: Path) -> None:
    """Put on disk what was written to the file system of a directory."""
    import ctypes

    sync = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if sync is None:
        os.sync()
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if sync(descriptor) != 0:
            raise OSError(ctypes.get_errno(), "the file system could not be synced", str(directory))
    finally:
        os.close(descriptor)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def refusals_named(final: Path) -> Iterator[None]:
    """Turn a refusal of the file system into a RepositoryError that names the product."""
    try:
        yield
    except RepositoryError:
        raise
    except OSError as error:
        if error.errno not in _ADVICE:
            raise
        named = RepositoryError(f"{final}: not written, {os.strerror(error.errno)}; {_ADVICE[error.errno]}")
        named.errno = error.errno
        raise named from error
