"""The thread that drives messages while the main thread has no time to."""

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from mpidriver.pool._transport._idle import sharpen_sleep

if TYPE_CHECKING:
    from mpidriver.pool._rank._context import MainThread
    from mpidriver.pool._rank._traffic import Traffic
    from mpidriver.pool._transport._bell import Bell

__all__ = ["Progress"]

PARKED_SECONDS, PARKED_SECONDS_IDLE = 50e-3, 200e-3
"""How often the thread looks whether a batch waits behind a long task, and whether the main thread runs one at all."""
TICK_SECONDS = 1e-3
"""How long it leaves the interpreter to the main thread at least, once it was woken: being woken for each message would
cost both more. Also how often it looks where its bell cannot be relied on."""


class Progress:
    """One thread a rank: asleep while the main thread waits, or while nothing can arrive.

    Parameters
    ----------
    traffic
        Messages to drive.
    main
        What the main thread is doing.
    bell
        Doorbell of this rank.
    on_error
        Called in an exception handler when driving fails, which nothing survives.
    """

    def __init__(self, traffic: "Traffic", main: "MainThread", bell: "Bell", on_error: Callable[[], None]) -> None:
        self._traffic = traffic
        self._main = main
        self._bell = bell
        self._on_error = on_error
        self._stopping = False
        self._rescued = 0.0
        self._thread = threading.Thread(target=self._run, name="mpidriver-progress", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping = True
        self._bell.wake_helper()
        self._thread.join()

    def _run(self) -> None:
        sharpen_sleep()
        try:
            while not self._stopping:
                self._step()
        except BaseException:
            self._on_error()

    def _step(self) -> None:
        traffic, main = self._traffic, self._main
        has_work = not main.waits and traffic.has_open_work()
        if has_work and (traffic.is_moving or not self._bell.reaches_helper):
            seconds = TICK_SECONDS
        else:
            seconds = PARKED_SECONDS_IDLE if main.waits else PARKED_SECONDS
        was_rung = self._bell.helper_sleep(seconds)
        if main.waits:
            return
        if has_work or traffic.has_open_work():
            traffic.drive()
            time.sleep(TICK_SECONDS)
            traffic.listen(again=True)
        elif was_rung:
            return
        if time.perf_counter() - self._rescued >= PARKED_SECONDS:
            self._rescued = time.perf_counter()
            traffic.rescue()
