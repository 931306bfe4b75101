"""How a thread waits for messages: first awake, then in short sleeps."""

import contextlib
import os
import time

__all__ = ["Idle"]

SPIN_SECONDS = 40e-6
SHORTEST_SLEEP_SECONDS = 50e-6
LONGEST_SLEEP_SECONDS = 1e-3
_PR_SET_TIMERSLACK = 29


class Idle:
    """One thread's waiting: call `wait` while nothing happens and `reset` when something did.

    The first microseconds are spent awake, giving the core to whoever wants it; then sleeps grow to a millisecond.
    ``time.sleep(0)`` is of no use: with the kernel's default timer slack it takes 65 µs.

    Parameters
    ----------
    spins
        Whether to stay awake at first. A thread that shares the interpreter with one that computes should not.
    """

    def __init__(self, *, spins: bool = True) -> None:
        self._spin_seconds = SPIN_SECONDS if spins else 0.0
        self._since: float | None = None
        self._sleep_seconds = SHORTEST_SLEEP_SECONDS

    def reset(self) -> None:
        """Begin afresh: something happened."""
        self._since = None
        self._sleep_seconds = SHORTEST_SLEEP_SECONDS

    def wait(self) -> None:
        """Let a little time pass."""
        now = time.perf_counter()
        if self._since is None:
            self._since = now
        if now - self._since < self._spin_seconds:
            os.sched_yield()
            return
        time.sleep(self._sleep_seconds)
        self._sleep_seconds = min(2 * self._sleep_seconds, LONGEST_SLEEP_SECONDS)


def sharpen_sleep() -> None:
    """Let the calling thread's short sleeps end on time (Linux; elsewhere nothing happens)."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
