"""The results of an executor's map: in order or as they come, and the rest cancelled when nobody wants them."""

import concurrent.futures
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeAlias

__all__ = ["check_map", "chunks_of", "each_of", "results"]

_Future: TypeAlias = concurrent.futures.Future[Any]
_Submit: TypeAlias = Callable[[tuple[Any, ...]], _Future]


def check_map(chunksize: int, buffersize: int | None, *, unordered: bool) -> None:
    """Refuse what makes no sense, with the errors of the standard library."""
    if chunksize < 1:
        raise ValueError(f"chunksize must be >= 1, got {chunksize}")
    if buffersize is None:
        return
    if not isinstance(buffersize, int):
        raise TypeError(f"buffersize must be an integer or None, got {buffersize!r}")
    if buffersize < 1:
        raise ValueError(f"buffersize must be None or > 0, got {buffersize}")
    if unordered:
        raise ValueError("buffersize is of no use with unordered=True")


def chunks_of(items: Iterable[Any], size: int) -> Iterator[tuple[Any, ...]]:
    """Return an iterator over the items in tuples of one size, the last perhaps shorter."""
    iterator = iter(items)
    return iter(lambda: tuple(islice(iterator, size)), ())


def each_of(chunks: Iterator[list[Any]]) -> Iterator[Any]:
    """Yield the elements of lists, and keep none of them."""
    for chunk in chunks:
        chunk.reverse()
        while chunk:
            yield chunk.pop()


def results(
    submit: _Submit, calls: Iterable[tuple[Any, ...]], *, until: float | None, buffersize: int | None, unordered: bool
) -> Iterator[Any]:
    """Submit at once, and return an iterator over the results that cancels the rest when it is left.

    Parameters
    ----------
    submit
        Submits a task with a tuple of arguments.
    calls
        Those tuples.
    until
        When the last result must be there, on the monotonic clock.
    buffersize, unordered
        As for `PoolExecutor.map`.
    """
    calls = iter(calls)
    futures = deque(submit(args) for args in islice(calls, buffersize))
    if unordered:
        return _as_they_come(futures, until)
    return _in_order(futures, submit, calls, until)


def _in_order(
    futures: deque[_Future], submit: _Submit, calls: Iterator[tuple[Any, ...]], until: float | None
) -> Iterator[Any]:
    try:
        while futures:
            if (args := next(calls, None)) is not None:
                futures.append(submit(args))
            yield _result_or_cancel(futures.popleft(), until)
    finally:
        _cancel(futures)


def _as_they_come(futures: deque[_Future], until: float | None) -> Iterator[Any]:
    timeout = None if until is None else max(0.0, until - time.monotonic())
    try:
        for future in concurrent.futures.as_completed(futures, timeout):
            yield future.result()
    finally:
        _cancel(futures)


def _result_or_cancel(future: _Future, until: float | None) -> Any:
    try:
        try:
            return future.result(None if until is None else until - time.monotonic())
        finally:
            future.cancel()
    finally:
        del future  # the error's traceback would keep the future, which keeps the error


def _cancel(futures: deque[_Future]) -> None:
    for future in reversed(futures):
        future.cancel()
