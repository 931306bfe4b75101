"""How ranks part when the pool closes.

Where a rank may die and the others live on, MPI cannot end in order once one has died, and waits for ever for one
that died unnoticed. So the root first asks who is still there (STOP), hears from all who are (BYE), and then tells
them who has died (STOP again). Elsewhere it only says STOP.
"""

from collections.abc import Callable

from mpidriver.pool._transport import _messages as kind
from mpidriver.pool._transport._post import Handler, Post

__all__ = ["Farewell"]


class Farewell:
    """One rank's part in it.

    Parameters
    ----------
    post
        Sends messages.
    hand_over
        Sends the root what it is still to have of a worker.
    """

    def __init__(self, post: Post, hand_over: Callable[[], None]) -> None:
        self._post = post
        self._hand_over = hand_over
        self._has_handed_over = False
        self._gone: set[int] = set()
        self.is_over = False
        """Whether this rank, a worker, may go."""
        self.handlers: dict[int, Handler] = {kind.STOP: self._on_stop, kind.BYE: self._gone.add}

    @property
    def all_have_answered(self) -> bool:
        """Whether nobody is left for whom the root must wait."""
        return not self._post.wire.outlives_deaths or not self._left()

    def begin(self) -> None:
        """Say as the root that the pool closes."""
        self._say(None if self._post.wire.outlives_deaths else ())

    def end(self) -> None:
        """Let all go when all have answered."""
        if self._post.wire.outlives_deaths:
            self._say(tuple(sorted(self._post.dead)))

    def _say(self, dead: tuple[int, ...] | None) -> None:
        for rank in range(1, self._post.size):
            self._post.send(rank, kind.STOP, dead)

    def _left(self) -> set[int]:
        return set(range(1, self._post.size)) - self._gone - self._post.dead

    def _on_stop(self, dead: tuple[int, ...] | None) -> None:
        if not self._has_handed_over:
            self._has_handed_over = True
            self._hand_over()
        if dead is None:
            self._post.send(0, kind.BYE, self._post.rank)
        else:
            self._post.dead.update(dead)
            self.is_over = True
