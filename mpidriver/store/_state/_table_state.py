"""A state database made of three tables, whichever back end keeps them: runs, frames and quanta."""

import socket
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any, Protocol, Self

from mpidriver.store._state._records import Frame, FrameUpdate, Product, QuantumRecord, QuantumUpdate, RunRecord

if TYPE_CHECKING:
    import numpy as np

    from mpidriver.store._mongo._frames import MongoFrames
    from mpidriver.store._mongo._quanta import MongoQuanta
    from mpidriver.store._mongo._runs import MongoRuns
    from mpidriver.store._sqlite._frames import FrameTable
    from mpidriver.store._sqlite._quanta import QuantumTable
    from mpidriver.store._sqlite._runs import RunTable

__all__ = ["TableState"]


class Closable(Protocol):
    """A connection to a database."""

    def close(self) -> None:
        """Close it."""


class TableState:
    """What every back end is; see `StateDatabase` for what each method promises.

    Parameters
    ----------
    connection
        The connection that the tables share.
    runs, frames, quanta
        The tables.
    """

    def __init__(
        self,
        connection: Closable,
        *,
        runs: "RunTable | MongoRuns",
        frames: "FrameTable | MongoFrames",
        quanta: "QuantumTable | MongoQuanta",
    ) -> None:
        self._connection = connection
        self._runs = runs
        self._frames = frames
        self._quanta = quanta

    def begin_run(
        self, command: str, ranks: int, version: str, host: str | None = None, *, dead: Collection[int] = ()
    ) -> int:
        """Begin a run and return its number."""
        return self._runs.begin(command, ranks, version, host or socket.gethostname(), dead)

    def end_run(self, run_id: int, status: str) -> None:
        """End a run; quanta that it left running are ready again."""
        self._runs.end(run_id, status)

    def other_runs(self) -> list[RunRecord]:
        """Return the runs that are alive beside this one."""
        return self._runs.others()

    def claim(self, key: str) -> QuantumRecord | None:
        """Claim a quantum for the run in progress."""
        return self._quanta.claim(key)

    def release(self, key: str) -> None:
        """Give back a claimed quantum that was not run."""
        self._quanta.release(key)

    def held(self, keys: Collection[str]) -> set[str]:
        """Return which of these quanta other live runs hold."""
        return self._quanta.held(keys)

    def runs(self) -> list[RunRecord]:
        """Return all runs, the oldest first."""
        return self._runs.all()

    def add_frames(self, frames: Iterable[Frame]) -> int:
        """Add frames and return how many were new."""
        return self._frames.add(frames)

    def frames(
        self,
        *,
        exposure: int | Collection[int] | None = None,
        detector: int | Collection[int] | None = None,
        band: str | Collection[str] | None = None,
        kind: str | None = None,
    ) -> list[Frame]:
        """Return frames by exposure, detector and band."""
        return self._frames.select({"exposure": exposure, "detector": detector, "band": band, "kind": kind})

    def frame(self, exposure: int, detector: int, band: str | None = None) -> Frame:
        """Return one frame."""
        return self._frames.one(exposure, detector, band)

    def update_frames(self, updates: Iterable[FrameUpdate]) -> None:
        """Keep what the single-frame stage found out."""
        self._frames.update(updates)

    def replace_frames(self, frames: Iterable[Frame]) -> None:
        """Put new contents of files in the place of frames that are there."""
        self._frames.replace(frames)

    def frames_overlapping(self, corners_xyz: "np.ndarray[Any, Any]", *, pad_deg: float = 0.0) -> list[Frame]:
        """Return the frames whose footprint shares a point with a convex polygon."""
        return self._frames.overlapping(corners_xyz, pad_deg)

    def plan(self, quanta: Iterable[Any]) -> int:
        """Enter quanta as ready, each given as (key, task, data id); return how many were new."""
        return self._quanta.plan(quanta)

    def quanta(self, task: str | None = None, status: str | None = None) -> list[QuantumRecord]:
        """Return quanta in the order in which they were planned."""
        return self._quanta.select(task, status)

    def quantum(self, key: str) -> QuantumRecord:
        """Return one quantum."""
        return self._quanta.one(key)

    def earlier(self, key: str) -> list[QuantumRecord]:
        """Return what came of a quantum each time before it was run again."""
        return self._quanta.earlier(key)

    def record(self, updates: Iterable[QuantumUpdate]) -> None:
        """Record what has become of quanta, and free them."""
        self._quanta.record(updates)

    def forget(self, keys: Iterable[str]) -> None:
        """Remove quanta with their products."""
        self._quanta.forget(keys)

    def timings(self, run_id: int | None = None) -> dict[str, tuple[int, float]]:
        """Return how many quanta of each task were timed and their seconds together."""
        return self._quanta.timings(run_id)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of quanta by task and status."""
        return self._quanta.counts()

    def products(self, key: str | None = None, dataset: str | None = None) -> list[Product]:
        """Return products, of one quantum and of one dataset, by path."""
        return self._quanta.products(key, dataset)

    def close(self) -> None:
        """Close the database; a run that was not ended counts as dead."""
        self._runs.abandon()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()
