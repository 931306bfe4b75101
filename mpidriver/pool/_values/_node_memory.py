"""One copy of a value in the memory of a node, which all ranks of the node look at.

The copy lies in a memfd of one process; others map it through ``/proc/<pid>/fd``. The kernel frees it with the last
process that has it open or mapped, however that ended. An MPI window of shared memory would need a collective call
of all ranks of the node, which are in the middle of other tasks.

It begins with a token that no other file has, then come the number of parts, the bytes of each, and the parts: a
pickle and its out-of-band buffers, each where a cache line begins.
"""

import mmap
import os
import pickle
import struct
from typing import Any, NamedTuple

from mpidriver.pool._transport._codec import pack

__all__ = ["NodeMemory", "Place", "attach", "keep", "keep_blob", "read"]

ALIGNMENT = 64
"""Parts begin at multiples of so many bytes."""
_TOKEN_BYTES = 16
_COUNT = struct.Struct("<q")


class Place(NamedTuple):
    """Where other processes of a host find the memory."""

    host: str
    pid: int
    descriptor: int
    nbytes: int
    token: bytes


class NodeMemory:
    """Memory that this process keeps, for itself and, if it has a place, for others of its host.

    Parameters
    ----------
    memory
        What was written.
    place
        Where others find it, None where they cannot.
    """

    def __init__(self, memory: mmap.mmap, place: Place | None) -> None:
        self.memory = memory
        self.place = place

    def close(self) -> None:
        """Let nobody find it any more; who has mapped it keeps it, until the last array in it is gone."""
        if self.place is not None:
            os.close(self.place.descriptor)
            self.place = None


def keep(value: Any, host: str) -> NodeMemory:
    """Write a value into new memory.

    Raises
    ------
    Exception
        Whatever its pickling raises.
    """
    packed = pack(value, out_of_band_bytes=0)
    parts = [memoryview(packed.data), *(buffer.raw() for buffer in packed.buffers)]
    sizes = [part.nbytes for part in parts]
    starts = _starts(sizes)
    kept = _allocate(starts[-1], host, os.urandom(_TOKEN_BYTES))
    header = b"".join(map(_COUNT.pack, [len(parts), *sizes]))
    kept.memory[_TOKEN_BYTES : _TOKEN_BYTES + len(header)] = header
    for part, start in zip(parts, starts, strict=False):
        kept.memory[start : start + part.nbytes] = part
    return kept


def keep_blob(blob: Any, host: str) -> NodeMemory:
    """Write what `keep` has written on another host into new memory here."""
    view = memoryview(blob).cast("B")
    kept = _allocate(view.nbytes, host, bytes(view[:_TOKEN_BYTES]))
    kept.memory[:] = view
    return kept


def _allocate(nbytes: int, host: str, token: bytes) -> NodeMemory:
    try:
        descriptor = os.memfd_create("mpidriver-shared")
    except (AttributeError, OSError):  # not Linux, or no descriptor is left
        kept = NodeMemory(mmap.mmap(-1, nbytes), None)
    else:
        os.ftruncate(descriptor, nbytes)
        kept = NodeMemory(mmap.mmap(descriptor, nbytes), Place(host, os.getpid(), descriptor, nbytes, token))
    kept.memory[:_TOKEN_BYTES] = token
    return kept


def attach(place: Place) -> mmap.mmap | None:
    """Map memory that another process keeps, read-only; None if it is not to be found from here."""
    try:
        descriptor = os.open(f"/proc/{place.pid}/fd/{place.descriptor}", os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        memory = mmap.mmap(descriptor, place.nbytes, prot=mmap.PROT_READ)
    except (OSError, ValueError):
        return None
    finally:
        os.close(descriptor)
    return memory if memory[:_TOKEN_BYTES] == place.token else None


def read(memory: Any) -> Any:
    """Return the value that was written; its arrays lie in the memory and are read-only."""
    view = memoryview(memory).toreadonly()
    (count,) = _COUNT.unpack_from(view, _TOKEN_BYTES)
    sizes = [_COUNT.unpack_from(view, _TOKEN_BYTES + _COUNT.size * (1 + part))[0] for part in range(count)]
    data, *buffers = (view[start : start + size] for start, size in zip(_starts(sizes), sizes, strict=False))
    return pickle.loads(data, buffers=buffers)


def _starts(sizes: list[int]) -> list[int]:
    """Return where each part begins, and the whole ends."""
    starts = [_aligned(_TOKEN_BYTES + _COUNT.size * (1 + len(sizes)))]
    for size in sizes:
        starts.append(_aligned(starts[-1] + size))
    return starts


def _aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT
