"""Which quantum this thread is running."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from mpidriver.drivers._quantum import Quantum

__all__ = ["running", "running_quantum"]

_RUNNING: ContextVar[Quantum | None] = ContextVar("running quantum", default=None)


def running_quantum() -> Quantum | None:
    """Return the quantum that this thread is in the middle of, None if there is none."""
    return _RUNNING.get()


@contextmanager
def running(quantum: Quantum) -> Iterator[None]:
    """Note that this thread runs a quantum."""
    token = _RUNNING.set(quantum)
    try:
        yield
    finally:
        _RUNNING.reset(token)
