"""A rank's own work: batches received, and running them item by item."""

import math
import resource
import sys
import time
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from mpidriver.pool._rank._calls import Report
from mpidriver.pool._transport._codec import (
    Broken,
    Failure,
    PackedMany,
    describe,
    pack_each,
    size_of,
    unpack_each,
)
from mpidriver.pool._transport._messages import ScopeId, Standing
from mpidriver.pool._values import _held

if TYPE_CHECKING:
    from mpidriver.pool._rank._context import Context

__all__ = [
    "PackedReport",
    "PeakMemory",
    "Work",
    "WorkSpan",
    "failure_of",
    "journey_seconds",
    "pack_report",
    "report_of",
    "run_span",
    "unpack_report",
]

FEW_MARKS = 16
"""Up to so many numbers travel as they are."""
TRAVELLED_BYTES_PER_SECOND = 4e9
"""How fast large buffers travel between ranks, about; what travels far is slower, and waited for no less."""
LONGEST_JOURNEY_SECONDS = 5e-3
"""What a journey counts at most: items that take longer travel alone anyway, and may still be sent ahead of others."""
MEMORY_SECONDS = 1e-3
"""How old the peak of memory may be: a process cannot fill many megabytes in that time."""

PackedReport: TypeAlias = tuple[PackedMany, float, bytes | list[float], int, int, str, float]
"""The fields of a `Report` as they travel: a plain tuple, which is read twice as fast as a named one."""


class WorkSpan(NamedTuple):
    """Items for one function."""

    function: int
    items: Any
    """Packed by `pack_each`, or just a list of arguments when they come from this very rank."""
    bare: bool = False
    """Whether items are single arguments instead of tuples of them."""
    timed: bool = True
    """Whether it matters how long each took."""


class Work:
    """One batch on the rank that runs it, begun or not.

    Items are taken from the left by the thread that runs them, and from the right by whoever gives back the rest:
    both are atomic, so neither needs a lock.
    """

    def __init__(self, scope: ScopeId, number: int, spans: list[WorkSpan], standing: Standing) -> None:
        self.scope = scope
        self.number = number
        self.standing = standing
        self.spans = spans
        self.todo: deque[Any] = deque()
        """Items of the current span that are not begun."""
        self.is_gone = False
        """Whether all of it was given back."""
        self.is_over = False
        """Whether its results are on their way, though the main thread may not have left it yet."""
        self._totals: list[int] = []
        self._limit = len(spans)

    def next_span(self) -> WorkSpan | None:
        """Return the span to begin next."""
        begun = len(self._totals)
        return self.spans[begun] if begun < self._limit else None

    def begin_span(self, items: Sequence[Any]) -> deque[Any] | None:
        """Begin the next span, unless it was taken away meanwhile."""
        if len(self._totals) == self._limit:
            return None
        self._totals.append(len(items))
        self.todo = deque(items)
        return self.todo

    @property
    def kept(self) -> int:
        """Items of the current span that are not given back."""
        return self._totals[-1]

    def trim(self) -> list[int] | None:
        """Take away what is not begun; return how many items of each span stay, None if nothing was taken."""
        taken = 0
        while self.todo:
            try:
                self.todo.pop()
            except IndexError:
                break
            taken += 1
        begun = len(self._totals)
        if not taken and begun == self._limit:
            return None
        if taken:
            self._totals[-1] -= taken
        self._limit = begun
        self.is_gone = not any(self._totals)
        return self._totals + [0] * (len(self.spans) - begun)


def run_span(context: "Context", function: Callable[..., Any], todo: deque[Any]) -> Report:
    """Run items until none is left; whatever a task raises becomes a `Failure`."""
    clock = time.perf_counter
    values: list[Any] = []
    started, marks, has_failures, has_handles = time.time(), [clock()], False, _held.exist()
    while todo:
        try:
            args = todo.popleft()
        except IndexError:  # given back in this very moment
            break
        try:
            value = function(*(context.engine.held.resolve(args) if has_handles else args))
        except BaseException as error:
            value, has_failures = failure_of(context, function, args, error), True
        if context.scope is not None:
            context.engine.end_scope(context, cancel=type(value) is Failure)
        values.append(value)
        marks.append(clock())
    return report_of(context, values, started, marks, has_failures=has_failures)


def report_of(
    context: "Context", values: list[Any], started: float, marks: list[float], *, has_failures: bool
) -> Report:
    """Return the report of what this rank has run."""
    engine = context.engine
    peak_rss_bytes = engine.peak_memory.nbytes(marks[-1])
    return Report(values, started, marks, peak_rss_bytes, engine.rank, engine.host, has_failures)


def failure_of(context: "Context", function: Any, args: Any, error: BaseException) -> Failure:
    """Return what became of an item that has raised something, unless that was meant for the program."""
    for broken in (function, args):
        if isinstance(broken, Broken):
            return broken.failure
    if context.engine.must_stop_for(error):
        raise error
    failure = describe(error, skip=1, keep=context.engine.size == 1)
    is_crippled = context.scope is not None and context.scope.is_crippled
    return failure._replace(kind="lost") if is_crippled else failure


class PeakMemory:
    """The largest resident memory that this process ever had; asking the kernel takes longer than a short task."""

    def __init__(self) -> None:
        self._asked = -math.inf
        self._nbytes = 0

    def nbytes(self, now: float) -> int:
        """Return it as it was at some moment of `time.perf_counter`, or a millisecond before."""
        if now - self._asked > MEMORY_SECONDS:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            self._asked, self._nbytes = now, peak if sys.platform == "darwin" else peak * 1024
        return self._nbytes


def pack_report(report: Report) -> PackedReport:
    """Pack a report; results that cannot be pickled become failures."""
    began = time.perf_counter()
    values = pack_each(report.values)
    marks: Any = report.marks
    if len(marks) > FEW_MARKS:
        marks = array("d", marks).tobytes()
    total_seconds = report.total_seconds + journey_seconds(values) + time.perf_counter() - began
    return values, report.started, marks, report.peak_rss_bytes, report.rank, report.host, total_seconds


def journey_seconds(packed: PackedMany) -> float:
    """Return how long items or results travel, apart from the message that carries them, as far as it matters."""
    if type(packed) is tuple:
        return 0.0
    seconds = size_of(packed) / TRAVELLED_BYTES_PER_SECOND
    return min(seconds, LONGEST_JOURNEY_SECONDS * len(packed)) if type(packed) is list else seconds


def unpack_report(packed: PackedReport) -> Report:
    """Undo `pack_report`; results that cannot be read become failures."""
    packed_values, started, packed_marks, peak_rss_bytes, rank, host, total_seconds = packed
    values: Any = packed_values if type(packed_values) is tuple else unpack_each(packed_values)
    has_failures = type(packed_values) is list and any(type(value) is Failure for value in values)
    marks: Any = packed_marks
    if isinstance(marks, bytes):
        marks = memoryview(marks).cast("d")
    return Report(values, started, marks, peak_rss_bytes, rank, host, has_failures, total_seconds)
