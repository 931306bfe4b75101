"""When a wait for futures is over."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from mpidriver.pool._futures._callbacks import Callbacks

__all__ = ["WHEN_OVER", "looking_when_changed", "stay_undone"]

_Futures = list[Future[Any]]


def _all_completed(futures: _Futures) -> Callable[[], bool]:
    pending = futures[::-1]

    def is_over() -> bool:
        while pending and pending[-1].done():
            pending.pop()
        return not pending

    return is_over


def _first_completed(futures: _Futures) -> Callable[[], bool]:
    return lambda: not futures or any(future.done() for future in futures)


def _first_exception(futures: _Futures) -> Callable[[], bool]:
    all_completed = _all_completed(futures)

    def has_failed(future: Future[Any]) -> bool:
        return future.done() and not future.cancelled() and future.exception() is not None

    return lambda: any(map(has_failed, futures)) or all_completed()


WHEN_OVER: dict[str, Callable[[_Futures], Callable[[], bool]]] = {
    "ALL_COMPLETED": _all_completed,
    "FIRST_COMPLETED": _first_completed,
    "FIRST_EXCEPTION": _first_exception,
}
"""Makes a check from the futures, by the names of `concurrent.futures.wait`."""


def looking_when_changed(check: Callable[[], bool], callbacks: Callbacks) -> Callable[[], bool]:
    """Return a check that looks only when some future was resolved since it looked last."""
    seen = -1

    def checked() -> bool:
        nonlocal seen
        if seen == callbacks.resolved:
            return False
        seen = callbacks.resolved
        return check()

    return checked


def stay_undone(futures: _Futures, *, will_end: bool) -> bool:
    """Tell whether some futures of a pool that stops have no result, or will have none unless something still runs."""
    return any(
        getattr(future, "undone_because", None) is not None if future.done() else not will_end for future in futures
    )
