"""How a thread waits for messages: first awake, then asleep beside the doorbell, or in short sleeps without one."""

import contextlib
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from mpidriver.pool._transport._spin import Spin

if TYPE_CHECKING:
    from mpidriver.pool._transport._bell import Bell

__all__ = ["Idle", "sharpen_sleep"]

SPIN_SECONDS, SPIN_SECONDS_CROWDED = 300e-6, 150e-6
"""How long to stay awake where every rank has a core, and where ranks share cores: longer than a short task takes there
and back, but no longer than waking up from a sleep does."""
SHORTEST_SLEEP_SECONDS = 20e-6
LONGEST_SLEEP_SECONDS = 1e-3
SHARE_OF_WAIT = 0.25
"""Length of a short sleep over the time waited until then: what has come is late by at most so much."""
SHORTEST_NAP_SECONDS = 2e-3
"""Sleeps beside the bell grow with the time waited too, from this on: should a ring be lost, it is soon made up for."""
LAST_LOOKS = 2
"""How often to look for messages after lying down: of two looks the first may only move MPI along."""


class Idle:
    """One thread's waiting: call `wait` while nothing happens and `reset` when something did.

    The first microseconds are spent awake, if that is of use (`Spin`). They are not offered to others
    (``os.sched_yield``): on a core that somebody else wants that takes milliseconds, while waking from a sleep does
    not. Then the thread sleeps until its rank's bell rings, or without a bell in sleeps that grow with the time waited,
    up to a millisecond. ``time.sleep(0)`` is of no use: with the kernel's default timer slack it takes 65 µs.

    Parameters
    ----------
    bell
        Doorbell of this rank, None if there is none.
    spins
        Whether to stay awake at first. A thread that shares the interpreter with one that computes should not.
    """

    def __init__(self, bell: "Bell | None" = None, *, spins: bool = True) -> None:
        self._bell = bell
        is_crowded = bell is None or bell.is_crowded
        self._spin = Spin((SPIN_SECONDS_CROWDED if is_crowded else SPIN_SECONDS) if spins else 0.0)
        self._began: float | None = None
        self._shortest_seconds = SHORTEST_SLEEP_SECONDS if spins else 10 * SHORTEST_SLEEP_SECONDS
        self._since: float | None = None
        self._lies = False
        self._slept = False
        """Whether it has slept since it began to wait."""
        self._looks_left = 0
        self._overslept = False

    def __enter__(self) -> "Idle":
        self._since, self._began, self._lies, self._overslept, self._slept = None, None, False, False, False
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._began is not None:
            self._learn()
            self.get_up()

    def reset(self) -> None:
        """Begin afresh: something happened."""
        if self._overslept and self._bell is not None:
            self._bell.missed()
        self._learn()
        self.get_up()

    def _learn(self) -> None:
        if self._began is not None:
            self._spin.learn(time.perf_counter() - self._began, slept=self._slept)
            self._began, self._slept = None, False

    def wait(
        self, look: Callable[[], bool] | None = None, *, in_transit: bool = False, until: float | None = None
    ) -> None:
        """Let a little time pass.

        Parameters
        ----------
        look
            Whether something has happened; called over and over by a thread that stays awake.
        in_transit
            Whether something is being sent or received, which moves on only when looked at.
        until
            Sleep no longer than to this moment of `time.perf_counter`.
        """
        now = time.perf_counter()
        if self._since is None:
            self._since = now
            if self._began is None:
                self._began = now
        waited_seconds = now - self._since
        if waited_seconds < self._spin.seconds:
            if look is not None and not in_transit:
                self._stay_awake(look, now, until)
            return
        if self._bell is None or in_transit or not self._bell.is_trusted or waited_seconds < self._bell.settle_seconds:
            self._sleep_shortly(waited_seconds)
        else:
            seconds = max(SHORTEST_NAP_SECONDS, waited_seconds)
            self._sleep_beside(self._bell, seconds if until is None else min(seconds, max(0.0, until - now)), look)

    def _stay_awake(self, look: Callable[[], bool], now: float, until: float | None) -> None:
        assert self._since is not None
        end = self._since + self._spin.seconds
        if until is not None:
            end = min(end, until)
        while now < end and not look():
            now = time.perf_counter()

    def _sleep_shortly(self, waited_seconds: float) -> None:
        self._overslept, self._slept = False, True
        time.sleep(min(max(self._shortest_seconds, SHARE_OF_WAIT * waited_seconds), LONGEST_SLEEP_SECONDS))

    def _sleep_beside(self, bell: "Bell", seconds: float, look: Callable[[], bool] | None) -> None:
        """Lie down, look or return for the last looks, then sleep."""
        if look is not None:
            bell.lie_down()
            if look():
                return
        elif not self._has_looked(bell):
            return
        self._slept = True
        if bell.sleep(seconds):
            self.get_up()
        else:
            self._overslept = True

    def _has_looked(self, bell: "Bell") -> bool:
        """Whether whoever waits has looked often enough since it has lain down."""
        if not self._lies:
            bell.lie_down()
            self._lies, self._looks_left = True, LAST_LOOKS
        self._looks_left -= 1
        if self._looks_left < 0:
            self._lies = False
        return not self._lies

    def get_up(self) -> None:
        """Wait no more, or afresh."""
        self._since, self._lies, self._overslept = None, False, False
        if self._bell is not None and self._bell.main_lies:
            self._bell.get_up()


def sharpen_sleep() -> None:
    """Let the calling thread's short sleeps end on time (Linux; elsewhere nothing happens)."""
    with contextlib.suppress(OSError), open(f"/proc/{threading.get_native_id()}/timerslack_ns", "w") as slack:
        slack.write("1")
