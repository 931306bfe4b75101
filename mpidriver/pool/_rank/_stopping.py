"""Stopping early: nothing more is begun on any rank, what runs is finished, what is queued stays undone."""

from typing import TYPE_CHECKING

from mpidriver.errors import PoolStopped
from mpidriver.pool._rank._leader import Leader
from mpidriver.pool._rank._worker import Worker
from mpidriver.pool._transport import _messages as kind
from mpidriver.pool._transport._post import Handler, Post

if TYPE_CHECKING:
    from mpidriver.pool._rank._calls import Call
    from mpidriver.pool._rank._scope import Scope

__all__ = ["Stopping"]


class Stopping:
    """Whether a pool stops, and why; one a rank.

    Whoever decides tells the root, and the root tells everybody. It is safe in a signal handler of the main thread,
    in the middle of anything: it only empties and fills queues.

    Parameters
    ----------
    post
        Sends messages.
    leader, worker
        The parts of this rank.
    """

    def __init__(self, post: Post, leader: Leader, worker: Worker) -> None:
        self.reason: str | None = None
        """Why, None as long as the pool goes on."""
        self.handlers: dict[int, Handler] = {kind.STOPPING: self.begin}
        self._post = post
        self._leader = leader
        self._worker = worker

    def begin(self, reason: str) -> None:
        """Begin nothing more, here and on all ranks."""
        if self.reason is not None:
            return
        self.reason = reason
        self._leader.leave_undone(reason)
        self._worker.stop()
        others = range(1, self._post.size) if self._post.rank == 0 else range(1)
        for rank in others:
            self._post.send(rank, kind.STOPPING, reason)

    def check(self) -> None:
        """Refuse new tasks of a pool that stops."""
        if self.reason is not None:
            raise PoolStopped(self.reason)

    def has_drained(self, scope: "Scope") -> bool:
        """Whether the pool stops and nothing of a scope runs any more."""
        return self.reason is not None and not scope.awaits_results

    def check_result(self, call: "Call") -> None:
        """Refuse to take the results of a call some of whose items stayed undone."""
        if call.undone:
            raise PoolStopped(call.undone_because)
