"""The state database in one SQLite file, written by the root process alone."""

import os
from pathlib import Path

from mpidriver.store._sqlite._connection import Connection
from mpidriver.store._sqlite._frames import FrameTable
from mpidriver.store._sqlite._quanta import QuantumTable
from mpidriver.store._sqlite._runs import RunTable
from mpidriver.store._state._table_state import TableState

__all__ = ["SqliteState"]


class SqliteState(TableState):
    """State database in an SQLite file; see `StateDatabase` for what each method promises.

    Other processes may read while a run writes; each waits for the other up to 30 s.

    Parameters
    ----------
    path
        The file; made if it does not exist.
    readonly
        Only look.
    """

    def __init__(self, path: str | os.PathLike[str], *, readonly: bool = False) -> None:
        connection = Connection(Path(path), readonly=readonly)
        runs = RunTable(connection)
        super().__init__(connection, runs=runs, frames=FrameTable(connection), quanta=QuantumTable(connection, runs))
