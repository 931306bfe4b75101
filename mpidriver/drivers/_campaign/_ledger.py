"""The ledger of a campaign: what the database knew of each quantum, what its inputs were, what has become of it."""

from typing import TYPE_CHECKING, Any

from mpidriver.drivers._campaign._outcomes import Outcomes
from mpidriver.drivers._quantum import Quantum
from mpidriver.store import QuantumUpdate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mpidriver.drivers._desk import Desk
    from mpidriver.drivers._stage import Part, Record
    from mpidriver.pool import Outcome
    from mpidriver.store import FrameUpdate, Product, QuantumRecord

__all__ = ["Ledger"]


class Ledger:
    """Keeps what a campaign must know and record of its quanta.

    Parameters
    ----------
    desk
        The root's desk, with repository and state database.
    """

    def __init__(self, desk: "Desk") -> None:
        self._state = desk.state
        self._root = desk.context.repository.root
        self._to_write = Outcomes(desk.state, desk.context.repository.unrecorded_path)
        self._to_write.restore()
        self._known = {record.key: record for record in desk.state.quanta()}
        self._outputs: dict[Quantum, tuple[Product, ...]] = {}
        self._provenance: dict[Quantum, dict[str, Any]] = {}
        self._inputs: dict[Quantum, str] = {}
        self._given_up = False

    @property
    def known(self) -> "Iterable[QuantumRecord]":
        """What the database knew of quanta before this campaign."""
        return self._known.values()

    def forget(self, keys: "Iterable[str]") -> None:
        """Remove quanta of the past, first their files, so that a run that dies on the way leaves none unknown."""
        keys = list(keys)
        for key in keys:
            for product in self._state.products(key=key):
                (self._root / product.path).unlink(missing_ok=True)
        self._state.forget(keys)
        for key in keys:
            del self._known[key]

    def outputs(self, quantum: Quantum) -> "tuple[Product, ...]":
        """Return the products of a quantum that has ended; empty if it left none."""
        return self._outputs[quantum]

    def assume(self, quantum: Quantum) -> bool:
        """Take a quantum that this run does not make as the database has it; return whether it is done."""
        record = self._known.get(quantum.key)
        done = record is not None and record.status == "done"
        self._outputs[quantum] = self._recorded(quantum) if done else ()
        return done

    def is_unchanged(self, quantum: Quantum, inputs_digest: str) -> bool:
        """Tell whether a quantum was done with the same inputs before and its products are still there."""
        self._inputs[quantum] = inputs_digest
        record = self._known.get(quantum.key)
        if record is None or record.status != "done" or record.inputs_digest != inputs_digest:
            return False
        if not all(self._stands(product) for product in self._state.products(key=quantum.key)):
            return False
        self._outputs[quantum] = self._recorded(quantum)
        return True

    def failed_before(self, quantum: Quantum, inputs_digest: str) -> "QuantumRecord | None":
        """Return what is known of a quantum that has failed with the same inputs before, none if it has not."""
        record = self._known.get(quantum.key)
        failed = record is not None and record.status == "failed" and record.inputs_digest == inputs_digest
        return record if failed else None

    def claim(self, quantum: Quantum) -> str:
        """Claim a quantum for this run.

        Returns
        -------
        str
            ``claimed``; ``held`` if another run on the same database runs it; or ``done`` or ``failed``, if one has
            since this campaign began, with the same inputs, so that it is not run again.
        """
        record = self._state.claim(quantum.key)
        if record is None:
            return "held"
        if record.status not in ("done", "failed") or _is_as_known(record, self._known.get(quantum.key)):
            return "claimed"
        self._known[quantum.key] = record
        inputs_digest = self._inputs[quantum]
        failed = record.status == "failed" and record.inputs_digest == inputs_digest
        if not failed and not self.is_unchanged(quantum, inputs_digest):
            return "claimed"
        self._state.release(quantum.key)
        return record.status

    def cause(self, quantum: Quantum) -> str:
        """Return why a quantum has failed, by what the database knows."""
        return self._known[quantum.key].error or "failed in another run"

    def _stands(self, product: "Product") -> bool:
        """Tell whether a product is there, as large as it was."""
        try:
            return (self._root / product.path).stat().st_size == product.size
        except OSError:
            return False

    def trace(self, quantum: Quantum, provenance: dict[str, Any]) -> None:
        """Keep what the products of a quantum are going to be made of, to be recorded with them."""
        self._provenance[quantum] = provenance

    def done(self, quantum: Quantum, outcome: "Outcome", record: "Record") -> None:
        """Record that a quantum has run and what it has made."""
        self._outputs[quantum] = record.products
        self._note_parts(record.parts)
        known = {"inputs_digest": self._inputs[quantum], "provenance": self._provenance.pop(quantum, None)}
        self._note(quantum, "done", record.products, frame=record.frame, **_measured(outcome), **known)

    def _note_parts(self, parts: "tuple[Part, ...]") -> None:
        """Record the members of a group; those that the database does not have are entered first."""
        new = [part.quantum for part in parts if part.quantum.key not in self._known]
        if new:
            self._state.plan((quantum.key, quantum.task, dict(quantum.data_id.items())) for quantum in new)
        for part in parts:
            status = "failed" if part.error else "done"
            self._to_write.add(QuantumUpdate(part.quantum.key, status, error=part.error or None))

    def failed(self, quantum: Quantum, error: str, outcome: "Outcome | None" = None) -> None:
        """Record that a quantum has failed; what could not even be prepared has no inputs to fail with again."""
        measured = {} if outcome is None or outcome.error is None else _measured(outcome)
        traceback = outcome.error.remote_traceback if outcome is not None and outcome.error is not None else None
        digest = self._inputs.get(quantum, "")
        self._note(quantum, "failed", (), error=error, traceback=traceback, inputs_digest=digest, **measured)

    def refused(self, quantum: Quantum, error: str) -> None:
        """Record that the repository took no product of a quantum: it is not to blame and will be run again."""
        self._note(quantum, "ready", (), error=error)

    def empty(self, quantum: Quantum) -> None:
        """Record that there was nothing for a quantum to work on."""
        self._outputs[quantum] = ()
        self._note(quantum, "done", ())

    def blocked(self, quantum: Quantum, culprit: Quantum) -> None:
        """Record that a quantum cannot run because of another."""
        self._note(quantum, "blocked", (), error=f"waits for {culprit.key}")

    def open(self) -> None:
        """Begin to write what is recorded."""
        self._to_write.start()

    def raise_fault(self) -> None:
        """Raise the error that the database has met what was recorded with, if there was one."""
        self._to_write.raise_fault()

    def give_up(self) -> None:
        """Ask the database for nothing more; what is still recorded is written, or kept, at the end."""
        self._given_up = True

    def close(self) -> None:
        """Write what has not been written yet.

        Raises
        ------
        RepositoryError
            If the database does not take it.
        """
        self._to_write.close()

    def _note(
        self,
        quantum: Quantum,
        status: str,
        products: tuple["Product", ...],
        frame: "FrameUpdate | None" = None,
        **values: Any,
    ) -> None:
        self._to_write.add(QuantumUpdate(quantum.key, status, products=products, **values), frame)
        if not self._given_up:
            self._retire(quantum, {product.path for product in products})

    def _retire(self, quantum: Quantum, kept: set[str]) -> None:
        """Remove products of an earlier run that this one has not made again: they belong to inputs of the past."""
        if quantum.key in self._known:
            for product in self._state.products(key=quantum.key):
                if product.path not in kept:
                    (self._root / product.path).unlink(missing_ok=True)

    def _recorded(self, quantum: Quantum) -> "tuple[Product, ...]":
        return tuple(self._state.products(key=quantum.key))


def _is_as_known(record: "QuantumRecord", known: "QuantumRecord | None") -> bool:
    """Tell whether no other run has ended a quantum since it was looked up."""
    return known is not None and (known.status, known.attempt, known.started) == (
        record.status,
        record.attempt,
        record.started,
    )


def _measured(outcome: "Outcome") -> dict[str, Any]:
    return {
        "started": outcome.started,
        "seconds": outcome.seconds,
        "peak_rss_bytes": outcome.peak_rss_bytes,
        "rank": outcome.rank,
        "host": outcome.host,
    }
