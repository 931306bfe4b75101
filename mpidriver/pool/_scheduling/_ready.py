"""What nobody runs yet of one scope, by what it wants: any rank, a certain one, several, all, or one for itself."""

from collections import deque
from collections.abc import Sequence
from typing import Any

from mpidriver.pool._scheduling._backlog import Backlog, Places, Span
from mpidriver.pool._scheduling._gangs import GangBacklog
from mpidriver.pool._scheduling._placing import Placed, PlacedItem

__all__ = ["Ready"]


class Ready:
    """The ready tasks of one scope."""

    def __init__(self) -> None:
        self.backlog = Backlog()
        """What any rank may run."""
        self.placed = Placed()
        """What is best run on a certain one."""
        self.gangs = GangBacklog()
        """What wants several."""
        self.together: deque[tuple[int, int]] = deque()
        """Call and function of what all ranks of the scope run at the same time, oldest first."""
        self.alone: deque[Span] = deque()
        """What a rank is sent with nothing ahead or behind, oldest first."""

    @property
    def count(self) -> int:
        """Number of tasks; all that run together count as one."""
        single = self.backlog.count + self.placed.count + len(self.alone)
        return single + self.gangs.count + len(self.together)

    @property
    def single(self) -> int:
        """Number of those that want one rank."""
        return self.backlog.count + self.placed.count + len(self.alone)

    @property
    def work(self) -> float:
        """How much work they are."""
        return self.backlog.work + self.gangs.work + self.placed.count * self.backlog.mean_seconds

    def add(
        self, call: int, function: int, indexes: Sequence[int], costs: Any, places: Places | None, *, ranks: int
    ) -> None:
        """Take more tasks; for the parameters see `Scheduler.add`."""
        if ranks > 1:
            self.gangs.add(call, function, indexes, costs, ranks)
            return
        if places:
            for index in indexes:
                if index in places:
                    self.placed.add(PlacedItem(call, function, index, costs, places))
            indexes = [index for index in indexes if index not in places]
        self.backlog.add(call, function, indexes, costs)

    def cancel(self, call: int, everybody: int) -> list[int]:
        """Take away the tasks of a call, `everybody` for each that all ranks run together; return their indexes."""
        together = [index for one, _ in self.together if one == call for index in range(everybody)]
        self.together = deque(pair for pair in self.together if pair[0] != call)
        alone = [index for span in self.alone if span.call == call for index in span.indexes]
        self.alone = deque(span for span in self.alone if span.call != call)
        others = self.backlog.cancel(call) + self.placed.cancel(call) + self.gangs.cancel(call)
        return others + together + alone
