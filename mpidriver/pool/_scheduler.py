"""Which rank does what next, in one scope: events in, instructions out.

A scope is what one running task scatters. Its scheduler knows the tasks that nobody runs yet, the ranks that the
scope holds, what is in flight on each, and the child scopes (tasks of this scope that map again) with the backlog
each has announced. It knows no MPI and no clock, so that the same object drives real ranks and simulated ones.

The rules, in order, whenever a rank is idle:

1. The costliest ready task of this scope. Ranks that were busy last come first; the home rank, on which the leader
   itself waits, takes the last task, which then need not travel.
2. If there is none: the rank is granted to the child with most announced work per rank it was lent.
3. If no child wants it: it is returned to the parent. Neither the home rank nor anything of the root is.

Short tasks travel in batches of about two milliseconds of work, smaller towards the end (guided self-scheduling,
Polychronopoulos & Kuck 1987), and a rank gets its next batch before it has finished the first.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mpidriver.pool._backlog import Backlog, Span
from mpidriver.pool._instructions import Assign, Batch, Grant, Instruction, Return, Want
from mpidriver.pool._messages import ScopeId

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
    lent: set[int] = field(default_factory=set)


class Scheduler:
    """The scheduler of one scope.

    Parameters
    ----------
    home
        Rank of the leader. It is held always, but idle only between `home_waits` and `home_leaves`.
    ranks
        Other ranks held from the start.
    is_root
        Whether the scope has no parent.
    home_works
        Whether the home rank may run tasks at all; None means those that are so long that nobody waits.
    """

    def __init__(
        self, home: int, ranks: Iterable[int] = (), *, is_root: bool = False, home_works: bool | None = True
    ) -> None:
        self.home = home
        self._is_root = is_root
        self.home_works = home_works
        self._in_flight: dict[int, dict[int, Batch]] = {home: {}}
        self._idle: list[int] = []
        self._hungry: dict[int, None] = {}
        self._held_up: set[int] = set()
        self._leaving: list[int] = []
        self._home_here = False
        self._home_lent = False
        self._children: dict[ScopeId, _Child] = {}
        self._backlog = Backlog()
        self._announced = 0
        self._batches = 0
        for rank in reversed(list(ranks)):
            self.granted(rank)

    # What happened

    def add(self, call: int, function: int, indexes: Sequence[int], costs: Any = None) -> None:
        """Note new ready tasks.

        Parameters
        ----------
        call, function
            Which call and which function they belong to.
        indexes
            Their indexes within the call, costliest first.
        costs
            Cost by index (list or dict), None if nothing is known.
        """
        self._backlog.add(call, function, indexes, costs)

    def cancel(self, call: int) -> list[int]:
        """Forget the ready tasks of a call; return their indexes. What is in flight stays so."""
        return self._backlog.cancel(call)

    def finished(self, rank: int, number: int, seconds: Sequence[float]) -> Batch:
        """Note that a rank has run a batch, and the seconds of each of its spans; return the batch."""
        batch = self._in_flight[rank].pop(number)
        for span, spent in zip(batch.spans, seconds, strict=False):  # what was given back has none
            if len(span.indexes):
                self._backlog.learn(span.function, spent / len(span.indexes), len(span.indexes))
        self._held_up.discard(rank)
        self._reconsider(rank)
        return batch

    def given_back(self, rank: int, number: int, kept: Sequence[int], *, leaves: bool = False) -> None:
        """Note that a rank runs only the first `kept` items of each span of a batch.

        Parameters
        ----------
        leaves
            The rank takes no further batch of this scope.
        """
        batch = self._in_flight[rank][number]
        for span, count in zip(batch.spans, kept, strict=True):
            self.add(span.call, span.function, span.indexes[count:], span.costs)
            span.indexes = span.indexes[:count]
        if not any(kept):
            del self._in_flight[rank][number]
        self._held_up.add(rank)
        if leaves and not self._in_flight[rank]:
            self._held_up.discard(rank)
            self._hungry.pop(rank, None)
            self._leaving.append(rank)
        else:
            self._reconsider(rank)

    def want(self, child: ScopeId, count: int, work: float) -> None:
        """Note what a child has announced."""
        known = self._children.setdefault(child, _Child())
        known.want, known.work = count, work
        self._hold_up(child[0])
        self._drop_if_done(child)

    def granted(self, rank: int) -> None:
        """Note that the parent lent this scope a rank."""
        self._in_flight[rank] = {}
        self._idle.append(rank)

    def returned(self, rank: int, child: ScopeId) -> None:
        """Note that a child gave back a rank."""
        self._children[child].lent.discard(rank)
        self._drop_if_done(child)
        if rank == self.home:
            self._home_lent = False
        else:
            self.granted(rank)

    def home_waits(self) -> None:
        """Note that the leader waits: its rank may run tasks."""
        self._home_here = self.home_works is not False

    def home_leaves(self) -> None:
        """Note that the leader waits no more."""
        self._home_here = False

    # What is so

    @property
    def ready(self) -> int:
        """Tasks that nobody runs."""
        return self._backlog.count

    @property
    def has_work(self) -> bool:
        """Whether an idle rank would get something to do."""
        return self.ready > 0 or self._neediest() is not None

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is ready, in flight or lent, and no rank is held that should be returned."""
        if self._is_root:
            return self.has_all_ranks
        return not (self.ready or self._in_flight[self.home] or self._children or len(self._in_flight) > 1)

    @property
    def has_all_ranks(self) -> bool:
        """Whether nothing is ready or in flight and every rank is back."""
        return not (self.ready or self._children or any(self._in_flight.values()))

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
        if self._backlog.count:
            self._assign(instructions)
        if self._children:
            self._grant(instructions)
        if self._leaving or not self._is_root:
            self._give_back(instructions)
            self._announce(instructions)
        return instructions

    def _assign(self, instructions: list[Instruction]) -> None:
        backlog = self._backlog
        while backlog.count and (rank := self._next_idle()) is not None:
            instructions.append(Assign(self._batch_for(rank)))
        while self._hungry and backlog.count > len(self._in_flight) and self._next_is_short():
            rank, _ = self._hungry.popitem()
            instructions.append(Assign(self._batch_for(rank)))

    def _next_idle(self) -> int | None:
        if self._home_here and (self._backlog.count == 1 or not self._idle) and self._home_is_idle():
            return self.home
        return self._idle.pop() if self._idle else None

    def _home_is_idle(self) -> bool:
        is_free = self._home_here and not self._home_lent and not self._in_flight[self.home]
        return is_free and (self.home_works is True or self._home_is_at_leisure())

    def _home_is_at_leisure(self) -> bool:
        """Whether outcomes come in slowly: the next task is long, or all that is left belongs to children."""
        return not self.ready or self._backlog.seconds_of_next(0.0) >= LEISURE_SECONDS * len(self._in_flight)

    def _next_is_short(self) -> bool:
        return self._backlog.seconds_of_next(PREFETCH_SECONDS) < PREFETCH_SECONDS

    def _batch_for(self, rank: int) -> Batch:
        self._batches += 1
        batch = Batch(self._batches, rank, self._spans() if self.ready > 1 else [self._backlog.take(1)])
        self._in_flight[rank][batch.number] = batch
        if len(self._in_flight[rank]) == 1:
            self._reconsider(rank)
        return batch

    def _spans(self) -> list[Span]:
        """Take what is worth a message, but not more than a fair share."""
        backlog, spans = self._backlog, list[Span]()
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
            known.lent.add(rank)
            if rank == self.home:
                self._home_lent = True
            else:
                del self._in_flight[rank]
            instructions.append(Grant(rank, child))

    def _neediest(self) -> ScopeId | None:
        wanting = [(known.work / (1 + len(known.lent)), child) for child, known in self._children.items() if known.want]
        return max(wanting)[1] if wanting else None

    def _give_back(self, instructions: list[Instruction]) -> None:
        leaving, self._leaving = self._leaving, []
        if not self._is_root:
            leaving += self._idle
            self._idle = []
        for rank in leaving:
            del self._in_flight[rank]
            instructions.append(Return(rank))

    def _announce(self, instructions: list[Instruction]) -> None:
        count = self.ready + sum(known.want for known in self._children.values())
        before = self._announced
        if self._is_root or not (bool(count) != bool(before) or count > 2 * before or 2 * count < before):
            return
        self._announced = count
        work = self._backlog.work + sum(child.work for child in self._children.values())
        instructions.append(Want(count, work))

    # Bookkeeping

    def _reconsider(self, rank: int) -> None:
        """Put a rank where its number of batches in flight says."""
        if rank == self.home:
            return
        self._hungry.pop(rank, None)
        count = len(self._in_flight[rank])
        if count == 0:
            self._held_up.discard(rank)
            self._idle.append(rank)
        elif count == 1 and rank not in self._held_up:
            self._hungry[rank] = None

    def _hold_up(self, rank: int) -> None:
        """Send nothing ahead to a rank that leads a child."""
        if self._in_flight.get(rank):
            self._held_up.add(rank)
            self._hungry.pop(rank, None)

    def _drop_if_done(self, child: ScopeId) -> None:
        known = self._children[child]
        if not known.want and not known.lent:
            del self._children[child]
