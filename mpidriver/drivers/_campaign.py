"""A campaign: one run of a graph of quanta on a pool, recorded in the state database."""

import functools
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from mpidriver.drivers._desk import Desk
from mpidriver.drivers._graph import Graph, Walk
from mpidriver.drivers._quantum import Quantum
from mpidriver.drivers._stage import Context, Record
from mpidriver.drivers._stages import STAGES, code_digest
from mpidriver.errors import MpidriverError
from mpidriver.options import digest
from mpidriver.store import QuantumUpdate

if TYPE_CHECKING:
    from mpidriver.pool import Pool

__all__ = ["Campaign", "CampaignResult", "Observer", "run_quantum"]

#: Outcomes are written to the database together, at the latest after this many seconds.
FLUSH_SECONDS = 0.5


class Observer(Protocol):
    """Somebody who watches a campaign, as a progress bar does."""

    def grow(self, count: int) -> None:
        """Note that there are so many more quanta to run."""

    def advance(self, stage: str, status: str) -> None:
        """Note that a quantum of a stage has ended as done, unchanged, failed or blocked."""


@dataclass
class CampaignResult:
    """How a campaign ended."""

    counts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Stage to number of quanta done, unchanged, failed, blocked and, after a stop, left."""
    seconds: Counter[str] = field(default_factory=Counter)
    """Stage to seconds of work, over all ranks."""
    failures: list[tuple[str, str]] = field(default_factory=list)
    """Key and one-line cause of each failed quantum, by key."""

    @property
    def complete(self) -> bool:
        """Whether every quantum is done."""
        return not any(count[state] for count in self.counts.values() for state in ("failed", "blocked", "left"))


def run_quantum(context: Context, quantum: Quantum, arguments: dict[str, Any]) -> Record:
    """Run one quantum on this rank and return its record."""
    return STAGES[quantum.task].run(context, quantum, **arguments)


class Campaign:
    """Runs the quanta of a graph as their inputs appear, without any other barrier.

    Quanta whose inputs, options and code are unchanged since they were done are not run again. A quantum that fails
    blocks those that need it; all others are finished.

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
    clobber
        Run also what is unchanged.
    fail_fast
        Hand out nothing more after the first failure.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        desk: Desk,
        pool: "Pool",
        active: Callable[[Quantum], bool] = lambda _: True,
        observer: Observer | None = None,
        clobber: bool = False,
        fail_fast: bool = False,
    ) -> None:
        self.result = CampaignResult()
        self._desk = desk
        self._pool = pool
        self._active = active
        self._observer = observer
        self._clobber = clobber
        self._fail_fast = fail_fast
        self._walk = Walk(graph)
        self._graph = graph
        self._run = functools.partial(run_quantum, desk.context)
        self._priority = graph.depths(lambda quantum: STAGES[quantum.task].seconds)
        self._known = {record.key: record for record in desk.state.quanta()}
        self._outputs: dict[Quantum, tuple[str, ...]] = {}
        self._digests: dict[Quantum, str] = {}
        self._updates: list[QuantumUpdate] = []
        self._flushed = time.monotonic()
        self._lock = threading.RLock()
        self._stopped = False
        self._ended = 0
        self._over: Future[None] = Future()

    def run(self) -> CampaignResult:
        """Run the campaign to its end and return how it ended."""
        active = [quantum for quantum in self._graph if self._active(quantum)]
        self._total = len(active)
        self._desk.state.plan((quantum.key, quantum.task, dict(quantum.data_id.items())) for quantum in active)
        with self._lock:
            self._advance(deque(("ready", quantum, None) for quantum in self._walk.start()))
        self._finish_if_over()
        self._pool.wait([self._over])
        with self._lock:
            self._flush()
        self._over.result()
        self.result.failures.sort()
        return self.result

    def _advance(self, events: "deque[tuple[str, Quantum, Any]]") -> None:
        """Work off quanta that became ready or ended, and what follows from them."""
        while events:
            kind, quantum, detail = events.popleft()
            if kind == "ready":
                succeeded = self._release(quantum)
                if succeeded is None:
                    continue
            else:
                succeeded = detail
            ready, blocked = self._walk.end(quantum, succeeded=succeeded)
            for user, culprit in blocked:
                self._block(user, culprit)
            events.extend(("ready", user, None) for user in ready)

    def _release(self, quantum: Quantum) -> bool | None:
        """Hand a ready quantum out; return whether it succeeded if that is known at once, else none."""
        if not self._active(quantum):
            return self._assume(quantum)
        if self._stopped:
            self._count(quantum, "left")
            return False
        inputs = [source for source in self._walk.inputs(quantum) if self._outputs[source]]
        if self._is_empty(quantum, inputs):
            return self._pass_over(quantum)
        try:
            stage = STAGES[quantum.task]
            prepared = stage.prepare(self._desk, quantum, inputs)
        except MpidriverError as error:
            self._fail(quantum, QuantumUpdate(quantum.key, "failed", error=str(error)))
            return False
        options = stage.options(self._desk.context.config)
        sources = sorted(output for source in inputs for output in self._outputs[source])
        self._digests[quantum] = digest(code_digest(), quantum.task, options, prepared.fingerprint, sources)
        if not self._clobber and self._unchanged(quantum):
            self._count(quantum, "unchanged")
            return True
        future = self._pool.submit(self._run, quantum, prepared.arguments, cost=self._priority[quantum])
        future.add_done_callback(functools.partial(self._done, quantum))
        return None

    def _assume(self, quantum: Quantum) -> bool:
        """Take an input that this run does not make as the database has it."""
        record = self._known.get(quantum.key)
        self._outputs[quantum] = self._products(quantum)
        return record is not None and record.status == "done"

    def _is_empty(self, quantum: Quantum, inputs: list[Quantum]) -> bool:
        """Tell whether a quantum has nothing to work on, as a patch that no frame turned out to touch."""
        node = self._graph[quantum]
        lacks = any(source not in inputs for source in node.needs)
        return lacks or (bool(node.uses) and not any(source in inputs for source in node.uses))

    def _pass_over(self, quantum: Quantum) -> bool:
        self._outputs[quantum] = ()
        self._updates.append(QuantumUpdate(quantum.key, "done"))
        self._count(quantum, "done")
        return True

    def _unchanged(self, quantum: Quantum) -> bool:
        record = self._known.get(quantum.key)
        if record is None or record.status != "done" or record.inputs_digest != self._digests[quantum]:
            return False
        root = self._desk.context.repository.root
        products = self._desk.state.products(key=quantum.key)
        if not all((root / product.path).exists() for product in products):
            return False
        self._outputs[quantum] = tuple(product.digest for product in products)
        return True

    def _products(self, quantum: Quantum) -> tuple[str, ...]:
        return tuple(product.digest for product in self._desk.state.products(key=quantum.key))

    def _done(self, quantum: Quantum, future: "Future[Record]") -> None:
        """Record the outcome of a quantum and hand out what it makes ready; runs on whichever thread drives."""
        with self._lock:
            try:
                self._conclude(quantum, future)
            except BaseException as error:  # a broken state database must end the run, not only this callback
                if not self._over.done():
                    self._over.set_exception(error)
                raise
        self._finish_if_over()

    def _conclude(self, quantum: Quantum, future: "Future[Record]") -> None:
        outcome = future.outcome  # type: ignore[attr-defined]
        self.result.seconds[quantum.task] += outcome.seconds
        update = functools.partial(
            QuantumUpdate,
            quantum.key,
            started=outcome.started,
            seconds=outcome.seconds,
            peak_rss_bytes=outcome.peak_rss_bytes,
            rank=outcome.rank,
            host=outcome.host,
            inputs_digest=self._digests[quantum],
        )
        if outcome.error is None:
            record = outcome.value
            self._outputs[quantum] = tuple(product.digest for product in record.products)
            if record.frame is not None:
                self._desk.state.update_frames([record.frame])
            self._updates.append(update(status="done", products=record.products))
            self._count(quantum, "done")
        else:
            error = outcome.error
            cause = error.cause.removeprefix("mpidriver.errors.")
            self._fail(quantum, update(status="failed", error=cause, traceback=error.remote_traceback))
        if time.monotonic() - self._flushed >= FLUSH_SECONDS:
            self._flush()
        self._advance(deque([("ended", quantum, outcome.error is None)]))

    def _fail(self, quantum: Quantum, update: QuantumUpdate) -> None:
        self._updates.append(update)
        self.result.failures.append((quantum.key, str(update.error)))
        self._stopped = self._stopped or self._fail_fast
        self._count(quantum, "failed")

    def _block(self, quantum: Quantum, culprit: Quantum) -> None:
        if not self._active(quantum):
            return
        if self._stopped:
            self._count(quantum, "left")
            return
        self._updates.append(QuantumUpdate(quantum.key, "blocked", error=f"waits for {culprit.key}"))
        self._count(quantum, "blocked")

    def _count(self, quantum: Quantum, status: str) -> None:
        self.result.counts[quantum.task][status] += 1
        self._ended += 1
        if self._observer is not None:
            self._observer.advance(quantum.task, status)

    def _flush(self) -> None:
        updates, self._updates = self._updates, []
        if updates:
            self._desk.state.record(updates)
        self._flushed = time.monotonic()

    def _finish_if_over(self) -> None:
        with self._lock:
            over = self._ended == self._total and not self._over.done()
        if over:
            self._over.set_result(None)
