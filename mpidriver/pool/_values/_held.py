"""Handles of values that stay on the rank that computed them, and finding them among arguments.

A task is given the value, not the handle, wherever the handle stands in its arguments: alone, or in lists, tuples
and dictionaries. Captured by a function it stays a handle.
"""

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from mpidriver.errors import TaskError
from mpidriver.pool._transport._codec import Packed
from mpidriver.pool._transport._messages import ScopeId

if TYPE_CHECKING:
    from mpidriver.pool._values._held_values import HeldValues

__all__ = ["Held", "HeldName", "Record", "Token", "exist", "find_in", "may_be_in", "put_in"]


class HeldName(NamedTuple):
    """What a held value is known by."""

    rank: int
    """Rank that computed it first."""
    serial: int


class Token(NamedTuple):
    """What a rank reports instead of a value that it holds."""

    name: HeldName
    nbytes: int


class Record:
    """What the rank that scattered knows of a held value.

    Parameters
    ----------
    scope
        Scope that it belongs to.
    token
        Its name and size.
    rank
        Rank that holds it.
    function, args
        What computes it again. Records stand in place of handles, so that these do not keep other values.
    """

    __slots__ = ("__weakref__", "args", "function", "is_released", "ranks", "scope", "token")

    def __init__(
        self, scope: ScopeId, token: Token, rank: int, function: Callable[..., Any], args: tuple[Any, ...]
    ) -> None:
        self.scope = scope
        self.token = token
        self.ranks = [rank]
        self.is_released = False
        self.function = function
        self.args = args


class Held:
    """A value that stays on the rank that computed it.

    `Pool.scatter` makes handles, tasks that get one as an argument get its value, and `Pool.gather` fetches values.

    Parameters
    ----------
    scope
        Scope of the task that has scattered; its leader knows where the value is.
    token
        Name and size of the value, None if there is none.
    rank
        Rank that held it when the handle was made.
    record
        On the rank that scattered: what is known of it.
    error
        Why there is no value.
    home
        On the rank that scattered: all its held values.
    """

    __slots__ = ("__weakref__", "_rank", "error", "home", "record", "scope", "token")

    def __init__(
        self,
        scope: ScopeId,
        token: Token | None,
        rank: int,
        record: Record | None = None,
        error: TaskError | None = None,
        home: "HeldValues | None" = None,
    ) -> None:
        self.scope = scope
        self.token = token
        self._rank = rank
        self.record = record
        self.error = error
        self.home = home
        _handles.add(weakref.ref(self, _handles.discard))

    @property
    def rank(self) -> int:
        """Rank that holds the value, as far as is known here."""
        return self.record.ranks[0] if self.record is not None and self.record.ranks else self._rank

    @property
    def nbytes(self) -> int:
        """Size of the value as it would travel; 0 if nothing travels."""
        return 0 if self.token is None else self.token.nbytes

    def __reduce__(self) -> Any:
        return (Held, (self.scope, self.token, self.rank, None, self.error))

    def __repr__(self) -> str:
        return f"<Held: {self.nbytes} bytes on rank {self.rank}>" if self.error is None else "<Held: failed>"


_handles: "set[weakref.ref[Held]]" = set()
"""Every handle of this process: whether there is any is asked before each task."""


def exist() -> bool:
    """Whether this process has any handle, among arguments or elsewhere."""
    return bool(_handles)


def may_be_in(packed: Packed) -> bool:
    """Whether there may be a handle in something packed: the name of this module is there."""
    return __name__.encode() in bytes(packed.data)


def find_in(value: Any) -> list[Held]:
    """Return the handles in a value."""
    found: list[Held] = []
    _find(value, found)
    return found


def _find(value: Any, found: list[Held]) -> None:
    kind = type(value)
    if kind is Held:
        found.append(value)
    elif kind is tuple or kind is list:
        for one in value:
            _find(one, found)
    elif kind is dict:
        for one in value.values():
            _find(one, found)


def put_in(value: Any, kind: type, replace: Callable[[Any], Any]) -> Any:
    """Return a value with something else in place of all of a kind."""
    if type(value) is kind:
        return replace(value)
    if type(value) is tuple or type(value) is list:
        return type(value)(put_in(one, kind, replace) for one in value)
    if type(value) is dict:
        return {key: put_in(one, kind, replace) for key, one in value.items()}
    return value
