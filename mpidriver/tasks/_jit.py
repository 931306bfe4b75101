"""The one way kernels are compiled: numba without the GIL, cached on the node's own disk.

A cache on a shared file system would be written by thousands of ranks at once, and one in a folder that others may
write to would run their code; so the cache is a private folder of the node: ``$MPIDRIVER_CACHE``, or
``<tempdir>/mpidriver-<uid>``. Where no such folder can be had, kernels are compiled anew in each process.
numba looks whether a kernel's own file has changed, not at what the kernel calls; so in that folder is one for each
state of that file and of those from which it imports, named by their digest.
``NUMBA_DISABLE_JIT=1`` leaves the functions plain Python.
"""

import functools
import hashlib
import os
import re
import stat
import sys
import tempfile
from pathlib import Path

import numba

__all__ = ["ANY_ORDER", "FUSED", "cache_directory", "kernel"]

#: What fused multiply-add needs of ``fastmath``; NaN and infinities keep their meaning.
FUSED = {"contract"}
#: The same, and sums in any order, as vectors take them.
ANY_ORDER = {"contract", "reassoc", "nsz"}


@functools.cache
def cache_directory() -> Path | None:
    """Return the node's private folder for compiled kernels, made if needed; None if it cannot be had or trusted."""
    chosen = os.environ.get("MPIDRIVER_CACHE")
    path = Path(chosen) if chosen else Path(tempfile.gettempdir()) / f"mpidriver-{os.getuid()}"
    try:
        path.mkdir(mode=0o700, parents=bool(chosen), exist_ok=True)
        return path if _is_private(path) and os.access(path, os.R_OK | os.W_OK | os.X_OK) else None
    except OSError:
        return None


def _is_private(path: Path) -> bool:
    """Tell whether `path` is a real folder of this user's that nobody else may write to."""
    status = path.lstat()
    writable_by_others = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not writable_by_others


@functools.cache
def _sources_digest(name: str) -> str:
    """Return a digest of the source of a module and of what it imports from its own package, directly or not."""
    package, sources, names = name.partition(".")[0], {}, [name]
    while names:
        name = names.pop()
        path = getattr(sys.modules.get(name), "__file__", None)
        if name not in sources and path is not None:
            sources[name] = Path(path).read_text(encoding="utf-8")
            names += re.findall(rf"^from ({package}[\w.]*) import", sources[name], re.MULTILINE)
    return hashlib.blake2b(repr(sorted(sources.items())).encode(), digest_size=8).hexdigest()


def _cache_of(function) -> Path | None:
    """Return the folder in which a function's machine code is cached; None if it cannot be."""
    directory = cache_directory()
    if directory is None or not Path(function.__code__.co_filename).is_file():
        return None
    return directory / _sources_digest(function.__module__)


def kernel(function=None, **options):
    """Compile a function with numba: no GIL, cached on disk.

    Parameters
    ----------
    function : callable, optional
        The kernel; without it a decorator is returned.
    **options
        Passed to `numba.njit`; ``parallel=True`` is not ours to use, since ranks share the cores.

    Returns
    -------
    callable
        The compiled kernel, or `function` itself under ``NUMBA_DISABLE_JIT=1``.
    """
    if function is None:
        return functools.partial(kernel, **options)
    if numba.config.DISABLE_JIT:
        return function
    directory = _cache_of(function)
    if directory is None:
        return numba.njit(nogil=True, **options)(function)
    previous, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(directory)
    try:
        return numba.njit(nogil=True, cache=True, **options)(function)
    except RuntimeError:  # numba found no way to cache there: the disk is full
        return numba.njit(nogil=True, **options)(function)
    finally:
        numba.config.CACHE_DIR = previous
