"""The ranks that one scope holds, and what each is in the middle of."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from mpidriver.pool._scheduling._backlog import Span
from mpidriver.pool._scheduling._instructions import Batch

__all__ = ["Roster"]


class Roster:
    """The ranks of one scope.

    A rank that is held is idle, reserved (idle, but granted for gangs alone), or busy with batches. The home rank, on
    which the leader itself waits, is held always.

    Parameters
    ----------
    home, ranks, owns_ranks, home_works, has_home
        As for `Scheduler`.
    """

    def __init__(
        self, home: int, ranks: Iterable[int], *, owns_ranks: bool, home_works: bool | None, has_home: bool
    ) -> None:
        self.home = home
        self.owns_ranks = owns_ranks
        self.has_home = has_home
        self.home_works = home_works if has_home else False
        self.home_waits = False
        """Whether the leader waits, whatever its rank runs on top of that."""
        self.spares_home = False
        """Whether home runs nothing that may kill its rank."""
        self.in_flight: dict[int, dict[int, Batch]] = {home: {}}
        """Batches of each rank by their numbers, oldest first."""
        self.idle: list[int] = []
        """The one that was busy last comes last."""
        self.reserved: list[int] = []
        self.hungry: dict[int, None] = {}
        """Ranks with one batch, which may be sent the next ahead."""
        self.held_up: set[int] = set()
        """Ranks that are sent nothing ahead."""
        self.leaving: list[int] = []
        """Ranks to be given back at once."""
        self.for_gangs: set[int] = set()
        """Ranks that were granted for gangs alone: somebody's wait lies below whatever they run."""
        self.borrowed: set[int] = set()
        """Spare ranks of some child that were made members of a gang elsewhere."""
        self._parked: set[int] = set()
        """Those of them whose task here has ended before the gang."""
        self.home_is_lent = False
        self.parts = 0
        """How many parts the own ranks are split into just now."""
        self.dead: set[int] = set()
        """Ranks that have died."""
        self.batches = 0
        """How many were begun."""
        others = tuple(ranks)
        self.own = (home, *others) if has_home else others
        """The ranks held from the start, home first."""
        for rank in reversed(others):
            self.granted(rank)

    # What is so

    @property
    def is_busy(self) -> bool:
        """Whether any rank has a batch."""
        return any(self.in_flight.values())

    @property
    def home_is_free(self) -> bool:
        """Whether the home rank has nothing to do but wait."""
        waits = self.home_waits and not self.in_flight[self.home]
        return waits and self.has_home and not self.home_is_lent and self.home not in self.borrowed

    @property
    def ordinary(self) -> set[int]:
        """The free ranks that may run anything."""
        return {*self.idle, *([self.home] if self.home_is_free else [])}

    def free(self) -> list[int]:
        """Return the ranks held that have nothing to do, those that can lead a gang first."""
        return [*reversed(self.idle), *([self.home] if self.home_is_free else []), *self.reserved]

    def is_out_of_reach(self, rank: int) -> bool:
        """Whether it is not known when a rank comes to what it is sent."""
        if rank == self.home:
            is_here = self.has_home and self.home_works is not False and self.home_waits and not self.home_is_lent
        else:
            is_here = rank in self.in_flight and rank not in self.for_gangs
        return not is_here or rank in self.held_up or rank in self.borrowed

    def spans_of(self, rank: int) -> Iterator[Span]:
        """Go through what a rank was sent and has not finished."""
        return (span for batch in self.in_flight[rank].values() for span in batch.spans)

    # Coming and going

    def granted(self, rank: int, *, for_gangs: bool = False) -> None:
        """Note that a rank has come, perhaps for gangs alone."""
        if for_gangs:
            self.for_gangs.add(rank)
        self.in_flight[rank] = {}
        self._is_idle_again(rank)

    def take_away(self, ranks: Iterable[int]) -> None:
        """Note that ranks are not to be had until they are back."""
        for rank in ranks:
            if rank == self.home and self.home_is_free:
                self.home_is_lent = True
            elif self._stops_being_idle(rank):
                del self.in_flight[rank]
            else:
                self.borrowed.add(rank)

    def is_back(self, rank: int) -> None:
        """Note that a rank that was taken away is back."""
        if rank in self.borrowed:
            self.borrowed.remove(rank)
            if rank in self._parked:
                self._parked.remove(rank)
                self._is_idle_again(rank)
        elif rank == self.home:
            self.home_is_lent = False
        else:
            self.granted(rank)

    def dismiss(self) -> list[int]:
        """Drop the ranks that go back to the parent: who leaves, and all that are idle unless they stay to the end."""
        leaving, self.leaving = self.leaving, []
        if not self.owns_ranks:
            leaving += self.idle + self.reserved
            self.idle, self.reserved = [], []
        for rank in leaving:
            del self.in_flight[rank]
            self.for_gangs.discard(rank)
        return leaving

    def lost(self, rank: int) -> list[Batch]:
        """Note that a rank has died; return what it had been sent, oldest first."""
        batches = list(self.in_flight.pop(rank, {}).values())
        self.hungry.pop(rank, None)
        for ranks in (self.held_up, self.for_gangs, self.borrowed, self._parked):
            ranks.discard(rank)
        for others in (self.idle, self.reserved, self.leaving):
            if rank in others:
                others.remove(rank)
        self.own = tuple(one for one in self.own if one != rank)
        return batches

    # Parts

    def split(self, count: int) -> list[tuple[int, ...]]:
        """Take away all own ranks but home, in so many parts; the first is to be used with home."""
        others = sorted(self.idle)
        self.take_away(others)
        self.parts = count
        everybody = [self.home, *others] if self.has_home else others
        ends = [round(part * len(everybody) / count) for part in range(count + 1)]
        return [tuple(rank for rank in everybody[low:high] if rank != self.home) for low, high in pairwise(ends)]

    def joined(self, ranks: Iterable[int]) -> None:
        """Note that the parts are one again, and which ranks are back."""
        self.parts = 0
        for rank in sorted(ranks, reverse=True):
            self.granted(rank)

    # Batches

    def send_next(self, rank: int, spans: list[Span]) -> Batch:
        """Note what a rank that is idle no more, or hungry no more, is sent; it may be sent another batch ahead."""
        self.batches += 1
        batch = Batch(self.batches, rank, spans)
        in_flight = self.in_flight[rank]
        in_flight[batch.number] = batch
        if len(in_flight) == 1 and rank != self.home and rank not in self.held_up:
            self.hungry[rank] = None
        return batch

    def send_only(self, rank: int, span: Span, members: tuple[int, ...] = (), *, is_together: bool = False) -> Batch:
        """Note what a free rank is sent, with nothing ahead."""
        self.batches += 1
        batch = Batch(self.batches, rank, [span], members, is_together)
        self._stops_being_idle(rank)
        self.in_flight[rank][batch.number] = batch
        return batch

    def finished(self, rank: int, number: int) -> Batch:
        """Note that a rank has run a batch; return it."""
        batch = self.in_flight[rank].pop(number)
        self.held_up.discard(rank)
        self._reconsider(rank)
        if batch.members:
            self._release(batch.members)
        return batch

    def given_back(self, rank: int, number: int, *, all_of_it: bool, leaves: bool) -> None:
        """Note that a rank does not run the end of a batch, or nothing of it, and whether it then leaves."""
        if all_of_it:
            self._release(self.in_flight[rank].pop(number).members)
        self.held_up.add(rank)
        if leaves and not self.in_flight[rank]:
            self.held_up.discard(rank)
            self.hungry.pop(rank, None)
            self.leaving.append(rank)
        else:
            self._reconsider(rank)

    def hold_up(self, rank: int) -> None:
        """Send nothing ahead to a rank that leads a child."""
        if self.in_flight.get(rank):
            self.held_up.add(rank)
            self.hungry.pop(rank, None)

    def _release(self, members: Sequence[int]) -> None:
        """Note that a gang is over."""
        for rank in members:
            if rank not in self.dead:
                self.is_back(rank)

    def _reconsider(self, rank: int) -> None:
        """Put a rank where its number of batches in flight says."""
        if rank == self.home:
            return
        self.hungry.pop(rank, None)
        count = len(self.in_flight[rank])
        if count == 0:
            self.held_up.discard(rank)
            self._is_idle_again(rank)
        elif count == 1 and rank not in self.held_up:
            self.hungry[rank] = None

    def _is_idle_again(self, rank: int) -> None:
        if rank in self.borrowed:
            self._parked.add(rank)
            return
        (self.reserved if rank in self.for_gangs else self.idle).append(rank)

    def _stops_being_idle(self, rank: int) -> bool:
        """Take a rank out of those that are idle or reserved; return whether it was one of them."""
        for idle in (self.idle, self.reserved):
            if rank in idle:
                idle.remove(rank)
                return True
        return False
