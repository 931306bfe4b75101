"""Outcomes on their way to the state database: written together, and kept in a file if it takes no more."""

import json
import logging
import threading
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpidriver.errors import RepositoryError
from mpidriver.store import FrameUpdate, Product, QuantumUpdate, write_text

if TYPE_CHECKING:
    from mpidriver.store import StateDatabase

__all__ = ["Outcomes"]

log = logging.getLogger(__name__)

#: Outcomes are written to the database together, this many seconds after each other.
FLUSH_SECONDS = 0.5


class Outcomes:
    """Writes outcomes to the database from a thread of its own, so that none waits for the next one.

    Parameters
    ----------
    state
        The state database.
    path
        File for outcomes that the database does not take; `restore` of a later run records them.
    """

    def __init__(self, state: "StateDatabase", path: Path) -> None:
        self._state = state
        self._path = path
        self._waiting: list[tuple[QuantumUpdate, FrameUpdate | None]] = []
        self._adding = threading.Lock()
        self._writing = threading.Lock()
        self._fault: Exception | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write_again_and_again, name="mpidriver-outcomes", daemon=True)

    def start(self) -> None:
        """Begin to write what is added."""
        self._thread.start()

    def add(self, update: QuantumUpdate, frame: FrameUpdate | None = None) -> None:
        """Take an outcome, and what was found out about its frame."""
        with self._adding:
            self._waiting.append((update, frame))

    def raise_fault(self) -> None:
        """Raise the error that the database has met outcomes with, if there was one."""
        if self._fault is not None:
            raise self._fault

    def close(self) -> None:
        """Write what has not been written yet.

        Raises
        ------
        RepositoryError
            If the database does not take it; it is then kept in the file.
        """
        self._stop.set()
        self._thread.join()
        try:
            self._write()
        except RepositoryError:
            self._keep()
            raise

    def restore(self) -> None:
        """Record what earlier runs have kept in the file, but for quanta that have run again since."""
        if not self._path.exists():
            return
        try:
            kept = [_loaded(line) for line in self._path.read_text(encoding="utf-8").splitlines()]
        except (ValueError, TypeError, KeyError) as error:
            raise RepositoryError(
                f"{self._path}: damaged ({error}); remove it, and what it holds is made again"
            ) from error
        started = {record.key: record.started or 0.0 for record in self._state.quanta()}
        news = [(update, frame) for update, frame in kept if (update.started or 0.0) > started.get(update.key, 1e300)]
        self._record(news)
        log.info("%d outcomes that an earlier run could not record are recorded", len(news))
        self._path.unlink()

    def _write_again_and_again(self) -> None:
        while not self._stop.wait(FLUSH_SECONDS):
            try:
                self._write()
            except Exception as error:  # for the thread that can end the run
                self._fault = error
                return

    def _write(self) -> None:
        """Write what has come; it stays here if that fails."""
        with self._writing:
            with self._adding:
                taken, self._waiting = self._waiting, []
            try:
                self._record(taken)
            except BaseException:
                with self._adding:
                    self._waiting[:0] = taken
                raise

    def _record(self, outcomes: list[tuple[QuantumUpdate, FrameUpdate | None]]) -> None:
        frames = [frame for _, frame in outcomes if frame is not None]
        if frames:
            self._state.update_frames(frames)  # first: a quantum that is done has left nothing to be written
        if outcomes:
            self._state.record([update for update, _ in outcomes])

    def _keep(self) -> None:
        """Write to the file what has cost time; what is blocked or empty is found out again."""
        lines = [_line(update, frame) for update, frame in self._waiting if update.started is not None]
        if not lines:
            return
        try:
            before = self._path.read_text(encoding="utf-8") if self._path.exists() else ""
            write_text(self._path, before + "".join(lines))
        except (RepositoryError, OSError) as error:
            log.error("%d outcomes could not be kept either: %s", len(lines), error)
        else:
            log.warning("%d outcomes are kept in %s; the next run records them", len(lines), self._path)


def _line(update: QuantumUpdate, frame: FrameUpdate | None) -> str:
    found = None if frame is None else asdict(frame)
    return json.dumps([asdict(update), found], default=_plain) + "\n"


def _plain(value: Any) -> Any:
    """Return NumPy's values as Python's."""
    return value.tolist()


def _loaded(line: str) -> tuple[QuantumUpdate, FrameUpdate | None]:
    values, found = json.loads(line)
    products = values.pop("products")
    made = None if products is None else tuple(Product(**product) for product in products)
    return QuantumUpdate(**values, products=made), None if found is None else _frame_update(found)


def _frame_update(values: dict[str, Any]) -> FrameUpdate:
    import numpy as np

    corners = values.pop("corners")
    return FrameUpdate(**values, corners=None if corners is None else np.array(corners))
