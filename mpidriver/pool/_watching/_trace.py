"""A record of which rank ran what when, written as a Chrome trace for ui.perfetto.dev or chrome://tracing.

Each rank keeps what came back of the items that it had scattered, in a ring of tuples: the newest are kept if there
are too many. At the end they are sent to the root, which writes the file. Times are those of the rank that ran the
item; clocks of other hosts are compared with the root's at the start.
"""

import contextlib
import os
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mpidriver.pool._transport import _messages as kind
from mpidriver.pool._transport._codec import Failure
from mpidriver.pool._transport._post import Handler, Post

if TYPE_CHECKING:
    from mpidriver.pool._rank._calls import Call, Report
    from mpidriver.pool._rank._scope import Scope
    from mpidriver.pool._scheduling._backlog import Span
    from mpidriver.pool._transport._messages import ScopeId

__all__ = ["Trace", "trace_events"]

EVENTS_A_RANK = 200_000
SHORT_SECONDS = 1e-3
"""Items of a batch that are shorter on the average share one event."""
LABEL_LENGTH = 120
_PLAIN = (str, int, float, bool, type(None))
_NUMBERS = frozenset({int, float, bool})


class Event(NamedTuple):
    """One item, or a batch of short ones."""

    name: str
    scope: "ScopeId"
    parent: "ScopeId | None"
    rank: int
    began: float
    """By `time.perf_counter` of the rank."""
    ended: float
    first: int
    """Index of the item, or of the first of a batch."""
    items: int
    label: str | int | float | None
    error: str | None
    peak_rss_bytes: int


class Trace:
    """The events of one rank, and at the end of all.

    Parameters
    ----------
    post
        Sends messages.
    path
        File to write.
    clock_offsets
        What to add to the clocks of other ranks to get the root's, by rank; those that are left out agree.
    """

    def __init__(
        self,
        post: Post,
        path: str | os.PathLike[str],
        clock_offsets: Mapping[int, float] | None = None,
    ) -> None:
        self.handlers: dict[int, Handler] = {kind.TRACE: self._on_trace}
        self._post = post
        self._path = Path(path).absolute()
        self._clock_offsets = clock_offsets or {}
        self._began = time.perf_counter()
        self._events: deque[tuple[Any, ...]] = deque(maxlen=EVENTS_A_RANK)
        self._noted = 0
        self._hosts = {post.rank: post.host}
        self._from_others: dict[int, list[tuple[Any, ...]]] = {}
        self._dropped = 0

    def note(self, scope: "Scope", call: "Call", span: "Span", report: "Report") -> None:
        """Note what came back of the items of a span."""
        values, marks = report.values, report.marks
        count = len(values)
        if count == 1:
            self._keep(call, scope, span, report, 0, marks[-1], 1)
        elif len(marks) <= count or report.seconds < SHORT_SECONDS * count:
            self._keep(call, scope, span, report, 0, marks[-1], count)
        else:
            for position in range(count):
                self._keep(call, scope, span, report, position, marks[position + 1], 1)

    def _keep(
        self, call: "Call", scope: "Scope", span: "Span", report: "Report", position: int, ended: float, items: int
    ) -> None:
        value, index, rank = report.values[position], span.indexes[position], report.rank
        self._hosts[rank] = report.host
        self._noted += 1
        label = _label(call.arguments(index)) if items == 1 else None
        error = value.cause if type(value) is Failure else None
        what = (call.name, scope.name, scope.parent, rank, report.marks[position], ended)
        self._events.append((*what, index, items, label, error, report.peak_rss_bytes))

    def send(self) -> None:
        """Send all to the root."""
        self._post.send(0, kind.TRACE, self._post.rank, self._post.host, list(self._events), self._lost)

    @property
    def _lost(self) -> int:
        return self._noted - len(self._events)

    def _on_trace(self, rank: int, host: str, events: list[tuple[Any, ...]], dropped: int) -> None:
        self._hosts[rank] = host
        self._from_others[rank] = events
        self._dropped += dropped

    @property
    def is_complete(self) -> bool:
        """Whether all ranks have sent theirs."""
        return len(self._from_others) == self._post.size - 1

    def write(self) -> None:
        """Write the file; that it cannot be written is told, but ends nothing."""
        import json

        kept = (self._events, *self._from_others.values())
        events = [Event(*event) for one in kept for event in one]
        events.append(
            Event("main program", (-1, 0), None, 0, self._began, time.perf_counter(), 0, 1, None, None, 0),
        )
        made = trace_events(events, self._hosts, self._clock_offsets, self._began)
        try:
            with _replacing(self._path) as file:
                file.write('{"displayTimeUnit": "ms", "otherData": ')
                json.dump(
                    {"program": "mpidriver", "ranks": self._post.size, "dropped": self._dropped + self._lost}, file
                )
                file.write(', "traceEvents": [')
                for number, event in enumerate(made):
                    file.write(",\n" if number else "\n")
                    json.dump(event, file)
                file.write("\n]}\n")
        except OSError as error:
            print(f"mpidriver: {self._path}: the trace was not written: {error}", file=sys.stderr)


def trace_events(
    events: Iterable[Event], hosts: Mapping[int, str], clock_offsets: Mapping[int, float], began: float
) -> Iterator[dict[str, Any]]:
    """Return the events as the format has them, those of a rank in the order of time, outer before inner.

    Parameters
    ----------
    events
        Of all ranks.
    hosts
        Name of the host of each rank.
    clock_offsets
        What to add to the clock of a rank to get the root's.
    began
        When time begins, by the root's clock.
    """
    events = list(events)
    numbers = {host: number for number, host in enumerate(dict.fromkeys(hosts[rank] for rank in sorted(hosts)))}
    for host, number in numbers.items():
        yield {"ph": "M", "name": "process_name", "pid": number, "tid": 0, "args": {"name": host}}
    for rank in sorted(hosts):
        thread = {"ph": "M", "pid": numbers[hosts[rank]], "tid": rank}
        yield {**thread, "name": "thread_name", "args": {"name": f"rank {rank}"}}
        yield {**thread, "name": "thread_sort_index", "args": {"sort_index": rank}}
    parents = {event.scope: event.parent for event in events}
    for event in sorted(events, key=lambda event: (event.rank, event.began, -event.ended)):
        start = event.began + clock_offsets.get(event.rank, 0.0) - began
        yield {
            "ph": "X",
            "name": event.name,
            "ts": round(1e6 * start, 3),
            "dur": round(1e6 * (event.ended - event.began), 3),
            "pid": numbers[hosts[event.rank]],
            "tid": event.rank,
            "args": _arguments(event, parents),
        }


def _arguments(event: Event, parents: "Mapping[ScopeId, ScopeId | None]") -> dict[str, Any]:
    depth, scope = 0, event.scope if event.scope in parents and event.scope[0] >= 0 else None
    while scope is not None:
        depth, scope = depth + 1, parents.get(scope)
    arguments: dict[str, Any] = {"depth": depth}
    if event.items > 1:
        arguments["count"] = event.items
    if event.label is not None:
        arguments["item"] = str(event.label)
    if depth:
        arguments |= {"index": event.first, "peak_rss_bytes": event.peak_rss_bytes}
    if event.error is not None:
        arguments["error"] = event.error
    return arguments


def _label(arguments: tuple[Any, ...]) -> str | int | float | None:
    """Return what tells an item from others, if that costs nothing: numbers, text, and what has a key."""
    if len(arguments) == 1 and type(arguments[0]) in _NUMBERS:
        return arguments[0]  # type: ignore[no-any-return]
    labels = [str(one if isinstance(one, _PLAIN) else one.key) for one in arguments if _has_label(one)]
    return ", ".join(labels)[:LABEL_LENGTH] or None


def _has_label(argument: Any) -> bool:
    return isinstance(argument, _PLAIN) or isinstance(getattr(argument, "key", None), str)


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Any]:
    """Write a file that appears whole or not at all."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(beside, "w", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise
