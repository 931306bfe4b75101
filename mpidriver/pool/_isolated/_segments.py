"""Memory that two processes of one host share, for what is too large for a socket.

The sender writes into a file that lies in memory alone (memfd) and passes its descriptor; the receiver maps the file
and lets arrays be made on top of the mapping, without a copy. A segment is written again once the receiver says that
nothing refers to it any more.
"""

import mmap
import os
import sys
from collections.abc import Iterable, Sequence

__all__ = ["Maps", "Segments"]

ALIGNMENT_BYTES = 64
MOST_BYTES = 128 << 20
"""How much memory is kept at most for what will be sent later."""
MOST_FREE = 8
LARGEST_WASTE = 4.0
"""A segment is used again for what is at most so many times smaller."""
MOST_MAPS = 32
"""So many mappings may carry arrays at a time, since each costs a descriptor; what comes beyond is copied."""
_LONGEST_WRITE_BYTES = 1 << 30


class _Segment:
    def __init__(self, number: int, nbytes: int) -> None:
        self.number = number
        self.nbytes = nbytes
        self.is_free = False
        self.descriptor = os.memfd_create("mpidriver", os.MFD_CLOEXEC)
        os.ftruncate(self.descriptor, nbytes)


class Segments:
    """What one process writes for its peer."""

    def __init__(self) -> None:
        self._segments: dict[int, _Segment] = {}
        self._made = 0

    def write(self, buffers: Sequence[memoryview]) -> tuple[int, int, int | None]:
        """Write buffers one behind the other.

        Returns
        -------
        number, nbytes
            Of the segment that has them.
        descriptor
            To be passed to the peer, None if it has the segment already.
        """
        segment, is_new = self._take(sum(_padded(buffer.nbytes) for buffer in buffers))
        offset = 0
        for buffer in buffers:
            _write(segment.descriptor, buffer, offset)
            offset += _padded(buffer.nbytes)
        return segment.number, segment.nbytes, segment.descriptor if is_new else None

    def released(self, numbers: Iterable[int]) -> None:
        """Note that the peer does not use segments any more."""
        for number in numbers:
            self._segments[number].is_free = True

    def give_up(self) -> list[int]:
        """Drop what is not worth keeping; return the numbers, which the peer must learn."""
        free = sorted((one for one in self._segments.values() if one.is_free), key=lambda one: one.nbytes)
        kept_bytes, gone = 0, []
        for count, segment in enumerate(free):
            kept_bytes += segment.nbytes
            if kept_bytes > MOST_BYTES or count >= MOST_FREE:
                gone.append(segment.number)
                os.close(self._segments.pop(segment.number).descriptor)
        return gone

    def close(self) -> None:
        """Drop everything."""
        for segment in self._segments.values():
            os.close(segment.descriptor)
        self._segments.clear()

    def _take(self, nbytes: int) -> tuple[_Segment, bool]:
        free = [
            one for one in self._segments.values() if one.is_free and nbytes <= one.nbytes <= LARGEST_WASTE * nbytes
        ]
        if free:
            segment = min(free, key=lambda one: one.nbytes)
            segment.is_free = False
            return segment, False
        self._made += 1
        segment = self._segments[self._made] = _Segment(self._made, max(nbytes, 1))
        return segment, True


class Maps:
    """What one process has received from its peer."""

    def __init__(self) -> None:
        self._maps: dict[int, mmap.mmap] = {}
        self._in_use: set[int] = set()

    def add(self, number: int, nbytes: int, descriptor: int) -> None:
        """Map a segment and close its descriptor."""
        try:
            self._maps[number] = mmap.mmap(descriptor, nbytes)
        finally:
            os.close(descriptor)

    def read(self, number: int, sizes: Sequence[int]) -> list[memoryview]:
        """Return the buffers that a segment has, given their numbers of bytes."""
        self._in_use.add(number)
        copies = len(self._in_use) > MOST_MAPS
        buffers, offset = [], 0
        for nbytes in sizes:
            view = memoryview(self._maps[number])[offset : offset + nbytes]
            buffers.append(memoryview(bytearray(view)) if copies else view)
            offset += _padded(nbytes)
        return buffers

    def unused(self) -> list[int]:
        """Return the numbers of the segments that nothing refers to any more, each once."""
        if not self._in_use:
            return []
        unused = [number for number in self._in_use if sys.getrefcount(self._maps[number]) <= _REFERENCES_HERE]
        self._in_use.difference_update(unused)
        return unused

    def drop(self, numbers: Iterable[int]) -> None:
        """Unmap what the peer has given up."""
        for number in numbers:
            self._maps.pop(number).close()


def _references() -> int:
    """Count what refers to a mapping that carries nothing: how many depends on the interpreter."""
    maps = {0: mmap.mmap(-1, 1)}
    return sum(sys.getrefcount(maps[number]) for number in maps)


_REFERENCES_HERE = _references()


def _padded(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def _write(descriptor: int, buffer: memoryview, offset: int) -> None:
    """Write without the interpreter's lock; into fresh memory this also costs less than to map it and to copy."""
    start = 0
    while start < buffer.nbytes:
        start += os.pwrite(descriptor, buffer[start : start + _LONGEST_WRITE_BYTES], offset + start)
