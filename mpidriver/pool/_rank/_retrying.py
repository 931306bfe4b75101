"""What is tried again: items that were not to blame for how they ended."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mpidriver.pool._rank._calls import Call, Report
from mpidriver.pool._rank._scope import Scope
from mpidriver.pool._scheduling._backlog import Span
from mpidriver.pool._transport._codec import Failure

__all__ = ["retry"]

RETRIED = frozenset({"killed", "memory", "timeout", "lost"})
"""Kinds of failure after which an item is tried again."""


def retry(scope: Scope, call: Call, span: Span, report: Report, gang: frozenset[int]) -> tuple[Sequence[int], Report]:
    """Put items that should be tried again back into the backlog.

    Parameters
    ----------
    scope, call, span, report
        The items of the span that were run, and what became of them.
    gang
        The ranks that they were run on.

    Returns
    -------
    indexes, report
        Of the items that are not tried again.
    """
    again = {
        position
        for position, (index, value) in enumerate(zip(span.indexes, report.values, strict=True))
        if type(value) is Failure and _may_try_again(scope, call, span, index, value, gang)
    }
    for position, index in enumerate(span.indexes):
        if index in call.retried and position not in again:
            report.values[position] = _with_tries(report.values[position], 1 + call.retried[index])
    if not again:
        return span.indexes, report
    for position in again:
        _add_again(scope, call, span, span.indexes[position], report.values[position], gang)
    kept = [position for position in range(len(report.values)) if position not in again]
    return [span.indexes[position] for position in kept], _only(report, kept)


def _with_tries(value: Any, tries: int) -> Any:
    return value._replace(cause=f"{value.cause} (tried {tries} times)") if type(value) is Failure else value


def _may_try_again(scope: Scope, call: Call, span: Span, index: int, failure: Failure, gang: frozenset[int]) -> bool:
    terms = scope.functions[span.function].terms
    tries = call.retried.get(index, 0) - _is_old_news(call, index, failure, gang)
    return failure.kind in RETRIED and tries < terms.retries and terms.ranks <= scope.reach


def _is_old_news(call: Call, index: int, failure: Failure, gang: frozenset[int]) -> bool:
    """Whether the rank whose death has cost an item may be the one that had cost it before: nobody dies twice."""
    return failure.kind == "lost" and not gang.isdisjoint(call.lost_with.get(index, ()))


def _add_again(scope: Scope, call: Call, span: Span, index: int, failure: Failure, gang: frozenset[int]) -> None:
    if _is_old_news(call, index, failure, gang):
        del call.lost_with[index]
    else:
        call.retried[index] = call.retried.get(index, 0) + 1
        if failure.kind == "lost":
            call.lost_with[index] = gang
    function = span.function
    if failure.kind == "memory":
        terms = scope.functions[function].terms.with_more_memory()
        function = scope.on_other_terms(function, terms)
    ranks = scope.functions[function].terms.ranks
    scope.scheduler.add(call.serial, function, [index], span.costs, span.places, ranks=ranks)


def _only(report: Report, positions: list[int]) -> Report:
    """Return the report of some of its items; how long the others took is lost."""
    marks = [report.marks[0]]
    values = [report.values[position] for position in positions]
    for position in positions:
        marks.append(marks[-1] + report.times(position)[1])
    return replace(report, values=values, marks=marks)
