"""Costs learned from outcomes: how long items took, by the name of their call, kept in a file between runs."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LearnedCosts", "TaskCosts", "learning"]

KEPT_ITEMS = 100_000
"""Items that are known by name of a call; beyond it, the oldest are forgotten."""
_PLAIN = (str, bytes, int, float, complex, bool, type(None), os.PathLike)


@dataclass(slots=True)
class _Known:
    seconds: float = 0.0
    """Sum over all items."""
    size: float = 0.0
    """Sum of their sizes."""
    items: dict[str, float] = field(default_factory=dict)
    """Seconds by key."""


class LearnedCosts:
    """Costs for `Pool.map`, `Pool.stream` and `Pool.submit`: what items took before.

    An item that was run before, by a call of the same name, costs what it took. Another one costs its size times
    what an item of that name took for its size. While nothing is known, the cost is the size.

    ::

        costs = LearnedCosts("costs.json")
        pool.map(coadd, patches, cost=costs)
        costs.save()

    Outcomes are learned where the call was made. A copy that travels to other ranks with a task gives costs, but what
    it learns there stays there.

    Parameters
    ----------
    path
        File of what was learned before, if it exists; one that cannot be read is warned of and counts as empty.
    key
        Names an item from one run to the next: called with the item's arguments, returns a text, or None if it has
        no name. By default numbers, texts, paths and tuples of them are named as they are, and nothing else is.
    size
        Size of an item in any unit: called with its arguments. By default the bytes of an array, the length of a
        sequence, else 1.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        key: Callable[..., str | None] | None = None,
        size: Callable[..., float] | None = None,
    ) -> None:
        self.path = None if path is None else _as_path(path)
        self._key = key or _plain_key
        self._size = size or _plain_size
        self._known = {} if self.path is None else _load(self.path)

    def of(self, name: str) -> "TaskCosts":
        """Return the costs of the calls of one name."""
        return TaskCosts(self._known.setdefault(name, _Known()), self._key, self._size)

    def save(self, path: str | os.PathLike[str] | None = None) -> None:
        """Write what is known; the file appears as a whole.

        Parameters
        ----------
        path
            Where to; None means where it came from.
        """
        import json

        target = self.path if path is None else _as_path(path)
        if target is None:
            raise ValueError("LearnedCosts.save needs a path: none was given before")
        known = {
            name: {"seconds": one.seconds, "size": one.size, "items": dict(one.items)}
            for name, one in self._known.items()
            if one.size
        }
        _write_whole(target, json.dumps({"version": 1, "calls": known}))


class TaskCosts:
    """What the items of one name cost.

    Parameters
    ----------
    known, key, size
        From `LearnedCosts`.
    """

    def __init__(self, known: _Known, key: Callable[..., str | None], size: Callable[..., float]) -> None:
        self._known, self._key, self._size = known, key, size

    def __call__(self, *args: Any) -> float:
        """Return the cost of an item, given its arguments."""
        key = self._key(*args) if self._known.items else None
        seconds = None if key is None else self._known.items.get(key)
        if seconds is not None:
            return seconds
        rate = self._known.seconds / self._known.size if self._known.size > 0 else 1.0
        return rate * self._size(*args)

    def knows(self, *args: Any) -> bool:
        """Tell whether this very item was run before."""
        key = self._key(*args)
        return key is not None and key in self._known.items

    def learn(self, args: tuple[Any, ...], seconds: float) -> None:
        """Note how long an item took."""
        known, key = self._known, self._key(*args)
        known.seconds += seconds
        known.size += self._size(*args)
        if key is not None:
            before = known.items.pop(key, seconds)
            known.items[key] = (before + seconds) / 2
            if len(known.items) > KEPT_ITEMS:
                del known.items[next(iter(known.items))]


def learning(cost: Any, name: str) -> Any:
    """Return the costs of a call of some name if they are learned; anything else as it is."""
    return cost.of(name) if isinstance(cost, LearnedCosts) else cost


def _plain_key(*args: Any) -> str | None:
    item = args[0] if len(args) == 1 else args
    return repr(item) if _is_plain(item) else None


def _is_plain(item: Any) -> bool:
    return all(map(_is_plain, item)) if isinstance(item, tuple) else isinstance(item, _PLAIN)


def _plain_size(*args: Any) -> float:
    return sum(map(_size_of, args))


def _size_of(value: Any) -> float:
    if isinstance(value, _PLAIN):
        return 1.0
    if hasattr(value, "nbytes"):
        return float(value.nbytes)
    return float(len(value)) if hasattr(value, "__len__") else 1.0


def _as_path(path: str | os.PathLike[str]) -> "Path":
    from pathlib import Path  # ranks that learn nothing do without it

    return Path(path)


def _load(path: "Path") -> dict[str, _Known]:
    import json
    import warnings

    try:
        calls = json.loads(path.read_text(encoding="utf-8"))["calls"]
        return {name: _read(one) for name, one in calls.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        cause = f"{type(error).__name__}: {error}"
        warnings.warn(f"{path}: no learned costs could be read, none are used: {cause}", RuntimeWarning, stacklevel=3)
        return {}


def _read(one: dict[str, Any]) -> _Known:
    items = {str(key): float(seconds) for key, seconds in one["items"].items()}
    known = _Known(float(one["seconds"]), float(one["size"]), items)
    if not all(0 <= number < float("inf") for number in (known.seconds, known.size, *items.values())):
        raise ValueError("seconds and sizes must be at least 0")
    return known


def _write_whole(path: "Path", text: str) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
