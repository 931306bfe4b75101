"""The process that child processes are forked from: small, single-threaded and without MPI.

A rank cannot fork safely itself: MPI is not made for it, and its progress thread may hold any lock. So the zygote is
forked before MPI is loaded. Where it is too late for that, because MPI or other threads are there already, a fresh
interpreter is started instead, without the variables by which a launcher's ranks know each other.

The zygote does one thing at a time, at its rank's request: fork a child, or end one. It ends itself, and all children
with it, when its rank is gone.
"""

import contextlib
import gc
import importlib
import os
import pickle
import signal
import socket
import stat
import struct
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import subprocess

__all__ = ["Ending", "Zygote", "ZygoteLostError", "is_possible", "serve_fresh"]

_REQUEST = struct.Struct("<?i")
"""Whether to fork a child, else which one to end."""
_REPLY = struct.Struct("<iq")
"""Of a fork: process number, or -errno. Of an end: wait status and largest resident kilobytes."""
_DESCRIPTORS = 2
"""What a child is given: its end of the link, and a file for its last words."""
_OF_LAUNCHERS = ("PMI", "OMPI_", "PRTE_", "HYDRA", "HYDI", "MPI_LOCAL", "SLURM_STEP_NUM_TASKS")
_OOM_SCORE = 500
"""Added to the children's, so that the kernel ends a child for want of memory and not its rank."""
_PR_SET_PDEATHSIG = 1
_FRESH = (
    "import sys; sys.path[:] = eval(sys.argv[2]); "
    "from mpidriver.pool._isolated import _zygote as z; z.serve_fresh(sys.argv[1])"
)


class ZygoteLostError(Exception):
    """The zygote is gone, or could not fork."""


class Ending(NamedTuple):
    """How a child has ended."""

    status: int
    """As of ``os.wait``."""
    peak_rss_bytes: int


class _OrphanedError(BaseException):
    """The zygote's rank has died."""


def is_possible() -> bool:
    """Whether this system has what child processes need."""
    return sys.platform == "linux" and hasattr(os, "pidfd_open") and hasattr(os, "memfd_create")


class Zygote:
    """The rank's side of its zygote, which starts with it.

    Parameters
    ----------
    preload
        Modules that it imports at once, so that children have them from the start.
    """

    def __init__(self, preload: Sequence[str] = ()) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process: subprocess.Popen[bytes] | None = None
        with theirs:
            if _forks_safely():
                self.pid = _fork(theirs, preload)
            else:
                self._process = _start_fresh(theirs, preload)
                self.pid = self._process.pid

    def fork(self, *descriptors: int) -> int:
        """Fork a child that gets descriptors, and return its process number.

        Raises
        ------
        ZygoteLostError
            If the zygote is gone or could not fork.
        """
        pid, _ = self._ask(_REQUEST.pack(True, 0), descriptors)
        if pid < 0:
            raise ZygoteLostError(os.strerror(-pid))
        return pid

    def end(self, pid: int) -> Ending:
        """End a child, if it has not ended, and what it has started in its process group; return how it ended."""
        status, kilobytes = self._ask(_REQUEST.pack(False, pid), ())
        return Ending(status, 1024 * kilobytes)

    def close(self) -> None:
        """End the zygote and its children."""
        self._control.close()
        if self._process is not None:
            self._process.wait()
        else:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, 0)

    def _ask(self, request: bytes, descriptors: Sequence[int]) -> tuple[int, int]:
        try:
            socket.send_fds(self._control, [request], descriptors)
            reply = self._control.recv(_REPLY.size)
        except OSError as error:
            raise ZygoteLostError(str(error)) from error
        if not reply:
            raise ZygoteLostError("the process that child processes come from is gone")
        status, number = _REPLY.unpack(reply)
        return status, number


# Starting


def _forks_safely() -> bool:
    return "mpi4py.MPI" not in sys.modules and threading.active_count() == 1


def _fork(control: socket.socket, preload: Sequence[str]) -> int:
    rank = os.getpid()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()  # or every child would print what waits in it once more
    pid = _fork_quietly()
    if not pid:
        with _exiting():
            _let_go_of_descriptors(control.fileno())
            _serve(control, rank, preload)
    return pid


def _fork_quietly() -> int:
    """Fork without the warning that threads are not copied: those of linear algebra start again by themselves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _start_fresh(control: socket.socket, preload: Sequence[str]) -> "subprocess.Popen[bytes]":
    import subprocess

    environment = {name: value for name, value in os.environ.items() if not name.startswith(_OF_LAUNCHERS)}
    start = pickle.dumps((control.fileno(), os.getpid(), list(preload))).hex()
    command = [sys.executable, "-c", _FRESH, start, repr(sys.path)]
    return subprocess.Popen(command, env=environment, pass_fds=[control.fileno()], stdin=subprocess.DEVNULL)


def serve_fresh(start: str) -> None:
    """Be the zygote, in an interpreter that was started for it."""
    with _exiting():
        descriptor, rank, preload = pickle.loads(bytes.fromhex(start))
        _serve(socket.socket(fileno=descriptor), rank, preload)


@contextlib.contextmanager
def _exiting() -> Iterator[None]:
    """Leave the process at the end of the block, come what may: a copy of a rank must not go on as one."""
    code = 1
    try:
        yield
        code = 0
    except _OrphanedError:
        pass
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _let_go_of_descriptors(kept: int) -> None:
    """Keep no connection of the rank's alive, and no standard input.

    Their numbers stay taken, because objects that own them may still close them. Files stay open: logs are written to.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # what has listed them is gone
            number = int(name)
            if number not in (1, 2, kept) and not stat.S_ISREG(os.fstat(number).st_mode):
                os.dup2(nothing, number, inheritable=not number)


# The zygote


def _serve(control: socket.socket, rank: int, preload: Sequence[str]) -> None:
    """Do what the rank asks for until it is gone."""
    children: set[int] = set()
    try:
        _prepare(rank)
        for name in preload:
            _import(name)
        while True:
            request, descriptors, _, _ = socket.recv_fds(control, _REQUEST.size, _DESCRIPTORS)
            if not request:
                break
            forks, pid = _REQUEST.unpack(request)
            control.send(_fork_child(control, children, descriptors) if forks else _end_child(children, pid))
    except (_OrphanedError, BrokenPipeError, ConnectionResetError):
        pass
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # that the rank is gone may be told by its socket first
        for pid in list(children):
            _end_child(children, pid)


def _prepare(rank: int) -> None:
    for name in list(os.environ):
        if name.startswith(_OF_LAUNCHERS):
            del os.environ[name]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, _leave_it_to_the_rank)

    def look_for_rank(number: int, frame: FrameType | None) -> None:
        if os.getppid() != rank:
            raise _OrphanedError

    signal.signal(signal.SIGHUP, look_for_rank)
    _die_with_parent(signal.SIGHUP)
    look_for_rank(0, None)
    gc.freeze()  # what the children share with it stays shared


def _leave_it_to_the_rank(number: int, frame: FrameType | None) -> None:
    """Do nothing; other than an ignored signal, this is not inherited by programs that a task starts."""


def _import(name: str) -> None:
    try:
        importlib.import_module(name)
    except Exception:
        print(f"mpidriver: preloading {name} for isolated tasks failed:", file=sys.stderr)
        traceback.print_exc()


def _die_with_parent(number: int) -> None:
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


def _fork_child(control: socket.socket, children: set[int], descriptors: list[int]) -> bytes:
    zygote = os.getpid()
    try:
        pid = _fork_quietly()
    except OSError as error:
        pid = -(error.errno or 1)
    if not pid:
        with _exiting():
            control.close()
            _be_child(zygote, *descriptors)
    for descriptor in descriptors:
        os.close(descriptor)
    if pid > 0:
        children.add(pid)
    return _REPLY.pack(pid, 0)


def _be_child(zygote: int, link: int, last_words: int) -> None:
    from mpidriver.pool._isolated._child import work

    os.setpgid(0, 0)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    _die_with_parent(signal.SIGKILL)
    if os.getppid() != zygote:
        return
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "r+") as file:
        score = int(file.read())
        file.seek(0)
        file.write(str(min(1000, score + _OOM_SCORE)))
    work(link, last_words)


def _end_child(children: set[int], pid: int) -> bytes:
    if pid not in children:
        return _REPLY.pack(0, 0)
    children.remove(pid)
    for kill in (os.killpg, os.kill):  # it may not lead its group yet
        with contextlib.suppress(ProcessLookupError):
            kill(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    return _REPLY.pack(status, usage.ru_maxrss)
