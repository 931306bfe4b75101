"""Shared values: sent once to a node, where all its ranks look at one copy.

The rank that shares keeps the copy of its own node. Its handles say where that is, so ranks of the same node need no
message to find it. The first rank of another node that asks is sent the values and keeps the copy of that node;
later ones are told where. What a rank has looked up it keeps until the values are released: when the handle that
`Pool.share` returned is gone, or the task that shared them has ended.
"""

import itertools
import weakref
from collections import deque
from collections.abc import Iterator, Mapping
from pickle import PickleBuffer
from typing import TYPE_CHECKING, Any, NamedTuple

from mpidriver.errors import PoolError
from mpidriver.pool._rank._context import active_contexts
from mpidriver.pool._transport import _messages as kind
from mpidriver.pool._transport._codec import describe
from mpidriver.pool._transport._messages import ScopeId
from mpidriver.pool._transport._post import Handler, Post
from mpidriver.pool._values._node_memory import NodeMemory, Place, attach, keep, keep_blob, read
from mpidriver.pool._values._read_only import read_only
from mpidriver.pool._values._requests import Requests

if TYPE_CHECKING:
    from mpidriver.pool._rank._engine import Engine

__all__ = ["Shared", "SharedValues"]

HAS, WANTS, WANTS_DATA = range(3)
"""What a rank says to the owner: has mapped the values itself; wants to have or find them; has not found them."""
_NOWHERE = (None, None)
"""The answer where there are no values any more: neither a place nor data."""


class SharedName(NamedTuple):
    """What shared values are known by."""

    owner: int
    """Rank that shared them."""
    serial: int
    names: tuple[str, ...]


class Shared(Mapping[str, Any]):
    """Values that `Pool.share` has put where all ranks of a node see them: ``shared.flat`` or ``shared["flat"]``.

    It may be an argument of a task, or be captured by its function, and travels as a name. Its arrays are read-only.

    Parameters
    ----------
    name
        What the values are known by.
    place
        Where they lie on their owner's host, None if nowhere.
    values
        All that this rank has, None to take that of the running task.
    """

    def __init__(self, name: SharedName, place: Place | None, values: "SharedValues | None" = None) -> None:
        self._name = name
        self._place = place
        self._values = values
        self._found: dict[str, Any] | None = None

    def __getitem__(self, key: str) -> Any:
        return self._look_up()[key]

    def __getattr__(self, key: str) -> Any:
        if key.startswith("_") or key not in self._name.names:
            raise AttributeError(f"shared values have no {key!r}: they have {', '.join(self._name.names)}")
        return self._look_up()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._name.names)

    def __len__(self) -> int:
        return len(self._name.names)

    def __repr__(self) -> str:
        return f"<Shared: {', '.join(self._name.names)}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shared) and self._name == other._name

    def __hash__(self) -> int:
        return hash(self._name)

    def __reduce__(self) -> Any:
        values = self._values_here()
        place = self._place if values is None else values.place(self._name, self._place)
        return (Shared, (self._name, place))

    def _values_here(self) -> "SharedValues | None":
        if self._values is not None:
            return self._values
        return active_contexts[0].engine.shared if active_contexts else None

    def _look_up(self) -> dict[str, Any]:
        store = self._values_here()
        if store is not None:
            return store.find(self._name, self._place)
        if self._found is None:  # a process that is no rank, but the child of one
            memory = attach(self._place) if self._place is not None else None
            if memory is None:
                raise _gone(self._name)
            self._found = read_only(read(memory))
        return self._found


def _gone(name: SharedName) -> PoolError:
    return PoolError(
        f"the shared values {', '.join(name.names)} of rank {name.owner} are not there: they last as long as the "
        "handle that share() returned, and no longer than the task that called it"
    )


class _Owned:
    """Values that this rank has shared.

    Parameters
    ----------
    scope
        What its task scatters.
    memory
        The copy for this host; None in a world of one rank, until a child process asks.
    """

    def __init__(self, scope: ScopeId, memory: NodeMemory | None) -> None:
        self.scope = scope
        self.memory = memory
        self.ranks: set[int] = set()
        """Other ranks that have looked them up."""
        self.places: dict[str, Place | None] = {}
        """Where they lie on other hosts, None where a rank was sent them and has not said where."""
        self.keepers: dict[str, int] = {}
        """Ranks that were sent them for such hosts."""
        self.waiting: dict[str, list[tuple[int, int]]] = {}
        """Ranks of such a host that wait until it has, and the numbers of their requests."""


class SharedValues:
    """The shared values that one rank has, and those that it keeps for others.

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
        self._owned: dict[SharedName, _Owned] = {}
        self._found: dict[SharedName, dict[str, Any]] = {}
        self._requests = Requests(engine)
        self._kept: dict[SharedName, NodeMemory] = {}
        self.dropped: deque[SharedName] = deque()
        """What no handle is left of, not released yet."""
        self.handlers: dict[int, Handler] = {
            kind.ATTACH: self._on_attach,
            kind.SHARED: self._on_shared,
            kind.PLACED: self._on_placed,
            kind.RELEASE: self._on_release,
        }

    # For the task that shares

    def share(self, scope: ScopeId, values: dict[str, Any]) -> Shared:
        """Share values until the handle is gone or `end` is called with the scope.

        Raises
        ------
        PoolError
            If they cannot be pickled.
        """
        values = read_only(values)
        memory = self._keep(values) if self._post.size > 1 else None
        with self._engine.lock:
            self._serial += 1
            name = SharedName(self._post.rank, self._serial, tuple(values))
            self._owned[name] = _Owned(scope, memory)
            self._found[name] = values if memory is None else read_only(read(memory.memory))
        shared = Shared(name, None if memory is None else memory.place, self)
        weakref.finalize(shared, self.dropped.append, name).atexit = False
        return shared

    def _keep(self, values: dict[str, Any]) -> NodeMemory:
        try:
            return keep(values, self._post.host)
        except Exception as error:
            cause = describe(error).cause
            raise PoolError(f"the values {', '.join(values)} cannot be sent to other ranks: {cause}") from error

    @property
    def await_messages(self) -> bool:
        """Whether other ranks may ask for values of this one."""
        return bool(self._owned) and self._post.size > 1

    def release_dropped(self) -> None:
        """Release what no handle is left of: they may go in the middle of anything, so it is done a little later."""
        while self.dropped:
            self._release(self.dropped.popleft())

    def end(self, scope: ScopeId) -> None:
        """Release all that the task of a scope has shared."""
        for name in [name for name, owned in self._owned.items() if owned.scope == scope]:
            self._release(name)

    def close(self) -> None:
        """Give back what the process itself does not when the pool ends."""
        memories = [owned.memory for owned in self._owned.values() if owned.memory is not None]
        for memory in [*memories, *self._kept.values()]:
            memory.close()
        for values in (self._owned, self._kept, self._found):
            values.clear()

    def lost(self, rank: int) -> None:
        """Note that a rank has died: what it owned is gone, and what it kept for its host is sent again."""
        self._requests.lost(rank, _NOWHERE)
        for name, owned in self._owned.items():
            owned.ranks.discard(rank)
            for host in [host for host, keeper in owned.keepers.items() if keeper == rank]:
                del owned.keepers[host], owned.places[host]
                for other, request in owned.waiting.pop(host, []):
                    if other != rank:
                        self._on_attach(name, other, host, WANTS, request)

    def _release(self, name: SharedName) -> None:
        owned = self._owned.pop(name, None)
        if owned is None:
            return
        self._found.pop(name, None)
        if owned.memory is not None:
            owned.memory.close()
        for rank in sorted(owned.ranks):
            self._post.send(rank, kind.RELEASE, name)
        for rank, request in itertools.chain(*owned.waiting.values()):
            self._post.send(rank, kind.SHARED, request, None, None)

    # For tasks that look at them

    def place(self, name: SharedName, place: Place | None) -> Place | None:
        """Return where they lie on this host, or else what is known of their owner's."""
        with self._engine.lock:
            owned = self._owned.get(name)
            if owned is not None and owned.memory is None:
                owned.memory = self._keep(self._found[name])
            memory = self._kept.get(name) if owned is None else owned.memory
            return place if memory is None else memory.place

    def find(self, name: SharedName, place: Place | None) -> dict[str, Any]:
        """Return the values.

        Parameters
        ----------
        place
            Where they lie on their owner's host.

        Raises
        ------
        PoolError
            If they were released.
        """
        if name not in self._found:
            if name.owner == self._post.rank:
                raise _gone(name)
            self._find(name, place)
        return self._found[name]

    def _find(self, name: SharedName, place: Place | None) -> None:
        is_near = place is not None and place.host == self._post.host
        memory = attach(place) if is_near and place is not None else None
        asks = memory is None
        if memory is None:
            memory = self._ask(name, WANTS_DATA if is_near else WANTS)
        values = read_only(read(memory))
        with self._engine.lock:
            self._found[name] = values
            if not asks:
                self._tell(name, HAS, 0)

    def _ask(self, name: SharedName, what: int) -> Any:
        """Return the memory that the owner tells of, or sends."""
        with self._engine.lock:
            request = self._requests.new(name.owner)
            self._tell(name, what, request)
            if name.owner in self._post.dead:
                self._requests.lost(name.owner, _NOWHERE)
        place, blob = self._requests.answers_to([request])[0]
        if place is not None:
            memory = attach(place)
            return self._ask(name, WANTS_DATA) if memory is None else memory
        if blob is None:
            raise _gone(name)
        return self._keep_for_host(name, blob)

    def _keep_for_host(self, name: SharedName, blob: Any) -> Any:
        kept = keep_blob(blob, self._post.host)
        with self._engine.lock:
            self._kept[name] = kept
            self._post.send(name.owner, kind.PLACED, name, self._post.host, kept.place)
        return kept.memory

    def _tell(self, name: SharedName, what: int, request: int) -> None:
        with self._engine.lock:
            self._post.send(name.owner, kind.ATTACH, name, self._post.rank, self._post.host, what, request)

    # Messages

    def _on_attach(self, name: SharedName, rank: int, host: str, what: int, request: int) -> None:
        owned = self._owned.get(name)
        if owned is None or owned.memory is None:
            self._refuse(name, rank, what, request)
            return
        owned.ranks.add(rank)
        if what == WANTS_DATA or (what == WANTS and host not in owned.places):
            if host not in owned.places:
                owned.places[host], owned.keepers[host] = None, rank
            self._post.send(rank, kind.SHARED, request, None, PickleBuffer(owned.memory.memory))
        elif what == WANTS:
            self._tell_place(owned, rank, host, request)

    def _refuse(self, name: SharedName, rank: int, what: int, request: int) -> None:
        """Tell a rank that the values are released."""
        if what == HAS:
            self._post.send(rank, kind.RELEASE, name)
        else:
            self._post.send(rank, kind.SHARED, request, None, None)

    def _tell_place(self, owned: _Owned, rank: int, host: str, request: int) -> None:
        """Tell a rank where its host has the values, once that is known."""
        place = owned.places[host]
        if place is None:
            owned.waiting.setdefault(host, []).append((rank, request))
        else:
            self._post.send(rank, kind.SHARED, request, place, None)

    def _on_shared(self, request: int, place: Place | None, blob: Any) -> None:
        self._requests.answer(request, (place, blob))

    def _on_placed(self, name: SharedName, host: str, place: Place | None) -> None:
        owned = self._owned.get(name)
        if owned is None or owned.places.get(host) is not None:
            return
        owned.places[host] = place
        for rank, request in owned.waiting.pop(host, []):
            self._on_attach(name, rank, host, WANTS if place is not None else WANTS_DATA, request)
        if place is None:
            del owned.places[host]
            owned.keepers.pop(host, None)

    def _on_release(self, name: SharedName) -> None:
        self._found.pop(name, None)
        kept = self._kept.pop(name, None)
        if kept is not None:
            kept.close()
