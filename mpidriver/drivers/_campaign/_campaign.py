"""A campaign: one run of a graph of quanta on a pool, recorded in the state database."""

import contextlib
import functools
import heapq
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING

from mpidriver.drivers._campaign._again import Again
from mpidriver.drivers._campaign._elsewhere import Elsewhere
from mpidriver.drivers._campaign._graph import Graph, Walk
from mpidriver.drivers._campaign._ledger import Ledger
from mpidriver.drivers._campaign._result import CampaignResult, Observer
from mpidriver.drivers._campaign._run_quantum import provenance_of, run_quantum
from mpidriver.drivers._costs._costs import ExpectedSeconds, input_sizes
from mpidriver.drivers._desk import Desk
from mpidriver.drivers._quantum import Quantum
from mpidriver.drivers._stage import Part, Record
from mpidriver.drivers._stages import STAGES, code_digest
from mpidriver.drivers.planning import unplanned
from mpidriver.errors import MpidriverError, PoolStopped, RepositoryError
from mpidriver.options import digest
from mpidriver.pool import Terms

if TYPE_CHECKING:
    from mpidriver.pool import Outcome, Pool

__all__ = ["Campaign"]

log = logging.getLogger(__name__)

#: Quanta that are handed to the pool ahead of time, a rank; the others wait here, without their arguments.
AHEAD = 4

#: How often a campaign looks up from waiting for its own quanta.
LOOK_SECONDS = 0.5

#: How the cause of a failure begins that all further quanta would meet too: the disk is full, or not writable.
_REFUSED = f"{RepositoryError.__module__}.{RepositoryError.__name__}: "


class Campaign:
    """Runs the quanta of a graph as their inputs appear, without any other barrier.

    Quanta whose inputs, options and code are unchanged since they were done or failed are not run again. A quantum that
    fails blocks those that need it; all others are finished. What another run on the same database is running is
    waited for.

    Parameters
    ----------
    graph
        The quanta.
    desk
        The root's desk, with context and state database.
    pool
        Where quanta run.
    active
        Tells which quanta may run; the others are inputs that an earlier run must have left.
    observer
        Told of each quantum that ends.
    again
        What is run though nothing has changed.
    fail_fast
        Hand out nothing more after the first failure.
    isolate
        Run each quantum in a child process of its rank, so that one that crashes takes nothing with it.
    memory
        The most that such a child process may take, in bytes or as ``"4GiB"``; None for no limit.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        desk: Desk,
        pool: "Pool",
        active: Callable[[Quantum], bool] = lambda _: True,
        observer: Observer | None = None,
        again: Again = Again(),
        fail_fast: bool = False,
        isolate: bool = False,
        memory: int | str | None = None,
    ) -> None:
        self.result = CampaignResult()
        self._graph = graph
        self._desk = desk
        self._pool = pool
        self._active = active
        self._observer = observer
        self._again = again
        self._forced = again.forced(graph)
        self._fail_fast = fail_fast
        self._terms = Terms(isolate=isolate, memory=memory)
        self._walk = Walk(graph)
        self._ledger = Ledger(desk)
        self._runs: dict[str, Callable[..., Record]] = {}
        self._priority = graph.depths(ExpectedSeconds(self._ledger.known, input_sizes(graph)))
        self._order = {quantum: number for number, quantum in enumerate(graph)}
        self._backlog: list[tuple[float, int, Quantum]] = []
        self._in_flight: dict[Quantum, Future[Record]] = {}
        self._elsewhere = Elsewhere(desk.state)
        self._left = sum(map(active, graph))
        self._stopped = False
        self._fault: Exception | None = None
        self._ended = False
        self._lock = threading.RLock()
        self._over: Future[None] = Future()

    def forget_unplanned(self, verb: str) -> int:
        """Remove the quanta of a driver that the graph no longer has, with their products; return how many."""
        keys = unplanned(self._graph, self._ledger.known, verb)
        self._ledger.forget(keys)
        return len(keys)

    def run(self) -> CampaignResult:
        """Run the campaign to its end, or until the repository takes no more, and return how it ended."""
        active = filter(self._active, self._graph)
        self._desk.state.plan((quantum.key, quantum.task, dict(quantum.data_id.items())) for quantum in active)
        self._ledger.open()
        try:
            with self._turn():
                self._advance(deque((quantum, None) for quantum in self._walk.start()))
            while not self._over.done():
                with contextlib.suppress(PoolStopped):  # while other runs hold what is left: `_look` counts that
                    self._pool.wait([self._over], timeout=LOOK_SECONDS)
                self._look()
        finally:
            self._ledger.close()
        if self._fault is not None:
            raise self._fault
        self.result.failures.sort()
        return self.result

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Let one thread at a time go on with the campaign.

        If the campaign itself is at fault, as with a state database that is gone, nothing more is handed out; what runs
        is finished and recorded, or kept.
        """
        with self._lock:
            try:
                yield
                self._ledger.raise_fault()
            except Exception as error:
                self._fault = self._fault or error
                self._ledger.give_up()
                self._stop()
            ends = not self._ended and (self._left == 0 or (self._fault is not None and not self._in_flight))
            self._ended = self._ended or ends
        if ends:
            self._over.set_result(None)

    def _advance(self, events: deque[tuple[Quantum, bool | None]]) -> None:
        """Work off quanta that became ready (None) or ended (whether well), and hand out what there is room for."""
        while events or self._has_room():
            if not events:
                quantum = heapq.heappop(self._backlog)[-1]
                events.append((quantum, self._hand_out(quantum)))
                if events[-1][1] is None:
                    events.pop()
                continue
            quantum, succeeded = events.popleft()
            if succeeded is None:
                succeeded = self._receive(quantum)
            if succeeded is not None:
                ready, blocked = self._walk.end(quantum, succeeded=succeeded)
                for user, culprit in blocked:
                    self._block(user, culprit)
                events.extend((user, None) for user in ready)

    def _has_room(self) -> bool:
        return bool(self._backlog) and (self._stopped or len(self._in_flight) < AHEAD * self._pool.size)

    def _receive(self, quantum: Quantum) -> bool | None:
        """Take a quantum whose inputs are there; return whether it succeeded if that is known at once, else None."""
        if not self._active(quantum):
            return self._ledger.assume(quantum)
        if self._is_empty(quantum) and not self._stopped:
            self._ledger.empty(quantum)
            self._count(quantum, "done")
            return True
        self._line_up([quantum])
        return None

    def _hand_out(self, quantum: Quantum) -> bool | None:
        """Give a quantum to the pool; return whether it succeeded if that is known at once, else None."""
        if self._pool.stopping is not None:
            self._stop()
        if self._stopped:
            self._count(quantum, "left")
            return False
        stage = STAGES[quantum.task]
        inputs = self._inputs(quantum)
        try:
            prepared = stage.prepare(self._desk, quantum, inputs)
        except MpidriverError as error:
            self._fail(quantum, str(error))
            return False
        options = stage.options(self._desk.context.config)
        sources = [product for source in inputs for product in self._ledger.outputs(source)]
        digests = sorted(product.digest for product in sources)
        inputs_digest = digest(code_digest(), quantum.task, options, prepared.fingerprint, digests)
        known = self._as_known(quantum, inputs_digest)
        if known is not None:
            return known
        claim = self._ledger.claim(quantum)
        if claim != "claimed":
            return self._leave_to_others(quantum, claim)
        provenance = provenance_of(prepared.files, sources, options)
        self._ledger.trace(quantum, provenance)
        try:
            run, cost = self._runner(quantum.task), self._priority[quantum]
            future = self._pool.submit(run, quantum, prepared.arguments, provenance, cost=cost, terms=self._terms)
        except PoolStopped:
            self._stop()
            self._count(quantum, "left")
            return False
        self._in_flight[quantum] = future
        future.add_done_callback(functools.partial(self._done, quantum))
        return None

    def _as_known(self, quantum: Quantum, inputs_digest: str) -> bool | None:
        """Return whether an earlier run with the same inputs has done a quantum or failed, none if it must run."""
        unchanged = self._ledger.is_unchanged(quantum, inputs_digest)
        if quantum in self._forced:
            return None
        if unchanged:
            self._count(quantum, "unchanged")
            return True
        record = self._ledger.failed_before(quantum, inputs_digest)
        if record is None or self._again.retries(record):
            return None
        self.result.failed_before += 1
        self.result.failures.append((quantum.key, record.error or ""))
        self._count(quantum, "failed")
        return False

    def _leave_to_others(self, quantum: Quantum, claim: str) -> bool | None:
        """Take the outcome of a quantum that another run has, or wait for it if there is none yet."""
        if claim == "held":
            self._elsewhere.add(quantum)
            return None
        if claim == "failed":
            self._count_failure(quantum, self._ledger.cause(quantum))
            return False
        self._count(quantum, "unchanged")
        return True

    def _look(self) -> None:
        """See whether the pool is being stopped, and whether other runs have let go of what they held."""
        with self._turn():
            if self._pool.stopping is not None:
                self._stop()
            self._go_on([])

    def _go_on(self, events: Iterable[tuple[Quantum, bool | None]]) -> None:
        """Work off what has ended, and what other runs have let go; after a fault no more."""
        if self._fault is None:
            self._line_up(self._elsewhere.take_free())
            self._advance(deque(events))

    def _line_up(self, quanta: Iterable[Quantum]) -> None:
        for quantum in quanta:
            heapq.heappush(self._backlog, (-self._priority[quantum], self._order[quantum], quantum))

    def _runner(self, task: str) -> Callable[..., Record]:
        """Return what runs quanta of a task: one function a task, named after it, whose seconds the pool learns."""
        if task not in self._runs:
            run = functools.partial(run_quantum, self._desk.context)
            run.__qualname__ = task  # type: ignore[attr-defined]
            self._runs[task] = run
        return self._runs[task]

    def _inputs(self, quantum: Quantum) -> list[Quantum]:
        """Return the inputs that have left products."""
        return [source for source in self._walk.inputs(quantum) if self._ledger.outputs(source)]

    def _is_empty(self, quantum: Quantum) -> bool:
        """Tell whether a quantum has nothing to work on, as a patch that no frame turned out to touch."""
        node, inputs = self._graph[quantum], set(self._inputs(quantum))
        return not inputs.issuperset(node.needs) or (bool(node.uses) and inputs.isdisjoint(node.uses))

    def _done(self, quantum: Quantum, future: "Future[Record]") -> None:
        """Record the outcome of a quantum and hand out what it makes ready; runs on whichever thread drives."""
        with self._turn():
            del self._in_flight[quantum]
            self._go_on([(quantum, self._conclude(quantum, future))])

    def _conclude(self, quantum: Quantum, future: "Future[Record]") -> bool:
        if future.cancelled() or isinstance(future.exception(), PoolStopped):
            if self._pool.stopping is not None:
                self._stop()
            self._count(quantum, "left")
            return False
        outcome = future.outcome  # type: ignore[attr-defined]
        self.result.seconds[quantum.task] += outcome.seconds
        if outcome.error is not None:
            self._conclude_failure(quantum, outcome)
            return False
        self._ledger.done(quantum, outcome, outcome.value)
        self._count_parts(outcome.value.parts)
        self._count(quantum, "done")
        return True

    def _conclude_failure(self, quantum: Quantum, outcome: "Outcome") -> None:
        cause = outcome.error.cause.splitlines()[0]  # of a nested map, the lines of its traceback follow
        if not cause.startswith(_REFUSED):
            self._fail(quantum, cause.removeprefix("mpidriver.errors."), outcome)
            return
        refusal = cause.removeprefix(_REFUSED)
        self._ledger.refused(quantum, refusal)
        self._count_failure(quantum, refusal)
        self.result.refusal = self.result.refusal or refusal
        self._stop()

    def _count_parts(self, parts: "Iterable[Part]") -> None:
        """Count the members of a group, and name those that failed."""
        for part in parts:
            self.result.counts[part.quantum.task]["failed" if part.error else "done"] += 1
            if part.error:
                self.result.failures.append((part.quantum.key, part.error))

    def _fail(self, quantum: Quantum, cause: str, outcome: "Outcome | None" = None) -> None:
        log.info("%s failed: %s", quantum, cause)
        self._ledger.failed(quantum, cause, outcome)
        self._count_failure(quantum, cause)

    def _count_failure(self, quantum: Quantum, cause: str) -> None:
        self.result.failures.append((quantum.key, cause))
        self._count(quantum, "failed")
        if self._fail_fast:
            self._stop()

    def _stop(self) -> None:
        """Hand out nothing more."""
        if not self._stopped:
            self._stopped = True
            self._line_up(self._elsewhere.take_all())  # to be counted as left
            for future in list(self._in_flight.values()):
                future.cancel()

    def _block(self, quantum: Quantum, culprit: Quantum) -> None:
        if not self._active(quantum):
            return
        if not self._stopped:
            self._ledger.blocked(quantum, culprit)
        self._count(quantum, "left" if self._stopped else "blocked")

    def _count(self, quantum: Quantum, status: str) -> None:
        log.debug("%s is %s", quantum, status)
        if status == "left":
            self.result.stopped = self._pool.stopping or ""
        self.result.counts[quantum.task][status] += 1
        self._left -= 1
        if self._observer is not None:
            self._observer.advance(quantum.task, status)
