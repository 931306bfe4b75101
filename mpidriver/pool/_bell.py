"""A doorbell: whoever sends a rank something wakes it if it sleeps.

A rank has a unix datagram socket for the ranks of its host, and a UDP socket if there are other hosts. Before it
sleeps it says so in a byte that all ranks of the host share; others look at that byte when they have sent, and ring if
it is set. It looks for messages once more between the two, so that either it sees the message or the sender
sees the byte (mpi4py lets go of the interpreter's lock in every call of MPI: that is the fence that this needs). Ranks
of other hosts do not see the byte and always ring.

A ring can be lost: firewalls, containers. So nobody sleeps for long, and a bell that keeps silent while messages come
is trusted no more: its rank then looks every millisecond.
"""

import contextlib
import mmap
import os
import select
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["Bell"]

LONGEST_SLEEP_SECONDS = 50e-3
"""What a lost ring may cost, and how often a rank that nobody needs wakes."""
SETTLE_SECONDS = 3e-3
"""Between hosts a ring may be faster than the message that it announces: look for it so long before sleeping again."""
MISSED_IN_A_ROW = 3
DISTRUST_SECONDS = 10.0
"""After so many messages found without a ring the bell is not trusted for so long."""
_SHARED_MEMORY = "/dev/shm"
_NOWHERE = ("192.0.2.1", 9)
"""An address that leads out (RFC 5737): asking for the way to it sends nothing."""


class _Entrance(NamedTuple):
    """Where a rank can be rung."""

    host: str
    local: Any
    """Address of its unix socket, None if it has none."""
    remote: Any
    """Address of its UDP socket, None if it has none."""


class Bell:
    """The doorbell of one rank, and the way to those of the others.

    Parameters
    ----------
    rank, host
        This rank, and the name of the machine it runs on.
    exchange
        Gives what all ranks pass, in their order; every rank makes its bell at the same time.
    """

    def __init__(self, rank: int, host: str, exchange: Callable[[Any], list[Any]]) -> None:
        self._rank = rank
        self._local, local = _unix_socket()
        has_other_hosts = len(set(exchange(host))) > 1
        self._remote: socket.socket | None = None
        remote = None
        if has_other_hosts:
            self._remote, remote = _udp_socket()
        self._entrances = [_Entrance(*one) for one in exchange(tuple(_Entrance(host, local, remote)))]
        self._is_near = [one.host == host for one in self._entrances]
        self._asleep = _shared_bytes(rank, [one.host for one in self._entrances], exchange)
        self._says = [
            sees and near and self._asleep is not None
            for sees, near in zip(exchange(self._asleep is not None), self._is_near, strict=True)
        ]
        self.settle_seconds = SETTLE_SECONDS if has_other_hosts else 0.0
        self.is_crowded = sum(self._is_near) > len(os.sched_getaffinity(0))
        self._sleepers: set[int] = set()
        self._was_rung = False
        self._missed = 0
        self._distrusted_until = 0.0

    # Those who send

    def ring(self, rank: int) -> None:
        """Wake a rank, unless it is known to be awake; it was sent something before."""
        if self._says[rank]:
            assert self._asleep is not None
            if not self._asleep[rank]:
                return
            self._asleep[rank] = 0
        self._knock(rank)

    def wake(self, thread: int) -> None:
        """Wake a thread of this rank, given by its identifier, if it sleeps and is another."""
        if thread in self._sleepers and thread != threading.get_ident():
            self._knock(self._rank)

    def _knock(self, rank: int) -> None:
        entrance = self._entrances[rank]
        near = self._is_near[rank]
        bell, address = (self._local, entrance.local) if near else (self._remote, entrance.remote)
        if bell is not None and address is not None:
            with contextlib.suppress(OSError):  # rung already so often that it is full, or gone
                bell.sendto(b"", address)

    # Those who sleep

    @property
    def is_trusted(self) -> bool:
        """Whether a rank that sleeps will be woken."""
        return self._local is not None and time.perf_counter() >= self._distrusted_until

    def lie_down(self) -> None:
        """Say that this thread is about to sleep; it must look for messages once more before it does."""
        self._sleepers.add(threading.get_ident())
        if self._asleep is not None:
            self._asleep[self._rank] = 1

    def get_up(self) -> None:
        """Say that this thread is awake."""
        self._sleepers.discard(threading.get_ident())
        if self._asleep is not None and not self._sleepers:
            self._asleep[self._rank] = 0

    def sleep(self, seconds: float) -> bool:
        """Sleep until the bell rings, but not for long; return whether it rang."""
        poll = select.poll()
        for bell in (self._local, self._remote):
            if bell is not None:
                poll.register(bell, select.POLLIN)
        if not poll.poll(1e3 * min(seconds, LONGEST_SLEEP_SECONDS)):
            return False
        self._was_rung, self._missed = True, 0
        return True

    def missed(self) -> None:
        """Note that a message was found although the bell had not rung when the sleep ended."""
        if self.sleep(0.0):
            return
        self._missed += 1
        if self._missed == MISSED_IN_A_ROW:
            self._missed, self._distrusted_until = 0, time.perf_counter() + DISTRUST_SECONDS

    def hush(self) -> None:
        """Forget past rings. Whoever does so looks for messages afterwards."""
        if not self._was_rung:
            return
        self._was_rung = False
        for bell in (self._local, self._remote):
            with contextlib.suppress(BlockingIOError):
                while bell is not None:
                    bell.recv(1)

    def close(self) -> None:
        """Take the bell down."""
        for one in (self._local, self._remote, self._asleep):
            if one is not None:
                one.close()


def _unix_socket() -> tuple[socket.socket | None, Any]:
    """Return a socket with an abstract name, which leaves no file behind; Linux only."""
    bell = None
    try:
        bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        address = b"\0mpidriver-" + uuid.uuid4().hex.encode()
        bell.bind(address)
    except (OSError, AttributeError):
        if bell is not None:
            bell.close()
        return None, None
    return bell, address


def _udp_socket() -> tuple[socket.socket | None, Any]:
    host = _own_address()
    if host is None:
        return None, None
    bell = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    bell.bind((host, 0))
    return bell, bell.getsockname()


def _own_address() -> str | None:
    """Return the address under which other hosts reach this one, None if there seems to be none."""
    candidates = []
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(_NOWHERE)
        candidates.append(probe.getsockname()[0])
    with contextlib.suppress(OSError):
        candidates.append(socket.gethostbyname(socket.gethostname()))
    return next((one for one in candidates if not one.startswith("127.")), None)


def _shared_bytes(rank: int, hosts: list[str], exchange: Callable[[Any], list[Any]]) -> mmap.mmap | None:
    """Return one byte a rank, shared by the ranks of each host, None where that does not work."""
    first = hosts.index(hosts[rank])
    path = None
    if first == rank:
        with contextlib.suppress(OSError):
            where = _SHARED_MEMORY if os.path.isdir(_SHARED_MEMORY) else None
            descriptor, path = tempfile.mkstemp(prefix="mpidriver-", dir=where)
            os.ftruncate(descriptor, len(hosts))
            os.close(descriptor)
    path_of_host = exchange(path)[first]
    shared = None
    if path_of_host is not None:
        with contextlib.suppress(OSError, ValueError), open(path_of_host, "r+b") as file:
            shared = mmap.mmap(file.fileno(), len(hosts))
    exchange(None)  # all have opened it
    if path is not None:
        os.unlink(path)
    return shared
