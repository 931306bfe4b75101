"""What a job is: the record that submit makes, the script is rendered from and the job itself reads."""

import dataclasses
import json
import shlex
from dataclasses import dataclass
from typing import Any

__all__ = ["ARRAY_PLACE", "Job"]

#: In words of a command: the number of the array's element that runs it.
ARRAY_PLACE = "{array}"


@dataclass(frozen=True)
class Job:
    """One job of a repository."""

    number: int
    """Number in its repository."""
    name: str
    """Name in the batch system."""
    system: str
    """``slurm``, ``pbs`` or ``local``."""
    repository: str
    """Absolute path of the repository."""
    command: tuple[str, ...]
    """Arguments of mpidriver."""
    directory: str
    """Where it runs: where it was submitted."""
    nodes: int = 1
    """Nodes."""
    ranks_per_node: int = 1
    """Ranks on each."""
    threads: int = 1
    """Cores of each rank."""
    memory_bytes: int | None = None
    """Memory of a node; none: as the system gives."""
    time_limit_seconds: int = 3600
    """Time limit."""
    queue: str = ""
    """Partition or queue; empty: the default."""
    account: str = ""
    """Who pays; empty: the default."""
    launcher: str = ""
    """Command that starts the ranks, with {ranks} and {ranks_per_node}; empty: nothing has to be started."""
    after: tuple[int, ...] = ()
    """Jobs of this repository that must have succeeded before."""
    after_any: tuple[int, ...] = ()
    """Jobs of this repository that must have ended before."""
    array: tuple[int, ...] = ()
    """Numbers of its elements, empty if it is no array."""
    drain_seconds: int = 120
    """How long before the time limit nothing more is begun."""
    requeues: int = 20
    """How often it may go back into the queue."""
    isolates: bool = False
    """Whether its command takes ``--isolate``."""

    @property
    def ranks(self) -> int:
        """Number of ranks."""
        return self.nodes * self.ranks_per_node

    @property
    def cores_per_node(self) -> int:
        """Cores that it wants of each node."""
        return self.ranks_per_node * self.threads

    def arguments(self, element: int | None = None) -> list[str]:
        """Return the arguments of mpidriver, of one element of an array."""
        if element is None:
            return list(self.command)
        return [word.replace(ARRAY_PLACE, str(element)) for word in self.command]

    @property
    def text(self) -> str:
        """The command as people type it, on one line."""
        return " ".join(shlex.join(["mpidriver", *self.command]).splitlines())

    def to_json(self) -> str:
        """Return the record as JSON."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Job":
        """Return the record that `to_json` wrote; what a later version has added is left out."""
        known = {field.name for field in dataclasses.fields(cls)}
        read: dict[str, Any] = {key: value for key, value in json.loads(text).items() if key in known}
        values: dict[str, Any] = {key: tuple(one) if isinstance(one, list) else one for key, one in read.items()}
        return cls(**values)
