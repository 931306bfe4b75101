"""What was asked for: one map or stream, its items, and where its results go; single tasks are in `_submitted`."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mpidriver.errors import PoolError, TaskError
from mpidriver.pool._outcome import Outcome
from mpidriver.pool._transport._codec import UNDONE, Failure
from mpidriver.pool._watching._learned import TaskCosts

__all__ = [
    "Call",
    "MapCall",
    "OutcomesCall",
    "Report",
    "StreamCall",
    "counted",
]


@dataclass(slots=True)
class Report:
    """What became of the items of one span."""

    values: list[Any]
    """Results in the order of the span; a `Failure` in place of what failed."""
    started: float
    """When the first began, seconds since the epoch."""
    marks: Sequence[float]
    """When each began and the last ended, seconds from an arbitrary zero: one more than there are values. Only when
    the first began and the last ended where that is all that matters."""
    peak_rss_bytes: int
    rank: int
    host: str
    has_failures: bool = False
    total_seconds: float = 0.0
    """How long the span took with reading its items, writing its results, and the journeys of large ones; 0 if that was
    not measured."""

    @property
    def seconds(self) -> float:
        """How long the span took."""
        return self.marks[-1] - self.marks[0]

    def times(self, position: int) -> tuple[float, float]:
        """Return when an item began, seconds after the first, and how long it took, if need be on the average."""
        marks = self.marks
        if len(marks) > len(self.values):
            return marks[position] - marks[0], marks[position + 1] - marks[position]
        each = self.seconds / len(self.values)
        return position * each, each


class Call:
    """One map, stream or submit.

    Parameters
    ----------
    function
        Key of its function in the scope.
    """

    serial: int = -1
    """Number on its rank, set when the call begins."""
    suspected: frozenset[int] = frozenset()
    """Items that may have been to blame for the death of a rank, which had others too."""
    name: str = ""
    """What its outcomes are named, set when the call begins."""
    bare = False
    """Whether its items travel as single arguments, not as tuples of them."""
    timed = True
    """Whether it matters how long each item takes."""
    learner: TaskCosts | None = None
    """Is told how long each item took."""
    ends_itself = False
    """Whether it ends with its last result: nobody waits for the call as such."""

    def __init__(self, function: int) -> None:
        self.function = function
        self.left = 0
        """Items without a result."""
        self.retried: dict[int, int] = {}
        """How often items were tried again, by index."""
        self.lost_with: dict[int, frozenset[int]] = {}
        """Ranks of the gang in which an item was lost last: which of them has died may be heard of only later."""
        self.undone = 0
        """Items that will have no result because the pool stops."""
        self.undone_because = ""

    def learn_with(self, cost: Any) -> None:
        """Let learned costs know how long items take; other costs do not want to."""
        if isinstance(cost, TaskCosts):
            self.learner, self.timed = cost, True

    def learn(self, indexes: Sequence[int], report: Report) -> None:
        """Tell the learner how long items took that did not fail."""
        assert self.learner is not None
        for position, index in enumerate(indexes):
            if type(report.values[position]) is not Failure:
                self.learner.learn(self.arguments(index), report.times(position)[1])

    def arguments(self, index: int) -> tuple[Any, ...]:
        """Return the arguments of an item."""
        raise NotImplementedError

    def arguments_of(self, indexes: Sequence[int]) -> Sequence[Any]:
        """Return the arguments of several items, as they travel."""
        return [self.arguments(index) for index in indexes]

    def begins(self, indexes: Sequence[int]) -> None:
        """Note that items were handed out."""

    def deliver(self, indexes: Sequence[int], report: Report) -> Callable[[], None] | None:
        """Take results; return what must be done about them without holding any lock."""
        self.left -= len(indexes)
        for position, index in enumerate(indexes):
            value = report.values[position]
            if type(value) is Failure and value.kind == UNDONE:
                self.leave([index], value.cause)
            else:
                self._take(self._outcome(index, report, position))
        return None

    def leave(self, indexes: Sequence[int], reason: str) -> Callable[[], None] | None:
        """Note that items stay undone; return what must be done about them without holding any lock."""
        self.undone += len(indexes)
        self.undone_because = reason
        return None

    def fail(self, error: PoolError) -> Callable[[], None] | None:
        """Give up all items; return what tells those who wait elsewhere than in `Waiting.until`."""
        return None

    def _outcome(self, index: int, report: Report, position: int) -> Outcome:
        item, value, error = self._item(index), report.values[position], None
        if type(value) is Failure:
            error, value = _task_error(item, report, value), None
        began, seconds = report.times(position)
        started = report.started + began
        peak_rss_bytes, rank, host = report.peak_rss_bytes, report.rank, report.host
        return Outcome(index, item, value, error, started, seconds, peak_rss_bytes, rank, host, self.name)

    def _item(self, index: int) -> Any:
        args = self.arguments(index)
        return args[0] if len(args) == 1 else args

    def _take(self, outcome: Outcome) -> None:
        raise NotImplementedError


def _task_error(item: Any, report: Report, failure: Failure) -> TaskError:
    error = TaskError(item, report.rank, report.host, failure.cause, failure.remote_traceback, kind=failure.kind)
    error.__cause__ = failure.exception
    return error


class _KnownItems(Call):
    """A call whose items are all there from the start.

    Parameters
    ----------
    items
        Tuples of arguments, or with `bare` single arguments.
    """

    def __init__(self, function: int, items: Sequence[Any], *, bare: bool = False) -> None:
        super().__init__(function)
        self._items = items
        self.bare = bare

    def arguments(self, index: int) -> tuple[Any, ...]:
        """Return the arguments of an item."""
        return (self._items[index],) if self.bare else self._items[index]

    def arguments_of(self, indexes: Sequence[int]) -> Sequence[Any]:
        """Return the arguments of several items, as they travel."""
        if isinstance(indexes, range):
            return self._items[indexes.start : indexes.stop]
        return [self._items[index] for index in indexes]


class MapCall(_KnownItems):
    """A map that wants the values, or one error for all that failed."""

    timed = False

    def __init__(self, function: int, items: Sequence[Any], *, bare: bool = False) -> None:
        super().__init__(function, items, bare=bare)
        self.values: list[Any] = [None] * len(items)
        self._failures: dict[int, TaskError] = {}

    def deliver(self, indexes: Sequence[int], report: Report) -> None:
        """Put the values in their places."""
        if report.has_failures:
            super().deliver(indexes, report)
            return
        if isinstance(indexes, range):
            self.values[indexes.start : indexes.stop] = report.values
        else:
            for index, value in zip(indexes, report.values, strict=True):
                self.values[index] = value
        self.left -= len(indexes)

    def _take(self, outcome: Outcome) -> None:
        self.values[outcome.index] = outcome.value
        if outcome.error is not None:
            self._failures[outcome.index] = outcome.error

    def result(self) -> list[Any]:
        """Return all values, or raise the error of the first item that failed."""
        if self._failures:
            raise counted(self._failures[min(self._failures)], len(self._failures))
        return self.values


def counted(error: TaskError, failed: int) -> TaskError:
    """Return an error that says how many others there were."""
    counted = TaskError(error.item, error.rank, error.host, error.cause, error.remote_traceback, failed, error.kind)
    counted.__cause__ = error.__cause__
    return counted


class OutcomesCall(_KnownItems):
    """A map that wants the outcomes."""

    def __init__(self, function: int, items: Sequence[Any], *, bare: bool = False) -> None:
        super().__init__(function, items, bare=bare)
        self._outcomes: list[Outcome | None] = [None] * len(items)

    def _take(self, outcome: Outcome) -> None:
        self._outcomes[outcome.index] = outcome

    def result(self) -> list[Outcome]:
        """Return the outcomes in the order of the items."""
        return [outcome for outcome in self._outcomes if outcome is not None]


class StreamCall(Call):
    """A stream: items come while others leave."""

    def __init__(self, function: int) -> None:
        super().__init__(function)
        self._items: dict[int, tuple[Any, ...]] = {}
        self.costs: dict[int, float] = {}
        self.finished: deque[Outcome] = deque()

    def add(self, index: int, args: tuple[Any, ...], cost: float) -> None:
        """Take one more item."""
        self._items[index] = args
        self.costs[index] = cost

    def arguments(self, index: int) -> tuple[Any, ...]:
        """Return the arguments of an item."""
        return self._items[index]

    def leave(self, indexes: Sequence[int], reason: str) -> None:
        """Drop items that stay undone."""
        super().leave(indexes, reason)
        for index in indexes:
            del self._items[index], self.costs[index]

    def _take(self, outcome: Outcome) -> None:
        del self._items[outcome.index], self.costs[outcome.index]
        self.finished.append(outcome)
