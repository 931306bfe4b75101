"""One scope: what a running task has scattered, led by the rank that runs it."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from mpidriver.errors import PoolError
from mpidriver.pool._rank._calls import Call
from mpidriver.pool._scheduling._scheduler import Scheduler
from mpidriver.pool._terms import PLAIN, Terms
from mpidriver.pool._transport._codec import Packed, WithKeywords, Wrapped, is_importable, pack
from mpidriver.pool._transport._messages import ScopeId
from mpidriver.pool._watching._usage import IdleClock

__all__ = ["Function", "Scope"]


class Function:
    """A function of a scope: pickled once, sent once to each rank.

    Parameters
    ----------
    key
        Its number in the scope.
    call
        The function.
    terms
        How its items are to be run; the same function on other terms is another one.
    packed
        The function as it travels, None where nothing travels.
    name
        What it is known by while it is kept.
    stays
        Whether it is kept until the scope ends, because it is small and may be called again.
    """

    def __init__(
        self, key: int, call: Callable[..., Any], terms: Terms, packed: Packed | None, name: Any, *, stays: bool
    ) -> None:
        self.key = key
        self.terms = terms
        self.name = name
        self.call = call
        self.packed = packed
        self.stays = stays
        self.calls = 0
        """Calls in progress."""
        self.ranks: set[int] = set()
        """Ranks that have it."""

    def for_rank(self, rank: int, *, is_home: bool) -> Any:
        """Return what to send to a rank, with the terms: to the leader's own the function itself; None if it has it."""
        if rank in self.ranks:
            return None
        self.ranks.add(rank)
        return (self.call if is_home else self.packed, self.terms)


class Scope:
    """Calls, functions and scheduler of one scope.

    Parameters
    ----------
    name
        Leader's rank and number.
    parent
        Scope whose task has opened this one, None for the root's.
    reach
        How many ranks its tasks can have at most.
    leaders
        Ranks of its leader and of those of all scopes above, which it does not outlive.
    travels
        Whether anything can leave this process.
    """

    def __init__(
        self,
        name: ScopeId,
        parent: ScopeId | None,
        scheduler: Scheduler,
        *,
        reach: int,
        leaders: tuple[int, ...],
        travels: bool,
    ) -> None:
        self.name = name
        self.reach = reach
        self.has_communicator = False
        """Whether its ranks have made a communicator."""
        self.is_crippled = False
        """Whether a rank of this gang has died."""
        self.parent = parent
        self.leaders = leaders
        self.scheduler = scheduler
        self.calls: dict[int, Call] = {}
        self.functions: dict[int, Function] = {}
        self.closed = False
        """Whether its task has ended; it may still wait for ranks to come back."""
        self.busy_seconds = 0.0
        """Work done for it, by all ranks."""
        self.idle_clock = IdleClock(time.perf_counter()) if travels else None
        self.abandoned: set[int] = set()
        """Calls whose results nobody takes any more, but some of whose items still run."""
        self._travels = travels
        self._known: dict[Any, int] = {}
        self._keys = 0
        self._want_serial = 0
        self._settled_serial = 0

    def function(self, function: Callable[..., Any], terms: Terms, *, keywords: bool = False) -> int:
        """Return the key of a function on some terms, new or known.

        Raises
        ------
        PoolError
            If it cannot be sent to other ranks.
        """
        how = None if terms is PLAIN else terms  # the usual ones need not be hashed
        try:
            return self._known[function, keywords, how]  # an importable one that was called before
        except (KeyError, TypeError):
            stays = is_importable(function)
        target = WithKeywords(function) if keywords else function
        packed = _pack_function(function, target) if self._travels else None
        name = (function, keywords, how) if stays else (*_content(function, packed, keywords=keywords), how)
        return self._keep(target, terms, packed, name, stays=stays)

    def on_other_terms(self, key: int, terms: Terms) -> int:
        """Return the key of a known function on other terms; it is kept until the scope ends."""
        known = self.functions[key]
        return self._keep(known.call, terms, known.packed, (known.name, terms), stays=True)

    def _keep(self, target: Callable[..., Any], terms: Terms, packed: Packed | None, name: Any, *, stays: bool) -> int:
        if name not in self._known:
            self._keys += 1
            self.functions[self._keys] = Function(self._keys, target, terms, packed, name, stays=stays)
            self._known[name] = self._keys
        return self._known[name]

    def begin(self, call: Call, serial: int) -> None:
        """Take a call."""
        call.serial = serial
        self.calls[serial] = call
        self.functions[call.function].calls += 1

    def end(self, call: Call) -> Function | None:
        """Drop a call; return its function if nobody needs it any more."""
        if self.calls.pop(call.serial, None) is None:
            return None
        self.abandoned.discard(call.serial)
        function = self.functions[call.function]
        function.calls -= 1
        if function.calls or function.stays:
            return None
        del self.functions[function.key], self._known[function.name]
        self.scheduler.forget(function.key)
        return function

    def cancel_ready(self, call: Call) -> Sequence[int]:
        """Withdraw what is not handed out of a call; return its indexes."""
        indexes = self.scheduler.cancel(call.serial)
        call.left -= len(indexes)
        return indexes

    @property
    def awaits_results(self) -> bool:
        """Whether some item has no result yet; asked without a lock, while calls end on another thread."""
        return any(call.left for call in tuple(self.calls.values()))

    @property
    def is_gang(self) -> bool:
        """Whether its ranks were lent to it for as long as it lasts."""
        return self.scheduler.owns_ranks and self.parent is not None

    @property
    def most_ranks(self) -> int:
        """How many ranks one item can have at most."""
        return 1 if self.scheduler.is_split else self.reach

    # Settling with the parent

    def wants(self) -> int:
        """Note an announcement to the parent; return its serial."""
        self._want_serial += 1
        return self._want_serial

    def settled(self, serial: int) -> None:
        """Note that the parent has seen the announcement with this serial, which was WANT 0."""
        if serial == self._want_serial:
            self._settled_serial = serial

    @property
    def is_quiet(self) -> bool:
        """Whether nothing will happen in it unless its task starts something: no grant can be under way either."""
        return self._settled_serial == self._want_serial and self.scheduler.is_quiet


def _content(function: Callable[..., Any], packed: Packed | None, *, keywords: bool) -> tuple[Any, ...]:
    """Return what tells a function that travels by value from others: what it has captured may change between calls."""
    if isinstance(function, Wrapped) and function.is_frozen:
        return (function, keywords)
    if packed is None or packed.buffers or not isinstance(packed.data, bytes):
        return (id(function), keywords, object() if packed is not None else None)
    return (packed.data, keywords)


def _pack_function(function: Callable[..., Any], target: Callable[..., Any]) -> Packed:
    try:
        return target.pack() if isinstance(target, Wrapped) else pack(target)
    except Exception as error:
        raise PoolError(f"{function!r} cannot be sent to other ranks: {type(error).__name__}: {error}") from error
