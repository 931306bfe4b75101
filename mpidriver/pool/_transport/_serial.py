"""A world of one rank: a wire with nobody to talk to, and Ctrl-C that stops the program."""

import signal
import socket
import threading
from types import FrameType
from typing import Any

from mpidriver.pool._transport._messages import Message

__all__ = ["InterruptWatch", "SerialWire"]


class SerialWire:
    """Nobody else: the engine runs every task itself, in the calling process."""

    rank = 0
    size = 1
    holds_large_sends = False
    is_moving = False
    bell = None
    outlives_deaths = False

    def __init__(self) -> None:
        self.host = socket.gethostname()
        self.hosts = [self.host]

    def send(self, rank: int, message: Message, *, holds_up: bool = False) -> None:
        """There is nobody to send to."""
        raise AssertionError(f"a world of one rank sends to rank {rank}")

    def has_message(self) -> bool:
        """Nobody has sent anything."""
        return False

    def receive(self) -> list[Message]:
        """Nobody has sent anything."""
        return []

    def communicator(self, ranks: tuple[int, ...], number: int) -> Any:
        """Return a communicator of this process alone; only this loads MPI."""
        from mpidriver.pool._transport._joining import lone_communicator

        return lone_communicator()

    def finish_sends(self) -> None:
        """There are none."""

    def close(self, *, all_live: bool = True) -> None:
        """Nothing was opened."""

    def leave(self) -> None:
        """There is nobody who could have died."""
        raise AssertionError("a world of one rank has lost a rank")

    def abort(self) -> None:
        """There is nobody to end, and nobody who asks for it."""
        raise AssertionError("a world of one rank ends all others")


class InterruptWatch:
    """Tells a real Ctrl-C from a task that raises KeyboardInterrupt.

    While a task runs, SIGINT first sets `seen`, then raises as usual. Nothing changes where the program handles
    SIGINT itself, or off the main thread.
    """

    def __init__(self) -> None:
        self.seen = False
        self.is_on = False
        self._installed = False

    def __enter__(self) -> "InterruptWatch":
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._interrupted)
            self._installed = True
        self.is_on, self.seen = True, False
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.is_on = False
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._installed = False

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        self.seen = True
        signal.default_int_handler(number, frame)
