"""The connection between a rank and its child process: messages over a socket, large buffers in shared memory."""

import array
import contextlib
import pickle
import socket
from typing import Any

from mpidriver.pool._isolated._segments import Maps, Segments
from mpidriver.pool._transport._codec import Packed

__all__ = ["Link", "LinkLostError"]

LARGEST_FRAME_BYTES = 64 * 1024
"""What is longer goes through shared memory."""
_ROOM_BYTES = 4 * LARGEST_FRAME_BYTES
_DESCRIPTOR_BYTES = array.array("i", [0]).itemsize


class LinkLostError(Exception):
    """The process at the other end is gone."""


class Link:
    """One end of the connection.

    A message is one datagram: its pickle, the sizes of its buffers, the segment that has them, and news of
    segments. The descriptor of a segment that the peer does not know travels beside it. If pickle and sizes are long,
    they are the segment's first buffer.

    Parameters
    ----------
    end
        One end of a `pair`.
    """

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self._segments = Segments()
        self._maps = Maps()
        self._room = bytearray(_ROOM_BYTES)

    @staticmethod
    def pair() -> tuple[socket.socket, socket.socket]:
        """Return two sockets that are connected and keep datagrams whole and in order."""
        return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def send(self, *message: Any) -> None:
        """Send what can be pickled, as `Packed` if it is large; its memory may be changed when this returns.

        Raises
        ------
        LinkLostError
            If nobody is there to receive it.
        """
        buffers: list[pickle.PickleBuffer] = []
        fields = [_portable(field) if type(field) is Packed else field for field in message]
        body = pickle.dumps(fields, protocol=5, buffer_callback=buffers.append)
        number, nbytes, descriptor, given_up, long = 0, 0, None, [], 0
        sizes: list[int] = []
        if buffers or len(body) > LARGEST_FRAME_BYTES:
            raws = [buffer.raw() for buffer in buffers]
            sizes = [-1 - raw.nbytes if raw.readonly else raw.nbytes for raw in raws]
            if len(body) + 8 * len(sizes) > LARGEST_FRAME_BYTES:
                raws.insert(0, memoryview(pickle.dumps((body, sizes), protocol=5)))
                body, sizes, long = b"", [], raws[0].nbytes
            given_up = self._segments.give_up()
            number, nbytes, descriptor = self._segments.write(raws)
        frame = pickle.dumps((body, sizes, number, nbytes, long, self._maps.unused(), given_up), protocol=5)
        try:
            if descriptor is None:
                self.socket.send(frame)
            else:
                socket.send_fds(self.socket, [frame], [descriptor])
        except (BrokenPipeError, ConnectionResetError) as error:
            raise LinkLostError from error

    def receive(self) -> list[Any]:
        """Wait for a message; its `Packed` fields have their buffers in shared memory and may be sent on.

        Raises
        ------
        LinkLostError
            If the other process is gone.
        """
        try:
            length, extra, _, _ = self.socket.recvmsg_into(
                [self._room], socket.CMSG_SPACE(_DESCRIPTOR_BYTES), socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionResetError as error:
            raise LinkLostError from error
        if not length:
            raise LinkLostError
        with memoryview(self._room) as room:
            body, sizes, number, nbytes, long, released, given_up = pickle.loads(room[:length])
        self._segments.released(released)
        if extra:
            self._maps.add(number, nbytes, array.array("i", extra[0][2])[0])
        self._maps.drop(given_up)
        if not number:
            return pickle.loads(body)  # type: ignore[no-any-return]
        if long:
            (packed,) = self._maps.read(number, [long])
            body, sizes = pickle.loads(packed)
        views = self._maps.read(number, [long] * bool(long) + [max(size, -1 - size) for size in sizes])[bool(long) :]
        buffers = [view if size >= 0 else view.toreadonly() for view, size in zip(views, sizes, strict=True)]
        return pickle.loads(body, buffers=map(pickle.PickleBuffer, buffers))  # type: ignore[no-any-return]

    def close(self) -> None:
        """Close this end; what was received stays readable."""
        with contextlib.suppress(OSError):
            self.socket.close()
        self._segments.close()


def _portable(packed: Packed) -> Packed:
    """Let buffers travel as such, whatever they are here: nobody need load numpy for them."""
    data = packed.data if isinstance(packed.data, bytes) else pickle.PickleBuffer(packed.data)
    return Packed(data, [pickle.PickleBuffer(buffer) for buffer in packed.buffers])
