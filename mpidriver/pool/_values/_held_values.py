"""Held values: what one rank keeps of them for others, and what it knows of those that its tasks have scattered.

The rank that has scattered is the owner: it knows who holds each value, whether it is released, and how to compute it
again. A rank that needs a value asks the owner, which lets the holder send it, or answers with function and
arguments if nobody holds it any more; then the asking rank computes it itself, so that nobody waits for a rank that
waits.
"""

import weakref
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from mpidriver.errors import PoolError
from mpidriver.pool._rank._calls import Call, Report
from mpidriver.pool._rank._context import active_contexts
from mpidriver.pool._transport import _messages as kind
from mpidriver.pool._transport._codec import Failure, Packed, describe, pack, unpack
from mpidriver.pool._transport._messages import ScopeId
from mpidriver.pool._transport._post import Handler, Post
from mpidriver.pool._values import _held
from mpidriver.pool._values._held import Held, HeldName, Record, Token
from mpidriver.pool._values._read_only import read_only
from mpidriver.pool._values._requests import Requests

if TYPE_CHECKING:
    from mpidriver.pool._rank._engine import Engine

__all__ = ["HeldValues"]

GONE = (
    "it is released: a held value lasts as long as the handle that scatter() returned, and no longer than the task "
    "that called it"
)
Wanted = tuple[int, ScopeId, HeldName]
"""Number of a request, and the value that it asks for."""


class HeldValues:
    """The held values of one rank.

    Parameters
    ----------
    engine
        Engine of the rank.
    post
        Sends messages.
    """

    def __init__(self, engine: "Engine", post: Post) -> None:
        self._engine = engine
        self._post = post
        self._serial = 0
        self._values: dict[HeldName, Any] = {}
        self._requests = Requests(engine)
        self._records: dict[ScopeId, weakref.WeakValueDictionary[HeldName, Record]] = {}
        self._lent: dict[int, dict[tuple[int, int], tuple[ScopeId, HeldName]]] = defaultdict(dict)
        """What each holder was told to send: by rank and number of the request."""
        self.dropped: deque[Record] = deque()
        """Values that no handle is left of, not released yet."""
        self.handlers: dict[int, Handler] = {
            kind.FETCH: self._on_fetch,
            kind.LEND: self._on_lend,
            kind.VALUE: self._on_value,
            kind.HOLDS: self._on_holds,
            kind.MISSING: self._on_missing,
            kind.DROP: self._on_drop,
        }

    # For the rank that computes

    def hold(self, report: Report) -> Report:
        """Keep the values of a report, and put tokens in their places."""
        for position, value in enumerate(report.values):
            if type(value) is not Failure:
                report.values[position] = kept = self._hold(read_only(value))
                report.has_failures |= type(kept) is Failure
        return report

    def _hold(self, value: Any) -> Token | Failure:
        try:
            nbytes = _size(pack(value)) if self._post.size > 1 else 0
        except Exception as error:  # whether it can be sent must not depend on whether somebody needs it
            return describe(error, prefix="cannot be pickled: ")
        with self._engine.lock:
            self._serial += 1
            name = HeldName(self._post.rank, self._serial)
            self._values[name] = value
        return Token(name, nbytes)

    def resolve(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return arguments with values in place of handles; values that are elsewhere are fetched and kept."""
        found = _held.find_in(args)
        if not found:
            return args
        values = self.fetch(found, keep=True)
        return _held.put_in(args, Held, lambda held: values[id(held)])  # type: ignore[no-any-return]

    @property
    def await_messages(self) -> bool:
        """Whether other ranks may ask this one, for values or where they are."""
        return self._post.size > 1 and bool(self._values or any(self._records.values()))

    # For the task that scatters

    def own(self, scope: ScopeId, token: Token, rank: int, function: Callable[..., Any], args: tuple[Any, ...]) -> Held:
        """Return the handle of a value that a rank has reported."""
        record = Record(scope, token, rank, function, _held.put_in(args, Held, lambda held: held.record or held))
        self._records.setdefault(scope, weakref.WeakValueDictionary())[token.name] = record
        held = Held(scope, token, rank, record, home=self)
        weakref.finalize(held, self.dropped.append, record).atexit = False
        return held

    def places(self, call: Call, indexes: Sequence[int]) -> dict[int, tuple[int, int]]:
        """Return for each item that has handles among its arguments the rank with most of their bytes, and how many."""
        places: dict[int, tuple[int, int]] = {}
        items = call.arguments_of(indexes)
        if isinstance(items, range):
            return places
        for index, args in zip(indexes, items, strict=True):
            nbytes: dict[int, int] = {}
            for held in _held.find_in(args):
                nbytes[held.rank] = nbytes.get(held.rank, 0) + held.nbytes
            if nbytes:
                places[index] = max(nbytes.items(), key=lambda one: (one[1], -one[0]))
        return places

    def release_dropped(self) -> None:
        """Release the values that no handle is left of: it may go in the middle of anything, so it is done later."""
        if self.dropped:
            self._release([self.dropped.popleft() for _ in range(len(self.dropped))])

    def end(self, scope: ScopeId) -> None:
        """Release all that the task of a scope has scattered."""
        if scope in self._records:
            self._release(list(self._records.pop(scope).values()))

    def close(self) -> None:
        """Forget everything: the pool ends."""
        self._values.clear()
        self._records.clear()

    def lost(self, rank: int) -> None:
        """Note that a rank has died."""
        for known in self._records.values():
            for record in list(known.values()):
                if rank in record.ranks:
                    record.ranks.remove(rank)
        self._requests.lost(rank, _lost(rank))
        for (asker, request), (scope, name) in self._lent.pop(rank, {}).items():
            if asker != rank:
                self._on_fetch(asker, [(request, scope, name)])

    def _release(self, records: Iterable[Record]) -> None:
        names: dict[int, list[HeldName]] = {}
        for record in records:
            for rank in record.ranks:
                names.setdefault(rank, []).append(record.token.name)
            record.ranks, record.is_released = [], True
        for rank, dropped in names.items():
            self._post.send(rank, kind.DROP, dropped)

    # Fetching

    def fetch(self, wanted: Sequence[Held], *, keep: bool) -> dict[int, Any]:
        """Return values by the identity of their handles, wherever they are.

        A process may have several pools, each with names of its own: handles of another are left to that.

        Parameters
        ----------
        keep
            Whether this rank holds them too from now on.

        Raises
        ------
        PoolError
            If there is no such value, or it was released.
        """
        own = [held for held in wanted if self._home_of(held) is self]
        by_name = self._fetch(own, keep=keep)
        values = {id(held): by_name[held.token.name] for held in own if held.token is not None}
        for held in wanted:
            if id(held) not in values:
                values |= self._home_of(held).fetch([held], keep=False)
        return values

    def _home_of(self, held: Held) -> "HeldValues":
        """Return the held values of the pool of a handle; what came by pickle belongs to the outermost."""
        return held.home or (active_contexts[0].engine.held if active_contexts else self)

    def _fetch(self, wanted: Sequence[Held], *, keep: bool) -> dict[HeldName, Any]:
        values: dict[HeldName, Any] = {}
        missing: dict[HeldName, Held] = {}
        for held in wanted:
            if held.token is None:
                raise PoolError(f"the held value could not be computed: {held.error.cause if held.error else ''}")
            if held.token.name in self._values:
                values[held.token.name] = self._values[held.token.name]
            else:
                missing[held.token.name] = held
        if missing:
            requests = self._ask(missing.values())
            answers = self._requests.answers_to(requests)
            for (request, held), answer in zip(requests.items(), answers, strict=True):
                values[held.token.name] = self._received(request, held, answer, keep)  # type: ignore[union-attr]
        return values

    def _ask(self, missing: Iterable[Held]) -> dict[int, Held]:
        """Ask the owners of values; return the handles by number of the request."""
        requests: dict[int, Held] = {}
        wanted: dict[int, list[Wanted]] = {}
        with self._engine.lock:
            for held in missing:
                assert held.token is not None
                owner = held.scope[0]
                request = self._requests.new(owner)
                requests[request] = held
                wanted.setdefault(owner, []).append((request, held.scope, held.token.name))
            for owner, some in wanted.items():
                self._post.send(owner, kind.FETCH, self._post.rank, some)
            for rank in self._post.dead.intersection(wanted):
                self._requests.lost(rank, _lost(rank))
        return requests

    def _received(self, request: int, held: Held, answer: Any, keep: bool) -> Any:
        """Return the value that an answer brings, or that this rank must compute."""
        assert held.token is not None
        if isinstance(answer, Failure):
            raise PoolError(f"a held value cannot be fetched: {answer.cause}")
        content, is_value = answer
        value = unpack(content)
        if not is_value:
            function, args = value
            value = function(*self.resolve(args))
        value = read_only(value)
        with self._engine.lock:
            if keep:
                self._values[held.token.name] = value
            self._post.send(held.scope[0], kind.HOLDS, held.scope, held.token.name, self._post.rank, request, keep)
        return value

    # Messages

    def _on_fetch(self, asker: int, wanted: list[Wanted]) -> None:
        lends: dict[int, list[Wanted]] = {}
        for request, scope, name in wanted:
            record = self._record(scope, name)
            if record is None:
                self._post.send(asker, kind.VALUE, [(request, Failure(GONE, ""), False)])
            elif record.ranks:
                self._lent[record.ranks[0]][asker, request] = (scope, name)
                lends.setdefault(record.ranks[0], []).append((request, scope, name))
            else:
                self._post.send(asker, kind.VALUE, [(request, _recipe(record), False)])
        for holder, some in lends.items():
            self._post.send(holder, kind.LEND, asker, some)

    def _record(self, scope: ScopeId, name: HeldName) -> Record | None:
        known = self._records.get(scope)
        return None if known is None else known.get(name)

    def _on_lend(self, asker: int, wanted: list[Wanted]) -> None:
        here = [(request, name) for request, _, name in wanted if name in self._values]
        if here:
            self._post.send(asker, kind.VALUE, [(request, _packed(self._values[name]), True) for request, name in here])
        missing = [one for one in wanted if one[2] not in self._values]
        if missing:
            self._post.send(missing[0][1][0], kind.MISSING, self._post.rank, asker, missing)

    def _on_missing(self, holder: int, asker: int, wanted: list[Wanted]) -> None:
        for request, scope, name in wanted:
            self._lent[holder].pop((asker, request), None)
            record = self._record(scope, name)
            if record is not None and holder in record.ranks:
                record.ranks.remove(holder)
        self._on_fetch(asker, wanted)

    def _on_value(self, answers: list[tuple[int, Any, bool]]) -> None:
        for request, content, is_value in answers:
            self._requests.answer(request, content if isinstance(content, Failure) else (content, is_value))

    def _on_holds(self, scope: ScopeId, name: HeldName, rank: int, request: int, keep: bool) -> None:
        for lent in self._lent.values():
            lent.pop((rank, request), None)
        record = self._record(scope, name)
        if not keep:
            return
        if record is None or record.is_released:
            self._post.send(rank, kind.DROP, [name])
        elif rank not in record.ranks:
            record.ranks.append(rank)

    def _on_drop(self, names: list[HeldName]) -> None:
        for name in names:
            self._values.pop(name, None)


def _lost(owner: int) -> Failure:
    return Failure(f"rank {owner}, which scattered the value, is lost", "", kind="lost")


def _recipe(record: Record) -> Packed | Failure:
    args = _held.put_in(record.args, Record, lambda one: Held(one.scope, one.token, one.token.name.rank))
    return _packed((record.function, args))


def _packed(value: Any) -> Packed | Failure:
    try:
        return pack(value)
    except Exception as error:
        return describe(error, prefix="cannot be pickled: ")


def _size(packed: Packed) -> int:
    parts: list[Any] = [packed.data, *(buffer.raw() for buffer in packed.buffers)]
    return sum(memoryview(part).nbytes for part in parts)
