"""A rank's messages: received, acted upon and answered by whichever of its threads has time."""

import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from mpidriver.pool._futures._callbacks import Callbacks
from mpidriver.pool._rank._context import MainThread
from mpidriver.pool._rank._leader import Leader
from mpidriver.pool._rank._progress import Progress
from mpidriver.pool._rank._worker import Worker
from mpidriver.pool._transport._post import Handler, Post

if TYPE_CHECKING:
    from mpidriver.pool._rank._calls import Call
    from mpidriver.pool._rank._scope import Scope
    from mpidriver.pool._rank._work import Work

__all__ = ["Traffic", "Values"]


class Values(Protocol):
    """Values that lie on ranks and are asked for by messages."""

    dropped: deque[Any]
    """What nobody refers to any more, not let go of yet."""

    @property
    def await_messages(self) -> bool:
        """Whether others may ask for them."""

    def release_dropped(self) -> None:
        """Let go of what nobody refers to any more."""


class Traffic:
    """The messages of one rank.

    While the main thread waits it drives them; while it runs a task, or the code between two waits, a progress thread
    does if this rank leads anything.

    Parameters
    ----------
    post
        Sends messages.
    lock
        Guards all of the rank.
    main
        What the main thread is doing.
    leader, worker
        The parts of this rank.
    values
        Values that lie on this rank.
    callbacks
        What futures want done.
    """

    def __init__(
        self,
        post: Post,
        lock: threading.RLock,
        main: MainThread,
        leader: Leader,
        worker: Worker,
        values: tuple[Values, Values],
        callbacks: Callbacks,
    ) -> None:
        self.handlers: dict[int, Handler] = {}
        """What takes messages, by their kinds."""
        self.main_is_called = False
        """Whether another thread may have changed what the main thread waits for."""
        self._post = post
        self._wire = post.wire
        self._lock = lock
        self._main = main
        self._leader = leader
        self._worker = worker
        self._values = values
        self._callbacks = callbacks
        self._over: deque[tuple[Scope, Call]] = deque()
        self._long_work: Work | None = None
        self._progress: Progress | None = None

    def start_progress(self, on_error: Callable[[], None]) -> None:
        """Start the progress thread; `on_error` is called when it fails."""
        if self._wire.bell is not None:
            self._progress = Progress(self, self._main, self._wire.bell, on_error)
            self._progress.start()

    def stop_progress(self) -> None:
        """Stop the progress thread."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def drive(self) -> bool:
        """Receive, decide, send, and run what is due; return whether anything happened."""
        with self._lock:
            messages = self._wire.receive()
            for message in messages:
                self.handlers[message[0]](*message[1:])
            self._decide()
            if not self._main.waits:
                self._leader.look()
        if not ((self._callbacks.due and self._callbacks.run()) or messages):
            return False
        self.call_main()
        return True

    def flush(self) -> None:
        """Let all decide and do what they say, until they are content."""
        self._decide()
        self._leader.look()

    def _decide(self) -> None:
        while self._over:
            self._leader.drop(*self._over.popleft())
        for values in self._values:
            if values.dropped:
                values.release_dropped()
        touched, to_self = self._leader.touched, self._post.to_self
        while to_self or touched:
            while to_self:
                kind, *fields = to_self.popleft()
                self.handlers[kind](*fields)
            if touched:
                self._leader.decide()

    def abandon(self, scope: "Scope", call: "Call") -> None:
        """Drop a call soon: the end of a generator may come from the garbage collector, in the middle of anything."""
        self._over.append((scope, call))

    def call_main(self) -> None:
        """Let the main thread look if it sleeps: another thread may have changed what it waits for."""
        if not self._main.is_here and self._wire.bell is not None:
            self.main_is_called = True
            self._wire.bell.wake()

    # While the main thread computes

    def listen(self, *, again: bool = False, has_work: bool = False) -> None:
        """Let messages wake the progress thread if this rank leads something and its main thread computes.

        Parameters
        ----------
        again
            The progress thread was woken since, and does not listen any more.
        has_work
            It is known already that messages may arrive.
        """
        bell = self._wire.bell
        if self._progress is None or bell is None or (bell.helper_listens and not again):
            return
        with self._lock:
            listens = not self._main.waits and (has_work or self.has_open_work())
            if not (listens or bell.helper_listens):
                return
            bell.listen(listens=listens)
            is_late = listens and self._wire.has_message()
        if is_late:
            self.drive()  # what has come meanwhile has rung nobody

    def has_open_work(self) -> bool:
        """Whether messages may arrive that somebody waits for."""
        with self._lock:
            if self._callbacks.due or self._over or not self._leader.is_quiet:
                return True
            shared, held = self._values
            return shared.await_messages or held.await_messages

    @property
    def is_moving(self) -> bool:
        """Whether something is being sent or received, which goes on only while this rank looks."""
        return self._wire.is_moving

    def rescue(self) -> None:
        """Give back what waits behind a task that has been running since the last call."""
        with self._lock:
            work = self._main.running_work
        if work is None or work is not self._long_work:
            self._long_work = work
            return
        self.drive()
        with self._lock:
            if self._main.running_work is work:
                self._worker.release_inbox()
                self._worker.trim(work)
                self.flush()

    def forget_long_work(self) -> None:
        """Let go of the batch that `rescue` has seen, which would keep its items."""
        self._long_work = None
