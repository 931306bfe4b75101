"""The state database in one SQLite file, written by the root process alone."""

import os
from pathlib import Path

from mpidriver.store._frame_table import FrameTable
from mpidriver.store._quantum_table import QuantumTable
from mpidriver.store._run_table import RunTable
from mpidriver.store._sqlite_connection import Connection
from mpidriver.store._table_state import TableState

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
