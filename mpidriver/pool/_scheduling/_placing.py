"""Ready items that have a place: the rank that holds their arguments, where none must be moved."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from mpidriver.pool._scheduling._backlog import Places, Span

__all__ = ["Placed", "PlacedItem"]

BYTES_PER_SECOND = 1e9
"""How fast values move."""
MOVE_SECONDS = 1e-3
"""What moving takes besides."""


@dataclass(frozen=True, slots=True)
class PlacedItem:
    """One ready item."""

    call: int
    function: int
    index: int
    costs: Any
    places: Places

    @property
    def move_seconds(self) -> float:
        """How long it takes to move its arguments."""
        return MOVE_SECONDS + self.places[self.index][1] / BYTES_PER_SECOND

    def key(self) -> tuple[float, int, int]:
        """Order among items of all kinds: the costliest first, then the oldest call, then the first item."""
        return (0.0 if self.costs is None else -self.costs[self.index], self.call, self.index)

    def belongs_with(self, other: "PlacedItem") -> bool:
        """Whether it may travel in one span with another."""
        return self.call == other.call and self.function == other.function


class Placed:
    """Ready items by place, those of one place in the order in which they came."""

    def __init__(self) -> None:
        self._queues: dict[int, deque[PlacedItem]] = {}
        self.count = 0
        """Number of items."""

    def __contains__(self, rank: int) -> bool:
        return rank in self._queues

    def __iter__(self) -> Iterator[int]:
        """Go through the ranks that items are placed on."""
        return iter(tuple(self._queues))

    def add(self, item: PlacedItem) -> None:
        """Take one more item."""
        self.count += 1
        self._queues.setdefault(item.places[item.index][0], deque()).append(item)

    def first(self, rank: int) -> PlacedItem:
        """Return the item that comes next on a rank."""
        return self._queues[rank][0]

    def take(self, rank: int, most: int) -> Span:
        """Take away the items that come next on a rank, at most so many, all of one call, and half of what there is."""
        queue = self._queues[rank]
        most = min(most, (len(queue) + 1) // 2)
        taken = [queue.popleft()]
        while queue and len(taken) < most and queue[0].belongs_with(taken[0]):
            taken.append(queue.popleft())
        return self._span_of(rank, taken)

    def last(self, rank: int) -> PlacedItem:
        """Return the item that comes last on a rank."""
        return self._queues[rank][-1]

    def take_last(self, rank: int) -> Span:
        """Take away the item that comes last on a rank."""
        return self._span_of(rank, [self._queues[rank].pop()])

    def _span_of(self, rank: int, items: list[PlacedItem]) -> Span:
        self.count -= len(items)
        self._drop_if_empty(rank)
        first = items[0]
        return Span(first.call, first.function, [item.index for item in items], first.costs, first.places)

    def longest_wait(self, waits: Callable[[int], float], seconds_of: Callable[[int], float]) -> int | None:
        """Return the rank whose last item would gain most by being moved, None if none would.

        Parameters
        ----------
        waits
            How long a rank is busy with what it has already.
        seconds_of
            How long an item of a function takes.
        """
        best, most = None, 0.0
        for rank, queue in self._queues.items():
            wait = waits(rank) + (len(queue) - 1) * seconds_of(queue[-1].function)
            if wait - queue[-1].move_seconds > most:
                best, most = rank, wait - queue[-1].move_seconds
        return best

    def cancel(self, call: int) -> list[int]:
        """Take away all items of a call; return their indexes."""
        gone: list[int] = []
        for rank in self:
            gone += [item.index for item in self._queues[rank] if item.call == call]
            self._queues[rank] = deque(item for item in self._queues[rank] if item.call != call)
            self._drop_if_empty(rank)
        self.count -= len(gone)
        return gone

    def _drop_if_empty(self, rank: int) -> None:
        if not self._queues[rank]:
            del self._queues[rank]
