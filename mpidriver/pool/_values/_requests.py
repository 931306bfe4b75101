"""What a rank has asked others for, and their answers."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mpidriver.pool._rank._engine import Engine

__all__ = ["Requests"]


class Requests:
    """The requests of one rank; what is asked for and what an answer is, those know who ask.

    Parameters
    ----------
    engine
        Engine of the rank, whose lock is held by whoever calls anything but `answers_to`.
    """

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._made = 0
        self._asked: dict[int, int] = {}
        """Rank that was asked, by the number of a request that has no answer."""
        self._answers: dict[int, Any] = {}

    def new(self, rank: int) -> int:
        """Return the number of a request that a rank will be sent."""
        self._made += 1
        self._asked[self._made] = rank
        return self._made

    def answer(self, request: int, answer: Any) -> None:
        """Take the answer to a request; only the first counts."""
        if self._asked.pop(request, None) is not None:
            self._answers[request] = answer

    def lost(self, rank: int, answer: Any) -> None:
        """Let this be the answer to all that was asked of a rank, which has died."""
        for request in [request for request, asked in self._asked.items() if asked == rank]:
            self.answer(request, answer)

    def answers_to(self, requests: Collection[int]) -> list[Any]:
        """Wait for the answers to requests; return them in their order."""
        self._engine.waiting.driving(lambda: all(request in self._answers for request in requests))
        return [self._answers.pop(request) for request in requests]
