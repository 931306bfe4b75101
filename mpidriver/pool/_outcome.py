"""What is known of one finished task."""

from dataclasses import dataclass
from typing import Any

from mpidriver.errors import TaskError

__all__ = ["Outcome"]


@dataclass(slots=True)
class Outcome:
    """One finished task: its value or its error, and what it cost.

    Nobody changes one; it is not frozen because making a frozen one takes a microsecond longer.
    """

    index: int
    """Position of the item among the items of its call; 0 for a submitted task."""
    item: Any
    """What the task was called with: the item, or the tuple of items of a map over several iterables."""
    value: Any
    """What the task returned, None if it failed."""
    error: TaskError | None
    """Why it failed, None if it did not."""
    started: float
    """When it began, seconds since the epoch by the clock of its rank."""
    seconds: float
    """How long it took, nested maps included."""
    peak_rss_bytes: int
    """Largest resident memory that the process that ran it ever had until then."""
    rank: int
    """Rank that ran it."""
    host: str
    """Host of that rank."""
    name: str
    """What its call was named, by default after the function."""

    def result(self) -> Any:
        """Return the value, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.value
