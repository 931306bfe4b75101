"""What a stage of the survey is: a function on one quantum, and what the root prepares for it."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpidriver.drivers._quantum import Quantum
from mpidriver.drivers.config import SurveyConfig
from mpidriver.store import FrameUpdate, Product, Repository, WrittenFile

if TYPE_CHECKING:
    from mpidriver.tasks.skymap import Patch, SkyMap, Tract

__all__ = ["Context", "Part", "Prepared", "Record", "Stage"]


@dataclass(frozen=True)
class Context:
    """What every quantum of a run shares; sent to each rank once."""

    root: str
    """The repository's folder."""
    config: SurveyConfig
    """Its configuration."""

    @property
    def repository(self) -> Repository:
        """The repository, opened once a process."""
        return _repository(self.root)

    @property
    def sky(self) -> "SkyMap":
        """The sky map, made once a process."""
        return _sky(self.config.skymap)

    def tract(self, quantum: Quantum) -> "Tract":
        """Return the tract of a quantum."""
        return self.sky.tract(quantum.data_id.tract)

    def patch(self, quantum: Quantum) -> "Patch":
        """Return the patch of a quantum."""
        return self.tract(quantum).patch(quantum.data_id.patch)

    def path(self, dataset: str, quantum: Quantum, **more: Any) -> Path:
        """Return where a dataset of a quantum's data id lies."""
        return self.repository.path(dataset, **{**quantum.data_id.arguments(), **more})

    def product(self, dataset: str, written: WrittenFile) -> Product:
        """Return the record of a file that has just been written."""
        relative = written.path.relative_to(self.repository.root)
        return Product(dataset=dataset, path=str(relative), digest=written.digest, size=written.size)


@functools.lru_cache(maxsize=4)
def _repository(root: str) -> Repository:
    return Repository.open(root)


@functools.lru_cache(maxsize=4)
def _sky(options: Any) -> "SkyMap":
    from mpidriver.tasks.skymap import make_skymap

    return make_skymap(options)


@dataclass(frozen=True)
class Part:
    """What has become of one member of the group that a quantum works on, recorded as a quantum of its own."""

    quantum: Quantum
    """Its name in the state database."""
    error: str = ""
    """Why it failed, empty if it is done."""


@dataclass(frozen=True)
class Record:
    """What a stage hands back to the root: not the pixels, which are in files, but what the root must know."""

    products: tuple[Product, ...] = ()
    """Files that were written."""
    frame: FrameUpdate | None = None
    """New position and quality of a frame."""
    parts: tuple[Part, ...] = ()
    """What has become of each member, where the quantum is a group."""


@dataclass(frozen=True)
class Prepared:
    """What the root hands to a stage beside the quantum itself."""

    arguments: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the stage's function."""
    fingerprint: tuple[Any, ...] = ()
    """What identifies them, for the digest that decides whether a quantum must run again."""
    files: tuple[tuple[str, str], ...] = ()
    """Paths and digests of files that are no products and that it reads: raw frames, calibrations, references."""


@dataclass(frozen=True)
class Stage:
    """One task of the survey."""

    run: Callable[..., Record]
    """Runs one quantum on any rank: ``run(context, quantum, **arguments)``."""
    options: Callable[[SurveyConfig], tuple[Any, ...]]
    """The option records on which its products depend."""
    prepare: Callable[..., Prepared] = lambda desk, quantum, inputs: Prepared()
    """Makes the arguments on the root from what the database knows: ``prepare(desk, quantum, inputs)``."""
    seconds: float = 1.0
    """Rough time of one quantum relative to other stages, for the order in which ready quanta run."""
