"""Memory for arrays that arrive, used again once nobody holds it: fresh memory costs more than the message.

The kernel hands out fresh memory page by page, each cleared at its first use; that takes longer than copying an array
into pages that are there already.

numpy would do, but it takes long to load, and a rank may never need it.
"""

import contextlib
import mmap
import sys
import time
from typing import Any

__all__ = ["Buffers"]

SMALLEST_BYTES = 256 * 1024
"""Smaller ones come from the allocator's own store."""
MOST_BYTES = 256 << 20
"""How much memory is kept at most, in use or not."""
MOST_BUFFERS = 64
LARGEST_WASTE = 1.25
"""A buffer is used again for what is at most so many times smaller."""
UNUSED_SECONDS = 1.0
"""Memory is given back when no buffer was taken for so long."""


def _is_free(buffers: list[Any]) -> list[bool]:
    return [sys.getrefcount(buffer) <= _REFERENCES_HERE for buffer in buffers]


def _fresh(nbytes: int) -> mmap.mmap:
    """Return memory of the kernel, in large pages if it has some."""
    memory = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError, AttributeError):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


_REFERENCES_HERE = 0
"""What refers to a buffer that nobody else holds: how many depends on the interpreter, so it is counted."""
while not _is_free([mmap.mmap(-1, 1)])[0]:
    _REFERENCES_HERE += 1


class Buffers:
    """Receive buffers of one rank.

    A buffer is free when nothing refers to it: views of it and arrays made on top of them do.
    """

    def __init__(self) -> None:
        self._kept: list[Any] = []
        self._kept_bytes = 0
        self._taken_at = 0.0

    def take(self, nbytes: int) -> memoryview:
        """Return memory of so many bytes, which is the caller's until it drops it."""
        if nbytes < SMALLEST_BYTES:
            return memoryview(bytearray(nbytes))
        if nbytes > MOST_BYTES:
            return memoryview(_fresh(nbytes))
        self._taken_at = time.perf_counter()
        for buffer, is_free in zip(self._kept, _is_free(self._kept), strict=True):
            if is_free and nbytes <= len(buffer) <= LARGEST_WASTE * nbytes:
                return memoryview(buffer)[:nbytes]
        buffer = _fresh(nbytes)
        self._keep(buffer)
        return memoryview(buffer)

    def trim(self) -> None:
        """Give back the memory of all that is free."""
        is_free = _is_free(self._kept)
        self._kept = [buffer for buffer, free in zip(self._kept, is_free, strict=True) if not free]
        self._kept_bytes = sum(map(len, self._kept))

    def trim_if_unused(self) -> None:
        """Give back the memory of all that is free if none was taken lately."""
        if self._kept and time.perf_counter() - self._taken_at > UNUSED_SECONDS:
            self.trim()

    def _keep(self, buffer: Any) -> None:
        if len(self._kept) >= MOST_BUFFERS or self._kept_bytes + len(buffer) > MOST_BYTES:
            self.trim()
        if len(self._kept) < MOST_BUFFERS and self._kept_bytes + len(buffer) <= MOST_BYTES:
            self._kept.append(buffer)
            self._kept_bytes += len(buffer)
