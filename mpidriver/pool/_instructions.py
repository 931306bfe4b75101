"""What a scheduler tells its leader to do."""

from dataclasses import dataclass
from typing import NamedTuple

from mpidriver.pool._backlog import Span
from mpidriver.pool._messages import ScopeId

__all__ = ["Assign", "Batch", "Grant", "Instruction", "Return", "Want"]


@dataclass(slots=True)
class Batch:
    """What one message carries to one rank."""

    number: int
    rank: int
    spans: list[Span]


class Assign(NamedTuple):
    """Let the batch's rank run it."""

    batch: Batch


class Grant(NamedTuple):
    """Lend a rank to a child."""

    rank: int
    child: ScopeId


class Return(NamedTuple):
    """Give a rank back to the parent."""

    rank: int


class Want(NamedTuple):
    """Tell the parent how many tasks nobody runs, and how much work they are."""

    tasks: int
    work: float


Instruction = Assign | Grant | Return | Want
