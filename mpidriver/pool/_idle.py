"""How a thread waits for messages: first awake, then in short sleeps."""

import contextlib
import os
import time

__all__ = ["Idle"]

SPIN_SECONDS = 40e-6
SHORTEST_SLEEP_SECONDS = 20e-6
LONGEST_SLEEP_SECONDS = 1e-3
SHARE_OF_WAIT = 0.25
"""Length of a sleep over the time waited until then: what has come is late by at most so much."""
_PR_SET_TIMERSLACK = 29


class Idle:
    """One thread's waiting: call `wait` while nothing happens and `reset` when something did.

    The first microseconds are spent awake, giving the core to whoever wants it; then sleeps grow with the time waited,
    up to a millisecond.
    ``time.sleep(0)`` is of no use: with the kernel's default timer slack it takes 65 µs.

    Parameters
    ----------
    spins
        Whether to stay awake at first. A thread that shares the interpreter with one that computes should not.
    """

    def __init__(self, *, spins: bool = True) -> None:
        self._spin_seconds = SPIN_SECONDS if spins else 0.0
        self._shortest_seconds = SHORTEST_SLEEP_SECONDS if spins else 10 * SHORTEST_SLEEP_SECONDS
        self._since: float | None = None

    def reset(self) -> None:
        """Begin afresh: something happened."""
        self._since = None

    def wait(self) -> None:
        """Let a little time pass."""
        now = time.perf_counter()
        if self._since is None:
            self._since = now
        waited_seconds = now - self._since
        if waited_seconds < self._spin_seconds:
            os.sched_yield()
            return
        time.sleep(min(max(self._shortest_seconds, SHARE_OF_WAIT * waited_seconds), LONGEST_SLEEP_SECONDS))


def sharpen_sleep() -> None:
    """Let the calling thread's short sleeps end on time (Linux; elsewhere nothing happens)."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
