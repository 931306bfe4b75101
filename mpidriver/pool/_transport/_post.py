"""Messages that leave a rank, to itself too."""

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from mpidriver.pool._transport import _messages as kind
from mpidriver.pool._transport._bell import Bell
from mpidriver.pool._transport._messages import Message

__all__ = ["Handler", "Post", "Wire"]

Handler = Callable[..., None]
"""What takes the fields of a message."""


class Wire(Protocol):
    """What the engine needs of a way to send messages; `MpiWire` and `SerialWire` are such."""

    rank: int
    size: int
    host: str
    hosts: list[str]
    """Host of each rank."""
    outlives_deaths: bool
    """Whether this rank lives on when another dies."""

    @property
    def holds_large_sends(self) -> bool:
        """Whether large results are still to be fetched from this rank."""

    @property
    def is_moving(self) -> bool:
        """Whether something is being sent or received, which goes on only while this rank looks."""

    @property
    def bell(self) -> Bell | None:
        """Wakes this rank when it is sent something, None if nothing does."""

    def send(self, rank: int, message: Message, *, holds_up: bool = False) -> None:
        """Send without blocking."""

    def has_message(self) -> bool:
        """Whether something has arrived that was not received."""

    def receive(self) -> list[Message]:
        """Return what has arrived."""

    def communicator(self, ranks: tuple[int, ...], number: int) -> Any:
        """Return a new communicator over some ranks, all of which call this at the same time with the same number."""

    def finish_sends(self) -> None:
        """Wait until everything sent has left."""

    def close(self, *, all_live: bool = True) -> None:
        """End the connection; `all_live` says whether no rank has died."""

    def leave(self) -> None:
        """End this rank at once; the others live on where they can."""

    def abort(self) -> None:
        """End all ranks at once."""


class Post:
    """Sends messages, over the wire or, to this very rank, into a queue.

    Parameters
    ----------
    wire
        The way to the other ranks.
    """

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.rank, self.size, self.host = wire.rank, wire.size, wire.host
        self.hosts, self._bell = wire.hosts, wire.bell
        self.to_self: deque[Message] = deque()
        """Messages from this rank to itself that are not handled yet."""
        self.dead: set[int] = set()
        """Ranks that have died; what is sent to them is dropped."""

    def wake(self, rank: int) -> None:
        """Wake a rank that will be sent something soon."""
        if self._bell is not None and rank != self.rank:
            self._bell.ring_ahead(rank)

    def send(self, rank: int, message: int, *fields: Any) -> None:
        """Send a message without blocking."""
        if rank == self.rank:
            self.to_self.append((message, *fields))
        elif rank not in self.dead:
            self.wire.send(rank, (message, *fields), holds_up=message == kind.OUTCOME)
