"""Mustering ranks for gangs, and lending them; the rules stand in `_gangs`."""

from collections.abc import Iterator, Sequence

from mpidriver.pool._scheduling._children import Children
from mpidriver.pool._scheduling._gangs import NOTHING, GangBacklog, Need
from mpidriver.pool._scheduling._instructions import Grant
from mpidriver.pool._scheduling._roster import Roster
from mpidriver.pool._transport._messages import ScopeId

__all__ = ["Muster"]


class Muster:
    """Finds free ranks for the gangs of a scope and of its children, and lends ranks to these.

    Parameters
    ----------
    ranks, children, gangs
        The ranks, the children and the gangs of the scope.
    """

    def __init__(self, ranks: Roster, children: Children, gangs: GangBacklog) -> None:
        self._ranks = ranks
        self._children = children
        self._gangs = gangs

    def lend(self, ranks: Sequence[int], child: ScopeId) -> Grant:
        """Lend ranks to a child."""
        ordinary = self._ranks.ordinary
        self._children[child].lent.update(ranks)
        self._ranks.take_away(ranks)
        return Grant(tuple(ranks), child, tuple(rank for rank in ranks if rank not in ordinary))

    def grants(self) -> Iterator[Grant]:
        """Grant together what children lack for their gangs, the oldest that can be served first."""
        for child, known in self._children.known.items():
            lacking = self._lacking(known.need)
            free = self._free_ranks(besides=child)
            if 0 < lacking <= len(free):
                known.need = NOTHING
                yield self.lend(free[:lacking], child)

    def gang_of(self, size: int) -> list[int]:
        """Return so many free ranks, none if there are not enough: first the one that can lead."""
        roster, free = self._ranks, self._free_ranks()
        if len(free) < size or not (roster.idle or roster.reserved or roster.home_is_free):
            return []
        takes_home = roster.home in free and (roster.home_works or not roster.idle or len(free) == size)
        home = [roster.home] if takes_home else []
        return home + [rank for rank in free if rank != roster.home][: size - len(home)]

    def need(self) -> Need:
        """Return what this scope lacks for the gang that can begin first."""
        roster = self._ranks
        returned = len(roster.idle) + len(roster.reserved)
        lacking = [
            (lacks - len(self._free_ranks(besides=child)) + returned, known.need.leaders)
            for child, known in self._children.known.items()
            if (lacks := self._lacking(known.need))
        ]
        if not lacking and self._gangs.count:
            lacking = [(self._gangs.next.ranks - len(self._free_ranks()) + returned, ())]
        if not lacking:
            return NOTHING
        ranks, leaders = min(lacking)
        return Need(max(1, ranks), tuple(sorted(self._spare_ranks())), (roster.home, *leaders))

    def _lacking(self, need: Need) -> int:
        """Return how many ranks a child must be granted, those of its own that were borrowed included."""
        return need.ranks and need.ranks + len(self._ranks.borrowed.intersection(need.spare))

    def _free_ranks(self, *, besides: ScopeId | None = None) -> list[int]:
        """Return the ranks that could join a gang, those that can lead it first; for a child, only what it has not."""
        free = [*self._ranks.free(), *self._spare_below()]
        need = self._children[besides].need if besides is not None else NOTHING
        return [rank for rank in dict.fromkeys(free) if rank not in need.spare and rank not in need.leaders]

    def _spare_ranks(self) -> set[int]:
        """Return the ranks here and below that wait for nothing but gangs."""
        return {*self._spare_below(), *([self._ranks.home] if self._ranks.home_is_free else [])}

    def _spare_below(self) -> Iterator[int]:
        gone = self._ranks.borrowed | self._ranks.dead
        return (rank for rank in self._children.spare() if rank not in gone)
