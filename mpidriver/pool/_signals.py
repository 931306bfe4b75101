"""What stops a pool from outside: signals and the time limit of the job.

Launchers pass signals on to every rank, but only the root acts on them; the others ignore those that it will act on.
A signal handler of Python waits until the main thread comes out of whatever library it is in, and the root meanwhile
would hand out more; so with several ranks a thread listens, to which signals come as bytes.
"""

import contextlib
import math
import os
import re
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mpidriver.pool._rank._engine import Engine

__all__ = ["EXIT_STOPPED", "heeding_signals", "read_walltime"]

EXIT_STOPPED = 75
"""EX_TEMPFAIL of sysexits.h: the same command may be run again."""
MARGIN_SECONDS = 60.0
"""Stop so long before the end of the walltime at least."""
_LOOK_SECONDS = 5.0
"""How often to look whether longer items than before need an earlier stop."""
_ENDING = (signal.SIGINT, signal.SIGTERM)
"""Signals of which a second one ends everything at once."""
_SIGNALS = (*_ENDING, signal.SIGUSR1)
_WALLTIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<first>\d+)(?::(?P<second>\d+))?(?::(?P<third>\d+))?")


def read_walltime(walltime: float | str) -> float:
    """Return a time limit in seconds.

    Parameters
    ----------
    walltime
        Seconds, or a text as Slurm's ``--time`` takes: "minutes", "minutes:seconds", "hours:minutes:seconds",
        "days-hours", "days-hours:minutes" or "days-hours:minutes:seconds".
    """
    seconds = _read_time(walltime) if isinstance(walltime, str) else float(walltime)
    if not 0 < seconds < math.inf:
        raise ValueError(f"walltime must be a number of seconds above 0, or a text as '1:30:00', got {walltime!r}")
    return seconds


def _read_time(text: str) -> float:
    match = _WALLTIME.fullmatch(text.strip())
    if match is None:
        return math.nan
    numbers = [int(match[name]) for name in ("first", "second", "third") if match[name] is not None]
    if match["days"] is None:
        units = {1: (60,), 2: (60, 1), 3: (3600, 60, 1)}[len(numbers)]
        return sum(map(int.__mul__, numbers, units))
    return 86400 * int(match["days"]) + sum(map(int.__mul__, numbers, (3600, 60, 1)))


class StopWatch:
    """Stops the pool of the root when a signal says so, or when its time is almost over.

    Signals that the program handles itself, or that it was started to ignore, are left alone.

    Parameters
    ----------
    engine
        Engine of the root.
    walltime_seconds
        Time limit from now on, None for none.
    drains_on_ctrl_c
        Whether Ctrl-C stops the pool as the other signals do.
    """

    def __init__(self, engine: "Engine", walltime_seconds: float | None, *, drains_on_ctrl_c: bool) -> None:
        self._engine = engine
        self._walltime_seconds = walltime_seconds
        self._ends = math.inf if walltime_seconds is None else time.monotonic() + walltime_seconds
        self._numbers = [number for number in _SIGNALS if number != signal.SIGINT or drains_on_ctrl_c]
        self._listens = engine.size > 1
        self._is_second = False
        self._restored = contextlib.ExitStack()

    def __enter__(self) -> "StopWatch":
        with contextlib.ExitStack() as entered:
            if threading.current_thread() is threading.main_thread():
                entered.enter_context(_handling(self._numbers, self._pass if self._listens else self._handle))
            if self._listens or self._walltime_seconds is not None:
                entered.enter_context(self._thread())
            self._restored = entered.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._restored.close()

    @contextlib.contextmanager
    def _thread(self) -> Iterator[None]:
        reader, writer = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)
        thread = threading.Thread(target=self._watch, args=(reader,), name="mpidriver-signals", daemon=True)
        thread.start()
        on_main = self._listens and threading.current_thread() is threading.main_thread()
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False) if on_main else -1
        try:
            yield
        finally:
            if on_main:
                signal.set_wakeup_fd(before)
            writer.close()
            thread.join()
            reader.close()

    def _watch(self, reader: socket.socket) -> None:
        """Read the numbers of signals until the other end is closed, and look at the clock."""
        while True:
            seconds = self._seconds_left()
            if seconds <= 0 and self._engine.stopping is None:
                self._stop(f"the walltime of {self._walltime_seconds:g} s")
            waits = None if seconds == math.inf or self._engine.stopping is not None else min(seconds, _LOOK_SECONDS)
            if not select.select([reader], [], [], waits)[0]:
                continue
            numbers = reader.recv(64)
            if not numbers:
                return
            for number in numbers:
                if number in self._numbers:
                    self._take(number)

    def _seconds_left(self) -> float:
        if self._walltime_seconds is None:
            return math.inf
        margin = min(max(MARGIN_SECONDS, self._engine.longest_seconds), self._walltime_seconds / 2)
        return self._ends - margin - time.monotonic()

    def _pass(self, number: int, frame: FrameType | None) -> None:
        """Leave it to the thread."""

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number in _ENDING and self._is_second:
            signal.signal(number, signal.SIG_DFL)
            if number == signal.SIGINT:
                self._engine.interrupt()
                signal.default_int_handler(number, frame)
            os.kill(os.getpid(), number)
        self._is_second = self._is_second or number in _ENDING
        self._stop(signal.Signals(number).name, in_handler=True)

    def _take(self, number: int) -> None:
        if number in _ENDING and self._is_second:
            _say(f"a second {signal.Signals(number).name}: ended")
            os._exit(128 + number)
        self._is_second = self._is_second or number in _ENDING
        self._stop(signal.Signals(number).name)

    def _stop(self, reason: str, *, in_handler: bool = False) -> None:
        is_first = self._engine.stopping is None
        self._engine.stop(reason, in_handler=in_handler)
        if is_first:
            _say(f"stopped by {reason}: what runs is finished, nothing more is begun")


def _say(text: str) -> None:
    """Write a line past Python's buffers, in which a signal handler might be nested."""
    with contextlib.suppress(OSError):
        os.write(2, f"mpidriver: {text}\n".encode())


def heeding_signals(
    engine: "Engine", walltime_seconds: float | None, *, drains_on_ctrl_c: bool | None
) -> contextlib.AbstractContextManager[object]:
    """Do about signals and time what is due on this rank; for the parameters see `StopWatch`.

    Parameters
    ----------
    drains_on_ctrl_c
        None means where there are several ranks.
    """
    if engine.rank > 0:
        return _ignoring_forwarded_signals()
    drains = engine.size > 1 if drains_on_ctrl_c is None else drains_on_ctrl_c
    return StopWatch(engine, walltime_seconds, drains_on_ctrl_c=drains)


@contextlib.contextmanager
def _ignoring_forwarded_signals() -> Iterator[None]:
    """Leave signals to the root; a second SIGTERM or SIGINT ends this rank nevertheless."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ignore(number: int, frame: FrameType | None) -> None:
        if number in _ENDING:
            signal.signal(number, signal.SIG_DFL)

    with _handling(_SIGNALS, ignore):
        yield


@contextlib.contextmanager
def _handling(numbers: Sequence[signal.Signals], handler: "signal._HANDLER") -> Iterator[None]:
    """Handle signals unless the program does so itself, or was started to ignore them."""
    ours = [one for one in numbers if signal.getsignal(one) in (signal.SIG_DFL, signal.default_int_handler)]
    before = {number: signal.signal(number, handler) for number in ours}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
