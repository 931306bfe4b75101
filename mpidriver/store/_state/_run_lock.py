"""Who is alive: a lock file held for the length of a run, and the identity of a process.

The lock is a POSIX record lock. The kernel releases it when the process ends, however it ends, children do not inherit
it, and network file systems with a lock service carry it between hosts. Closing any descriptor of the file would drop
it, so this module alone opens the file, and knows which ones this process holds.
"""

import contextlib
import errno
import fcntl
import os
import socket
import threading
from pathlib import Path

__all__ = ["RunLock", "machine_identity", "process_identity", "process_is_alive"]

_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)
_held: set[str] = set()
_guard = threading.Lock()


class RunLock:
    """The lock of one repository.

    Parameters
    ----------
    path
        The lock file; it stays when the lock is released.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._name = os.path.realpath(path)
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Take the lock; return whether nobody else has it. Without a lock service the answer is yes."""
        with _guard:
            if self._name in _held:
                return False
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            if not _locked(descriptor):
                os.close(descriptor)
                return False
            self._descriptor = descriptor
            _held.add(self._name)
            return True

    def release(self) -> None:
        """Release the lock, if it is held."""
        with _guard:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None
                _held.discard(self._name)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        if error.errno not in _UNSUPPORTED:
            os.close(descriptor)
            raise
    return True


def process_identity(pid: int) -> str:
    """Return what tells a process from a later one with the same number on this host: boot and start time."""
    with contextlib.suppress(OSError, IndexError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {_facts(pid)[19]}"
    return ""


def machine_identity() -> str:
    """Return what tells this machine from all others, and from itself before it was started again; empty if unknown.

    Containers with process numbers of their own are machines of their own.
    """
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()} {boot} {os.readlink('/proc/self/ns/pid')}"
    return ""


def _facts(pid: int) -> list[str]:
    """Return what the kernel tells of a process behind its name: the state is number 0, the start time 19."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _has_ended(pid: int) -> bool:
    """Tell whether a process has ended and only waits for its parent to ask how: its number is still taken."""
    with contextlib.suppress(OSError, IndexError):
        return _facts(pid)[0] in ("Z", "X")
    return False


def process_is_alive(host: str, pid: int, identity: str) -> bool | None:
    """Tell whether a process is alive; none if it is on another host."""
    if host != socket.gethostname():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return not _has_ended(pid) and (not identity or identity == process_identity(pid))
