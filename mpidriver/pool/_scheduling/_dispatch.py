"""What idle ranks are given next: the rules that stand at the head of `_scheduler`, in their order."""

import math
from functools import partial
from typing import Any

from mpidriver.pool._scheduling._backlog import BATCH_SECONDS, Span
from mpidriver.pool._scheduling._children import Children
from mpidriver.pool._scheduling._instructions import Assign, Batch, Instruction
from mpidriver.pool._scheduling._muster import Muster
from mpidriver.pool._scheduling._placing import PlacedItem
from mpidriver.pool._scheduling._ready import Ready
from mpidriver.pool._scheduling._roster import Roster

__all__ = ["Dispatch"]

LEISURE_SECONDS = 50e-3
"""Time between two outcomes at a leader that may as well compute itself."""
PREFETCH_SECONDS = 50e-3
"""Tasks shorter than this are sent ahead; behind longer ones an item would be held up too long."""
_ONLY = range(1)
"""Indexes of a call of one item."""


class Dispatch:
    """Gives the ranks of one scope what is ready.

    Parameters
    ----------
    ranks, children, ready, muster
        The parts of the scope's scheduler.
    """

    def __init__(self, ranks: Roster, children: Children, ready: Ready, muster: Muster) -> None:
        self._ranks = ranks
        self._children = children
        self._ready = ready
        self._backlog, self._placed, self._gangs = ready.backlog, ready.placed, ready.gangs
        self._muster = muster
        self.home = ranks.home
        self.grants = 0
        """How often a rank was lent to a child that has work for it."""

    @property
    def is_busy(self) -> bool:
        """Whether anything is in flight or lent."""
        return bool(self._children.known or self._ranks.parts or self._ranks.is_busy)

    def decide(self) -> list[Instruction]:
        """Return what the ranks do now; it counts as done."""
        instructions: list[Instruction] = []
        if self._children.known:
            instructions += self._muster.grants()
        if self._ready.together:
            self._run_together(instructions)
        if not self._ready.together and (self._ready.count or self._children.known):
            self._hand_out(instructions)
        return instructions

    def assign_at_once(self, call: int, function: int, costs: Any) -> Batch | None:
        """Assign the only task of a call to an idle rank if nothing else is ready; None if home might take it."""
        ranks = self._ranks
        if not ranks.idle or (ranks.home_waits and self._home_is_idle()):
            return None
        return ranks.send_next(ranks.idle.pop(), [Span(call, function, _ONLY, costs)])

    def _hand_out(self, instructions: list[Instruction]) -> None:
        if self._ready.alone:
            self._assign_alone(instructions)
        if self._gangs.count:
            self._form_gangs(instructions)
        if self._placed.count:
            self._assign_placed(instructions)
        if self._backlog.count:
            self._assign(instructions)
        if self._placed.count:
            self._move_placed(instructions)
        if self._children.known:
            self._grant(instructions)

    def _assign(self, instructions: list[Instruction]) -> None:
        backlog = self._backlog
        if self._gangs.count and self._gangs.next.key() < backlog.next_key:
            return  # what becomes idle is saved for the gang
        while backlog.count and (rank := self._next_idle()) is not None:
            instructions.append(Assign(self._batch_for(rank)))
        hungry = self._ranks.hungry
        while hungry and backlog.count > len(self._ranks.in_flight) and self._next_is_short():
            rank, _ = hungry.popitem()
            instructions.append(Assign(self._batch_for(rank)))

    def _assign_placed(self, instructions: list[Instruction]) -> None:
        """Let ranks run what is placed on them, ahead too if it is short."""
        idle, hungry = self._ranks.idle, self._ranks.hungry
        for rank in self._placed:
            item = self._placed.first(rank)
            seconds = self._backlog.seconds_or(PREFETCH_SECONDS, item.function)
            if self._is_saved_for_gang(item):
                continue
            if rank in idle:
                idle.remove(rank)
            elif not (rank == self.home and self._home_is_idle()):
                if rank not in hungry or seconds >= PREFETCH_SECONDS:
                    continue
                del hungry[rank]
            most = max(1, int(BATCH_SECONDS / max(seconds, 1e-9)))
            instructions.append(Assign(self._ranks.send_next(rank, [self._placed.take(rank, most)])))

    def _move_placed(self, instructions: list[Instruction]) -> None:
        """Let idle ranks run what is placed on others for which that would have to wait for longer."""
        seconds_of = partial(self._backlog.seconds_or, PREFETCH_SECONDS)
        while self._placed.count:
            holder = self._placed.longest_wait(self._wait_seconds, seconds_of)
            if holder is None or self._is_saved_for_gang(self._placed.last(holder)):
                return
            if (rank := self._next_idle()) is None:
                return
            instructions.append(Assign(self._ranks.send_next(rank, [self._placed.take_last(holder)])))

    def _is_saved_for_gang(self, item: PlacedItem) -> bool:
        """Whether a rank that becomes idle is saved for a gang that comes before an item."""
        return self._gangs.count > 0 and self._gangs.next.key() < item.key()

    def _wait_seconds(self, rank: int) -> float:
        """Return how long a rank is busy with what it has, as far as is known; infinity for one that is elsewhere."""
        if self._ranks.is_out_of_reach(rank):
            return math.inf
        seconds_or, spans = self._backlog.seconds_or, self._ranks.spans_of(rank)
        return sum(len(span.indexes) * seconds_or(PREFETCH_SECONDS, span.function) for span in spans)

    def _assign_alone(self, instructions: list[Instruction]) -> None:
        alone = self._ready.alone
        while alone and (rank := self._next_to_risk()) is not None:
            instructions.append(Assign(self._ranks.send_only(rank, alone.popleft())))
            self._ranks.held_up.add(rank)

    def _next_to_risk(self) -> int | None:
        if self._ranks.idle:
            return self._ranks.idle[-1]
        return self.home if self._home_is_idle() and not self._ranks.spares_home else None

    def _next_idle(self) -> int | None:
        idle = self._ranks.idle
        if (self._backlog.count == 1 or not idle) and self._home_is_idle():
            return self.home
        return idle.pop() if idle else None

    def _home_is_idle(self) -> bool:
        works = self._ranks.home_works
        return works is not False and self._ranks.home_is_free and (works is True or self._home_is_at_leisure())

    def _home_is_at_leisure(self) -> bool:
        """Whether outcomes come in slowly: the next task is long, or all that is left belongs to children."""
        longest = LEISURE_SECONDS * len(self._ranks.in_flight)
        return not self._backlog.count or self._backlog.seconds_of_next(0.0) >= longest

    def _next_is_short(self) -> bool:
        return self._backlog.seconds_of_next(PREFETCH_SECONDS) < PREFETCH_SECONDS

    def _batch_for(self, rank: int) -> Batch:
        share = 2 * len(self._ranks.in_flight)
        return self._ranks.send_next(rank, self._backlog.take_message(share))

    def _grant(self, instructions: list[Instruction]) -> None:
        while (child := self._children.neediest()) is not None and (rank := self._next_idle()) is not None:
            known = self._children[child]
            known.work -= known.work / known.want
            known.want -= 1
            if rank != self.home:
                self._ranks.idle.append(rank)
            self.grants += 1
            instructions.append(self._muster.lend((rank,), child))

    # Gangs

    def _run_together(self, instructions: list[Instruction]) -> None:
        ranks = self._ranks
        together = self._ready.together
        while together and ranks.home_waits and not ranks.home_is_lent and not self.is_busy:
            call, function = together.popleft()
            for index, rank in enumerate(ranks.own):
                batch = ranks.send_only(rank, Span(call, function, [index], None), is_together=True)
                instructions.append(Assign(batch))

    def _form_gangs(self, instructions: list[Instruction]) -> None:
        while self._gangs.count:
            ranks = self._muster.gang_of(self._gangs.next.ranks)
            if not ranks:
                return
            leader, *members = ranks
            gang = self._gangs.take()
            self._ranks.take_away(members)
            span = Span(gang.call, gang.function, [gang.index], gang.costs)
            instructions.append(Assign(self._ranks.send_only(leader, span, members=tuple(sorted(members)))))
