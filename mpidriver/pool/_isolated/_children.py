"""The child processes of a rank, as the rank sees them: one call at a time, and what is made of it when one dies.

The main thread waits for a child as it would for a task of its own: messages are driven by the progress thread
meanwhile, if there is any need. A rank has as many children as isolated tasks are nested on it.
"""

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from mpidriver.pool._isolated import _child
from mpidriver.pool._isolated._child import DONE, LAST_WORDS_SIGNAL, RUN
from mpidriver.pool._isolated._link import Link, LinkLostError
from mpidriver.pool._isolated._neighbours import Neighbours
from mpidriver.pool._isolated._zygote import Ending, Zygote, ZygoteLostError
from mpidriver.pool._terms import Terms
from mpidriver.pool._transport._codec import Failure, Packed

__all__ = ["Answer", "Children", "Request"]

NEAR_LIMIT = 0.8
"""A child that dies with so much of its limit in use has run out of memory."""
LAST_WORDS_SECONDS = 0.05
"""How long a child that hangs may take to write down where."""
MOST_LAST_WORDS_BYTES = 20_000
LONGEST_POLL_MILLISECONDS = 2**31 - 1
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Request(NamedTuple):
    """One call."""

    key: Any
    """What the function is known by until it is forgotten."""
    function: Packed
    args: Packed
    terms: Terms


class Answer(NamedTuple):
    """What became of it."""

    value: Packed | Failure
    peak_rss_bytes: int


class Server(Protocol):
    """What serves a task's own use of the pool."""

    def serve(self, what: str, packed: Packed) -> None:
        """Do what the task asks for and send the answer."""


class Children:
    """The child processes of one rank.

    Parameters
    ----------
    zygote
        What they come from; None means that one is started when it is needed.
    preload
        Modules that one started later imports at once.
    neighbours
        Tells when tasks may run.
    """

    def __init__(self, zygote: Zygote | None, preload: Sequence[str], neighbours: Neighbours) -> None:
        self._zygote = zygote
        self._neighbours = neighbours
        self._preload = preload
        self._all: list[_Child] = []
        self._idle: list[_Child] = []

    def run(self, request: Request, make_server: Callable[[Link], Server]) -> Answer:
        """Run one task; `make_server` makes what it asks for things, from the link to its process."""
        try:
            child = self._take()
        except (OSError, ZygoteLostError) as error:
            return Answer(Failure(f"no child process could be started: {error}", "", kind="killed"), 0)
        try:
            answer = child.run(request, make_server(child.link), self._neighbours)
        except LinkLostError:
            return child.post_mortem(self._end(child), request.terms)
        except TimeoutError:
            child.ask_for_last_words()
            return child.timed_out(self._end(child), request.terms)
        except BaseException:
            self._end(child)
            raise
        self._idle.append(child)
        return answer

    def forget(self, keys: Sequence[Any]) -> None:
        """Let functions be dropped that will not be called again."""
        for child in self._all:
            child.forget(keys)

    def close(self) -> None:
        """End all."""
        for child in self._all:
            child.close()
        self._all.clear()
        self._idle.clear()
        if self._zygote is not None:
            self._zygote.close()
            self._zygote = None

    def _take(self) -> "_Child":
        while self._idle:
            child = self._idle.pop()
            if child.is_alive:
                return child
            self._end(child)
        try:
            child = _Child(self._the_zygote())
        except ZygoteLostError:
            assert self._zygote is not None
            self._zygote.close()
            self._zygote = None
            child = _Child(self._the_zygote())
        self._all.append(child)
        return child

    def _the_zygote(self) -> Zygote:
        if self._zygote is None:
            self._zygote = Zygote(self._preload)
        return self._zygote

    def _end(self, child: "_Child") -> Ending:
        self._all.remove(child)
        try:
            return self._the_zygote().end(child.pid)
        except ZygoteLostError:
            return Ending(signal.SIGKILL, 0)
        finally:
            child.close()


class _Child:
    def __init__(self, zygote: Zygote) -> None:
        ours, theirs = Link.pair()
        self.link = Link(ours)
        self._last_words = os.memfd_create("mpidriver-last-words", os.MFD_CLOEXEC)
        self._process = -1
        try:
            with theirs:
                self.pid = zygote.fork(theirs.fileno(), self._last_words)
            self._process = os.pidfd_open(self.pid)
        except (OSError, ZygoteLostError):
            self.close()
            raise
        self._base_rss_bytes = _rss_bytes(self.pid)
        self._oom_kills = _oom_kills()
        self.last_words = ""
        """What the process has written down when it died; known when this is closed."""
        self._forgotten: list[Any] = []
        self._known: set[Any] = set()
        self._poll = select.poll()
        self._poll.register(self.link.socket, select.POLLIN)
        self._poll.register(self._process, select.POLLIN)

    def run(self, request: Request, server: Server, neighbours: Neighbours) -> Answer:
        """Run one task when the neighbours let it.

        Raises
        ------
        LinkLostError
            If the process died.
        TimeoutError
            If the time is over.
        """
        forgotten, self._forgotten = self._forgotten, []
        self._known.difference_update(forgotten)
        function = None if request.key in self._known else request.function
        self._known.add(request.key)
        timeout = request.terms.timeout
        message: tuple[Any, ...] | None
        message = (RUN, forgotten, request.key, function, request.args, request.terms.memory_bytes)
        while True:
            with neighbours.among(alone=request.terms.alone):
                began = time.perf_counter()
                if message is not None:
                    self.link.send(*message)
                    message = None
                what, *fields = self._receive(timeout)
            if what == DONE:
                return Answer(*fields)
            if timeout is not None:
                timeout = max(0.0, timeout - (time.perf_counter() - began))
            server.serve(*fields)  # what is scattered may want to be alone on this host, so the task waits outside

    def _receive(self, timeout: float | None) -> list[Any]:
        ready = self._poll.poll(None if timeout is None else min(1e3 * timeout, LONGEST_POLL_MILLISECONDS))
        if not ready:
            raise TimeoutError
        if all(descriptor == self._process for descriptor, _ in ready):
            raise LinkLostError
        return self.link.receive()

    def forget(self, keys: Sequence[Any]) -> None:
        """Let functions be dropped with the next task."""
        self._forgotten.extend(key for key in keys if key in self._known)

    @property
    def is_alive(self) -> bool:
        """Whether the process, which has nothing to do, is there."""
        return not self._poll.poll(0)

    def ask_for_last_words(self) -> None:
        """Let the process write down what it is doing, if it does so at once."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._process, LAST_WORDS_SIGNAL)
        until = time.perf_counter() + LAST_WORDS_SECONDS
        before = 0
        while (size := os.fstat(self._last_words).st_size) == 0 or size != before:
            if time.perf_counter() > until:
                break
            before = size
            time.sleep(1e-3)

    def timed_out(self, ending: Ending, terms: Terms) -> Answer:
        """Tell what it was doing when its time was over."""
        cause = f"it was killed after {terms.timeout:g} s, its time limit"
        return Answer(Failure(cause, self.last_words, kind="timeout"), ending.peak_rss_bytes)

    def post_mortem(self, ending: Ending, terms: Terms) -> Answer:
        """Tell what the process has died of."""
        code = os.waitstatus_to_exitcode(ending.status)
        cause = f"its process ended with exit code {code}" if code >= 0 else f"its process was killed by {_name(-code)}"
        kind, taken_bytes = "killed", max(0, ending.peak_rss_bytes - self._base_rss_bytes)
        if terms.memory_bytes is not None and taken_bytes >= NEAR_LIMIT * terms.memory_bytes:
            kind = "memory"
            cause += f", having taken {_gib(taken_bytes)} of the {_gib(terms.memory_bytes)} it may"
        elif code == -signal.SIGKILL and _oom_kills() != self._oom_kills:
            kind = "memory"
            cause += f", by the kernel for want of memory it seems, having taken {_gib(taken_bytes)}"
        return Answer(Failure(cause, self.last_words, kind=kind), ending.peak_rss_bytes)

    def close(self) -> None:
        """Close the connection; the process ends, if it has not."""
        self.link.close()
        self.last_words = _without_own_frames(
            os.pread(self._last_words, MOST_LAST_WORDS_BYTES, 0).decode(errors="replace")
        )
        for descriptor in (self._last_words, self._process):
            if descriptor >= 0:
                os.close(descriptor)


def _without_own_frames(traceback: str) -> str:
    """Cut off below the task what is the same for every task; the innermost frame comes first."""
    lines = traceback.splitlines()
    own = next((number for number, line in enumerate(lines) if f'"{_child.__file__}"' in line), len(lines))
    return "\n".join(lines[:own])


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _gib(nbytes: int) -> str:
    return f"{nbytes / 2**30:.3g} GiB"


def _rss_bytes(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0


def _oom_kills() -> str:
    """Return how many processes the kernel has killed for want of memory."""
    with contextlib.suppress(OSError), open("/proc/vmstat") as file:
        return next((line for line in file if line.startswith("oom_kill ")), "")
    return ""
