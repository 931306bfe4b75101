"""The contract of the state database, which every back end keeps, and how one is opened."""

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from mpidriver.store._repository import Repository
from mpidriver.store._state._options import read_state_options
from mpidriver.store._state._records import Frame, FrameUpdate, Product, QuantumRecord, QuantumUpdate, RunRecord

if TYPE_CHECKING:
    import numpy as np

__all__ = ["StateDatabase", "open_state"]


class StateDatabase(Protocol):
    """What is known of a survey: its frames, the quanta, their products and the runs.

    Only the root process of a run writes; its threads may share one object. When a method returns, what it has written
    is on disk. An embedded database belongs to one run at a time; one on a server is shared by several, which `claim`
    quanta before they run them.

    What a method does has happened as a whole or not at all: on SQLite for all that it was given, on MongoDB (which has
    transactions on some servers only) for each frame and each quantum with its products. Methods check everything
    before they write anything, and may be called again with the same values after an error: what is there already
    stays, what is missing is added.
    """

    def begin_run(
        self, command: str, ranks: int, version: str, host: str | None = None, *, dead: Collection[int] = ()
    ) -> int:
        """Begin a run and return its number.

        A run that died is taken over: its running quanta are ready again.

        Parameters
        ----------
        command, ranks, version
            Of the run.
        host
            Where its root is; none: here.
        dead
            Runs that are known to be over, so that nobody waits for a sign of life, as earlier attempts of a batch job.

        Raises
        ------
        RepositoryError
            If this object is in the middle of a run, or if another run is alive on a database that belongs to one at a
            time; names its process, host and start.
        """
        ...

    def end_run(self, run_id: int, status: str) -> None:
        """End a run; quanta that it left running are ready again, and those that it holds are free."""
        ...

    def other_runs(self) -> list[RunRecord]:
        """Return the runs that are alive beside this one, the oldest first; none where only one may be."""
        ...

    def claim(self, key: str) -> QuantumRecord | None:
        """Claim a quantum for the run in progress and return what is known of it, none if another run holds it.

        Of several runs that claim a quantum at the same moment one gets it. It is held until its outcome is recorded,
        until it is released, until the run ends, or until the run has given no sign of life for so long that it
        counts as dead. Claiming what the run holds already does no harm.

        Raises
        ------
        DataError
            If it was never planned.
        """
        ...

    def release(self, key: str) -> None:
        """Give back a claimed quantum that was not run."""
        ...

    def held(self, keys: Collection[str]) -> set[str]:
        """Return which of these quanta other live runs hold."""
        ...

    def runs(self) -> list[RunRecord]:
        """Return all runs, the oldest first."""
        ...

    def add_frames(self, frames: Iterable[Frame]) -> int:
        """Add frames and return how many were new; what is there already stays as it is.

        Raises
        ------
        DataError
            If a frame of the same exposure, detector and band but with other content is there; nothing is added.
        """
        ...

    def frames(
        self,
        *,
        exposure: int | Collection[int] | None = None,
        detector: int | Collection[int] | None = None,
        band: str | Collection[str] | None = None,
        kind: str | None = None,
    ) -> list[Frame]:
        """Return frames by exposure, detector and band; a condition is one value or several."""
        ...

    def frame(self, exposure: int, detector: int, band: str | None = None) -> Frame:
        """Return one frame.

        Raises
        ------
        DataError
            If there is none, or several bands and none named.
        """
        ...

    def update_frames(self, updates: Iterable[FrameUpdate]) -> None:
        """Keep what the single-frame stage found out.

        Raises
        ------
        DataError
            If a frame is unknown; nothing is kept then.
        """
        ...

    def replace_frames(self, frames: Iterable[Frame]) -> None:
        """Put new contents of files in the place of frames that are there.

        What the single-frame stage found out stays if the digest is the same, and goes with the old content if not.

        Raises
        ------
        DataError
            If a frame is unknown; nothing is replaced then.
        """
        ...

    def frames_overlapping(self, corners_xyz: "np.ndarray[Any, Any]", *, pad_deg: float = 0.0) -> list[Frame]:
        """Return the frames whose footprint shares a point with a convex polygon.

        Parameters
        ----------
        corners_xyz : ndarray, shape (corner, 3)
            Unit vectors of the polygon.
        pad_deg
            Frames this near are returned too (and, at the polygon's corners, some that are a little farther).
        """
        ...

    def plan(self, quanta: Iterable[Any]) -> int:
        """Enter quanta as ready, each given as (key, task, data id); return how many were new.

        Those that are there already stay as they are.
        """
        ...

    def quanta(self, task: str | None = None, status: str | None = None) -> list[QuantumRecord]:
        """Return quanta in the order in which they were planned, without their provenance, which may be long."""
        ...

    def quantum(self, key: str) -> QuantumRecord:
        """Return one quantum.

        Raises
        ------
        DataError
            If it was never planned.
        """
        ...

    def earlier(self, key: str) -> list[QuantumRecord]:
        """Return what came of a quantum each time before it was run again, the oldest first; none of an unknown one."""
        ...

    def record(self, updates: Iterable[QuantumUpdate]) -> None:
        """Record what has become of quanta, and free them.

        What another run holds is passed over: this run had counted as dead, and the other one records the outcome.

        Raises
        ------
        DataError
            If a quantum was never planned or a status is unknown; nothing is recorded then.
        """
        ...

    def forget(self, keys: Iterable[str]) -> None:
        """Remove quanta with their products, as those that a survey no longer plans; unknown ones do no harm."""
        ...

    def timings(self, run_id: int | None = None) -> dict[str, tuple[int, float]]:
        """Return how many quanta of each task were timed, in one run or in all, and their seconds together."""
        ...

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of quanta by task, in the order of planning, and status."""
        ...

    def products(self, key: str | None = None, dataset: str | None = None) -> list[Product]:
        """Return products, of one quantum and of one dataset, by path."""
        ...

    def close(self) -> None:
        """Close the database; a run that was not ended counts as dead."""
        ...

    def __enter__(self) -> "StateDatabase": ...

    def __exit__(self, *exception: Any) -> None: ...


def open_state(repository: Repository, *, readonly: bool = False) -> StateDatabase:
    """Open the state database of a repository, and make it if there is none.

    Parameters
    ----------
    repository
        The repository; table [state] of its survey.toml says where the database is, state.sqlite if nothing else.
    readonly
        Only look; works while a run writes. Without a database the answer is an empty one.

    Raises
    ------
    RepositoryError
        If the database is damaged, of another version, or not accessible.
    ConfigError
        If table [state] is wrong, or there is no password for the user that it names.
    """
    options = read_state_options(repository.config_path)
    if options.url:
        from mpidriver.store._mongo._state import MongoState

        return MongoState(options, repository.root, readonly=readonly)
    from mpidriver.store._sqlite._state import SqliteState

    return SqliteState(repository.state_path, readonly=readonly)
