"""A doorbell: whoever sends a rank something wakes it if it sleeps.

A rank has unix datagram sockets for the ranks of its host, and a UDP socket if there are other hosts. Before it
sleeps it says so in a byte that all ranks of the host share; others look at that byte when they have sent, and ring if
it is set: for the main thread if that waits, or for the helper, the progress thread, while the main thread computes.
It looks for messages once more between the two, so that either it sees the message or the sender sees the byte
(mpi4py lets go of the interpreter's lock in every call of MPI: that is the fence that this needs). Ranks of other
hosts do not see the byte and always ring.

A ring can be lost: firewalls, containers. So nobody sleeps for long, and a bell that keeps silent while messages come
is trusted no more: its rank then looks every millisecond.
"""

import contextlib
import mmap
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["Bell"]

LONGEST_SLEEP_SECONDS = 0.2
"""What a lost ring may cost, and how often a rank that nobody needs wakes."""
SETTLE_SECONDS = 3e-3
"""Between hosts a ring may be faster than the message that it announces: look for it so long before sleeping again."""
MISSED_IN_A_ROW = 3
DISTRUST_SECONDS = 10.0
"""After so many messages found without a ring the bell is not trusted for so long."""
_AWAKE, _MAIN, _HELPER = 0, 1, 2
"""Who is to be rung."""
_SHARED_MEMORY = "/dev/shm"
_NOWHERE = ("192.0.2.1", 9)
"""An address that leads out (RFC 5737): asking for the way to it sends nothing."""


class _Entrance(NamedTuple):
    """Where a rank can be rung."""

    host: str
    main: Any
    """Address of its main thread's unix socket, None if it has none."""
    helper: Any
    """Address of its progress thread's."""
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
        self._main, main = _unix_socket()
        self._helper, helper = _unix_socket()
        everybody: list[tuple[str, Any, Any, str]] = exchange((host, main, helper, os.urandom(16).hex()))
        hosts = [one[0] for one in everybody]
        has_other_hosts = len(set(hosts)) > 1
        self._remote: socket.socket | None = None
        remote = None
        if has_other_hosts:
            self._remote, remote = _udp_socket()
        remotes = exchange(remote) if has_other_hosts else [None] * len(hosts)
        self._entrances = [
            _Entrance(where, bell, other, remote)
            for (where, bell, other, _), remote in zip(everybody, remotes, strict=True)
        ]
        self._is_near = [one.host == host for one in self._entrances]
        first = hosts.index(host)
        path = _shared_path(everybody[first][3])
        self._asleep, self.host_file = _shared_bytes(path, len(hosts))
        sees = exchange(self._asleep is not None)
        if rank == first:
            with contextlib.suppress(OSError):
                os.unlink(path)
        self._says = [one and near and self._asleep is not None for one, near in zip(sees, self._is_near, strict=True)]
        self.settle_seconds = SETTLE_SECONDS if has_other_hosts else 0.0
        self.is_crowded = sum(self._is_near) > len(os.sched_getaffinity(0))
        self._main_poll, self._helper_poll = _poll_of(self._main, self._remote), _poll_of(self._helper)
        self.main_lies = False
        """Whether the main thread sleeps, or is about to."""
        self.helper_listens = False
        """Whether the progress thread is to be woken while the main thread does not sleep."""
        self._saying = threading.Lock()
        self._was_rung = False
        self._missed = 0
        self._distrusted_until = 0.0

    # Those who send

    def ring(self, rank: int) -> None:
        """Wake a rank, unless it is known to be awake; it was sent something before."""
        who = _MAIN
        if self._says[rank]:
            assert self._asleep is not None
            who = self._asleep[rank]
            if who == _AWAKE:
                return
            self._asleep[rank] = _AWAKE
        self._knock(rank, who)

    def ring_ahead(self, rank: int) -> None:
        """Wake a rank that will be sent something soon, if it sleeps for sure: waking takes longer than packing."""
        if self._says[rank] and self._asleep is not None and self._asleep[rank]:
            self.ring(rank)

    def wake(self) -> None:
        """Wake this rank's main thread if it sleeps."""
        if self.main_lies:
            self._knock(self._rank, _MAIN)

    def wake_helper(self) -> None:
        """Wake this rank's progress thread."""
        self._knock(self._rank, _HELPER)

    def _knock(self, rank: int, who: int) -> None:
        entrance = self._entrances[rank]
        bell, address = self._main, entrance.main if who == _MAIN else entrance.helper
        if not self._is_near[rank]:
            bell, address = self._remote, entrance.remote
        if bell is not None and address is not None:
            with contextlib.suppress(OSError):  # rung already so often that it is full, or gone
                bell.sendto(b"", address)

    # Those who sleep

    @property
    def is_trusted(self) -> bool:
        """Whether a rank that sleeps will be woken."""
        return self._main is not None and time.perf_counter() >= self._distrusted_until

    @property
    def reaches_helper(self) -> bool:
        """Whether everybody can wake the progress thread."""
        return self.is_trusted and all(self._says)

    def lie_down(self) -> None:
        """Say that the main thread is about to sleep, and forget past rings; it must look for messages once more."""
        self._say(lies=True)
        if self._was_rung:  # not when it wakes: whoever rang waits for an answer
            self._was_rung = False
            _empty(self._main)
            _empty(self._remote)

    def get_up(self) -> None:
        """Say that the main thread is awake."""
        if self.main_lies:
            self._say(lies=False)

    def listen(self, *, listens: bool) -> None:
        """Say whether the progress thread wants to be woken while the main thread computes."""
        if listens or self.helper_listens:
            self._say(listens=listens)

    def _say(self, *, lies: bool | None = None, listens: bool | None = None) -> None:
        with self._saying:
            self.main_lies = self.main_lies if lies is None else lies
            self.helper_listens = self.helper_listens if listens is None else listens
            if self._asleep is not None:
                who = _MAIN if self.main_lies else _HELPER if self.helper_listens else _AWAKE
                self._asleep[self._rank] = who

    def sleep(self, seconds: float) -> bool:
        """Let the main thread sleep until the bell rings, but not for long; return whether it rang."""
        if not self._main_poll.poll(1e3 * min(seconds, LONGEST_SLEEP_SECONDS)):
            return False
        self._was_rung, self._missed = True, 0
        return True

    def helper_sleep(self, seconds: float) -> bool:
        """Let the progress thread sleep until its bell rings; return whether it rang."""
        if not self._helper_poll.poll(1e3 * seconds):
            return False
        _empty(self._helper)
        return True

    def missed(self) -> None:
        """Note that a message was found although the bell had not rung when the sleep ended."""
        if self.sleep(0.0):
            return
        self._missed += 1
        if self._missed == MISSED_IN_A_ROW:
            self._missed, self._distrusted_until = 0, time.perf_counter() + DISTRUST_SECONDS

    def close(self) -> None:
        """Take the bell down."""
        for one in (self._main, self._helper, self._remote, self._asleep):
            if one is not None:
                one.close()
        if self.host_file is not None:
            os.close(self.host_file)


def _poll_of(*bells: socket.socket | None) -> Any:
    """Return what sleeps until one of them rings."""
    poll = select.poll()
    for bell in bells:
        if bell is not None:
            poll.register(bell, select.POLLIN)
    return poll


def _empty(bell: socket.socket | None) -> None:
    with contextlib.suppress(BlockingIOError):
        while bell is not None:
            bell.recv(1)


def _unix_socket() -> tuple[socket.socket | None, Any]:
    """Return a socket with an abstract name, which leaves no file behind; Linux only."""
    bell = None
    try:
        bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        address = b"\0mpidriver-" + os.urandom(16).hex().encode()
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


def _shared_path(name: str) -> str:
    """Return where the bytes that the ranks of a host share lie until all have opened them."""
    if os.path.isdir(_SHARED_MEMORY):
        return f"{_SHARED_MEMORY}/mpidriver-{name}"
    import tempfile

    return os.path.join(tempfile.gettempdir(), f"mpidriver-{name}")


def _shared_bytes(path: str, count: int) -> tuple[mmap.mmap | None, int | None]:
    """Return bytes shared by the ranks of a host, and their file; whoever comes first makes it."""
    shared = opened = None
    with contextlib.suppress(OSError, ValueError):
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        os.ftruncate(opened, count)
        shared = mmap.mmap(opened, count)
    return shared, opened
