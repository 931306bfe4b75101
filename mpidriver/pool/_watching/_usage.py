"""How the ranks' time was used: at work, or idle for which reason."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mpidriver.pool._scheduling._scheduler import Scheduler

__all__ = ["IdleClock", "Usage", "usage_of"]


@dataclass(frozen=True)
class Usage:
    """Shares of ranks × wall time; they add up to 1."""

    busy: float
    """At work: what `Pool.efficiency` says."""
    serial: float
    """Nothing to do, because the main program computed and had handed out nothing."""
    dependency: float
    """Nothing ready, while others ran tasks that later ones had to wait for."""
    straggler: float
    """Nothing left to begin, while the last tasks ran that the program waited for."""
    latency: float
    """The rest: on the way between two tasks; also the root of a large world while it only hands out."""

    @property
    def idle(self) -> float:
        """Share that was not at work."""
        return 1.0 - self.busy


def usage_of(total_seconds: float, busy: float, serial: float, dependency: float, straggler: float) -> Usage:
    """Return the usage of so many seconds of ranks × wall time, from the seconds of each kind but latency."""
    if total_seconds <= 0:
        return Usage(1.0, 0.0, 0.0, 0.0, 0.0)
    shares = [seconds / total_seconds for seconds in (busy, serial, dependency, straggler)]
    whole = max(1.0, sum(shares))
    busy, serial, dependency, straggler = (share / whole for share in shares)
    return Usage(busy, serial, dependency, straggler, 1.0 - sum(shares) / whole)


class IdleClock:
    """Adds up why ranks of a scope were idle, from one look to the next.

    Idle while something runs and nothing is ready is undecided at first: if something is begun before the scope's task
    goes on, it had to wait for what ran; if not, these were the last ones.

    Parameters
    ----------
    now
        Time of `time.perf_counter`.
    """

    __slots__ = ("_begun", "_idle", "_is_serial", "_since", "_undecided", "dependency", "serial", "straggler")

    def __init__(self, now: float) -> None:
        self.serial = self.dependency = self.straggler = 0.0
        self._undecided = 0.0
        self._since = now
        self._idle = 0
        self._is_serial = True
        self._begun = 0

    def look(self, scheduler: "Scheduler", now: float) -> None:
        """Note how things stand; until now they stood as at the look before."""
        idle, runs, begun = scheduler.census()
        if self._idle:
            if self._is_serial:
                self.serial += self._idle * (now - self._since)
            else:
                self._undecided += self._idle * (now - self._since)
        if self._undecided:
            if begun > self._begun:
                self.dependency += self._undecided
                self._undecided = 0.0
            elif not runs and not scheduler.home_waits_for_work:
                self.straggler += self._undecided
                self._undecided = 0.0
        self._idle, self._begun, self._since, self._is_serial = idle, begun, now, not runs

    def add(self, dependency: float, straggler: float) -> None:
        """Add what was lost in scopes further in."""
        self.dependency += dependency
        self.straggler += straggler

    def totals(self) -> tuple[float, float, float]:
        """Return the seconds of serial, dependency and straggler; what is undecided counts as the last."""
        return self.serial, self.dependency, self.straggler + self._undecided
