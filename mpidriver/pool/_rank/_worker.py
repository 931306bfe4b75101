"""A rank's own work: the batches it has received, run in their order or given back.

Batches from further out than what this rank is in the middle of are given back as soon as its task scatters; so are
batches that wait behind a task that turns out long.
"""

import contextvars
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mpidriver.pool._isolated._isolation import packed_arguments
from mpidriver.pool._rank._blocks import run_blocks
from mpidriver.pool._rank._calls import Report
from mpidriver.pool._rank._context import Context, MainThread
from mpidriver.pool._rank._work import Work, WorkSpan, journey_seconds, pack_report, run_span
from mpidriver.pool._terms import Terms
from mpidriver.pool._transport import _messages as kind
from mpidriver.pool._transport._codec import Broken, Failure, Packed, are_plain, pack_each, unpack_each, unpack_or_fail
from mpidriver.pool._transport._messages import ScopeId, Standing
from mpidriver.pool._transport._post import Handler, Post
from mpidriver.pool._transport._serial import InterruptWatch

if TYPE_CHECKING:
    from mpidriver.pool._rank._engine import Engine

__all__ = ["Worker"]


class Worker:
    """The batches that one rank has received.

    Parameters
    ----------
    engine
        Engine on whose behalf tasks are run.
    post
        Sends messages.
    main
        What the main thread, which runs the tasks, is doing.
    """

    def __init__(self, engine: "Engine", post: Post, main: MainThread) -> None:
        self._engine = engine
        self._post = post
        self._main = main
        self._inbox: deque[Work] = deque()
        self._functions: dict[tuple[ScopeId, int], tuple[Any, Terms]] = {}
        self.interrupts = InterruptWatch()
        self.handlers: dict[int, Handler] = {kind.TASK: self._on_task, kind.FORGET: self._on_forget}

    # Messages

    def _on_task(self, scope: ScopeId, number: int, spans: list[tuple[Any, ...]], fields: tuple[Any, ...]) -> None:
        standing = Standing(*fields)
        if self._post.dead and not self._post.dead.isdisjoint(standing.leaders):
            return
        received = []
        for key, function, items, bare, timed in spans:
            if function is not None:
                self._functions[scope, key] = function
            received.append(WorkSpan(key, items, bare, timed))
        work = Work(scope, number, received, standing)
        if (self._engine.stopping is None and self._main.may_take(scope)) or self._must_keep(work):
            self._inbox.append(work)
        else:
            self._refuse(work)

    def _on_forget(self, scope: ScopeId, keys: list[int]) -> None:
        for key in keys:
            self._functions.pop((scope, key), None)
        self._engine.isolation.forget([(scope, key) for key in keys])

    # Giving back

    def drop_work_of(self, leader: int) -> None:
        """Drop what is not begun of all that a rank which has died led, directly or not."""
        self._inbox = deque(work for work in self._inbox if leader not in work.standing.leaders)
        for context in self._main.contexts:
            if context.work is not None and leader in context.work.standing.leaders:
                context.is_orphan = True
                context.work.trim()

    def forget_scopes_of_the_dead(self) -> None:
        """Forget the functions of scopes that dead ranks led, but for those that run."""
        gone = [key for key in self._functions if key[0][0] in self._post.dead]
        for key in gone:
            if not self._main.is_in_task_of(key[0]):
                del self._functions[key]

    def release_inbox(self) -> None:
        """Give back every batch that is not begun, but those that nobody else may run."""
        for work in list(self._inbox):
            if not self._must_keep(work):
                self._inbox.remove(work)
                self._refuse(work)

    def _must_keep(self, work: Work) -> bool:
        """Whether a batch waits for this rank, whatever that is in the middle of: nobody else may run it."""
        if work.standing.is_together:
            return True
        if self._engine.stopping is not None:
            return False
        if self._main.leads_a_wait_of(work.scope):
            return True
        is_of_gang = work.standing.is_firm or bool(work.standing.members)
        return is_of_gang and work.scope[0] != self._post.rank and not self._main.is_in_task_of(work.scope)

    def trim(self, work: Work) -> None:
        """Give back what is not begun of the running batch."""
        kept = work.trim() if self._post.size > 1 or self._engine.stopping is not None else None
        if kept is not None:
            self._give_back(work, kept, leaves=False)

    def stop(self) -> None:
        """Give back all that is not begun."""
        self.release_inbox()
        running = self._main.innermost
        if running is not None and running.work is not None:
            self.trim(running.work)

    def _refuse(self, work: Work) -> None:
        stays = self._engine.stopping is not None and self._main.may_take(work.scope)
        leaves = work.scope[0] != self._post.rank and not self._main.is_in_task_of(work.scope) and not stays
        self._give_back(work, [0] * len(work.spans), leaves=leaves)

    def _give_back(self, work: Work, kept: list[int], *, leaves: bool) -> None:
        self._post.send(work.scope[0], kind.GIVEBACK, work.scope, work.number, self._post.rank, kept, leaves)

    # Running

    @property
    def has_batches(self) -> bool:
        """Whether there is a batch to run."""
        return bool(self._inbox)

    def take(self) -> Work | None:
        """Return the batch to run next, None if there is none or the last results are not yet on their way."""
        return self._inbox.popleft() if self._inbox and not self._post.wire.holds_large_sends else None

    def run(self, context: Context, work: Work) -> list[Report]:
        """Run a batch."""
        if self._post.size > 1 or self.interrupts.is_on:
            return self._run_spans(context, work)
        with self.interrupts:
            return self._run_spans(context, work)

    def _run_spans(self, context: Context, work: Work) -> list[Report]:
        reports: list[Report] = []
        while (span := work.next_span()) is not None:
            began = time.perf_counter()
            report = self._run_span(context, work, span)
            if report is None:
                break
            report.total_seconds = time.perf_counter() - began
            if work.scope[0] != self._post.rank:
                report.total_seconds += journey_seconds(span.items)
            reports.append(report)
        return reports

    def _run_span(self, context: Context, work: Work, span: WorkSpan) -> Report | None:
        """Run the next span of a batch, None if it was taken away meanwhile."""
        key = (work.scope, span.function)
        function, terms = self._functions[key]
        if terms.isolate:
            return self._run_isolated(context, work, span)
        if isinstance(function, Packed):
            function = self._unpacked_function(key)
        items, in_blocks = self._items(work.scope, span, terms)
        with self._engine.lock:
            todo = work.begin_span(items)
        if todo is None:
            return None
        run = contextvars.Context().run  # what a task sets is not seen by those that run here while it waits
        if in_blocks:
            return run(run_blocks, context, function, work, bare=span.bare)
        report = run(run_span, context, function, todo)
        return self._engine.held.hold(report) if terms.holds else report

    def _run_isolated(self, context: Context, work: Work, span: WorkSpan) -> Report | None:
        """Run the next span in a child process; nothing of it is unpacked here that travels on."""
        key = (work.scope, span.function)
        function, terms = self._functions[key]
        with self._engine.lock:
            todo = work.begin_span(packed_arguments(span.items))
        if todo is None:
            return None
        is_home = work.scope[0] == self._post.rank
        unpacks = is_home or terms.holds
        report = self._engine.isolation.run_span(context, key, function, todo, terms, unpacks=unpacks)
        return self._engine.held.hold(report) if terms.holds else report

    def send_outcome(
        self, work: Work, reports: list[Report], busy_seconds: float, idle_seconds: tuple[float, float]
    ) -> None:
        """Send the results of a batch to its leader."""
        leader = work.scope[0]
        sent: list[Any] = reports
        if leader != self._post.rank:
            sent = list(map(pack_report, reports))
        elif self._post.size > 1:
            sent = [_checked(report) for report in reports]
        with self._engine.lock:
            if work.is_gone:
                return
            spent = (busy_seconds, *idle_seconds)
            work.is_over = True
            self._post.send(leader, kind.OUTCOME, work.scope, work.number, self._post.rank, sent, spent)

    def _unpacked_function(self, key: tuple[ScopeId, int]) -> Any:
        packed, terms = self._functions[key]
        function = unpack_or_fail(packed)
        function = Broken(function) if isinstance(function, Failure) else function
        self._functions[key] = (function, terms)
        return function

    def _items(self, scope: ScopeId, span: WorkSpan, terms: Terms) -> tuple[Sequence[Any], bool]:
        """Return the items of a span, and whether they are run in blocks: if not, they are tuples of arguments."""
        items, is_plain = span.items, True
        if type(items) is not tuple or scope[0] == self._post.rank:
            items, is_plain = self._read(scope, items)
        if is_plain and not span.timed and terms.are_plain:
            return items, True
        if is_plain and not span.bare:
            return items, False
        if span.bare:
            items = [item if isinstance(item, Failure) else (item,) for item in items]
        return [Broken(item) if isinstance(item, Failure) else item for item in items], False

    def _read(self, scope: ScopeId, items: Any) -> tuple[Sequence[Any], bool]:
        """Return items as they were sent, failures for what cannot be read, and whether all is sure to be plain."""
        if scope[0] != self._post.rank:
            return unpack_each(items), type(items) is not list
        if self._post.size == 1:
            return items, False
        return (items, True) if are_plain(items) else (_local_items(items), False)


def _local_items(items: Sequence[Any]) -> Sequence[Any]:
    """Return items for this very rank, those that could not travel as failures.

    Their pickles are dropped: whether an item can be sent must not depend on who happens to run it.
    """
    packed = pack_each(items)
    assert type(packed) is list
    return [one if isinstance(one, Failure) else item for item, one in zip(items, packed, strict=True)]


def _checked(report: Report) -> Report:
    """Let results of this very rank that could not travel fail as they would elsewhere."""
    if are_plain(report.values):
        return report
    packed = pack_each(report.values)
    assert type(packed) is list
    for position, one in enumerate(packed):
        if isinstance(one, Failure):
            report.values[position] = one
            report.has_failures = True
    return report
