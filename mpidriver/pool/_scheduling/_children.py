"""The child scopes of one scope: what each has announced, and the ranks that it was lent."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from mpidriver.pool._scheduling._gangs import NOTHING, Need
from mpidriver.pool._transport._messages import ScopeId

__all__ = ["Child", "Children"]


@dataclass(slots=True)
class Child:
    """One child scope."""

    want: int = 0
    """Tasks of it that nobody runs."""
    work: float = 0.0
    """How much work they are."""
    need: Need = NOTHING
    """What it lacks for a gang."""
    lent: set[int] = field(default_factory=set)
    """Ranks that it was lent."""


class Children:
    """The child scopes that want or have anything of a scope, in the order of their announcements."""

    def __init__(self) -> None:
        self.known: dict[ScopeId, Child] = {}
        """The children by their names."""

    def __getitem__(self, child: ScopeId) -> Child:
        return self.known[child]

    @property
    def want_anything(self) -> bool:
        """Whether any would take a rank."""
        return any(known.want or known.need.ranks for known in self.known.values())

    @property
    def want(self) -> int:
        """Tasks of all that nobody runs."""
        return sum(known.want for known in self.known.values())

    @property
    def work(self) -> float:
        """How much work they are."""
        return sum(known.work for known in self.known.values())

    def has_lent(self, rank: int, child: ScopeId) -> bool:
        """Whether a rank is lent to a child."""
        return child in self.known and rank in self.known[child].lent

    def neediest(self) -> ScopeId | None:
        """Return the child with most work a rank that it was lent, None if none wants any."""
        wanting = [(known.work / (1 + len(known.lent)), child) for child, known in self.known.items() if known.want]
        return max(wanting)[1] if wanting else None

    def spare(self) -> Iterator[int]:
        """Go through the ranks below that wait for nothing but gangs."""
        for known in self.known.values():
            if known.need.ranks:
                yield from known.need.spare

    # What happened

    def announced(self, child: ScopeId, count: int, work: float, need: Need) -> None:
        """Note what a child wants from now on."""
        known = self.known.setdefault(child, Child())
        known.want, known.work, known.need = count, work, need
        self._drop_if_done(child)

    def returned(self, rank: int, child: ScopeId) -> None:
        """Note that a child gave back a rank."""
        self.known[child].lent.discard(rank)
        self._drop_if_done(child)

    def orphaned(self, leader: int, members: Iterable[int]) -> dict[ScopeId, list[int]]:
        """Note that a rank has died.

        Parameters
        ----------
        members
            The other ranks of the gangs that it led: no scope of it is known to have them.

        Returns
        -------
        orphans
            The children that it led, and the ranks lent to each.
        """
        members = set(members)
        if members:
            self.known[leader, 0] = Child(lent=members)
        orphans = {}
        for child, known in list(self.known.items()):
            known.lent.discard(leader)
            if child[0] == leader:
                known.want, known.work, known.need = 0, 0.0, NOTHING
                orphans[child] = sorted(known.lent)
            self._drop_if_done(child)
        return orphans

    def _drop_if_done(self, child: ScopeId) -> None:
        known = self.known[child]
        if not (known.want or known.lent or known.need.ranks):
            del self.known[child]
