"""Isolated tasks: items run in a child process of their rank, which may die without harm to anything else.

Functions, items and results pass the rank as bytes: it need not load what they are made of.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mpidriver.errors import PoolError
from mpidriver.pool._rank._calls import Report
from mpidriver.pool._terms import Terms
from mpidriver.pool._transport._codec import (
    Failure,
    Packed,
    describe,
    pack,
    pack_or_fail,
    unpack,
    unpack_each,
    unpack_or_fail,
)
from mpidriver.pool._values import _held

if TYPE_CHECKING:
    from mpidriver.pool._isolated._children import Answer, Children, Server
    from mpidriver.pool._isolated._link import Link
    from mpidriver.pool._isolated._zygote import Zygote
    from mpidriver.pool._rank._context import Context

__all__ = ["Isolation", "packed_arguments"]


class Isolation:
    """The isolated tasks of one rank.

    Parameters
    ----------
    preload
        Modules that child processes have from the start.
    """

    def __init__(self, preload: Sequence[str] = ()) -> None:
        self._preload = preload
        self._zygote: Zygote | None = None
        self._children: Children | None = None
        self._host_file: int | None = None

    def meet_neighbours(self, host_file: int | None) -> None:
        """Learn of a file that all ranks of the host have opened, each for itself; None if there is none."""
        self._host_file = host_file

    def prepare(self) -> None:
        """Let the process that children will come from part now, before this one loads MPI."""
        from mpidriver.pool._isolated._zygote import Zygote, is_possible

        if is_possible():
            self._zygote = Zygote(self._preload)

    def run_span(
        self, context: "Context", key: Any, function: Any, todo: deque[Any], terms: Terms, *, unpacks: bool
    ) -> Report:
        """Run items until none is left.

        Parameters
        ----------
        context
            On whose behalf nested calls are made.
        key, function
            The function, packed or itself, and what it is known by until it is forgotten.
        todo
            Arguments of the items, packed or themselves; a `Failure` in place of what could not be packed.
        terms
            Its limits.
        unpacks
            Whether results are wanted as they are, not packed.
        """
        clock = time.perf_counter
        values: list[Any] = []
        started, marks, peak_rss_bytes, has_failures = time.time(), [clock()], 0, False
        packed = function if isinstance(function, Packed | Failure) else pack_or_fail(function)
        while todo:
            try:
                args = todo.popleft()
            except IndexError:  # given back in this very moment
                break
            answer = self._run(context, key, packed, args, terms)
            value = unpack_or_fail(answer.value) if unpacks and isinstance(answer.value, Packed) else answer.value
            failed = isinstance(value, Failure)
            if context.scope is not None:
                context.engine.end_scope(context, cancel=failed)
            has_failures, peak_rss_bytes = has_failures or failed, max(peak_rss_bytes, answer.peak_rss_bytes)
            values.append(value)
            marks.append(clock())
        return Report(values, started, marks, peak_rss_bytes, context.engine.rank, context.engine.host, has_failures)

    def forget(self, keys: Sequence[Any]) -> None:
        """Let functions be dropped that will not be called again."""
        if self._children is not None:
            self._children.forget(keys)

    def close(self) -> None:
        """End the child processes and what they come from."""
        if self._children is not None:
            self._children.close()
        elif self._zygote is not None:
            self._zygote.close()
        self._children = self._zygote = None

    def _run(self, context: "Context", key: Any, function: Packed | Failure, args: Any, terms: Terms) -> "Answer":
        from mpidriver.pool._isolated._children import Answer, Request

        if isinstance(function, Failure):
            return Answer(function, 0)
        try:
            args = _with_values(context, args)
            if isinstance(args, Failure):
                return Answer(args, 0)
            return self._the_children().run(Request(key, function, args, terms), _deputies(context))
        except BaseException as error:
            if context.engine.must_stop_for(error):
                raise
            return Answer(describe(error), 0)

    def _the_children(self) -> "Children":
        if self._children is None:
            from mpidriver.pool._isolated._children import Children
            from mpidriver.pool._isolated._neighbours import Neighbours
            from mpidriver.pool._isolated._zygote import is_possible

            if not is_possible():
                raise PoolError("isolate=True needs Linux 5.3 or newer: only there can child processes be watched")
            self._children = Children(self._zygote, self._preload, Neighbours(self._host_file))
        return self._children


def _with_values(context: "Context", args: Any) -> Packed | Failure:
    """Return packed arguments with the values in place of handles: a child process cannot fetch them."""
    if isinstance(args, Failure) or (isinstance(args, Packed) and not _held.may_be_in(args)):
        return args
    args = unpack(args) if isinstance(args, Packed) else args
    return pack_or_fail(context.engine.held.resolve(args))


def _deputies(context: "Context") -> Callable[["Link"], "Server"]:
    from mpidriver.pool._isolated._deputy import Deputy
    from mpidriver.pool._pool import Pool

    return lambda link: Deputy(Pool(context), link)


def packed_arguments(items: Any) -> list[Packed | Failure]:
    """Return the arguments of each item packed by itself, from what came packed together."""
    return list(items) if type(items) is list else [pack(args) for args in unpack_each(items)]
