"""The rank's side of an isolated task's pool: it uses the rank's own pool as the task asks."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any, Literal, TypeVar

from mpidriver.errors import PoolClosedError, PoolError
from mpidriver.pool._isolated._link import Link, LinkLostError
from mpidriver.pool._isolated._standin import ANSWER, PULL
from mpidriver.pool._outcome import Outcome
from mpidriver.pool._pool import Pool
from mpidriver.pool._rank._submitted import TaskFuture
from mpidriver.pool._transport._codec import Packed, pack, unpack

__all__ = ["Deputy"]

ThingT = TypeVar("ThingT")


class Deputy:
    """Leads on behalf of one isolated task.

    Parameters
    ----------
    pool
        Pool of that task.
    link
        The way to its process.
    """

    def __init__(self, pool: Pool, link: Link) -> None:
        self._pool = pool
        self._link = link
        self._streams: dict[int, Iterator[Outcome]] = {}
        self._futures: dict[int, TaskFuture] = {}
        self._answers: dict[str, Callable[..., Any]] = {
            "size": lambda: pool.size,
            "rank": lambda: pool.rank,
            "efficiency": lambda: pool.efficiency,
            "stopping": lambda: pool.stopping,
            "stop": pool.stop,
            "map": lambda fn, columns, options: pool.map(fn, *columns, **options),
            "stream": self._stream,
            "next": lambda number: next(_of_this_task(self._streams, number), None),
            "close": self._close,
            "submit": self._submit,
            "wait": self._wait,
            "cancel": lambda number: _of_this_task(self._futures, number).cancel(),
        }

    def serve(self, what: str, packed: Packed) -> None:
        """Do what the task asks for and send the answer.

        Raises
        ------
        LinkLostError
            If its process died meanwhile.
        """
        try:
            answer, went_well = pack(self._answers[what](*unpack(packed))), True
        except LinkLostError:
            raise
        except Exception as error:
            answer, went_well = _pack_error(error), False
        self._link.send(ANSWER, went_well, answer)

    def _stream(self, number: int, fn: Callable[..., Any], iterables: int, options: dict[str, Any]) -> None:
        name = options.pop("name", None) or str(getattr(fn, "__qualname__", type(fn).__qualname__))
        if iterables == 1:
            items = (item for (item,) in self._pull(number))
            self._streams[number] = self._pool.stream(fn, items, name=name, **options)
        else:
            cost = options.pop("cost", None)
            options["cost"] = cost and _Spread(cost)
            columns = [self._pull(number)] if iterables else []
            self._streams[number] = self._pool.stream(_Spread(fn), *columns, name=name, **options)

    def _pull(self, number: int) -> Iterator[Any]:
        while True:
            self._link.send(PULL, number)
            _, went_well, item = self._link.receive()
            if not went_well:
                raise PoolError("the items of the stream could not be read")
            if item is None:
                return
            yield unpack(item)

    def _close(self, number: int) -> None:
        self._streams.pop(number).close()  # type: ignore[attr-defined]

    def _submit(self, number: int, fn: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        self._futures[number] = self._pool.submit(fn, *args, **keywords)

    def _wait(
        self,
        known: dict[int, bool],
        return_when: Literal["ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION"],
        timeout: float | None,
    ) -> dict[int, Outcome | None]:
        """Wait; return the outcomes, None for the cancelled, of what is done and not known as such."""
        futures: dict[int, Future[Any]] = {number: _of_this_task(self._futures, number) for number in known}
        done, _ = self._pool.wait(futures.values(), return_when, timeout)
        return {
            number: None if future.cancelled() else self._futures[number].outcome
            for number, future in futures.items()
            if future in done and not known[number]
        }


class _Spread:
    """A function of several arguments, called with the tuple of them."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, item: tuple[Any, ...]) -> Any:
        """Call the function."""
        return self.function(*item)


def _of_this_task(things: Mapping[int, ThingT], number: int) -> ThingT:
    if number not in things:
        raise PoolClosedError("a future or a stream is used after the task that it belongs to")
    return things[number]


def _pack_error(error: Exception) -> Packed:
    try:
        packed = pack(error)
        unpack(packed)
    except Exception:
        return pack(PoolError(f"{type(error).__name__}: {error}"))
    return packed
