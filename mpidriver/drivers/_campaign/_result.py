"""How a campaign ends, and who watches it on the way."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["CampaignResult", "Observer"]


class Observer(Protocol):
    """Somebody who watches a campaign, as a progress bar does."""

    def grow(self, count: int) -> None:
        """Note that there are so many more quanta to run."""

    def advance(self, stage: str, status: str) -> None:
        """Note that a quantum of a stage has ended as done, unchanged, failed or blocked."""


@dataclass
class CampaignResult:
    """How a campaign ended."""

    counts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Stage to number of quanta done, unchanged, failed, blocked and, after a stop, left."""
    seconds: Counter[str] = field(default_factory=Counter)
    """Stage to seconds of work, over all ranks."""
    failures: list[tuple[str, str]] = field(default_factory=list)
    """Key and one-line cause of each failed quantum, by key."""
    failed_before: int = 0
    """How many of them failed in an earlier run with the same inputs and were not tried again."""
    stopped: str = ""
    """What has stopped the pool before all was done, as ``SIGUSR1``; empty if nothing has."""
    refusal: str = ""
    """Why the repository took no more products, as when the disk is full; empty if it took them all."""

    @property
    def complete(self) -> bool:
        """Whether every quantum is done."""
        return not any(count[state] for count in self.counts.values() for state in ("failed", "blocked", "left"))
