"""mpidriver takes an astronomical survey from raw frames to coadds, catalogues and Faraday spectra on an MPI pool.

The rooms: `mpidriver.pool` (how work travels), `mpidriver.tasks` (what is computed), `mpidriver.store` (what is
kept), `mpidriver.drivers` (what is scattered and gathered), `mpidriver.batch` (where it runs), `mpidriver.report`
(what people look at) and `mpidriver.cli`, which composes them.

Importing the package costs next to nothing; the names below are loaded when first used.
"""

from typing import TYPE_CHECKING, Any

from mpidriver.errors import ConfigError, DataError, MpidriverError, PoolError, RepositoryError, TaskError
from mpidriver.lazy import loaded_on_use

if TYPE_CHECKING:
    from mpidriver.pool import Pool, current_pool, launch

__all__ = [
    "ConfigError",
    "DataError",
    "MpidriverError",
    "Pool",
    "PoolError",
    "RepositoryError",
    "TaskError",
    "current_pool",
    "launch",
]


_load, __dir__ = loaded_on_use(__name__, dict.fromkeys(("Pool", "current_pool", "launch"), "pool"))


def __getattr__(name: str) -> Any:
    if name == "__version__":
        import importlib.metadata

        return importlib.metadata.version("mpidriver")
    return _load(name)
