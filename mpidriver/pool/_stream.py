"""A stream: items read while others run, only a little ahead."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from mpidriver.errors import PoolStopped
from mpidriver.pool._outcome import Outcome
from mpidriver.pool._rank._calls import StreamCall
from mpidriver.pool._rank._context import Context
from mpidriver.pool._rank._scope import Scope
from mpidriver.pool._terms import Terms

__all__ = ["Stream", "items_ahead"]

LOOK_AHEAD, LOOK_AHEAD_SHORT = 4, 256
"""Items a rank that a stream holds at most, whatever they take, and however short they are."""
LOOK_AHEAD_SECONDS = 10e-3
"""Work a rank that a stream holds between these limits, the journeys of large items and results included."""


class Stream:
    """Items on their way through the pool.

    Parameters
    ----------
    context, scope
        The task that streams, and what it scatters.
    fn, items
        The function, and the tuples of its arguments.
    cost, buffersize, terms, name
        As for `Pool.stream`.
    """

    def __init__(
        self,
        context: Context,
        scope: Scope,
        fn: Callable[..., Any],
        items: Iterable[tuple[Any, ...]],
        *,
        cost: Callable[..., float] | None,
        buffersize: int | None,
        terms: Terms,
        name: str | None,
    ) -> None:
        self._engine, scattering = context.engine, context.engine.scattering
        self._context = context
        self._scope = scope
        self._items = enumerate(items)
        self._cost = cost
        self._buffersize = buffersize
        self._start: Callable[[], StreamCall] = lambda: scattering.start(scope, fn, StreamCall, terms=terms, name=name)
        self._early: dict[int, Outcome] = {}

    def as_they_finish(self) -> Iterator[Outcome]:
        """Yield the outcomes as they come."""
        call = self._start()
        call.learn_with(self._cost)
        try:
            while True:
                self._read_ahead(call)
                self._engine.waiting.until(self._context, lambda: bool(call.finished) or not call.left)
                if not call.finished:
                    break
                yield call.finished.popleft()
            self._engine.scattering.check_result(call)
            self._check_end()
        finally:
            self._engine.traffic.abandon(self._scope, call)

    def in_order(self) -> Iterator[Outcome]:
        """Yield the outcomes in the order of the items."""
        next_index = 0
        try:
            for outcome in self.as_they_finish():
                self._early[outcome.index] = outcome
                while next_index in self._early:
                    yield self._early.pop(next_index)
                    next_index += 1
        except PoolStopped:
            for index in sorted(self._early):
                yield self._early.pop(index)
            raise

    def _read_ahead(self, call: StreamCall) -> None:
        """Hand out more items, if it is worth a message."""
        room = (self._buffersize or self._look_ahead(call)) - call.left - len(call.finished) - len(self._early)
        if room <= 0 or (call.finished and room < call.left):
            return
        if self._engine.stopping is not None:
            return
        read = []
        for index, args in self._items:
            call.add(index, args, float(self._cost(*args)) if self._cost is not None else 0.0)
            read.append(index)
            if len(read) == room:
                break
        if read and self._cost is not None:
            read.sort(key=lambda index: (-call.costs[index], index))
            self._engine.scattering.add(self._scope, call, read, call.costs)
        elif read:
            self._engine.scattering.add(self._scope, call, range(read[0], read[-1] + 1))

    def _check_end(self) -> None:
        """Raise `PoolStopped` if the pool stops and there are items that were never read."""
        if self._engine.stopping is not None and next(self._items, None) is not None:
            raise PoolStopped(self._engine.stopping)

    def _look_ahead(self, call: StreamCall) -> int:
        return self._engine.size * items_ahead(self._scope.scheduler.seconds_of(call.function))


def items_ahead(seconds: float | None) -> int:
    """Return how many items a rank a stream holds at most, if each takes so long; None if that is not known yet."""
    if seconds is None:
        return LOOK_AHEAD
    return int(min(LOOK_AHEAD_SHORT, max(LOOK_AHEAD, LOOK_AHEAD_SECONDS / max(seconds, 1e-9))))
