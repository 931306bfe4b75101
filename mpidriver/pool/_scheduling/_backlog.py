"""What nobody runs yet in one scope, costliest first, and how long it may take."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["BATCH_SECONDS", "Backlog", "Places", "Span"]

BATCH_SECONDS = 2e-3
"""Work that one message should carry."""
LEAST_SECONDS = 2e-4
"""Work that is not cut up any further, so that all ranks end at once: a message costs as much."""
MEMORY_OF_RATE = 0.7
"""Weight of the past in the moving average of a function's seconds."""

Places = Mapping[int, tuple[int, int]]
"""Rank that holds most of an item's arguments and their bytes there, by index."""


@dataclass(slots=True)
class Span:
    """Items of one call that travel together."""

    call: int
    function: int
    indexes: Sequence[int]
    costs: Any
    """Costs by index, or None."""
    places: Places | None = None
    """Where its items are best run, by index, or None."""


@dataclass(slots=True)
class _Items:
    """Ready items of one call, costliest first."""

    call: int
    function: int
    indexes: Sequence[int]
    costs: Any
    taken: int = 0

    def __len__(self) -> int:
        return len(self.indexes) - self.taken

    def take(self, count: int) -> Sequence[int]:
        """Take the next items away."""
        indexes = self.indexes[self.taken : self.taken + count]
        self.taken += len(indexes)
        return indexes

    def key(self) -> tuple[float, int, int]:
        """Order among calls: costliest head first, then oldest call, then first item."""
        first = self.indexes[self.taken]
        return (0.0 if self.costs is None else -self.costs[first], self.call, first)


class Backlog:
    """Ready items of all calls of a scope.

    Its length is the number of items.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[tuple[float, int, int], _Items]] = []
        self._calls: dict[int, int] = {}
        self.count = 0
        """Number of items, the same as the length."""
        self._cost = 0.0
        self._seconds: dict[int, float] = {}

    def __len__(self) -> int:
        return self.count

    def add(self, call: int, function: int, indexes: Sequence[int], costs: Any = None) -> None:
        """Take more items, costliest first; for the parameters see `Scheduler.add`."""
        if indexes:
            key = (0.0 if costs is None else -costs[indexes[0]], call, indexes[0])
            heapq.heappush(self._heap, (key, _Items(call, function, indexes, costs)))
            self._note(call, indexes, costs, 1)

    def take(self, count: int) -> Span:
        """Take away the costliest items, at most so many and all of one call."""
        ready = self._heap[0][1]
        indexes = ready.take(count)
        if ready.taken < len(ready.indexes):
            heapq.heapreplace(self._heap, (ready.key(), ready))
        else:
            heapq.heappop(self._heap)
        self._note(ready.call, indexes, ready.costs, -1)
        return Span(ready.call, ready.function, indexes, ready.costs)

    def take_message(self, share: int) -> list[Span]:
        """Take away what is worth a message, but not much more than one item in so many."""
        if self.count == 1:
            return [self.take(1)]
        spans: list[Span] = []
        most = max(1, self.count // share)
        seconds, least = BATCH_SECONDS, LEAST_SECONDS
        while self.count and seconds > 0:
            each = max(self.seconds_of_next(BATCH_SECONDS), 1e-9)
            if spans and each > seconds:
                break
            count = min(max(most, int(least / each)), max(1, int(seconds / each)))
            if count <= 0:
                break
            spans.append(self.take(count))
            taken = len(spans[-1].indexes)
            most, seconds, least = most - taken, seconds - taken * each, least - taken * each
        return spans

    def cancel(self, call: int) -> list[int]:
        """Take away all items of a call; return their indexes."""
        gone = [ready for _, ready in self._heap if ready.call == call] if self._calls.get(call) else []
        indexes: list[int] = []
        for ready in gone:
            rest = ready.take(len(ready))
            self._note(call, rest, ready.costs, -1)
            indexes.extend(rest)
        if gone:
            self._heap = [entry for entry in self._heap if len(entry[1])]
            heapq.heapify(self._heap)
        return indexes

    def learn(self, function: int, seconds: float, count: int = 1) -> None:
        """Note how long items of a function took on the average."""
        before = self._seconds.get(function, seconds)
        memory = MEMORY_OF_RATE**count
        self._seconds[function] = memory * before + (1 - memory) * seconds

    def forget(self, function: int) -> None:
        """Drop what was learned of a function."""
        self._seconds.pop(function, None)

    def seconds_of(self, function: int) -> float | None:
        """Return the moving average of a function's seconds, None before its first outcome."""
        return self._seconds.get(function)

    def seconds_or(self, unknown: float, function: int) -> float:
        """Return the moving average of a function's seconds, `unknown` before its first outcome."""
        return self._seconds.get(function, unknown)

    def seconds_of_next(self, unknown: float) -> float:
        """Return what an item of the function that comes next takes, `unknown` if none was finished yet."""
        return self._seconds.get(self._heap[0][1].function, unknown)

    @property
    def next_key(self) -> tuple[float, int, int]:
        """Key of the item that comes next, by which the costliest is first."""
        return self._heap[0][0]

    @property
    def work(self) -> float:
        """Sum of the costs, or of the seconds to expect where no costs are known."""
        return self._cost or self.count * self.mean_seconds

    @property
    def mean_seconds(self) -> float:
        """Mean of what is known of the functions' seconds."""
        return sum(self._seconds.values()) / len(self._seconds) if self._seconds else 1.0

    def _note(self, call: int, indexes: Sequence[int], costs: Any, sign: int) -> None:
        change = sign * len(indexes)
        self.count += change
        left = self._calls.get(call, 0) + change
        if left:
            self._calls[call] = left
        else:
            del self._calls[call]
        if costs is not None:
            self._cost += sign * sum(costs[index] for index in indexes)
        if not self.count:
            self._cost = 0.0
