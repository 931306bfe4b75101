"""Communicators of gangs: made by the ranks of a scope together, freed when the scope ends."""

import logging
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from mpidriver.errors import PoolError
from mpidriver.pool._rank._calls import MapCall, Report
from mpidriver.pool._rank._context import contexts_of_thread
from mpidriver.pool._transport import _messages as kind
from mpidriver.pool._transport._groups import break_group_comm, free_group_comm, outlives_deaths
from mpidriver.pool._transport._messages import ScopeId
from mpidriver.pool._transport._post import Handler, Wire

__all__ = ["Communicators", "Together", "TogetherCall", "own_communicator"]

PATIENCE_SECONDS = 60.0
"""How long members wait for each other to make a communicator, where one may have died on the way."""

log = logging.getLogger("mpidriver.pool")


class Communicators:
    """The communicators of the scopes that this rank is a member of.

    Parameters
    ----------
    wire
        The way to the other ranks.
    lock
        What all use of the wire is made under.
    """

    def __init__(self, wire: Wire, lock: AbstractContextManager[Any]) -> None:
        self._wire = wire
        self._lock = lock
        self._made: dict[ScopeId, Any] = {}
        self._ranks: dict[ScopeId, tuple[int, ...]] = {}
        self._broken: set[ScopeId] = set()
        self._dead: set[int] = set()
        self.handlers: dict[int, Handler] = {kind.PART: self._on_part}

    def join(self, scope: ScopeId, ranks: tuple[int, ...]) -> Any:
        """Return the communicator of a scope; at first use all its ranks must call this at the same time."""
        if self._ranks.get(scope) != ranks:
            self._on_part(scope)
            self._made[scope] = self._make(ranks, scope[1] * self._wire.size + scope[0])
            self._ranks[scope] = ranks
        return self._made[scope]

    def _make(self, ranks: tuple[int, ...], number: int) -> Any:
        if not self._wire.outlives_deaths:
            return self._wire.communicator(ranks, number)
        with self._lock:  # this way of making one hangs if another thread uses MPI meanwhile
            if not self._dead.isdisjoint(ranks):
                raise PoolError(f"rank {min(self._dead.intersection(ranks))} of this gang has died")
            patience = threading.Timer(PATIENCE_SECONDS, self._despair, [ranks])
            patience.daemon = True
            patience.start()
            try:
                return self._wire.communicator(ranks, number)
            finally:
                patience.cancel()

    def _despair(self, ranks: tuple[int, ...]) -> None:
        """End this rank: the others see it as dead, and try again elsewhere what it was doing."""
        text = "rank %d ends itself: it has waited %.0f s for a communicator of ranks %s, of which one must have died"
        log.error(text, self._wire.rank, PATIENCE_SECONDS, ", ".join(map(str, ranks)))
        self._wire.leave()

    def lost(self, rank: int) -> None:
        """Note that a rank has died: who waits for it in MPI would do so for ever."""
        self._dead.add(rank)
        for scope in [scope for scope, ranks in self._ranks.items() if rank in ranks]:
            self.give_up(scope)

    def close(self) -> None:
        """Free all that are left: those of the main program."""
        for scope in list(self._made):
            self._on_part(scope)

    def give_up(self, scope: ScopeId) -> None:
        """Let the members that wait in MPI for one that has failed fail too, where this MPI can do so."""
        if scope in self._made and scope not in self._broken and outlives_deaths(os.environ):
            self._broken.add(scope)
            break_group_comm(self._made[scope])

    def _on_part(self, scope: ScopeId) -> None:
        self._ranks.pop(scope, None)
        if scope in self._made:
            free_group_comm(self._made.pop(scope), is_broken=scope in self._broken)
            self._broken.discard(scope)


class TogetherCall(MapCall):
    """A call that all ranks of a scope run at the same time.

    Parameters
    ----------
    function, items
        As of `MapCall`.
    on_failure
        Called when the function has raised on some rank while others are still in it.
    """

    def __init__(self, function: int, items: Sequence[Any], on_failure: Callable[[], None]) -> None:
        super().__init__(function, items)
        self._on_failure = on_failure

    def deliver(self, indexes: Sequence[int], report: Report) -> None:
        """Put a value in its place."""
        super().deliver(indexes, report)
        if report.has_failures and self.left:
            text = "%s raised on rank %d of %s; ranks that wait for it in MPI would wait for ever:\n%s"
            log.error(text, self.name, report.rank, report.host, report.values[0].remote_traceback)
            self._on_failure()


class Together:
    """A function that all ranks of a scope run at the same time, each with the scope's communicator."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def __call__(self, scope: ScopeId, ranks: tuple[int, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the function on this rank."""
        comm = contexts_of_thread()[-1].engine.communicators.join(scope, ranks)
        return self.function(comm, *args, **kwargs)


def own_communicator(comm: Any) -> None:
    """Do nothing, but with a communicator: then it is there for the leader too."""
