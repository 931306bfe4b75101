"""A command's run in the state database: who runs, since when, and how it ended."""

import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpidriver.errors import RepositoryError

if TYPE_CHECKING:
    from mpidriver.pool import Pool
    from mpidriver.store import StateDatabase

__all__ = ["RunEnd", "recorded_run"]


@dataclass
class RunEnd:
    """How a run ends, for whoever knows better than that it was done."""

    status: str = "done"
    """What the database is told if nothing is raised."""


@contextlib.contextmanager
def recorded_run(state: "StateDatabase", pool: "Pool") -> Iterator[RunEnd]:
    """Begin a run and end it: as failed if anything is raised, or else with the status of what this yields.

    Earlier runs of the same batch job are over, so that nobody waits for a sign of life of theirs.

    Raises
    ------
    RepositoryError
        If another run is alive on a database that belongs to one at a time.
    """
    import mpidriver
    from mpidriver.batch import dead_runs, note_run

    command, dead = " ".join(sys.argv[1:]), dead_runs(os.environ)
    run = state.begin_run(command, pool.size, mpidriver.__version__, socket.gethostname(), dead=dead)
    note_run(os.environ, run)
    end = RunEnd()
    try:
        yield end
    except BaseException:
        with contextlib.suppress(RepositoryError):  # what has ended the run says more
            state.end_run(run, "failed")
        raise
    state.end_run(run, end.status)
