"""Watching how far a program is, as a progress bar does."""

from collections.abc import Callable
from typing import Protocol

from mpidriver.pool._rank._calls import Report
from mpidriver.pool._transport._codec import UNDONE, Failure

__all__ = ["Observer", "telling"]


class Observer(Protocol):
    """Somebody who is told of the main program's items; `mpidriver.report.Progress` is one."""

    def grow(self, count: int, /) -> None:
        """Note that there are so many items more; must not use the pool."""

    def advance(self, name: str, status: str, count: int, /) -> None:
        """Note that so many items of a call, by its name, have ended as "done" or "failed"."""


def telling(observer: Observer, name: str, report: Report) -> Callable[[], None]:
    """Return what tells an observer of a report."""
    failures = [value for value in report.values if type(value) is Failure] if report.has_failures else []
    failed = sum(failure.kind != UNDONE for failure in failures)
    done = len(report.values) - len(failures)

    def tell() -> None:
        for status, count in (("done", done), ("failed", failed)):
            if count:
                observer.advance(name, status, count)

    return tell
