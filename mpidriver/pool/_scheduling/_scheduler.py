"""Which rank does what next, in one scope: events in, instructions out.

A scope is what one running task scatters. Its scheduler knows the tasks that nobody runs yet, the ranks that the
scope holds and what is in flight on each (`Roster`), and the child scopes, tasks of this scope that map again, with
the backlog each has announced (`Children`). It knows no MPI and no clock, so that the same object drives real ranks and
simulated ones.

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

from collections.abc import Iterable, Sequence
from typing import Any

from mpidriver.pool._scheduling._backlog import Places, Span
from mpidriver.pool._scheduling._children import Children
from mpidriver.pool._scheduling._dispatch import Dispatch
from mpidriver.pool._scheduling._gangs import NOTHING, Gang, Need
from mpidriver.pool._scheduling._instructions import Batch, Instruction, Return, Want
from mpidriver.pool._scheduling._muster import Muster
from mpidriver.pool._scheduling._ready import Ready
from mpidriver.pool._scheduling._roster import Roster
from mpidriver.pool._transport._messages import ScopeId

__all__ = ["Scheduler"]


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
        self._ranks = Roster(home, ranks, owns_ranks=owns_ranks, home_works=home_works, has_home=has_home)
        self._children = Children()
        self._ready = Ready()
        self._backlog, self._gangs = self._ready.backlog, self._ready.gangs
        self._muster = Muster(self._ranks, self._children, self._gangs)
        self._dispatch = Dispatch(self._ranks, self._children, self._ready, self._muster)
        self.home = home
        self.owns_ranks = owns_ranks
        self._announced = 0
        self._announced_need = NOTHING
        self._announces_again = False

    @property
    def own(self) -> tuple[int, ...]:
        """The ranks held from the start, home first."""
        return self._ranks.own

    @property
    def home_works(self) -> bool | None:
        """Whether the home rank may run tasks at all; None means those that are so long that nobody waits."""
        return self._ranks.home_works

    @home_works.setter
    def home_works(self, works: bool | None) -> None:
        self._ranks.home_works = works

    @property
    def spares_home(self) -> bool:
        """Whether the home rank runs nothing that may kill it."""
        return self._ranks.spares_home

    @spares_home.setter
    def spares_home(self, spares: bool) -> None:
        self._ranks.spares_home = spares

    @property
    def home_waits_for_work(self) -> bool:
        """Whether the leader waits, whatever its rank runs on top of that."""
        return self._ranks.home_waits

    @property
    def dead(self) -> set[int]:
        """Ranks that have died."""
        return self._ranks.dead

    @dead.setter
    def dead(self, dead: set[int]) -> None:
        self._ranks.dead = dead

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
        self._ready.add(call, function, indexes, costs, places, ranks=ranks)

    def assign_at_once(self, call: int, function: int, costs: Any = None) -> Batch | None:
        """Assign the only task of a call, which any one rank may run, as `add` and `decide` would.

        Returns
        -------
        batch
            What an idle rank is to run; None if it is not plain that this would be the only decision: then add it.
        """
        return self._dispatch.assign_at_once(call, function, costs) if self.is_content else None

    def add_together(self, call: int, function: int) -> None:
        """Note a call whose items all ranks of this scope, which owns them, run at the same time: one item a rank."""
        self._ready.together.append((call, function))

    def cancel(self, call: int) -> list[int]:
        """Forget the ready tasks of a call; return their indexes. What is in flight stays so."""
        return self._ready.cancel(call, len(self._ranks.own))

    def finished(self, rank: int, number: int, seconds: Sequence[float]) -> Batch:
        """Note that a rank has run a batch, and the seconds of each of its spans; return the batch."""
        batch = self._ranks.finished(rank, number)
        for span, spent in zip(batch.spans, seconds, strict=False):  # what was given back has none
            if count := len(span.indexes):
                self._backlog.learn(span.function, spent / count, count)
        return batch

    def given_back(self, rank: int, number: int, kept: Sequence[int], *, leaves: bool = False) -> None:
        """Note that a rank runs only the first `kept` items of each span of a batch.

        Parameters
        ----------
        leaves
            The rank takes no further batch of this scope.
        """
        batch = self._ranks.in_flight[rank][number]
        ranks = 1 + len(batch.members)
        for span, count in zip(batch.spans, kept, strict=True):
            self.add(span.call, span.function, span.indexes[count:], span.costs, span.places, ranks=ranks)
            span.indexes = span.indexes[:count]
        self._ranks.given_back(rank, number, all_of_it=not any(kept), leaves=leaves)

    def want(self, child: ScopeId, count: int, work: float, need: Need = NOTHING) -> None:
        """Note what a child has announced."""
        self._children.announced(child, count, work, need)
        self._ranks.hold_up(child[0])

    def granted(self, rank: int, *, for_gangs: bool = False) -> None:
        """Note that the parent lent this scope a rank, perhaps for gangs alone."""
        self._ranks.granted(rank, for_gangs=for_gangs)

    def returned(self, rank: int, child: ScopeId) -> None:
        """Note that a child gave back a rank."""
        self._children.returned(rank, child)
        self._ranks.is_back(rank)

    def home_waits(self) -> None:
        """Note that the leader waits: its rank may run tasks."""
        self._ranks.home_waits = True

    def home_leaves(self) -> None:
        """Note that the leader waits no more."""
        self._ranks.home_waits = False

    def split(self, count: int) -> list[tuple[int, ...]]:
        """Take away all own ranks but home, in so many parts; the first is to be used with home.

        Nothing is in flight, and this scope owns its ranks.
        """
        return self._ranks.split(count)

    def joined(self, ranks: Iterable[int]) -> None:
        """Note that the parts are one again, and which ranks are back."""
        self._ranks.joined(ranks)

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
        batches = self._ranks.lost(rank)
        orphans = self._children.orphaned(
            rank, (one for batch in batches for one in batch.members if one not in self._ranks.dead)
        )
        self.announce_again()
        return batches, orphans

    def add_alone(self, call: int, function: int, index: int, costs: Any = None) -> None:
        """Note a ready task that a rank is sent alone, with nothing ahead or behind: it may kill its rank."""
        self._ready.alone.append(Span(call, function, [index], costs))

    def take_larger(self, ranks: int) -> list[Gang]:
        """Take away the gangs that want more than so many ranks."""
        return self._gangs.take_larger(ranks)

    def announce_again(self) -> None:
        """Tell the parent once more what is wanted: ranks that it had lent may be gone."""
        self._announces_again = bool(self._announced or self._announced_need.ranks)

    def has_lent(self, rank: int, child: ScopeId) -> bool:
        """Whether a rank is lent to a child."""
        return self._children.has_lent(rank, child)

    # What is so

    @property
    def is_split(self) -> bool:
        """Whether its ranks are used in parts just now."""
        return self._ranks.parts > 0

    @property
    def ready(self) -> int:
        """Tasks that nobody runs."""
        return self._ready.count

    @property
    def has_work(self) -> bool:
        """Whether an idle rank would get something to do."""
        return self._ready.count > 0 or (bool(self._children.known) and self._children.want_anything)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is ready, in flight or lent, and no rank is held that should be returned."""
        ranks = self._ranks
        if self._ready.count or self._children.known or ranks.parts:
            return False
        return not (ranks.is_busy if self.owns_ranks else ranks.in_flight[self.home] or len(ranks.in_flight) > 1)

    @property
    def has_all_ranks(self) -> bool:
        """Whether nothing is ready or in flight and every rank is back."""
        return not (self._ready.count or self._dispatch.is_busy)

    def census(self) -> tuple[int, bool, int]:
        """Return how many idle ranks find nothing ready, whether anything runs, and how often work was given out.

        The home rank counts as idle while its task waits.
        """
        ranks, in_flight = self._ranks, self._ranks.in_flight
        idle, home_runs = len(ranks.idle), in_flight[self.home]
        elsewhere = len(in_flight) - 1 - idle - len(ranks.reserved)
        runs = bool(elsewhere or home_runs or self._children.known or ranks.parts)
        if self._ready.count:
            idle = 0
        elif ranks.home_waits and ranks.home_is_free:
            idle += 1
        return idle, runs, ranks.batches + self._dispatch.grants

    @property
    def next_rank(self) -> int | None:
        """The idle rank that would be given something first, home apart; asked without a lock."""
        last = self._ranks.idle[-1:]
        return last[0] if last else None

    def seconds_of(self, function: int) -> float | None:
        """Return the moving average of a function's seconds, None before its first outcome."""
        return self._backlog.seconds_of(function)

    def forget(self, function: int) -> None:
        """Drop what was learned of a function."""
        self._backlog.forget(function)

    # What to do

    @property
    def is_content(self) -> bool:
        """Whether there is nothing to decide."""
        return self.owns_ranks and not (self._ready.count or self._children.known or self._ranks.leaving)

    def decide(self) -> list[Instruction]:
        """Return what to do now; it counts as done."""
        instructions = self._dispatch.decide()
        if self._ranks.leaving or not self.owns_ranks:
            instructions += map(Return, self._ranks.dismiss())
            self._announce(instructions)
        return instructions

    def _announce(self, instructions: list[Instruction]) -> None:
        if self.owns_ranks:
            return
        need = self._muster.need()
        count = self._ready.single + self._children.want
        before = self._announced
        is_news = bool(count) != bool(before) or count > 2 * before or 2 * count < before
        if not (is_news or self._announces_again) and need == self._announced_need:
            return
        self._announces_again = False
        self._announced, self._announced_need = count, need
        instructions.append(Want(count, self._ready.work + self._children.work, need))
