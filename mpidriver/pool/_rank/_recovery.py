"""What becomes of the work of ranks that have died, where the others outlive them (``mpirun --with-ft ulfm``).

Every rank learns of a death by itself (LOST), at its own time, and then does three things:

- As a worker it drops what belongs to a scope that the dead rank led, or to one below such a scope: nobody waits for
  the results. A task of these that is running, an *orphan*, stops when it next uses its pool.
- As a leader of such scopes it drops them too.
- In every other scope that it leads, what the dead rank had been sent is tried again. The ranks that were lent to a
  scope of the dead rank come back: none of them can tell by itself that it is meant, so each is asked (RECLAIM) to
  return itself as soon as it runs nothing for that scope or one below.

One item of those that a rank had been sent may have killed it. If it had been sent others too, nobody knows which: each
is tried again alone, and is held guilty only if its rank dies then too. So nothing is ever recorded as failed only
because it travelled with something that kills. The leader's own rank does not try them as long as there are others.

A gang that loses a rank is *crippled*: its communicator is broken, so that nobody waits in it, and its item, if it
fails, is tried again with others. Items that want more ranks than are left have failed.

Without the root nothing can go on: every rank that notices ends all others.
"""

import logging
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from mpidriver.pool._rank._calls import Call, Report
from mpidriver.pool._rank._communicators import TogetherCall
from mpidriver.pool._rank._context import MainThread
from mpidriver.pool._rank._leader import Leader
from mpidriver.pool._rank._scope import Scope
from mpidriver.pool._rank._worker import Worker
from mpidriver.pool._scheduling._backlog import Span
from mpidriver.pool._transport import _messages as kind
from mpidriver.pool._transport._codec import Failure
from mpidriver.pool._transport._messages import ScopeId
from mpidriver.pool._transport._post import Handler, Post

__all__ = ["Recovery"]

logger = logging.getLogger("mpidriver.pool")


class Recovery:
    """What one rank does when others die.

    Parameters
    ----------
    post, leader, worker, main
        The rest of the rank.
    mourners
        Are told first who has died.
    """

    def __init__(
        self,
        post: Post,
        leader: Leader,
        worker: Worker,
        main: MainThread,
        mourners: Sequence[Callable[[int], None]],
    ) -> None:
        self._post = post
        self._leader = leader
        self._worker = worker
        self._main = main
        self._mourners = mourners
        self._forsaken: set[ScopeId] = set()
        self._reclaimed: list[tuple[ScopeId, ScopeId]] = []
        self.handlers: dict[int, Handler] = {kind.LOST: self._on_lost, kind.RECLAIM: self._on_reclaim}

    def guarded(self, handlers: dict[int, Handler]) -> dict[int, Handler]:
        """Return handlers that pass over what is said to scopes or about ranks that are no more."""
        return handlers | {
            kind.OUTCOME: self._unless(handlers[kind.OUTCOME], self._is_of_the_dead),
            kind.GIVEBACK: self._unless(handlers[kind.GIVEBACK], self._is_of_the_dead),
            kind.SETTLED: self._unless(handlers[kind.SETTLED], self._is_forsaken),
            kind.WANT: self._unless(handlers[kind.WANT], self._is_from_a_dead_child),
            kind.GRANT: self._granting(handlers[kind.GRANT]),
            kind.RETURN: self._unless(handlers[kind.RETURN], self._is_not_lent),
        }

    def _unless(self, handle: Handler, is_void: Callable[..., bool]) -> Handler:
        def guarded(*fields: Any) -> None:
            if not (self._post.dead and is_void(*fields)):
                handle(*fields)

        return guarded

    def _is_forsaken(self, name: ScopeId, *rest: Any) -> bool:
        return name in self._forsaken

    def _is_of_the_dead(self, name: ScopeId, number: int, rank: int, *rest: Any) -> bool:
        return name in self._forsaken or rank in self._post.dead

    def _is_from_a_dead_child(self, name: ScopeId, child: ScopeId, *rest: Any) -> bool:
        return name in self._forsaken or child[0] in self._post.dead

    def _granting(self, handle: Handler) -> Handler:
        def granted(name: ScopeId, ranks: tuple[int, ...], for_gangs: tuple[int, ...]) -> None:
            if self._is_forsaken(name):
                return
            if not self._post.dead.isdisjoint(ranks):
                self._leader.scopes[name].scheduler.announce_again()
                ranks = tuple(rank for rank in ranks if rank not in self._post.dead)
            handle(name, ranks, for_gangs)

        return granted

    def _is_not_lent(self, name: ScopeId, child: ScopeId, rank: int) -> bool:
        return name in self._forsaken or not self._leader.scopes[name].scheduler.has_lent(rank, child)

    # A rank has died

    def _on_lost(self, rank: int) -> None:
        if rank in self._post.dead:
            return
        self._post.dead.add(rank)
        if rank == 0:
            self._end_the_run()
        for mourner in self._mourners:
            mourner(rank)
        self._worker.drop_work_of(rank)
        for scope in list(self._leader.scopes.values()):
            if rank in scope.leaders:
                self._forsaken.add(scope.name)
                self._leader.forsake(scope)
            else:
                self._recover(scope, rank)
        self._worker.forget_scopes_of_the_dead()

    def _end_the_run(self) -> None:
        post = self._post
        print(
            f"mpidriver: rank 0 of {post.hosts[0]} has died, and the main program with it; rank {post.rank} of "
            f"{post.host} ends the run. Drivers go on from there when they are started again.",
            file=sys.stderr,
            flush=True,
        )
        post.wire.abort()

    def _recover(self, scope: Scope, rank: int) -> None:
        """Let the other ranks do what a rank would have done for a scope."""
        scheduler = scope.scheduler
        scope.is_crippled = scope.is_crippled or (scope.is_gang and rank in scheduler.own)
        batches, orphans = scheduler.lost(rank)
        alive = len(scheduler.own) if scheduler.owns_ranks else self._post.size - len(self._post.dead)
        scope.reach = min(scope.reach, alive)
        others = scheduler.own if scheduler.owns_ranks else range(self._post.size if scope.reach == alive else 0)
        scheduler.spares_home = bool(set(others) - self._post.dead - {0, scheduler.home})
        if scope.parent is None and not scheduler.spares_home:
            scheduler.home_works = True
        items = [(span, index) for batch in batches for span in batch.spans for index in span.indexes]
        failed = 0
        for span, index in items:
            failed += not self._try_again(scope, span, index, rank, is_sole=len(items) == 1)
        for gang in scheduler.take_larger(scope.reach):
            cause = f"it wants {gang.ranks} ranks, and {scope.reach} are left since rank {rank} has died"
            self._give_up(scope, scope.calls[gang.call], gang.index, rank, cause)
        for child, lent in orphans.items():
            for other in lent:
                self._post.send(other, kind.RECLAIM, scope.name, child)
        self._leader.touch(scope)
        if items or scope.parent is None:
            again = len(items) - failed
            host = self._post.hosts[rank]
            logger.warning(
                "rank %d of %s has died: of its items %d are tried again, %d failed", rank, host, again, failed
            )

    def _try_again(self, scope: Scope, span: Span, index: int, rank: int, *, is_sole: bool) -> bool:
        """Try an item again, or record it as failed; return whether it is tried again."""
        call, terms = scope.calls[span.call], scope.functions[span.function].terms
        is_old_news = rank in call.lost_with.pop(index, ())  # sent to it before anybody here knew that it was dead
        tries = call.retried.get(index, 0) + (index in call.suspected) - is_old_news
        is_over = call.serial in scope.abandoned or isinstance(call, TogetherCall)
        if is_over or (is_sole and tries >= terms.retries):
            cause = f"rank {rank} of {self._post.hosts[rank]} died while it ran this, or before the result had left"
            self._give_up(scope, call, index, rank, cause)
            return False
        if not is_sole:
            call.suspected |= {index}
        elif not is_old_news:
            call.retried[index] = call.retried.get(index, 0) + 1
        if terms.ranks > 1:
            scope.scheduler.add(call.serial, span.function, [index], span.costs, ranks=terms.ranks)
        else:
            scope.scheduler.add_alone(call.serial, span.function, index, span.costs)
        return True

    def _give_up(self, scope: Scope, call: Call, index: int, rank: int, cause: str) -> None:
        failure = Failure(cause, cause, kind="lost")
        report = Report([failure], time.time(), [0.0, 0.0], 0, rank, self._post.hosts[rank], has_failures=True)
        self._leader.conclude(scope, call, call.deliver([index], report))

    def meet(self, scope: Scope) -> None:
        """Let a new scope, which may be of a gang, know who has died."""
        for rank in sorted(self._post.dead.intersection(scope.scheduler.own)):
            self._recover(scope, rank)

    # Ranks that were lent to a leader that has died

    def _on_reclaim(self, parent: ScopeId, child: ScopeId) -> None:
        self._on_lost(child[0])
        self._reclaimed.append((parent, child))
        self.settle()

    def settle(self) -> None:
        """Return this rank to those who have reclaimed it, unless it still runs something for whom it was lent to."""
        if not self._reclaimed:
            return
        busy_for = {
            leader for context in self._main.contexts if context.work for leader in context.work.standing.leaders
        }
        waiting = []
        for parent, child in self._reclaimed:
            if child[0] in busy_for:
                waiting.append((parent, child))
            else:
                self._post.send(parent[0], kind.RETURN, parent, child, self._post.rank)
        self._reclaimed = waiting
