"""What the tasks of a rank scatter: calls that are begun, given items, withdrawn and ended."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from mpidriver.errors import PoolError
from mpidriver.pool._rank._calls import Call
from mpidriver.pool._rank._context import Context
from mpidriver.pool._rank._leader import Leader
from mpidriver.pool._rank._scope import Scope
from mpidriver.pool._rank._stopping import Stopping
from mpidriver.pool._rank._submitted import SubmitCall
from mpidriver.pool._terms import PLAIN, Terms
from mpidriver.pool._values import _held

if TYPE_CHECKING:
    from mpidriver.pool._rank._engine import Engine

__all__ = ["Scattering", "name_of"]

CallT = TypeVar("CallT", bound=Call)


class Scattering:
    """What tasks scatter on one rank.

    Parameters
    ----------
    engine
        Engine of the rank.
    leader, stopping
        Its parts.
    """

    def __init__(self, engine: "Engine", leader: Leader, stopping: Stopping) -> None:
        self._engine = engine
        self._leader = leader
        self._stopping = stopping
        self._lock, self._traffic, self._callbacks = engine.lock, engine.traffic, engine.callbacks
        self._held = engine.held

    def start(
        self,
        scope: Scope,
        function: Callable[..., Any],
        make: Callable[[int], CallT],
        *,
        terms: Terms = PLAIN,
        name: str | None = None,
        keywords: bool = False,
    ) -> CallT:
        """Make a call, without items yet.

        Raises
        ------
        PoolError
            If its items want more ranks than there are, or its function cannot be sent to them.

        Parameters
        ----------
        function, terms, keywords
            For `Scope.function`.
        make
            Makes the call from the function's key.
        name
            What its outcomes are named; None means after the function.
        """
        self._check(scope, terms)
        self._leader.wake_next(scope)
        with self._lock:
            call = make(scope.function(function, terms, keywords=keywords))
            call.name = name or name_of(function)
            self._leader.begin(scope, call)
        return call

    def _check(self, scope: Scope, terms: Terms) -> None:
        self._stopping.check()
        if terms.ranks > 1 and terms.ranks > scope.most_ranks:
            raise PoolError(f"ranks={terms.ranks}: an item can have at most {scope.most_ranks} ranks of this pool")

    def wake_next(self, scope: Scope) -> None:
        """Let the rank wake that will be given the task that is submitted next."""
        self._leader.wake_next(scope)

    def submit(
        self,
        scope: Scope,
        call: SubmitCall,
        function: Callable[..., Any],
        *,
        terms: Terms,
        name: str | None = None,
        keywords: bool = False,
        cost: float = 0.0,
    ) -> None:
        """Begin a call of one item and hand that out: at once if its function is known, a rank idle and nothing ready.

        Raises
        ------
        PoolError
            As `start` does.

        Parameters
        ----------
        function, terms, name, keywords
            As for `start`.
        cost
            Expected work.
        """
        self._check(scope, terms)
        costs = [cost] if cost else None
        with self._lock:
            call.function = scope.function(function, terms, keywords=keywords)
            call.name = name or name_of(function)
            self._leader.begin(scope, call)
            if terms is not PLAIN or _held.exist() or not self._leader.hand_out_at_once(scope, call, costs):
                self._add(scope, call, range(1), costs)
            self._traffic.flush()
        self._traffic.call_main()
        self._traffic.listen(has_work=True)

    def add(
        self, scope: Scope, call: Call, indexes: Sequence[int], costs: Any = None, *, then_waits: bool = False
    ) -> None:
        """Add items to a call.

        Parameters
        ----------
        indexes, costs
            For `Scheduler.add`.
        then_waits
            The caller waits for them at once: they are handed out when it does, to its own rank too.
        """
        with self._lock:
            self._add(scope, call, indexes, costs)
            if then_waits:
                return
            self._traffic.flush()
        self._traffic.call_main()
        self._traffic.listen(has_work=True)

    def _add(self, scope: Scope, call: Call, indexes: Sequence[int], costs: Any) -> None:
        if self._leader.observer is not None and scope.parent is None:
            self._leader.observer.grow(len(indexes))
        self._put(scope, call, indexes, costs)
        self._leader.touch(scope)

    def _add_together(self, scope: Scope, call: Call) -> None:
        with self._lock:
            if scope.is_crippled:
                raise PoolError("a rank of this gang has died")
            call.left += len(scope.scheduler.own)
            scope.has_communicator = True
            scope.scheduler.add_together(call.serial, call.function)
            self._leader.touch(scope)

    def extend(self, scope: Scope, call: Call, index: int) -> None:
        """Add an item to a call because another has its result, unless nobody wants it any more."""
        if call.serial not in scope.abandoned:
            self._put(scope, call, [index])

    def _put(self, scope: Scope, call: Call, indexes: Sequence[int], costs: Any = None) -> None:
        """Put items of a call into the backlog, each where its held arguments are."""
        call.left += len(indexes)
        ranks = scope.functions[call.function].terms.ranks
        places = self._held.places(call, indexes) if _held.exist() else None
        scope.scheduler.add(call.serial, call.function, indexes, costs, places, ranks=ranks)

    def run(
        self, context: Context, scope: Scope, call: Call, indexes: Sequence[int], costs: Sequence[float] | None
    ) -> None:
        """Add items to a call, and wait until it has all results."""
        with self._until_done(context, scope, call):
            self.add(scope, call, indexes, costs, then_waits=True)

    def run_together(self, context: Context, scope: Scope, call: Call) -> None:
        """Let all ranks of a scope run one item each of a call at the same time, and wait until they are done."""
        with self._until_done(context, scope, call):
            self._add_together(scope, call)

    @contextmanager
    def _until_done(self, context: Context, scope: Scope, call: Call) -> Iterator[None]:
        try:
            yield
            self._engine.waiting.until(context, lambda: not call.left)
        finally:
            with self._lock:
                self._leader.drop(scope, call)
                self._traffic.flush()
        self.check_result(call)

    def check_result(self, call: Call) -> None:
        """Raise `PoolStopped` if items of a call stayed undone."""
        self._stopping.check_result(call)

    def withdraw(self, scope: Scope, call: SubmitCall) -> bool:
        """Take a submitted task out of the backlog; false if it was handed out."""
        with self._lock:
            if call.future.running() or not scope.cancel_ready(call):
                return False
            self._leader.end(scope, call)
            self._leader.touch(scope)
            self._traffic.flush()
        return True

    def cancel(self, scope: Scope, call: SubmitCall) -> bool:
        """Cancel a submitted task and its future; false if it was handed out."""
        if not self.withdraw(scope, call):
            return False
        call.future.cancel_now()
        self.future_has_changed()
        return True

    def future_has_changed(self) -> None:
        """Let those who wait look again: a future became done by other means than a message."""
        self._callbacks.resolved += 1
        self._traffic.call_main()

    def cancel_all(self, scope: Scope) -> None:
        """Withdraw what is not handed out of all calls of a scope."""
        for call in list(scope.calls.values()):
            if not (isinstance(call, SubmitCall) and call.future.cancel()):
                with self._lock:
                    scope.cancel_ready(call)


def name_of(function: Callable[..., Any]) -> str:
    """Return what a call of a function is named if nobody says."""
    return str(getattr(function, "__qualname__", type(function).__qualname__))
