"""Messages over MPI. What they mean stands in `_messages`.

A message is one head, a pickle, and the large buffers that it names, each a message of its own: the buffers are
received where they stay, without a copy in between. Receives of buffers are posted when their head arrives and
checked later, so that a sender that is slow, or busy with a task, holds up nobody.

Where ranks outlive the death of others (ULFM), a look for messages raises once a rank has died. What had arrived from
it is still received, then comes the message LOST; from there on nothing is received from it or sent to it. Collective
calls are made only at the start.

Every call into MPI is made under the engine's lock.
"""

import os
import pickle
import socket
import struct
from collections import deque
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mpidriver.errors import PoolError
from mpidriver.pool._transport._bell import Bell
from mpidriver.pool._transport._buffers import Buffers
from mpidriver.pool._transport._clocks import clock_offsets
from mpidriver.pool._transport._codec import OUT_OF_BAND_BYTES
from mpidriver.pool._transport._deaths import Deaths
from mpidriver.pool._transport._ending import die, die_with_the_launcher, end_mpi, flush
from mpidriver.pool._transport._groups import make_group_comm
from mpidriver.pool._transport._messages import LOST, Message

__all__ = ["MpiWire"]

_HEAD, _BUFFER = 1, 2
_TAGS = 1 << 15
"""Every MPI has so many tags."""
_PIECE_BYTES = 1 << 30
_RECEIVED_AT_ONCE_BYTES = 128 << 20
"""Large buffers are received one after the other beyond this: memory that is used again is faster than more of it."""
_COUNT = struct.Struct("<q")
_NO_BUFFERS = _COUNT.pack(0)
_LOOKS_AFTER_DEATH = 9
"""How often to look again in vain: a death may be told of more than once, but should not be for ever."""


class _Outgoing(NamedTuple):
    rank: int
    requests: list[Any]
    holds_up: bool


@dataclass(slots=True)
class _Incoming:
    """A message whose head is here."""

    data: bytes
    sizes: list[int]
    """Of its buffers, in bytes."""
    buffers: list[Any] = field(default_factory=list)
    requests: list[Any] | None = None
    """Receives of its buffers, None before they are posted."""


class MpiWire:
    """Sends to and receives from the other ranks of a communicator, never blocking.

    Parameters
    ----------
    comm
        Communicator of the pool's own, which `close` frees.
    """

    def __init__(self, comm: Any) -> None:
        from mpi4py import MPI

        self._mpi = MPI
        self._comm = comm
        self._status = MPI.Status()
        self.rank: int = comm.rank
        self.size: int = comm.size
        self.allows_threads = MPI.Query_thread() >= MPI.THREAD_SERIALIZED
        self.host = socket.gethostname()
        self._sending: deque[_Outgoing] = deque()
        self._buffers = Buffers()
        self._incoming: dict[int, deque[_Incoming]] = {}
        self._receiving_bytes = 0
        self.hosts: list[str] = comm.allgather(self.host)
        self.bell = Bell(self.rank, self.host, comm.allgather)
        self._deaths = Deaths(comm)
        self.outlives_deaths = self._deaths.are_outlived
        if self.outlives_deaths:
            die_with_the_launcher()
        self._room = memoryview(bytearray(2 * OUT_OF_BAND_BYTES))

    # Sending

    def send(self, rank: int, message: Message, *, holds_up: bool = False) -> None:
        """Send a message.

        Parameters
        ----------
        holds_up
            If it has large buffers, `holds_large_sends` is true until they are on their way.
        """
        if rank in self._deaths.dead:
            return
        buffers: list[pickle.PickleBuffer] = []
        data = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
        if not buffers:
            self._send_short(rank, _NO_BUFFERS + data)
            return
        raws = [buffer.raw() for buffer in buffers]
        sizes = b"".join(_COUNT.pack(raw.nbytes) for raw in raws)
        head = _COUNT.pack(len(raws)) + sizes + data
        requests: list[Any] = []
        try:
            requests.append(self._comm.Isend([head, self._mpi.BYTE], rank, _HEAD))
            for raw in raws:
                requests += [self._comm.Isend([piece, self._mpi.BYTE], rank, _BUFFER) for piece in _pieces(raw)]
            if not self._mpi.Request.Testall(requests):
                self._sending.append(_Outgoing(rank, requests, holds_up))
        except self._mpi.Exception as error:
            self._deaths.pass_over(error, rank, requests)
        else:
            self.bell.ring(rank)

    def _send_short(self, rank: int, head: bytes) -> None:
        try:
            request = self._comm.Isend([head, self._mpi.BYTE], rank, _HEAD)
            if not request.Test():
                self._sending.append(_Outgoing(rank, [request], False))
        except self._mpi.Exception as error:
            self._deaths.pass_over(error, rank, head)
        else:
            self.bell.ring(rank)

    @property
    def holds_large_sends(self) -> bool:
        """Whether large results are still to be fetched from this rank."""
        return bool(self._sending) and any(outgoing.holds_up for outgoing in self._sending)

    @property
    def is_moving(self) -> bool:
        """Whether something is being sent or received, which goes on only while this rank looks."""
        return bool(self._sending or self._incoming)

    def finish_sends(self) -> None:
        """Wait until everything sent has left."""
        while self._sending:
            outgoing = self._sending.popleft()
            try:
                self._mpi.Request.Waitall(outgoing.requests)
            except self._mpi.Exception as error:
                self._deaths.pass_over(error, outgoing.rank, outgoing.requests)
            else:
                self.bell.ring(outgoing.rank)

    # Receiving

    def receive(self) -> list[Message]:
        """Return the messages that are complete, those of one sender in the order in which they were sent."""
        if self._sending:
            self._sending = deque(outgoing for outgoing in self._sending if not self._has_left(outgoing))
        messages: list[Message] = []
        while self.has_message():
            self._begin(messages)
        if not messages:
            self._buffers.trim_if_unused()
        if self._incoming:
            self._complete(messages)
        if self._deaths.untold:
            self._bury(messages)
        return messages

    def _has_left(self, outgoing: _Outgoing) -> bool:
        try:
            if not self._mpi.Request.Testall(outgoing.requests):
                return False
        except self._mpi.Exception as error:
            self._deaths.pass_over(error, outgoing.rank, outgoing.requests)
        else:
            self.bell.ring(outgoing.rank)  # the first ring may have come before it could be seen
        return True

    def has_message(self) -> bool:
        """Look for a head. Of two probes the first may only move MPI along, and the second then sees the message."""
        probe, anyone, status = self._comm.Iprobe, self._mpi.ANY_SOURCE, self._status
        for _ in range(_LOOKS_AFTER_DEATH):
            try:
                return bool(probe(anyone, _HEAD, status) or probe(anyone, _HEAD, status))
            except self._mpi.Exception as error:
                self._deaths.note(error)
        return False

    def _begin(self, messages: list[Message]) -> None:
        """Receive the head just seen; nobody else receives on this communicator, so it is still the first.

        Most messages are complete with it, and are appended.
        """
        source, size = self._status.Get_source(), self._status.Get_count(self._mpi.BYTE)
        room = self._room[:size] if size <= len(self._room) else memoryview(bytearray(size))
        try:
            self._comm.Recv([room, self._mpi.BYTE], source, _HEAD)
            if source not in self._deaths.dead or source in self._deaths.untold:
                self._read_head(source, room, messages)
        except self._mpi.Exception as error:
            self._deaths.pass_over(error, source, room)

    def _read_head(self, source: int, room: Any, messages: list[Message]) -> None:
        (count,) = _COUNT.unpack_from(room)
        if not count and source not in self._incoming:
            messages.append(pickle.loads(room[_COUNT.size :]))
            return
        sizes = [_COUNT.unpack_from(room, _COUNT.size * (1 + i))[0] for i in range(count)]
        incoming = _Incoming(room[_COUNT.size * (1 + count) :].tobytes(), sizes)
        self._incoming.setdefault(source, deque()).append(incoming)

    def _complete(self, messages: list[Message]) -> None:
        """Receive buffers; append the messages that are complete with them."""
        for source in list(self._incoming):
            queue = self._incoming[source]
            while queue and self._has_come(source, queue[0]):
                incoming = queue.popleft()
                self._receiving_bytes -= sum(incoming.sizes)
                messages.append(pickle.loads(incoming.data, buffers=incoming.buffers))
            if not queue:
                del self._incoming[source]

    def _has_come(self, source: int, incoming: _Incoming) -> bool:
        try:
            if incoming.requests is None and not self._begin_buffers(source, incoming):
                return False
            return not incoming.requests or bool(self._mpi.Request.Testall(incoming.requests))
        except self._mpi.Exception as error:
            self._deaths.pass_over(error, source, incoming)
            return False

    def _begin_buffers(self, source: int, incoming: _Incoming) -> bool:
        """Begin to receive the buffers of a message, unless enough is being received."""
        nbytes = sum(incoming.sizes)
        if self._receiving_bytes and self._receiving_bytes + nbytes > _RECEIVED_AT_ONCE_BYTES:
            return False
        self._receiving_bytes += nbytes
        incoming.buffers, incoming.requests = [self._buffers.take(size) for size in incoming.sizes], []
        for piece in (piece for buffer in incoming.buffers for piece in _pieces(buffer)):
            incoming.requests.append(self._comm.Irecv([piece, self._mpi.BYTE], source, _BUFFER))
        return True

    # Ranks that have died

    def _bury(self, messages: list[Message]) -> None:
        """Drop what cannot be finished any more, and append messages that say so."""
        dead, self._deaths.untold = self._deaths.untold, []
        for rank in dead:
            unfinished = self._incoming.pop(rank, ())
            self._receiving_bytes -= sum(sum(one.sizes) for one in unfinished if one.requests is not None)
            self._deaths.remains += unfinished
            messages.append((LOST, rank))
        self._deaths.remains += [outgoing for outgoing in self._sending if outgoing.rank in self._deaths.dead]
        self._sending = deque(outgoing for outgoing in self._sending if outgoing.rank not in self._deaths.dead)

    # Gangs

    def communicator(self, ranks: tuple[int, ...], number: int) -> Any:
        """Return a new communicator over some ranks, all of which call this at the same time with the same number.

        Raises
        ------
        PoolError
            If this MPI lets only one thread in: the pool could not send messages meanwhile.
        """
        if self._mpi.Query_thread() < self._mpi.THREAD_MULTIPLE:
            raise PoolError("communicators of gangs need an MPI with MPI_THREAD_MULTIPLE; this one has less")
        return make_group_comm(self._comm, ranks, number % _TAGS)

    def clock_offsets(self) -> dict[int, float]:
        """Compare the clocks of other hosts with the root's; every rank must call it, before anything is sent."""
        return clock_offsets(self._comm, self.hosts)

    # Ending

    def close(self, *, all_live: bool = True) -> None:
        """Finish what was sent and free the communicator; every rank must call it.

        Parameters
        ----------
        all_live
            Whether no rank has died. Else MPI ends here, and will never be used again.
        """
        self.finish_sends()
        if all_live:
            self._comm.Free()
        else:
            end_mpi()
        self.bell.close()

    def leave(self) -> None:
        """End this rank at once, as if it had been killed; the root ends all."""
        if self.rank == 0:
            self.abort()
        flush()
        die()

    def abort(self) -> None:
        """End all ranks with an exit code that says so.

        Where ranks outlive each other, MPI_Abort ends this one alone, and the others are not told: only of a rank that
        was killed they are. So the root kills itself, and the others end with a code when they notice.
        """
        flush()
        if not self.outlives_deaths:
            self._mpi.COMM_WORLD.Abort(1)
        dead = self._deaths.dead
        is_noticed = len(dead) < self.size - 1 if self.rank == 0 else 0 not in dead
        if is_noticed:
            die()
        os._exit(1)


def _pieces(buffer: Any) -> list[Any]:
    """Cut a buffer into pieces whose byte counts every MPI takes."""
    view = memoryview(buffer)
    if view.nbytes <= _PIECE_BYTES:
        return [view]
    return [view[start : start + _PIECE_BYTES] for start in range(0, view.nbytes, _PIECE_BYTES)]
