"""The data repository: one directory with survey.toml, the state database and the products."""

import os
from pathlib import Path
from typing import Any

from mpidriver.errors import RepositoryError
from mpidriver.store._atomic import remove_partials, write_text
from mpidriver.store._layout import dataset_path

__all__ = ["Repository"]


class Repository:
    """A survey's directory; made by `create` or `open`.

    The object holds nothing but the path: it is cheap to pass to other ranks.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def create(cls, path: str | os.PathLike[str], *, config: str = "") -> "Repository":
        """Make a repository in a new or existing directory that is not one yet.

        Parameters
        ----------
        path
            Its directory.
        config
            Text of survey.toml.
        """
        repository = cls(Path(path).absolute())
        if repository.config_path.exists():
            raise RepositoryError(f"{path}: is a repository already (it has survey.toml); choose another directory")
        write_text(repository.config_path, config)
        return repository

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "Repository":
        """Open an existing repository.

        Raises
        ------
        RepositoryError
            If the directory does not exist or has no survey.toml.
        """
        repository = cls(Path(path).absolute())
        if not repository.root.is_dir():
            raise RepositoryError(f"{path}: no such directory; `mpidriver init {path}` makes a repository")
        if not repository.config_path.is_file():
            raise RepositoryError(f"{path}: not a repository, it has no survey.toml; `mpidriver init {path}` makes one")
        return repository

    @property
    def config_path(self) -> Path:
        """Path of survey.toml."""
        return self.root / "survey.toml"

    @property
    def state_path(self) -> Path:
        """Path of the SQLite state database."""
        return self.root / "state.sqlite"

    @property
    def unrecorded_path(self) -> Path:
        """Path of outcomes that the state database did not take; the next run records them."""
        return self.root / "unrecorded.jsonl"

    def path(self, dataset: str, **data_id: Any) -> Path:
        """Return the absolute path of a dataset; see `mpidriver.store.DATASETS` for names and what each needs."""
        return self.root / dataset_path(dataset, data_id)

    def relative(self, path: str | os.PathLike[str]) -> str:
        """Return a path as the state database keeps it: relative to the repository where it lies inside."""
        absolute = Path(path).absolute()
        return str(absolute.relative_to(self.root) if absolute.is_relative_to(self.root) else absolute)

    def resolve(self, path: str | os.PathLike[str]) -> Path:
        """Return the absolute path of what the state database keeps."""
        return self.root / path

    def remove_partials(self) -> list[Path]:
        """Remove what killed writers left behind; only while no run is alive. Returns the removed paths."""
        return remove_partials(self.root)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Repository) and self.root == other.root

    def __hash__(self) -> int:
        return hash(self.root)

    def __repr__(self) -> str:
        return f"Repository({str(self.root)!r})"
