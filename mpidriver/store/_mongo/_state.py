"""The state database in MongoDB, shared by several runs, each of which writes by its root process alone.

============  ==========================================================================
``runs``      a run a document, with its last sign of life
``frames``    a frame a document, with the cells of its footprint
``quanta``    a quantum a document, with its products and the run that holds it (`claim`)
``tasks``     the number of the first quantum of each task, for the order of tables
``counters``  the next number of a run and of a quantum
``meta``      the version of all this
============  ==========================================================================
"""

from pathlib import Path

from mpidriver.store._mongo._connection import MongoConnection
from mpidriver.store._mongo._frames import MongoFrames
from mpidriver.store._mongo._quanta import MongoQuanta
from mpidriver.store._mongo._runs import MongoRuns
from mpidriver.store._state._options import StateOptions
from mpidriver.store._state._table_state import TableState

__all__ = ["MongoState"]


class MongoState(TableState):
    """State database on a MongoDB server; see `StateDatabase` for what each method promises.

    Parameters
    ----------
    options
        Table [state] of survey.toml; names the database.
    root
        The repository's folder.
    readonly
        Only look.
    """

    def __init__(self, options: StateOptions, root: Path, *, readonly: bool = False) -> None:
        connection = MongoConnection(options, root, readonly=readonly)
        runs = MongoRuns(connection, options.expiry_s)
        super().__init__(connection, runs=runs, frames=MongoFrames(connection), quanta=MongoQuanta(connection, runs))
