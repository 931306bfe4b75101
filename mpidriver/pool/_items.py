"""Items and costs as users give them to the calls of a pool, checked and put in order."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mpidriver.pool._watching._learned import LearnedCosts

__all__ = ["Cost", "costliest_first", "costs_of", "items_of"]

Cost = Callable[..., float] | Sequence[float] | LearnedCosts | None
"""Expected work of each item, in any one unit: a function of the item, a number for each, or what it took before."""


def items_of(what: str, iterables: tuple[Iterable[Any], ...], on_error: str, *, bare: bool = False) -> Sequence[Any]:
    """Return the items of several iterables in step: tuples of arguments, or with `bare` what the only one has."""
    if on_error not in ("raise", "return"):
        raise ValueError(f"pool.{what}: on_error must be 'raise' or 'return', got {on_error!r}")
    if not iterables:
        raise TypeError(f"pool.{what} needs at least one iterable")
    if bare:
        return iterables[0] if isinstance(iterables[0], range) else list(iterables[0])
    return list(zip(*iterables, strict=False))


def costs_of(cost: Any, items: Iterable[tuple[Any, ...]], count: int) -> list[float] | None:
    """Return the cost of each of so many items, None if nobody knows."""
    if cost is None:
        return None
    costs = [float(cost(*item)) for item in items] if callable(cost) else [float(one) for one in cost]
    if len(costs) != count:
        raise ValueError(f"pool.map: cost has {len(costs)} numbers for {count} items")
    return costs


def costliest_first(count: int, costs: list[float] | None) -> Sequence[int]:
    """Return the indexes of so many items, the costliest first."""
    if costs is None:
        return range(count)
    return sorted(range(count), key=lambda index: (-costs[index], index))
