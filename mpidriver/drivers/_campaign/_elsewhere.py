"""Quanta that other runs on the same database hold, and when to ask after them again."""

import logging
import time
from typing import TYPE_CHECKING

from mpidriver.drivers._quantum import Quantum

if TYPE_CHECKING:
    from mpidriver.store import StateDatabase

__all__ = ["Elsewhere"]

log = logging.getLogger(__name__)

#: After a look that finds nothing free the next one follows so much later, …
FIRST_PAUSE_SECONDS = 0.25
#: … twice as much each time, at most so much.
LONGEST_PAUSE_SECONDS = 8.0


class Elsewhere:
    """Quanta that this run has found held by others.

    Parameters
    ----------
    state
        The state database.
    """

    def __init__(self, state: "StateDatabase") -> None:
        self._state = state
        self._held: dict[str, Quantum] = {}
        self._pause_s = FIRST_PAUSE_SECONDS
        self._due = 0.0

    def add(self, quantum: Quantum) -> None:
        """Note that another run holds a quantum."""
        if not self._held:
            log.info("%s is run by another run on this database; it and others like it are waited for", quantum)
            self._schedule()
        self._held[quantum.key] = quantum

    def take_free(self) -> list[Quantum]:
        """Return the quanta that nobody holds any more, if it is time to ask; they are no longer kept here."""
        if not self._held or time.monotonic() < self._due:
            return []
        still = self._state.held(self._held)
        free = [quantum for key, quantum in self._held.items() if key not in still]
        self._held = {key: self._held[key] for key in self._held if key in still}
        self._pause_s = FIRST_PAUSE_SECONDS if free else min(2.0 * self._pause_s, LONGEST_PAUSE_SECONDS)
        self._schedule()
        return free

    def take_all(self) -> list[Quantum]:
        """Return all quanta that are kept here, and keep none."""
        held, self._held = list(self._held.values()), {}
        return held

    def _schedule(self) -> None:
        self._due = time.monotonic() + self._pause_s
