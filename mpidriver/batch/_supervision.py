"""Watching over a launcher: signals go to its ranks, and how it ended is judged by more than its exit code."""

import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import FrameType, TracebackType

__all__ = ["ENDING", "STOPPED", "LaunchEnd", "SignalRelay", "supervise"]

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals that ask a process to end; launchers then return whatever they like."""

_RELAYED = (*ENDING, signal.SIGUSR1)

OWN_CODES = (0, 1, 2, 3, 4, 70, 75, 130)
"""Exit codes of mpidriver; launchers add their own for ranks that were killed."""

_NOT_STARTED = 213
"""Exit code of Open MPI's launcher if its own server does not start ("The PMIx server's listener thread failed to
start"), as happens now and then on a busy machine; a second time it does."""

STOPPED = 75
"""Exit code of ranks that have stopped in good order, to be started again."""


@dataclass(frozen=True)
class LaunchEnd:
    """How a launcher ended."""

    code: int
    """Its exit code, or 128 + number of the signal that ended it or its main program."""
    died: bool
    """Whether the main program, had it begun, was killed: it has not said that it ended."""


class SignalRelay:
    """Passes signals on to the launcher that runs at the time, which passes them to the ranks; for a ``with``.

    The first of SIGINT, SIGTERM and SIGHUP becomes SIGUSR1, at which a pool finishes what runs.
    """

    def __init__(self) -> None:
        self.came: list[int] = []
        """The signals that came, in order."""
        self.process: subprocess.Popen[bytes] | None = None
        """Whom they are passed on to."""
        self._before: dict[int, signal._HANDLER] = {}

    def __enter__(self) -> "SignalRelay":
        self._before = {number: signal.signal(number, self._pass_on) for number in _RELAYED}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def asks_to_end(self) -> bool:
        """Whether a signal came that asks to end."""
        return any(number in ENDING for number in self.came)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        is_first = number in ENDING and not self.asks_to_end
        self.came.append(number)
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGUSR1 if is_first else number)


def supervise(command: Sequence[str], environment: Mapping[str, str], relay: SignalRelay) -> LaunchEnd:
    """Run a launcher and wait for it.

    A launcher under which ranks outlive each other returns 0 even if all were killed. So the main program of a pool
    leaves word in a file when it begins and when it ends; that of the command line also leaves its exit code, because
    a launcher may return that of a rank which it has killed when the first one ended.

    Parameters
    ----------
    command
        The launcher with its ranks' command.
    environment
        Of the launcher.
    relay
        Passes signals on.
    """
    code, state = _run(command, environment, relay)
    if code == _NOT_STARTED and not state and not relay.came:
        code, state = _run(command, environment, relay)
    if state.startswith("ended "):
        return LaunchEnd(int(state.removeprefix("ended ")), died=False)
    died = state == "began" or (state == "" and code not in OWN_CODES)
    code = _code(code, state, relay.came)
    is_made_up = state == "began" and code < 128 and code != STOPPED  # launchers have codes of their own for this
    return LaunchEnd(128 + signal.SIGKILL if is_made_up else code, died)


def _run(command: Sequence[str], environment: Mapping[str, str], relay: SignalRelay) -> tuple[int, str]:
    """Run a launcher; return its exit code and what the main program has left word of."""
    with tempfile.NamedTemporaryFile("r", prefix="mpidriver-") as witness:
        told = {**environment, "MPIDRIVER_WITNESS": witness.name}
        with subprocess.Popen(command, env=told, start_new_session=True) as process:
            relay.process = process
            try:
                code = process.wait()
            finally:
                relay.process = None
        return code, witness.read()


def _code(code: int, state: str, came: list[int]) -> int:
    if code == STOPPED or (code == 0 and (state == "ended" or not (state or came))):
        return code
    ended_by = -code if code < 0 else next((number for number in came if number in ENDING), 0)
    return 128 + (ended_by or signal.SIGKILL) if ended_by or not code else code
