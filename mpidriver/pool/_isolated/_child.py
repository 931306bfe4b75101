"""A child process of a rank: it runs one isolated task after the other."""

import faulthandler
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from mpidriver.pool import _pool
from mpidriver.pool._isolated._link import Link, LinkLostError
from mpidriver.pool._isolated._standin import StandIn
from mpidriver.pool._rank._context import active_contexts
from mpidriver.pool._transport._codec import Failure, Packed, describe, pack, unpack_or_fail

__all__ = ["DONE", "LAST_WORDS_SIGNAL", "RUN", "work"]

RUN = "run"
"""rank -> child: keys of functions not called again, key, packed function or None if it is known, packed arguments,
memory limit."""
DONE = "done"
"""child -> rank: packed value or `Failure`, peak resident bytes."""
LAST_WORDS_SIGNAL = signal.SIGUSR2
"""Makes a child write down what it is doing, even in the middle of compiled code."""
_PAGE_BYTES = resource.getpagesize()


def work(end: int, last_words: int) -> None:
    """Run tasks until the rank is gone.

    Parameters
    ----------
    end
        Descriptor of this end of the link.
    last_words
        File for the traceback of a fatal signal, or of `LAST_WORDS_SIGNAL`.
    """
    faulthandler.enable(last_words)
    faulthandler.register(LAST_WORDS_SIGNAL, last_words)
    link = Link(socket.socket(fileno=end))
    active_contexts.clear()
    pool = StandIn(link)
    _pool.stand_ins.append(pool)
    functions: dict[Any, Any] = {}
    with suppress(LinkLostError):
        while True:
            message = link.receive()
            for key in message[1]:
                functions.pop(key, None)
            pool.begin_task()
            result = _run(functions, message)
            link.send(DONE, result, _peak_rss_bytes())
            del result


def _run(functions: dict[Any, Any], message: list[Any]) -> Packed | Failure:
    _, _, key, packed, items, memory_bytes = message
    message.clear()  # nothing may keep the arguments' memory
    if packed is not None:
        functions[key] = unpack_or_fail(packed)
    function, args = functions[key], unpack_or_fail(items)
    del packed, items
    for part in (function, args):
        if isinstance(part, Failure):
            return part
    result = _call(function, args, memory_bytes)
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    return result


def _call(function: Callable[..., Any], args: tuple[Any, ...], memory_bytes: int | None) -> Packed | Failure:
    try:
        with _limited(memory_bytes):
            value = function(*args)
    except BaseException as error:
        failure = describe(error, skip=1)
        if memory_bytes is not None and _is_for_want_of_memory(error):
            return failure._replace(cause=f"{failure.cause} (limit {memory_bytes / 2**30:.3g} GiB)", kind="memory")
        return failure
    try:
        return pack(value)
    except Exception as error:
        return describe(error, prefix="cannot be pickled: ")


@contextmanager
def _limited(memory_bytes: int | None) -> Iterator[None]:
    """Limit the memory that this process may take, beyond what it has."""
    if memory_bytes is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    with open("/proc/self/statm") as file:
        data_bytes = int(file.read().split()[5]) * _PAGE_BYTES
    limit = data_bytes + memory_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _is_for_want_of_memory(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _peak_rss_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
