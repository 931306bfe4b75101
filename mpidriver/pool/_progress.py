"""The thread that drives messages while the main thread has no time to."""

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from mpidriver.pool._idle import Idle, sharpen_sleep

if TYPE_CHECKING:
    from mpidriver.pool._engine import Engine

__all__ = ["Progress"]

PARKED_SECONDS = 50e-3
"""How often a parked thread looks whether a batch waits behind a long task."""
ALERT_SECONDS = 50e-3
"""How long it stays unparked, looking every now and then: being woken each time would cost both threads more."""
TICK_SECONDS = 1e-3
"""How often an unparked thread looks while the main thread waits."""


class Progress:
    """One thread a rank: parked while the main thread waits, or while nothing can arrive.

    Parameters
    ----------
    engine
        Engine to drive.
    on_error
        Called in an exception handler when driving fails, which nothing survives.
    """

    def __init__(self, engine: "Engine", on_error: Callable[[], None]) -> None:
        self._engine = engine
        self._on_error = on_error
        self._stopping = False
        self._parked = False
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mpidriver-progress", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Let the thread look again: the main thread has just stopped waiting, or something new was started."""
        if self._parked:
            self._woken.set()

    def stop(self) -> None:
        """End the thread."""
        self._stopping = True
        self._woken.set()
        if self._engine.wire.bell is not None:
            self._engine.wire.bell.wake(self._thread.ident or 0)
        self._thread.join()

    def _run(self) -> None:
        sharpen_sleep()
        try:
            self._loop()
        except BaseException:
            self._on_error()

    def _loop(self) -> None:
        engine, alert_until = self._engine, 0.0
        wire = engine.wire
        with Idle(wire.bell, spins=False) as idle:
            while not self._stopping:
                # Announce parking before looking: either this thread sees the change or its maker sees it parked.
                now = time.perf_counter()
                self._parked = now > alert_until
                if engine.main.waits or not engine.has_open_work():
                    idle.get_up()
                    self._rest()
                elif self._parked:
                    self._parked, alert_until = False, now + ALERT_SECONDS
                    time.sleep(TICK_SECONDS)  # most often the main thread is about to wait
                else:
                    idle.reset() if engine.drive() else idle.wait(in_transit=wire.is_moving)

    def _rest(self) -> None:
        if not self._parked:
            time.sleep(TICK_SECONDS)
        elif not self._woken.wait(PARKED_SECONDS):
            self._engine.rescue()
        else:
            self._woken.clear()
