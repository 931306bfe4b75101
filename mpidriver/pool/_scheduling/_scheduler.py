"""Which rank does what next, in one scope: events in, instructions out.

A scope is what one running task scatters. Its scheduler knows the tasks that nobody runs yet, the ranks that the
scope holds, what is in flight on each, and the child scopes (tasks of this scope that map again) with the backlog
each has announced. It knows no MPI and no clock, so that the same object drives real ranks and simulated ones.

The rules, in order, whenever a rank is idle:

1. What a child lacks for a gang, and then the next gang of this scope: see `_gangs`.
2. A task that is placed on this rank because it holds its arguments, then the costliest ready task of this scope, then
   one placed on another that will be busy for longer than moving its arguments takes. Ranks that were busy last come
   first; the home rank, on which the leader itself waits, takes the last task, which then need not travel.
3. If there is none: the rank is granted to the child with most announced work per rank it was lent.
4. If no child wants it: it is returned to the parent. Neither the home rank nor anything of a scope that owns its
   ranks, as the root and every gang do, is.

Short tasks travel in batches of about two milliseconds of work, smaller towards the end (guided self-scheduling,
Polychronopoulos & Kuck 1987), and a rank gets its next batch before it has finished the first.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

from mpidriver.pool._scheduling._backlog import Backlog, Places, Span
from mpidriver.pool._scheduling._gangs import NOTHING, Gang, GangBacklog, Need
from mpidriver.pool._scheduling._instructions import Assign, Batch, Grant, Instruction, Return, Want
from mpidriver.pool._scheduling._placing import Placed, PlacedItem
from mpidriver.pool._transport._messages import ScopeId

__all__ = ["Scheduler"]

BATCH_SECONDS = 2e-3
"""Work that one message should carry."""
LEAST_SECONDS = 2e-4
"""Work that is not cut up any further, so that all ranks end at once: a message costs as much."""
LEISURE_SECONDS = 50e-3
"""Time between two outcomes at a leader that may as well compute itself."""
PREFETCH_SECONDS = 50e-3
"""Tasks shorter than this are sent ahead; behind longer ones an item would be held up too long."""


@dataclass(slots=True)
class _Child:
    want: int = 0
    work: float = 0.0
    need: Need = NOTHING
    lent: set[int] = field(default_factory=set)


class Scheduler:
    """The scheduler of one scope.

    Parameters
    ----------
    home
        Rank of the leader. It is held always, but idle only between `home_waits` and `home_leaves`.
    ranks
        Other ranks held from the start.
    owns_ranks
        Whether they stay with the scope until it ends, as those of the root and of a gang do.
    home_works
        Whether the home rank may run tasks at all; None means those that are so long that nobody waits.
    has_home
        Whether it belongs to the scope; without it the leader only leads.
    """

    def __init__(
        self,
        home: int,
        ranks: Iterable[int] = (),
        *,
        owns_ranks: bool = False,
        home_works: bool | None = True,
        has_home: bool = True,
    ) -> None:
        self.home = home
        self.owns_ranks = owns_ranks
        self._has_home = has_home
        self.home_works = home_works if has_home else False
        self._in_flight: dict[int, dict[int, Batch]] = {home: {}}
        self._idle: list[int] = []
        self._reserved: list[int] = []
        self._for_gangs: set[int] = set()
        """Ranks that were granted for gangs alone: somebody's wait lies below whatever they run."""
        self._hungry: dict[int, None] = {}
        self._held_up: set[int] = set()
        self._leaving: list[int] = []
        self.home_waits_for_work = False
        """Whether the leader waits, whatever its rank runs on top of that."""
        self._home_lent = False
        self._children: dict[ScopeId, _Child] = {}
        self._backlog = Backlog()
        self._placed = Placed()
        self._gangs = GangBacklog()
        self._together: deque[tuple[int, int]] = deque()
        self._borrowed: set[int] = set()
        """Spare ranks of some child that were made members of a gang elsewhere."""
        self._parked: set[int] = set()
        """Those of them whose task here has ended before the gang."""
        self._announced = 0
        self._announced_need = NOTHING
        self._batches = 0
        self._grants = 0
        self._parts = 0
        """How many parts the own ranks are split into just now."""
        self.dead: set[int] = set()
        """Ranks that have died."""
        self.spares_home = False
        """Whether home runs nothing that may kill its rank."""
        self._alone: deque[Span] = deque()
        self._announces_again = False
        others = tuple(ranks)
        self.own = (home, *others) if has_home else others
        """The ranks held from the start, home first."""
        for rank in reversed(others):
            self.granted(rank)

    # What happened

    def add(
        self,
        call: int,
        function: int,
        indexes: Sequence[int],
        costs: Any = None,
        places: Places | None = None,
        *,
        ranks: int = 1,
    ) -> None:
        """Note new ready tasks.

        Parameters
        ----------
        call, function
            Which call and which function they belong to.
        indexes
            Their indexes within the call, costliest first.
        costs
            Cost by index (list or dict), None if nothing is known.
        places
            Rank that holds most of an item's arguments and their bytes, by index, for those that have any.
        ranks
            How many ranks each task wants; tasks that want several have no place.
        """
        if ranks > 1:
            self._gangs.add(call, function, indexes, costs, ranks)
            return
        if places:
            for index in indexes:
                if index in places:
                    self._placed.add(PlacedItem(call, function, index, costs, places))
            indexes = [index for index in indexes if index not in places]
        self._backlog.add(call, function, indexes, costs)

    def add_together(self, call: int, function: int) -> None:
        """Note a call whose items all ranks of this scope, which owns them, run at the same time: one item a rank."""
        self._together.append((call, function))

    def cancel(self, call: int) -> list[int]:
        """Forget the ready tasks of a call; return their indexes. What is in flight stays so."""
        together = [index for one, _ in self._together if one == call for index in range(len(self.own))]
        self._together = deque(pair for pair in self._together if pair[0] != call)
        alone = [index for span in self._alone if span.call == call for index in span.indexes]
        self._alone = deque(span for span in self._alone if span.call != call)
        others = self._backlog.cancel(call) + self._placed.cancel(call) + self._gangs.cancel(call)
        return others + together + alone

    def finished(self, rank: int, number: int, seconds: Sequence[float]) -> Batch:
        """Note that a rank has run a batch, and the seconds of each of its spans; return the batch."""
        batch = self._in_flight[rank].pop(number)
        for span, spent in zip(batch.spans, seconds, strict=False):  # what was given back has none
            if len(span.indexes):
                self._backlog.learn(span.function, spent / len(span.indexes), len(span.indexes))
        self._held_up.discard(rank)
        self._reconsider(rank)
        self._release(batch)
        return batch

    def given_back(self, rank: int, number: int, kept: Sequence[int], *, leaves: bool = False) -> None:
        """Note that a rank runs only the first `kept` items of each span of a batch.

        Parameters
        ----------
        leaves
            The rank takes no further batch of this scope.
        """
        batch = self._in_flight[rank][number]
        ranks = 1 + len(batch.members)
        for span, count in zip(batch.spans, kept, strict=True):
            self.add(span.call, span.function, span.indexes[count:], span.costs, span.places, ranks=ranks)
            span.indexes = span.indexes[:count]
        if not any(kept):
            del self._in_flight[rank][number]
            self._release(batch)
        self._held_up.add(rank)
        if leaves and not self._in_flight[rank]:
            self._held_up.discard(rank)
            self._hungry.pop(rank, None)
            self._leaving.append(rank)
        else:
            self._reconsider(rank)

    def want(self, child: ScopeId, count: int, work: float, need: Need = NOTHING) -> None:
        """Note what a child has announced."""
        known = self._children.setdefault(child, _Child())
        known.want, known.work, known.need = count, work, need
        self._hold_up(child[0])
        self._drop_if_done(child)

    def granted(self, rank: int, *, for_gangs: bool = False) -> None:
        """Note that the parent lent this scope a rank, perhaps for gangs alone."""
        if for_gangs:
            self._for_gangs.add(rank)
        self._in_flight[rank] = {}
        self._is_idle_again(rank)

    def returned(self, rank: int, child: ScopeId) -> None:
        """Note that a child gave back a rank."""
        self._children[child].lent.discard(rank)
        self._drop_if_done(child)
        self._is_back(rank)

    def home_waits(self) -> None:
        """Note that the leader waits: its rank may run tasks."""
        self.home_waits_for_work = True

    def home_leaves(self) -> None:
        """Note that the leader waits no more."""
        self.home_waits_for_work = False

    def split(self, count: int) -> list[tuple[int, ...]]:
        """Take away all own ranks but home, in so many parts; the first is to be used with home.

        Nothing is in flight, and this scope owns its ranks.
        """
        others = sorted(self._idle)
        self._take_away(others)
        self._parts = count
        everybody = [self.home, *others] if self._has_home else others
        ends = [round(part * len(everybody) / count) for part in range(count + 1)]
        return [tuple(rank for rank in everybody[low:high] if rank != self.home) for low, high in pairwise(ends)]

    def joined(self, ranks: Iterable[int]) -> None:
        """Note that the parts are one again, and which ranks are back."""
        self._parts = 0
        for rank in sorted(ranks, reverse=True):
            self.granted(rank)

    # Ranks that die

    def lost(self, rank: int) -> tuple[list[Batch], dict[ScopeId, list[int]]]:
        """Note that a rank has died.

        Returns
        -------
        batches
            What it had been sent, oldest first.
        orphans
            Its scopes that are children of this one, and the ranks lent to each; these come back by `returned`.
        """
        batches = list(self._in_flight.pop(rank, {}).values())
        self._hungry.pop(rank, None)
        for ranks in (self._held_up, self._for_gangs, self._borrowed, self._parked):
            ranks.discard(rank)
        for others in (self._idle, self._reserved, self._leaving):
            if rank in others:
                others.remove(rank)
        self.own = tuple(one for one in self.own if one != rank)
        members = {one for batch in batches for one in batch.members if one not in self.dead}
        if members:  # of gangs that it led: no scope of it is known to have them
            self._children[rank, 0] = _Child(lent=members)
        orphans = self._orphans_of(rank)
        self.announce_again()
        return batches, orphans

    def _orphans_of(self, rank: int) -> dict[ScopeId, list[int]]:
        orphans = {}
        for child, known in list(self._children.items()):
            known.lent.discard(rank)
            if child[0] == rank:
                known.want, known.work, known.need = 0, 0.0, NOTHING
                orphans[child] = sorted(known.lent)
            self._drop_if_done(child)
        return orphans

    def add_alone(self, call: int, function: int, index: int, costs: Any = None) -> None:
        """Note a ready task that a rank is sent alone, with nothing ahead or behind: it may kill its rank."""
        self._alone.append(Span(call, function, [index], costs))

    def take_larger(self, ranks: int) -> list[Gang]:
        """Take away the gangs that want more than so many ranks."""
        return self._gangs.take_larger(ranks)

    def announce_again(self) -> None:
        """Tell the parent once more what is wanted: ranks that it had lent may be gone."""
        self._announces_again = bool(self._announced or self._announced_need.ranks)

    def has_lent(self, rank: int, child: ScopeId) -> bool:
        """Whether a rank is lent to a child."""
        return child in self._children and rank in self._children[child].lent

    # What is so

    @property
    def is_split(self) -> bool:
        """Whether its ranks are used in parts just now."""
        return self._parts > 0

    @property
    def ready(self) -> int:
        """Tasks that nobody runs."""
        waiting = self._gangs.count + len(self._together) + len(self._alone)
        return self._backlog.count + self._placed.count + waiting

    @property
    def has_work(self) -> bool:
        """Whether an idle rank would get something to do."""
        if self._backlog.count or self.ready:
            return True
        return any(known.want or known.need.ranks for known in self._children.values()) if self._children else False

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is ready, in flight or lent, and no rank is held that should be returned."""
        if self.owns_ranks:
            return self.has_all_ranks
        return not (self.ready or self._in_flight[self.home] or self._children or len(self._in_flight) > 1)

    @property
    def has_all_ranks(self) -> bool:
        """Whether nothing is ready or in flight and every rank is back."""
        return self._has_no_tasks and not self.ready

    @property
    def _has_no_tasks(self) -> bool:
        return not (self._children or self._parts or any(self._in_flight.values()))

    def census(self) -> tuple[int, bool, int]:
        """Return how many idle ranks find nothing ready, whether anything runs, and how often work was given out.

        The home rank counts as idle while its task waits.
        """
        idle, in_flight = len(self._idle), self._in_flight
        home_runs = in_flight[self.home]
        runs = bool(home_runs or self._children or self._parts or len(in_flight) - 1 - idle - len(self._reserved))
        if self.ready:
            idle = 0
        elif self._home_is_free():
            idle += 1
        return idle, runs, self._batches + self._grants

    @property
    def next_rank(self) -> int | None:
        """The idle rank that would be given something first, home apart."""
        return self._idle[-1] if self._idle else None

    def seconds_of(self, function: int) -> float | None:
        """Return the moving average of a function's seconds, None before its first outcome."""
        return self._backlog.seconds_of(function)

    def forget(self, function: int) -> None:
        """Drop what was learned of a function."""
        self._backlog.forget(function)

    # What to do

    def decide(self) -> list[Instruction]:
        """Return what to do now; it counts as done."""
        instructions: list[Instruction] = []
        if self._children:
            self._serve_needs(instructions)
        if self._alone and not self._together:
            self._assign_alone(instructions)
        if self._gangs.count or self._together:
            self._run_together(instructions)
            self._form_gangs(instructions)
        if self._placed.count and not self._together:
            self._assign_placed(instructions)
        if self._backlog.count and not self._together:
            self._assign(instructions)
        if self._placed.count and not self._together:
            self._move_placed(instructions)
        if self._children and not self._together:
            self._grant(instructions)
        if self._leaving or not self.owns_ranks:
            self._give_back(instructions)
            self._announce(instructions)
        return instructions

    def _assign(self, instructions: list[Instruction]) -> None:
        backlog = self._backlog
        if self._gangs.count and self._gangs.next.key() < backlog.next_key:
            return  # what becomes idle is saved for the gang
        while backlog.count and (rank := self._next_idle()) is not None:
            instructions.append(Assign(self._batch_for(rank)))
        while self._hungry and backlog.count > len(self._in_flight) and self._next_is_short():
            rank, _ = self._hungry.popitem()
            instructions.append(Assign(self._batch_for(rank)))

    def _assign_placed(self, instructions: list[Instruction]) -> None:
        """Let ranks run what is placed on them, ahead too if it is short."""
        for rank in self._placed:
            item = self._placed.first(rank)
            seconds = self._backlog.seconds_or(PREFETCH_SECONDS, item.function)
            if self._is_saved_for_gang(item):
                continue
            if rank in self._idle:
                self._idle.remove(rank)
            elif not (rank == self.home and self._home_is_idle()):
                if rank not in self._hungry or seconds >= PREFETCH_SECONDS:
                    continue
                del self._hungry[rank]
            most = max(1, int(BATCH_SECONDS / max(seconds, 1e-9)))
            instructions.append(Assign(self._begin(rank, [self._placed.take(rank, most)])))

    def _move_placed(self, instructions: list[Instruction]) -> None:
        """Let idle ranks run what is placed on others for which that would have to wait for longer."""
        seconds_of = partial(self._backlog.seconds_or, PREFETCH_SECONDS)
        while self._placed.count:
            holder = self._placed.longest_wait(self._wait_seconds, seconds_of)
            if holder is None or self._is_saved_for_gang(self._placed.last(holder)):
                return
            if (rank := self._next_idle()) is None:
                return
            instructions.append(Assign(self._begin(rank, [self._placed.take_last(holder)])))

    def _is_saved_for_gang(self, item: PlacedItem) -> bool:
        """Whether a rank that becomes idle is saved for a gang that comes before an item."""
        return self._gangs.count > 0 and self._gangs.next.key() < item.key()

    def _wait_seconds(self, rank: int) -> float:
        """Return how long a rank is busy with what it has, as far as is known; infinity for one that is elsewhere."""
        if rank == self.home:
            may_work = self._has_home and self.home_works is not False
            is_here = may_work and self.home_waits_for_work and not self._home_lent
        else:
            is_here = rank in self._in_flight and rank not in self._for_gangs
        if not is_here or rank in self._held_up or rank in self._borrowed:
            return math.inf
        spans = [span for batch in self._in_flight[rank].values() for span in batch.spans]
        return sum(len(span.indexes) * self._backlog.seconds_or(PREFETCH_SECONDS, span.function) for span in spans)

    def _assign_alone(self, instructions: list[Instruction]) -> None:
        while self._alone and (rank := self._next_to_risk()) is not None:
            instructions.append(Assign(self._new_batch(rank, self._alone.popleft())))
            self._held_up.add(rank)

    def _next_to_risk(self) -> int | None:
        if self._idle:
            return self._idle[-1]
        return self.home if self._home_is_idle() and not self.spares_home else None

    def _next_idle(self) -> int | None:
        if (self._backlog.count == 1 or not self._idle) and self._home_is_idle():
            return self.home
        return self._idle.pop() if self._idle else None

    def _home_is_idle(self) -> bool:
        may_work = self.home_works is not False and self._home_is_free()
        return may_work and (self.home_works is True or self._home_is_at_leisure())

    def _home_is_free(self) -> bool:
        waits = self.home_waits_for_work and not self._in_flight[self.home]
        return waits and self._has_home and not self._home_lent and self.home not in self._borrowed

    def _home_is_at_leisure(self) -> bool:
        """Whether outcomes come in slowly: the next task is long, or all that is left belongs to children."""
        return not self._backlog.count or self._backlog.seconds_of_next(0.0) >= LEISURE_SECONDS * len(self._in_flight)

    def _next_is_short(self) -> bool:
        return self._backlog.seconds_of_next(PREFETCH_SECONDS) < PREFETCH_SECONDS

    def _batch_for(self, rank: int) -> Batch:
        return self._begin(rank, self._spans() if self._backlog.count > 1 else [self._backlog.take(1)])

    def _begin(self, rank: int, spans: list[Span]) -> Batch:
        self._batches += 1
        batch = Batch(self._batches, rank, spans)
        in_flight = self._in_flight[rank]
        in_flight[batch.number] = batch
        if len(in_flight) == 1 and rank != self.home and rank not in self._held_up:
            self._hungry[rank] = None
        return batch

    def _spans(self) -> list[Span]:
        """Take what is worth a message, but not more than a fair share."""
        backlog = self._backlog
        spans: list[Span] = []
        most = max(1, backlog.count // (2 * len(self._in_flight)))
        seconds, least = BATCH_SECONDS, LEAST_SECONDS
        while backlog.count and seconds > 0:
            each = max(backlog.seconds_of_next(BATCH_SECONDS), 1e-9)
            if spans and each > seconds:
                break
            count = min(max(most, int(least / each)), max(1, int(seconds / each)))
            if count <= 0:
                break
            spans.append(backlog.take(count))
            taken = len(spans[-1].indexes)
            most, seconds, least = most - taken, seconds - taken * each, least - taken * each
        return spans

    def _grant(self, instructions: list[Instruction]) -> None:
        while (child := self._neediest()) is not None and (rank := self._next_idle()) is not None:
            known = self._children[child]
            known.work -= known.work / known.want
            known.want -= 1
            if rank != self.home:
                self._idle.append(rank)
            self._grants += 1
            self._lend((rank,), child, instructions)

    def _neediest(self) -> ScopeId | None:
        wanting = [(known.work / (1 + len(known.lent)), child) for child, known in self._children.items() if known.want]
        return max(wanting)[1] if wanting else None

    def _give_back(self, instructions: list[Instruction]) -> None:
        leaving, self._leaving = self._leaving, []
        if not self.owns_ranks:
            leaving += self._idle + self._reserved
            self._idle, self._reserved = [], []
        for rank in leaving:
            del self._in_flight[rank]
            self._for_gangs.discard(rank)
            instructions.append(Return(rank))

    def _announce(self, instructions: list[Instruction]) -> None:
        if self.owns_ranks:
            return
        ready, need = self._backlog.count + self._placed.count + len(self._alone), self._need()
        count = ready + sum(known.want for known in self._children.values())
        before = self._announced
        is_news = bool(count) != bool(before) or count > 2 * before or 2 * count < before
        if not (is_news or self._announces_again) and need == self._announced_need:
            return
        self._announces_again = False
        self._announced, self._announced_need = count, need
        own = self._backlog.work + self._gangs.work + self._placed.count * self._backlog.mean_seconds
        work = own + sum(child.work for child in self._children.values())
        instructions.append(Want(count, work, need))

    # Gangs

    def _serve_needs(self, instructions: list[Instruction]) -> None:
        """Grant together what children lack for their gangs, the oldest that can be served first."""
        for child, known in self._children.items():
            lacking = self._lacking(known.need)
            free = self._free_ranks(besides=child)
            if 0 < lacking <= len(free):
                known.need = NOTHING
                self._lend(free[:lacking], child, instructions)

    def _run_together(self, instructions: list[Instruction]) -> None:
        while self._together and self.home_waits_for_work and not self._home_lent and self._has_no_tasks:
            call, function = self._together.popleft()
            for index, rank in enumerate(self.own):
                batch = self._new_batch(rank, Span(call, function, [index], None), is_together=True)
                instructions.append(Assign(batch))

    def _form_gangs(self, instructions: list[Instruction]) -> None:
        while self._gangs.count and not self._together:
            ranks = self._gang_of(self._gangs.next.ranks)
            if not ranks:
                return
            gang = self._gangs.take()
            self._take_away(ranks[1:])
            span = Span(gang.call, gang.function, [gang.index], gang.costs)
            instructions.append(Assign(self._new_batch(ranks[0], span, members=tuple(sorted(ranks[1:])))))

    def _gang_of(self, size: int) -> list[int]:
        """Return so many free ranks, none if there are not enough: first the one that can lead."""
        free = self._free_ranks()
        if len(free) < size or not (self._idle or self._reserved or self._home_is_free()):
            return []
        takes_home = self.home in free and (self.home_works or not self._idle or len(free) == size)
        home = [self.home] if takes_home else []
        return home + [rank for rank in free if rank != self.home][: size - len(home)]

    def _need(self) -> Need:
        """Return what this scope lacks for the gang that can begin first."""
        returned = len(self._idle) + len(self._reserved)
        lacking = [
            (lacks - len(self._free_ranks(besides=child)) + returned, known.need.leaders)
            for child, known in self._children.items()
            if (lacks := self._lacking(known.need))
        ]
        if not lacking and self._gangs.count:
            lacking = [(self._gangs.next.ranks - len(self._free_ranks()) + returned, ())]
        if not lacking:
            return NOTHING
        ranks, leaders = min(lacking)
        return Need(max(1, ranks), tuple(sorted(self._spare_ranks())), (self.home, *leaders))

    def _lacking(self, need: Need) -> int:
        """Return how many ranks a child must be granted, those of its own that were borrowed included."""
        return need.ranks and need.ranks + len(self._borrowed.intersection(need.spare))

    def _free_ranks(self, *, besides: ScopeId | None = None) -> list[int]:
        """Return the ranks that could join a gang, those that can lead it first; for a child, only what it has not."""
        free = [*reversed(self._idle), *([self.home] if self._home_is_free() else []), *self._reserved]
        free += self._spare_below()
        need = self._children[besides].need if besides is not None else NOTHING
        return [rank for rank in dict.fromkeys(free) if rank not in need.spare and rank not in need.leaders]

    def _spare_ranks(self) -> set[int]:
        """Return the ranks here and below that wait for nothing but gangs."""
        return {*self._spare_below(), *([self.home] if self._home_is_free() else [])}

    def _spare_below(self) -> Iterator[int]:
        for known in self._children.values():
            if known.need.ranks:
                yield from (rank for rank in known.need.spare if rank not in self._borrowed and rank not in self.dead)

    def _lend(self, ranks: Sequence[int], child: ScopeId, instructions: list[Instruction]) -> None:
        ordinary = {*self._idle, *([self.home] if self._home_is_free() else [])}
        self._children[child].lent.update(ranks)
        self._take_away(ranks)
        instructions.append(Grant(tuple(ranks), child, tuple(rank for rank in ranks if rank not in ordinary)))

    def _take_away(self, ranks: Sequence[int]) -> None:
        """Note that ranks are not to be had until they are back."""
        for rank in ranks:
            if rank == self.home and self._home_is_free():
                self._home_lent = True
            elif self._stops_being_idle(rank):
                del self._in_flight[rank]
            else:
                self._borrowed.add(rank)

    def _stops_being_idle(self, rank: int) -> bool:
        """Take a rank out of those that are idle or reserved; return whether it was one of them."""
        for idle in (self._idle, self._reserved):
            if rank in idle:
                idle.remove(rank)
                return True
        return False

    def _is_back(self, rank: int) -> None:
        if rank in self._borrowed:
            self._borrowed.remove(rank)
            if rank in self._parked:
                self._parked.remove(rank)
                self._is_idle_again(rank)
        elif rank == self.home:
            self._home_lent = False
        else:
            self.granted(rank)

    def _is_idle_again(self, rank: int) -> None:
        if rank in self._borrowed:
            self._parked.add(rank)
            return
        (self._reserved if rank in self._for_gangs else self._idle).append(rank)

    def _release(self, batch: Batch) -> None:
        """Note that the gang of a batch is over."""
        for rank in batch.members:
            if rank not in self.dead:
                self._is_back(rank)

    def _new_batch(self, rank: int, span: Span, members: tuple[int, ...] = (), *, is_together: bool = False) -> Batch:
        self._batches += 1
        batch = Batch(self._batches, rank, [span], members, is_together)
        self._stops_being_idle(rank)
        self._in_flight[rank][batch.number] = batch
        return batch

    # Bookkeeping

    def _reconsider(self, rank: int) -> None:
        """Put a rank where its number of batches in flight says."""
        if rank == self.home:
            return
        self._hungry.pop(rank, None)
        count = len(self._in_flight[rank])
        if count == 0:
            self._held_up.discard(rank)
            self._is_idle_again(rank)
        elif count == 1 and rank not in self._held_up:
            self._hungry[rank] = None

    def _hold_up(self, rank: int) -> None:
        """Send nothing ahead to a rank that leads a child."""
        if self._in_flight.get(rank):
            self._held_up.add(rank)
            self._hungry.pop(rank, None)

    def _drop_if_done(self, child: ScopeId) -> None:
        known = self._children[child]
        if not (known.want or known.lent or known.need.ranks):
            del self._children[child]
