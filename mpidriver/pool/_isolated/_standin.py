"""The pool inside an isolated task: it asks the rank, which leads on the task's behalf.

::

    ASK    child -> rank   what, and its packed arguments
    ANSWER rank -> child   whether it went well, and the packed value or exception
    PULL   rank -> child   the next item of a stream, which the rank is reading on the child's behalf
    ITEM   child -> rank   the packed item, None if there is none left

`StandIn` is the child's side, `mpidriver.pool._isolated._deputy.Deputy` the rank's; they speak strictly in turns.
"""

import concurrent.futures
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

from mpidriver.errors import PoolError
from mpidriver.pool._isolated._link import Link
from mpidriver.pool._outcome import Outcome
from mpidriver.pool._pool import Pool
from mpidriver.pool._rank._context import Context
from mpidriver.pool._rank._submitted import TaskFuture
from mpidriver.pool._terms import Terms
from mpidriver.pool._transport._codec import pack, unpack

__all__ = ["ANSWER", "ASK", "ITEM", "PULL", "StandIn"]

ASK, ANSWER, PULL, ITEM = "ask", "answer", "pull", "item"


class StandIn(Pool):
    """The pool of isolated tasks, one after the other: ``map``, ``stream``, ``submit`` and ``wait``.

    Parameters
    ----------
    link
        The way to the rank.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._pid = os.getpid()
        self._items: dict[int, Iterator[tuple[Any, ...]]] = {}
        self._raised: BaseException | None = None
        self._over: deque[int] = deque()
        self._made = 0

    @property
    def _context(self) -> Context:
        """Refuse what only a rank can do."""
        raise PoolError(
            "the pool of an isolated task has map, stream, submit and wait only; without isolate=True it has all"
        )

    def __repr__(self) -> str:
        return f"<Pool: isolated on rank {self.rank} of {self.size}>"

    @property
    def size(self) -> int:
        """Number of ranks."""
        return int(self._ask("size"))

    @property
    def rank(self) -> int:
        """The rank that this process belongs to."""
        return int(self._ask("rank"))

    @property
    def efficiency(self) -> float:
        """Share of the ranks' time that went into work since this pool's task began."""
        return float(self._ask("efficiency"))

    @property
    def stopping(self) -> str | None:
        """Why the pool stops early, None as long as it goes on; see `Pool.stopping`."""
        reason = self._ask("stopping")
        return None if reason is None else str(reason)

    def stop(self, reason: str) -> None:
        """Begin no more tasks, on any rank; see `Pool.stop`."""
        self._ask("stop", reason)

    def map(self, fn: Callable[..., Any], /, *iterables: Iterable[Any], **options: Any) -> list[Any]:
        """Apply a function to every item; see `Pool.map`."""
        _isolate_too(options)
        columns = list(map(list, zip(*zip(*iterables, strict=False), strict=True))) or [[] for _ in iterables]
        return list(self._ask("map", fn, columns, options))

    def stream(self, fn: Callable[..., Any], /, *iterables: Iterable[Any], **options: Any) -> Iterator[Outcome]:
        """Apply a function to every item and yield the outcomes as they come; see `Pool.stream`."""
        _isolate_too(options)
        self._made += 1
        number = self._made
        self._ask("stream", number, fn, len(iterables), options)
        self._items[number] = zip(*iterables, strict=False)
        return self._outcomes(number)

    def _outcomes(self, number: int) -> Iterator[Outcome]:
        try:
            while (outcome := self._ask("next", number)) is not None:
                yield outcome
        finally:
            self._over.append(number)  # the garbage collector may be who is here, in the middle of anything

    def submit(self, fn: Callable[..., Any], /, *args: Any, **keywords: Any) -> TaskFuture:
        """Put one task into the backlog; see `Pool.submit`."""
        keywords.setdefault("terms", Terms(isolate=True))
        self._made += 1
        self._ask("submit", self._made, fn, args, keywords)
        return _Future(self, self._made)

    def wait(
        self,
        futures: Iterable[concurrent.futures.Future[Any]],
        return_when: Literal["ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION"] = "ALL_COMPLETED",
        timeout: float | None = None,
    ) -> tuple[set[concurrent.futures.Future[Any]], set[concurrent.futures.Future[Any]]]:
        """Wait for futures of this task's `submit`; see `Pool.wait`."""
        known: dict[int, bool] = {}
        by_number: dict[int, _Future] = {}
        for future in futures:
            if not isinstance(future, _Future):
                raise PoolError("pool.wait in an isolated task takes futures of its own pool.submit only")
            by_number[future.number], known[future.number] = future, future.is_known
        for number, outcome in self._ask("wait", known, return_when, timeout).items():
            by_number[number].learn(outcome)
        done: set[concurrent.futures.Future[Any]] = {future for future in by_number.values() if future.is_known}
        return done, {future for future in by_number.values() if not future.is_known}

    def withdraw(self, number: int) -> bool:
        """Take a submitted task out of the backlog; false if it was handed out."""
        return bool(self._ask("cancel", number))

    def begin_task(self) -> None:
        """Forget what an earlier task has left."""
        self._items.clear()
        self._over.clear()

    def _ask(self, what: str, *args: Any) -> Any:
        if threading.current_thread() is not threading.main_thread() or os.getpid() != self._pid:
            raise PoolError("in an isolated task only the main thread of the task's own process may use the pool")
        while self._over:
            number = self._over.popleft()
            if self._items.pop(number, None) is not None:
                self._exchange("close", number)
        return self._exchange(what, *args)

    def _exchange(self, what: str, *args: Any) -> Any:
        self._link.send(ASK, what, pack(args))
        while (message := self._link.receive())[0] == PULL:
            self._link.send(ITEM, *self._pulled(message[1]))
        _, went_well, packed = message
        if went_well:
            return unpack(packed)
        raised, self._raised = self._raised, None
        raise raised or unpack(packed)

    def _pulled(self, number: int) -> tuple[bool, Any]:
        """Return whether a stream's items could be read, and the next one."""
        try:
            item = next(self._items[number], None)
            return True, None if item is None else pack(item)
        except BaseException as error:
            self._raised = error
            return False, None


def _isolate_too(options: dict[str, Any]) -> None:
    """Let what an isolated task scatters be isolated too, unless the call says otherwise or wants what only ranks have.

    The rank would meet the same danger else; and it has a second thread, beside which modules are not safely loaded.
    """
    if options.get("ranks", 1) == 1:
        options.setdefault("isolate", True)


class _Future(TaskFuture):
    def __init__(self, pool: StandIn, number: int) -> None:
        super().__init__()
        self.number = number
        self._pool = pool

    @property
    def is_known(self) -> bool:
        """Whether the result has come to this process."""
        return super().done()

    def done(self) -> bool:
        """Tell whether the task is over."""
        if not self.is_known:
            self._pool.wait([self], timeout=0.0)
        return self.is_known

    def learn(self, outcome: Outcome | None) -> None:
        """Take the outcome, None if the task was cancelled."""
        if outcome is None:
            self.cancel_now()
        else:
            self.resolve(outcome)

    def cancel(self) -> bool:
        """Cancel the task unless it was handed out."""
        if not self.is_known and self._pool.withdraw(self.number):
            self.cancel_now()
        return self.cancelled()

    def _wait(self, timeout: float | None) -> float | None:
        self._pool.wait([self], timeout=timeout)
        return 0.0
