"""Many short items of one map, run at the speed of C: what is wanted of each is its value, not its seconds."""

import time
from collections import deque
from collections.abc import Callable
from itertools import repeat, starmap
from typing import TYPE_CHECKING, Any

from mpidriver.pool._rank._calls import Report
from mpidriver.pool._rank._work import Work, failure_of, report_of
from mpidriver.pool._transport._codec import Failure

if TYPE_CHECKING:
    from mpidriver.pool._rank._context import Context

__all__ = ["run_blocks"]

BLOCK_SECONDS = 1e-4
"""How long a block of items should take: what is not begun can be given back only between blocks."""
FASTEST_GROWTH = 8
"""A block has at most so many times the items of the one before."""


def run_blocks(context: "Context", function: Callable[..., Any], work: Work, *, bare: bool) -> Report:
    """Run the items of a span until none is left, as `run_span` does, but in blocks without a Python loop.

    Items leave `Work.todo` one by one all the same, so that they can be given back by another thread, and are when a
    task scatters: then nothing is left of the block but the running item.
    """
    clock = time.perf_counter
    todo = work.todo
    values: list[Any] = []
    apply: Any = map if bare else starmap
    started, began, has_failures, count = time.time(), clock(), False, 1
    ended = began
    while todo:
        count = min(count, len(todo))
        failure = _run_block(context, apply, function, work, values, count)
        if failure is not None:
            has_failures = True
        if context.scope is not None:
            context.engine.end_scope(context, cancel=failure is not None)
        before, ended = ended, clock()
        count = max(1, int(count * min(FASTEST_GROWTH, BLOCK_SECONDS / max(ended - before, 1e-9))))
    return report_of(context, values, started, [began, ended], has_failures=has_failures)


def _run_block(
    context: "Context", apply: Any, function: Callable[..., Any], work: Work, values: list[Any], count: int
) -> Failure | None:
    """Run items until one fails; its failure is the last value then, and returned."""
    expected = len(values) + count
    try:
        values.extend(apply(function, map(deque.popleft, repeat(work.todo, count))))
    except BaseException as error:
        if type(error) is IndexError and _are_all_there(context, work, values):
            return None  # none was left to take
        if len(values) == expected:
            raise
        failure = failure_of(context, function, None, error)
    else:
        if len(values) == expected:
            return None
        failure = failure_of(context, function, None, StopIteration())  # which ends every loop in C in silence
    values.append(failure)
    return failure


def _are_all_there(context: "Context", work: Work, values: list[Any]) -> bool:
    """Whether every item that was not given back has its value."""
    with context.engine.lock:
        return len(values) == work.kept
