"""What a scheduler tells its leader to do."""

from dataclasses import dataclass
from typing import NamedTuple

from mpidriver.pool._scheduling._backlog import Span
from mpidriver.pool._scheduling._gangs import Need
from mpidriver.pool._transport._messages import ScopeId

__all__ = ["Assign", "Batch", "Grant", "Instruction", "Return", "Want"]


@dataclass(slots=True)
class Batch:
    """What one message carries to one rank."""

    number: int
    rank: int
    spans: list[Span]
    members: tuple[int, ...] = ()
    """Further ranks of the gang that its one item is given, besides the rank that runs it."""
    is_together: bool = False
    """Whether all ranks of the scope run such a batch at the same time."""


class Assign(NamedTuple):
    """Let the batch's rank run it."""

    batch: Batch


class Grant(NamedTuple):
    """Lend ranks to a child."""

    ranks: tuple[int, ...]
    child: ScopeId
    for_gangs: tuple[int, ...] = ()
    """Those of them that are for gangs alone."""


class Return(NamedTuple):
    """Give a rank back to the parent."""

    rank: int


class Want(NamedTuple):
    """Tell the parent how many tasks nobody runs, how much work they are, and what is lacking for a gang."""

    tasks: int
    work: float
    need: Need


Instruction = Assign | Grant | Return | Want
