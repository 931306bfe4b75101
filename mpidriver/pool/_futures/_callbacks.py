"""Done callbacks: what futures want done once their results are here."""

import threading
from collections import deque
from collections.abc import Callable

__all__ = ["Callbacks"]


class Callbacks:
    """Callbacks that are due, run without the engine's lock and on one thread at a time."""

    def __init__(self) -> None:
        self.resolved = 0
        """Grows whenever a future may have become done."""
        self.due: deque[Callable[[], None]] = deque()
        """What is to be run, oldest first."""
        self._running = threading.Lock()
        self._runner: int | None = None

    @property
    def are_running_here(self) -> bool:
        """Whether this thread runs one."""
        return self._runner is not None and self._runner == threading.get_ident()

    def add(self, callback: Callable[[], None]) -> None:
        """Let a callback be run soon."""
        self.due.append(callback)

    def run(self) -> bool:
        """Run what is due, unless another thread does; return whether there was any."""
        ran = False
        while self.due and self._running.acquire(blocking=False):
            self._runner = threading.get_ident()
            try:
                while self.due:
                    self.due.popleft()()
                    self.resolved += 1
                    ran = True
            finally:
                self._runner = None
                self._running.release()
        return ran

    def finish(self) -> None:
        """Let the callbacks of what is done be over, those that another thread runs right now too."""
        if self.due or self._running.locked():
            with self._running:
                pass
            self.run()
