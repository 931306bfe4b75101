"""Items that want several ranks at once: gangs, and what all ranks of a scope run together.

A gang of k ranks can begin only when k ranks are free at the same time, so a scope that collects them could wait for
ever for one that collects too. Three rules keep that from happening:

1. Ranks for a gang are granted all together or not at all. A scope that does not get them holds none.
2. Who waits for a gang does nothing else: its own rank, and the ranks of whoever waits for a gang below it, are
   *spare*. It announces them with its need, and they may be members of somebody else's gang meanwhile.
3. A scope serves the needs of its children before its own: they are what it waits for.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["NOTHING", "Gang", "GangBacklog", "Need"]


@dataclass(slots=True)
class Gang:
    """One item that wants several ranks."""

    call: int
    function: int
    index: int
    costs: Any
    """Costs by index, or None."""
    ranks: int
    """How many ranks it wants."""

    @property
    def cost(self) -> float:
        """Its cost, 0 if nothing is known."""
        return float(self.costs[self.index]) if self.costs is not None else 0.0

    def key(self) -> tuple[float, int, int]:
        """Order: costliest first, then oldest call, then first item; as `Backlog` orders single ones."""
        return (-self.cost, self.call, self.index)


@dataclass(frozen=True, slots=True)
class Need:
    """What a scope lacks for its next gang."""

    ranks: int = 0
    """Ranks that it must be granted together, besides its spare ones; 0 if it waits for no gang."""
    spare: tuple[int, ...] = ()
    """Ranks below it that wait and could be members of other gangs meanwhile."""
    leaders: tuple[int, ...] = ()
    """Ranks that lead the scopes from it down to the one that wants the gang: they cannot be granted to themselves."""


NOTHING = Need()
"""What a scope lacks that waits for no gang."""


class GangBacklog:
    """Gangs of one scope that nobody runs yet, costliest first."""

    def __init__(self) -> None:
        self._heap: list[tuple[tuple[float, int, int], Gang]] = []
        self.count = 0
        """Number of items."""

    def add(self, call: int, function: int, indexes: Sequence[int], costs: Any, ranks: int) -> None:
        """Take more items, each of which wants so many ranks."""
        for index in indexes:
            gang = Gang(call, function, index, costs, ranks)
            heapq.heappush(self._heap, (gang.key(), gang))
        self.count = len(self._heap)

    @property
    def next(self) -> Gang:
        """The gang to begin next."""
        return self._heap[0][1]

    def take(self) -> Gang:
        """Take that gang away."""
        self.count -= 1
        return heapq.heappop(self._heap)[1]

    def cancel(self, call: int) -> list[int]:
        """Take away all items of a call; return their indexes."""
        gone = [gang.index for _, gang in self._heap if gang.call == call]
        if gone:
            self._heap = [entry for entry in self._heap if entry[1].call != call]
            heapq.heapify(self._heap)
            self.count = len(self._heap)
        return gone

    def take_larger(self, ranks: int) -> list[Gang]:
        """Take away those that want more than so many ranks."""
        large = [gang for _, gang in self._heap if gang.ranks > ranks]
        self._heap = [entry for entry in self._heap if entry[1].ranks <= ranks]
        heapq.heapify(self._heap)
        self.count = len(self._heap)
        return large

    @property
    def work(self) -> float:
        """Sum of the costs over all ranks; each item counts as 1 where none is known."""
        return sum((gang.cost or 1.0) * gang.ranks for _, gang in self._heap)
