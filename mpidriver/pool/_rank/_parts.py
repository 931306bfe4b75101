"""Parts of a pool: some of the ranks of a task each, all led from its rank."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mpidriver.pool._rank._context import Context
from mpidriver.pool._rank._leader import Leader
from mpidriver.pool._scheduling._scheduler import Scheduler

if TYPE_CHECKING:
    from mpidriver.pool._rank._engine import Engine

__all__ = ["Parts"]


class Parts:
    """Splits and joins the ranks of tasks.

    Parameters
    ----------
    engine
        Engine of the rank.
    leader
        What it leads.
    """

    def __init__(self, engine: "Engine", leader: Leader) -> None:
        self._engine = engine
        self._leader = leader

    def split(self, context: Context, count: int) -> list[Context]:
        """Split the ranks of a task into parts, when nothing of it is in flight any more."""
        scope = self._engine.scope_of(context)
        scheduler = scope.scheduler
        self._engine.waiting.until(context, lambda: scheduler.has_all_ranks)
        parts = []
        with self._engine.lock:
            for number, ranks in enumerate(scheduler.split(count)):
                part = Context(self._engine, None)
                part.opener = context
                has_home = number == 0 and scheduler.own[0] == self._engine.rank
                inner = Scheduler(
                    self._engine.rank, ranks, owns_ranks=True, home_works=scheduler.home_works, has_home=has_home
                )
                part.scope = self._leader.open(scope.name, inner, len(inner.own))
                parts.append(part)
        return parts

    def join(self, context: Context, parts: Sequence[Context], *, cancel: bool) -> None:
        """Finish what the parts of a task have to do, or drop it, and make them one again."""
        assert context.scope is not None
        ranks = [rank for part in parts if part.scope is not None for rank in part.scope.scheduler.own]
        for part in parts:
            self._engine.end_scope(part, cancel=cancel)
            part.closed = True
            context.inner_busy_seconds += part.inner_busy_seconds
            if context.scope.idle_clock is not None:
                context.scope.idle_clock.add(*part.inner_idle_seconds)
            context.waited_seconds += part.waited_seconds
        with self._engine.lock:
            context.scope.scheduler.joined(rank for rank in ranks if rank != self._engine.rank)
            self._leader.touch(context.scope)
            self._engine.traffic.flush()
