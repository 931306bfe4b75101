"""The pool as its users see it."""

import concurrent.futures
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Unpack

from mpidriver.errors import PoolClosedError, PoolError, PoolStopped
from mpidriver.pool._futures._when import WHEN_OVER, looking_when_changed, stay_undone
from mpidriver.pool._items import Cost, costliest_first, costs_of, items_of
from mpidriver.pool._outcome import Outcome
from mpidriver.pool._rank._calls import MapCall, OutcomesCall, counted
from mpidriver.pool._rank._communicators import Together, TogetherCall, own_communicator
from mpidriver.pool._rank._context import Context, contexts_of_thread
from mpidriver.pool._rank._engine import Engine
from mpidriver.pool._rank._scattering import name_of
from mpidriver.pool._rank._scope import Scope
from mpidriver.pool._rank._submitted import RankFuture, SubmitCall, TaskFuture
from mpidriver.pool._stream import Stream
from mpidriver.pool._terms import PLAIN, Terms, TermsArguments
from mpidriver.pool._transport._serial import SerialWire
from mpidriver.pool._values._held import Held, Token
from mpidriver.pool._values._read_only import read_only
from mpidriver.pool._values._reduce import ReduceCall, Step, block_size
from mpidriver.pool._values._scatter import ScatterCall
from mpidriver.pool._values._shared import Shared
from mpidriver.pool._watching._learned import LearnedCosts, learning
from mpidriver.pool._watching._observing import Observer
from mpidriver.pool._watching._usage import Usage, usage_of

if TYPE_CHECKING:
    from mpidriver.pool._futures._executor import PoolExecutor

__all__ = ["Pool", "current_pool"]

_NOTHING: Any = object()


class Pool:
    """The ranks, as one task or the main program may use them.

    `launch` hands one to the main program, and `current_pool` returns a task's own. Calls may be nested at any depth.
    ``Pool()`` by itself is a pool of one rank in this process, the same for debugging: tasks run where they are
    waited for, so that ``breakpoint()`` works in them. It is closed by `close`, or by ``with``.
    """

    def __init__(self, _context: Context | None = None) -> None:
        self._own: Context | None = Engine(SerialWire()).open_root() if _context is None else _context

    def __reduce__(self) -> Any:
        return (_pool_of_whoever_runs, ())

    @property
    def _context(self) -> Context:
        """The task that this pool belongs to; a pool that came by pickle belongs to whichever runs."""
        if self._own is not None:
            return self._own
        contexts = contexts_of_thread()
        if not contexts:
            raise PoolClosedError("this pool came from another process and is used outside of a task")
        return contexts[-1]

    @property
    def _engine(self) -> Engine:
        return self._context.engine

    def __repr__(self) -> str:
        state = ", closed" if self._context.closed else ""
        return f"<Pool: rank {self.rank} of {self.size}{state}>"

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, kind: object, *exc_info: object) -> None:
        self._close(cancel=kind is not None)

    @property
    def size(self) -> int:
        """Number of ranks: of the gang, inside one."""
        return self._context.reach

    @property
    def alive(self) -> int:
        """Number of ranks that have not died, as far as this one knows."""
        return self._engine.alive

    @property
    def rank(self) -> int:
        """This rank."""
        return self._engine.rank

    @property
    def efficiency(self) -> float:
        """Share of the ranks' time that went into work since this pool's task began.

        A task that waits in a nested map does no work meanwhile, but the nested tasks do. A task counts when it is
        finished.
        """
        busy_seconds = self._context.busy_seconds
        return busy_seconds / (self.alive * (time.perf_counter() - self._context.began))

    @property
    def usage(self) -> Usage:
        """Shares of the ranks' time since this pool's task began: `efficiency`, and what the rest was lost to."""
        context = self._context
        total_seconds = self.size * (time.perf_counter() - context.began)
        clock = context.scope.idle_clock if context.scope is not None else None
        lost_seconds = (0.0, 0.0, 0.0) if clock is None else clock.totals()
        return usage_of(total_seconds, context.busy_seconds, *lost_seconds)

    @property
    def stopping(self) -> str | None:
        """Why the pool stops early, as ``SIGUSR1``; None as long as it goes on.

        A task may look at it to end sooner: nothing that it scatters from then on is run.
        """
        return self._engine.stopping

    def observe(self, observer: Observer | None) -> None:
        """Tell an observer, as a progress bar, of each item that the main program scatters from now on.

        Parameters
        ----------
        observer
            Has methods ``grow(count)`` and ``advance(name, status, count)``; None to tell nobody any more.
        """
        if self._context.work is not None:
            raise PoolError("pool.observe is for the main program; a task's items count there as one")
        self._engine.observe(observer)

    def stop(self, reason: str) -> None:
        """Begin no more tasks, on any rank: what runs is finished, and whoever waits for the rest gets `PoolStopped`.

        Parameters
        ----------
        reason
            What `PoolStopped` says.
        """
        self._engine.stop(reason)

    def map(
        self,
        fn: Callable[..., Any],
        /,
        *iterables: Iterable[Any],
        on_error: Literal["raise", "return"] = "raise",
        cost: Cost = None,
        name: str | None = None,
        **terms: Unpack[TermsArguments],
    ) -> list[Any]:
        """Apply a function to every item, as ``list(map(fn, *iterables))`` does.

        Parameters
        ----------
        fn
            The function; importable, or anything that cloudpickle takes.
        iterables
            The items. Several are walked in step, to the end of the shortest.
        on_error
            "raise": one TaskError after all items are finished, of the first item that failed.
            "return": the result is a list of `Outcome` instead.
        cost
            Expected work of each item; the costliest begin first. Without it items begin in their order.
        name
            What the outcomes are named, instead of after the function.
        terms
            How items are run: ``ranks``, ``isolate``, ``memory``, ``timeout`` and ``retries``, as in `Terms`.

        Returns
        -------
        results
            In the order of the items; an empty list for no items.

        Raises
        ------
        TaskError
            If an item failed; its ``failed`` says how many did.
        PoolStopped
            If items stayed undone because the pool stops.
        """
        context, scope = self._open()
        how = Terms(**terms) if terms else PLAIN
        cost = learning(cost, name or name_of(fn))
        bare = len(iterables) == 1 and how.are_plain
        items = items_of("map", iterables, on_error, bare=bare)
        costs = costs_of(cost, zip(items) if bare else items, len(items))
        kind = MapCall if on_error == "raise" else OutcomesCall
        if not items:
            return []
        scattering = context.engine.scattering
        call = scattering.start(scope, fn, lambda function: kind(function, items, bare=bare), terms=how, name=name)
        call.learn_with(cost)
        scattering.run(context, scope, call, costliest_first(len(items), costs), costs)
        return call.result()

    def stream(
        self,
        fn: Callable[..., Any],
        /,
        *iterables: Iterable[Any],
        cost: Callable[..., float] | LearnedCosts | None = None,
        ordered: bool = False,
        buffersize: int | None = None,
        name: str | None = None,
        **terms: Unpack[TermsArguments],
    ) -> Iterator[Outcome]:
        """Apply a function to every item and yield the outcomes as they come.

        Parameters
        ----------
        fn, iterables
            As for `map`; the iterables are read only as far ahead as `buffersize`.
        cost
            Expected work of an item; among the items read, the costliest begin first.
        ordered
            Whether to yield in the order of the items.
        buffersize
            How many items may be read but not yielded; by default a few a rank, more if they are short.
        name
            What the outcomes are named, instead of after the function.
        terms
            How items are run, as for `map`.

        Yields
        ------
        outcome
            Of a failed item too: look at its ``error``, or call its ``result()``.

        Raises
        ------
        PoolStopped
            After the outcomes of all that was done, if the pool stops before the last item.
        """
        if not iterables:
            raise TypeError("pool.stream needs at least one iterable")
        if buffersize is not None and buffersize < 1:
            raise ValueError(f"pool.stream: buffersize must be at least 1, got {buffersize}")
        cost = learning(cost, name or name_of(fn))
        if cost is not None and not callable(cost):
            raise TypeError("pool.stream: cost must be a function of the item: items are not known beforehand")
        context, scope = self._open()
        how = Terms(**terms) if terms else PLAIN
        items = zip(*iterables, strict=False)
        stream = Stream(context, scope, fn, items, cost=cost, buffersize=buffersize, terms=how, name=name)
        return stream.in_order() if ordered else stream.as_they_finish()

    def submit(
        self,
        fn: Callable[..., Any],
        /,
        *args: Any,
        cost: float | LearnedCosts = 0.0,
        terms: Terms = PLAIN,
        **kwargs: Any,
    ) -> TaskFuture:
        """Put one task into the backlog; never blocks.

        Parameters
        ----------
        fn, args, kwargs
            The call to make.
        cost
            Expected work; the costliest task begins first.
        terms
            How the task is run.

        Returns
        -------
        future
            A `concurrent.futures.Future` with an ``outcome`` besides. Its done callbacks run as soon as its result
            is here, on whichever thread receives it; they may submit, but not wait.
        """
        context, scope = self._open()
        scattering = context.engine.scattering
        scattering.wake_next(scope)
        future = RankFuture(context, scope)
        call = future.call = SubmitCall(args, kwargs, future)
        if isinstance(cost, LearnedCosts):
            learned = cost.of(name_of(fn))
            call.learn_with(learned)
            cost = learned(*args)
        scattering.submit(scope, call, fn, terms=terms, keywords=bool(kwargs), cost=cost)
        return future

    def scatter(
        self,
        fn: Callable[..., Any],
        /,
        *iterables: Iterable[Any],
        on_error: Literal["raise", "return"] = "raise",
        cost: Cost = None,
        name: str | None = None,
        **terms: Unpack[TermsArguments],
    ) -> list[Held]:
        """Apply a function to every item and leave the results on the ranks that computed them.

        Parameters
        ----------
        fn, iterables, cost, name, terms
            As for `map`.
        on_error
            "raise": one TaskError after all items are finished, of the first item that failed.
            "return": items that failed have a handle too, and `gather` of it raises.

        Returns
        -------
        held
            Handles of the results, in the order of the items. A task that gets one as an argument, or in a list, tuple
            or dictionary, is given the value, and runs where that lives unless waiting would cost more than moving it.
            A value lasts as long as its handle, and no longer than the task that scattered.

        Raises
        ------
        TaskError
            If an item failed; its ``failed`` says how many did.
        """
        context, scope = self._open()
        engine, items = self._engine, items_of("scatter", iterables, on_error)
        cost = learning(cost, name or name_of(fn))
        costs = costs_of(cost, items, len(items))
        if not items:
            return []

        def own(token: Token, rank: int, args: tuple[Any, ...]) -> Held:
            return engine.held.own(scope.name, token, rank, fn, args)

        def make(function: int) -> ScatterCall:
            return ScatterCall(function, items, scope.name, own, keeps_errors=on_error == "return")

        call = engine.scattering.start(scope, fn, make, terms=Terms(**terms, holds=True), name=name)
        call.learn_with(cost)
        engine.scattering.run(context, scope, call, costliest_first(len(items), costs), costs)
        return call.result()

    def gather(self, held: Iterable[Held]) -> list[Any]:
        """Fetch held values.

        Parameters
        ----------
        held
            Handles of `scatter`.

        Returns
        -------
        values
            In the order of the handles. Their arrays are read-only.

        Raises
        ------
        TaskError
            If items failed: the error of the first.
        PoolError
            If a value was released.
        """
        self._open()
        everything = list(held)
        for one in everything:
            if not isinstance(one, Held):
                raise TypeError(f"pool.gather needs handles as scatter() returns them, got {type(one).__name__}")
        failed = [one.error for one in everything if one.error is not None]
        if failed:
            raise counted(failed[0], len(failed))
        values = self._engine.held.fetch(everything, keep=False)
        return [values[id(one)] for one in everything]

    def reduce(
        self,
        op: Callable[[Any, Any], Any],
        fn: Callable[..., Any],
        /,
        *iterables: Iterable[Any],
        initial: Any = _NOTHING,
        name: str | None = None,
        **terms: Unpack[TermsArguments],
    ) -> Any:
        """Apply a function to every item and combine the values on the ranks, two by two.

        The order of the combinations depends on the number of items alone: neighbours first, then neighbouring pairs
        and so on, so that the result is the same to the last bit on any number of ranks.

        Parameters
        ----------
        op
            Called as ``op(left, right)``; returns a new value. It should be associative, it need not be commutative.
        fn, iterables, name, terms
            As for `map`.
        initial
            Combined with the whole from the left at the end, and the result if there are no items.

        Returns
        -------
        value
            The one value that is left. Its arrays are read-only.

        Raises
        ------
        TaskError
            If `fn` or `op` failed, when all others are done; its ``item`` is the item, or the indexes of several.
        """
        context, scope = self._open()
        engine, items = self._engine, items_of("reduce", iterables, "raise")
        if not items and initial is _NOTHING:
            raise TypeError("pool.reduce of no items needs initial=")
        if not items:
            return initial
        step, size = Step(op, fn), block_size(items, self.size)

        def own(token: Token, rank: int, args: tuple[Any, ...]) -> Held:
            return engine.held.own(scope.name, token, rank, step, args)

        def make(function: int) -> ReduceCall:
            return ReduceCall(function, items, size, own, partial(engine.scattering.extend, scope))

        call = engine.scattering.start(scope, step, make, terms=Terms(**terms, holds=True), name=name or name_of(fn))
        engine.scattering.run(context, scope, call, range(call.blocks), None)
        whole = call.result()
        if initial is _NOTHING:
            return self.gather([whole])[0]
        return read_only(self.submit(op, initial, whole).result())

    def share(self, **values: Any) -> Shared:
        """Put values where the tasks of all ranks see them, one copy a node.

        Parameters
        ----------
        values
            Anything that can be pickled, by name.

        Returns
        -------
        shared
            Gives the values by name, here and in every task that it is passed to or captured by. Their arrays are
            read-only. They last as long as this handle, and no longer than the task that shared them.

        Raises
        ------
        PoolError
            If there are other ranks, and a value cannot be sent to them.
        """
        if not values:
            raise TypeError("pool.share needs at least one value, by name: pool.share(flat=flat)")
        _, scope = self._open()
        shared = self._engine.shared.share(scope.name, values)
        self._engine.traffic.listen()
        return shared

    def wait(
        self,
        futures: Iterable[concurrent.futures.Future[Any]],
        return_when: Literal["ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION"] = "ALL_COMPLETED",
        timeout: float | None = None,
    ) -> tuple[set[concurrent.futures.Future[Any]], set[concurrent.futures.Future[Any]]]:
        """Wait for futures as `concurrent.futures.wait` does, but work meanwhile.

        Parameters
        ----------
        futures
            Futures of `submit`.
        return_when
            "ALL_COMPLETED", "FIRST_COMPLETED" or "FIRST_EXCEPTION".
        timeout
            Seconds, None for ever. A task that this rank has begun is finished first.

        Returns
        -------
        done, not_done
            The futures, in two sets.

        Raises
        ------
        PoolStopped
            If some of them will have no result because the pool stops.
        """
        if return_when not in WHEN_OVER:
            raise ValueError(f"pool.wait: return_when must be one of {', '.join(WHEN_OVER)}, got {return_when!r}")
        context, scope = self._open()
        engine = self._engine
        everything = list(dict.fromkeys(futures))
        is_over = looking_when_changed(WHEN_OVER[return_when](everything), self._engine.callbacks)
        engine.waiting.until(context, lambda: is_over() or engine.has_drained(scope), timeout)
        if not engine.callbacks.are_running_here:
            engine.callbacks.finish()  # a future is done a moment before its callbacks are
        done = {future for future in everything if future.done()}
        if engine.stopping is not None and stay_undone(everything, will_end=not engine.has_drained(scope)):
            raise PoolStopped(engine.stopping)
        return done, set(everything) - done

    def executor(
        self,
        max_workers: int | None = None,
        *,
        initializer: Callable[..., Any] | None = None,
        initargs: tuple[Any, ...] = (),
        isolate: bool = False,
        memory: int | str | None = None,
        timeout: float | None = None,
        retries: int = 1,
    ) -> "PoolExecutor":
        """Return this pool as a `concurrent.futures.Executor`, for libraries that want one.

        Parameters
        ----------
        max_workers
            How many of its tasks may be in progress at once; None for one a rank.
        initializer, initargs
            Called once in every process before the first task that it runs for this executor. If it fails, so do all
            tasks, and the executor takes no more.
        isolate, memory, timeout, retries
            How tasks are run, as in `Terms`.

        Returns
        -------
        executor
            Closed by ``with`` or its ``shutdown``, at the latest when this pool's task ends.
        """
        from mpidriver.pool._futures._executor import PoolExecutor

        context, scope = self._open()
        terms = Terms(isolate=isolate, memory=memory, timeout=timeout, retries=retries)
        return PoolExecutor(context, scope, max_workers, initializer=initializer, initargs=initargs, terms=terms)

    def spmd(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> list[Any]:
        """Call a function on all ranks of this pool at the same time, for code that is itself parallel with MPI.

        Only a pool with ranks of its own can do so: that of the main program, of a task that was given ``ranks=k``, or
        a part made by `split`.

        Parameters
        ----------
        fn
            Called as ``fn(comm, *args, **kwargs)`` on each rank; `comm` is an mpi4py communicator over just these
            ranks, the same for every call in one task. It is freed when the task ends.
        args, kwargs
            The same for every rank.

        Returns
        -------
        results
            In the order of the communicator's ranks; 0 is the rank that calls this, if it belongs to the pool.

        Raises
        ------
        TaskError
            If the function raised on some rank. Ranks that wait for that one in MPI fail too under ``mpirun
            --with-ft ulfm``, and wait for ever elsewhere; what was raised is logged at once.
        PoolError
            If the pool has no ranks of its own.
        """
        context, scope = self._open()
        ranks = self._own_ranks(scope, "spmd")
        items = [(scope.name, ranks, args, kwargs)] * len(ranks)
        name = str(getattr(fn, "__qualname__", type(fn).__qualname__))
        engine = self._engine

        def make(function: int) -> TogetherCall:
            return TogetherCall(function, items, lambda: engine.communicators.give_up(scope.name))

        call = engine.scattering.start(scope, Together(fn), make, name=name)
        engine.scattering.run_together(context, scope, call)
        return call.result()

    @property
    def comm(self) -> Any:
        """The mpi4py communicator over this pool's ranks, for use inside `spmd`; as for that, they must be its own."""
        self.spmd(own_communicator)
        _, scope = self._open()
        if self._engine.rank not in scope.scheduler.own:
            raise PoolError("pool.comm: this rank leads a part of a pool that it does not belong to; use its spmd")
        return self._engine.communicators.join(scope.name, scope.scheduler.own)

    @contextmanager
    def split(self, count: int) -> "Iterator[list[Pool]]":
        """Split the ranks of this pool into so many pools of their own, for as long as a ``with`` lasts.

        The first has this rank among its own; all are led from here. A `map` of one waits for that one alone: to
        keep all busy, `submit`. At the end all finish what was submitted. Meanwhile this pool has only its own rank.

        Parameters
        ----------
        count
            How many parts, as equal as can be.

        Raises
        ------
        PoolError
            If the pool has no ranks of its own, or fewer than parts.
        """
        context, scope = self._open()
        ranks = self._own_ranks(scope, "split")
        if not 1 <= count <= len(ranks):
            raise PoolError(f"pool.split: {len(ranks)} ranks can be split into 1 to {len(ranks)} parts, got {count}")
        parts = self._engine.parts.split(context, count)
        failed = True
        try:
            yield [Pool(part) for part in parts]
            failed = False
        finally:
            self._engine.parts.join(context, parts, cancel=failed)

    def _own_ranks(self, scope: Scope, what: str) -> tuple[int, ...]:
        if not scope.scheduler.owns_ranks:
            raise PoolError(f"pool.{what} needs ranks of the task's own: give it some by map(..., ranks=k)")
        if scope.scheduler.is_split:
            raise PoolError(f"pool.{what}: the ranks of this pool are split just now")
        return scope.scheduler.own

    def close(self) -> None:
        """Finish what was submitted and end the pool; only for a pool that was made by ``Pool()``."""
        self._close(cancel=False)

    def _close(self, *, cancel: bool) -> None:
        if not self._context.closed:
            self._engine.close_root(self._context, cancel=cancel)
            self._engine.isolation.close()

    def _open(self) -> tuple[Context, Scope]:
        """Return on whose behalf this pool is used just now."""
        context = self._own or self._context
        if context.closed:
            raise PoolClosedError("this pool is closed: its task or main program has ended; current_pool() is the pool")
        engine = context.engine
        context = engine.acting_context(context)
        return context, context.scope or engine.scope_of(context)


stand_ins: list[Pool] = []
"""In a child process of a rank: the pool of whatever task it runs."""


def _pool_of_whoever_runs() -> Pool:
    if stand_ins:
        return stand_ins[0]
    pool = Pool.__new__(Pool)
    pool._own = None
    return pool


def current_pool() -> Pool:
    """Return the pool of the running task, or of the main program; elsewhere a pool of this process alone."""
    if stand_ins:
        return stand_ins[0]
    contexts = contexts_of_thread()
    return Pool(contexts[-1]) if contexts else Pool()
