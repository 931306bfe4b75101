"""Running tasks: what this process is in the middle of."""

import threading
import time
import weakref
from typing import TYPE_CHECKING

from mpidriver.errors import LeaderLostError
from mpidriver.pool._rank._scope import Scope
from mpidriver.pool._rank._work import Work
from mpidriver.pool._transport._messages import ScopeId

if TYPE_CHECKING:
    from mpidriver.pool._futures._executor import PoolExecutor
    from mpidriver.pool._rank._engine import Engine

__all__ = ["Context", "MainThread", "active_contexts", "contexts_of_thread"]

active_contexts: "list[Context]" = []
"""The tasks that the main thread is in the middle of, outermost first, with the root's main program below them."""

_elsewhere = threading.local()


def contexts_of_thread() -> "list[Context]":
    """Return the tasks that this thread is in the middle of; of a thread without any, those of the main thread."""
    return getattr(_elsewhere, "contexts", None) or active_contexts


def _contexts_begun_here() -> "list[Context]":
    if threading.current_thread() is threading.main_thread():
        return active_contexts
    if not hasattr(_elsewhere, "contexts"):
        _elsewhere.contexts = []
    contexts: list[Context] = _elsewhere.contexts
    return contexts


class Context:
    """A task while it runs, or the root's main program.

    Parameters
    ----------
    engine
        Engine of its rank.
    work
        Batch it belongs to, None for the main program.
    """

    def __init__(self, engine: "Engine", work: Work | None) -> None:
        self.engine = engine
        self.work = work
        self.scope: Scope | None = None
        """What it scatters, from its first use of the pool on."""
        self.opener: Context | None = None
        """For a part of a pool: the task that has split it off."""
        self.closed = False
        self.is_orphan = False
        """Whether a leader above has died: nobody wants its result."""
        self.waited_seconds = 0.0
        self.inner_busy_seconds = 0.0
        self.inner_idle_seconds = (0.0, 0.0)
        """Lost to dependency and to stragglers in what it has scattered."""
        self.began = time.perf_counter()
        self._executors: weakref.WeakSet[PoolExecutor] | None = None

    @property
    def executors(self) -> "weakref.WeakSet[PoolExecutor]":
        """Executors of this task that are not shut down."""
        if self._executors is None:
            self._executors = weakref.WeakSet()
        return self._executors

    def end_executors(self, *, cancel: bool) -> None:
        """Shut down its executors: nothing outlives its task."""
        for executor in tuple(self._executors or ()):
            executor.end(cancel=cancel)

    @property
    def reach(self) -> int:
        """How many ranks it can have at most; for the main program, how many were started."""
        if self.work is None and self.opener is None:
            return self.engine.size
        if self.scope is not None and self.scope.scheduler.owns_ranks:
            return len(self.scope.scheduler.own)
        if self.work is None:
            return self.engine.size
        return 1 + len(self.work.standing.members) if self.work.standing.members else self.work.standing.reach

    @property
    def is_spent(self) -> bool:
        """Whether nothing of it will be run any more: its leader may have given the rank to another scope already."""
        return self.work is not None and (self.work.is_gone or self.work.is_over)

    def check(self) -> None:
        """Stop a task whose result nobody wants."""
        if self.is_orphan:
            raise LeaderLostError

    @property
    def busy_seconds(self) -> float:
        """Seconds of work until now: its own outside of waits, and all that was done for it."""
        inner = self.inner_busy_seconds + (self.scope.busy_seconds if self.scope is not None else 0.0)
        return time.perf_counter() - self.began - self.waited_seconds + inner


class MainThread:
    """What the main thread of a rank is doing: the tasks that it is in the middle of, and whether it waits.

    The main thread of a pool of one rank is the one that has opened it.
    """

    def __init__(self) -> None:
        self._ident = threading.get_ident()
        self._active = _contexts_begun_here()
        self.contexts: list[Context] = []
        """Outermost first."""
        self.waits = False
        """Whether it drives messages."""
        self.only_drives = False
        """Whether it waits for a message that the running task needs, and takes no other task meanwhile."""

    @property
    def is_here(self) -> bool:
        """Whether it is the calling thread."""
        return threading.get_ident() == self._ident

    @property
    def innermost(self) -> Context | None:
        """The task that was begun last."""
        return self.contexts[-1] if self.contexts else None

    @property
    def running_work(self) -> Work | None:
        """The batch that it runs, None while it waits, in the main program, or when nothing of it is left to run."""
        innermost = self.innermost
        return None if innermost is None or self.waits or innermost.is_spent else innermost.work

    def enters(self, context: Context) -> None:
        """Note that it begins a task, or the main program."""
        self.contexts.append(context)
        self._active.append(context)

    def leaves(self, context: Context) -> None:
        """Note that a task is over."""
        context.closed = True
        self.contexts.remove(context)
        self._active.remove(context)

    def is_in_task_of(self, scope: ScopeId) -> bool:
        """Whether it is in the middle of a task of that scope."""
        return any(context.work is not None and context.work.scope == scope for context in self.contexts)

    def leads_a_wait_of(self, scope: ScopeId) -> bool:
        """Whether it waits for what that scope does, though perhaps it runs something else on top of the wait."""
        return any(
            context.scope is not None and context.scope.name == scope and context.scope.scheduler.home_waits_for_work
            for context in self.contexts
        )

    def may_take(self, scope: ScopeId) -> bool:
        """Whether it may run a batch of that scope now, or next."""
        going_on = [context for context in self.contexts if not context.is_spent]
        if not going_on:
            return True
        innermost = going_on[-1]
        if innermost.scope is None:
            return scope == (innermost.work and innermost.work.scope)
        waits = self.waits and not self.only_drives
        if not waits and innermost is self.innermost:  # from a spent task on top it goes back to its wait
            return False
        return all(context.work is None or context.work.scope != scope for context in going_on)
