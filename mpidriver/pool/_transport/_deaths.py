"""Ranks that have died, as MPI tells of them where the others outlive them (ULFM)."""

import os
from typing import Any

from mpidriver.pool._transport._groups import outlives_deaths

__all__ = ["Deaths"]


class Deaths:
    """What one rank knows of the deaths of others.

    Parameters
    ----------
    comm
        Communicator of all ranks.
    """

    def __init__(self, comm: Any) -> None:
        from mpi4py import MPI

        self._comm = comm
        self._classes = (MPI.ERR_PROC_FAILED, MPI.ERR_PROC_FAILED_PENDING, MPI.ERR_IN_STATUS)
        self.are_outlived = outlives_deaths(os.environ)
        """Whether this rank lives on when another dies."""
        self.dead: set[int] = set()
        """Ranks that have died."""
        self.untold: list[int] = []
        """Those of them that the wire has not told of yet."""
        self.remains: list[Any] = []
        """What had begun to be sent to them or received from them: MPI may still look at its memory."""

    def note(self, error: Any) -> None:
        """Learn who has died; raise any other error again."""
        if not self.are_outlived or error.Get_error_class() not in self._classes:
            raise error
        failed, group = self._comm.Get_failed(), self._comm.Get_group()
        self._comm.Ack_failed(failed.size)
        dead = set(failed.Translate_ranks(None, group)) - self.dead
        self.untold += sorted(dead)
        self.dead |= dead
        group.Free()
        failed.Free()

    def pass_over(self, error: Any, rank: int, memory: Any) -> None:
        """Raise an error of MPI again unless it is due to the death of a rank; keep the memory that was in use."""
        self.note(error)
        if rank not in self.dead:
            raise error
        self.remains.append(memory)
