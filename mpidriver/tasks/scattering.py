"""Whoever runs the parts of a task: the pool's ranks, or this process alone."""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

__all__ = ["ALONE", "Ranks"]


class Ranks(Protocol):
    """What tasks ask of a pool; `mpidriver.pool.Pool` is one."""

    def scatter(self, fn: Callable[..., Any], /, *iterables: Iterable[Any]) -> list[Any]:
        """Apply a function to every item; return handles of the results, which may be arguments of what follows."""

    def reduce(self, op: Callable[[Any, Any], Any], fn: Callable[..., Any], /, *iterables: Iterable[Any]) -> Any:
        """Apply a function to every item and combine neighbours two by two until one value is left."""


class _Alone:
    """Does in this process what ranks would, in the same order."""

    def scatter(self, fn: Callable[..., Any], /, *iterables: Iterable[Any]) -> list[Any]:
        return [fn(*items) for items in zip(*iterables, strict=True)]

    def reduce(self, op: Callable[[Any, Any], Any], fn: Callable[..., Any], /, *iterables: Iterable[Any]) -> Any:
        values = [fn(*items) for items in zip(*iterables, strict=True)]
        while len(values) > 1:
            pairs = [op(*values[i : i + 2]) for i in range(0, len(values) - 1, 2)]
            values = pairs + values[len(values) & ~1 :]
        return values[0]


#: Runs everything in this process.
ALONE: Ranks = _Alone()
