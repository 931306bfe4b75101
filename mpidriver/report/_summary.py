"""What a finished run has to say: counts and seconds a stage, efficiency, products, failures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["FailedQuantum", "RunSummary", "StageSummary"]


@dataclass(frozen=True)
class StageSummary:
    """One row of the closing table."""

    stage: str
    """Name of the task, as ``warp``."""
    done: int = 0
    """Quanta that finished in this run."""
    skipped: int = 0
    """Quanta that were done before and still valid."""
    failed: int = 0
    """Quanta that raised."""
    blocked: int = 0
    """Quanta that did not run because one they need failed."""
    seconds: float = 0.0
    """Seconds of work over all ranks."""


@dataclass(frozen=True)
class FailedQuantum:
    """A quantum that raised, with what it said."""

    key: str
    """Key of the quantum, as ``warp{tract=3, patch=2,5, exposure=1204, detector=17}``."""
    cause: str
    """Type and text of the exception, one line."""

    @property
    def stage(self) -> str:
        """Name of the task: what stands before the data id."""
        return self.key.partition("{")[0].strip()


@dataclass(frozen=True)
class RunSummary:
    """Everything that the closing table prints."""

    command: str
    """The verb, as ``pipeline``."""
    stages: Sequence[StageSummary] = ()
    """One record a stage, in the order in which they run."""
    wall_s: float = 0.0
    """Seconds from start to end."""
    ranks: int = 1
    """Ranks that worked."""
    efficiency: float | None = None
    """Seconds of work over ranks times wall seconds, 0 to 1; None if it was not measured."""
    idle: Mapping[str, float] = field(default_factory=dict)
    """What the ranks' other time was lost to, each with its share of ranks times wall seconds."""
    products: Sequence[str | Path] = ()
    """Directories or files where the products lie."""
    left: int = 0
    """Quanta that never started, as after an interrupt or with ``--fail-fast``."""
    failures: Sequence[FailedQuantum] = ()
    """The quanta that raised."""
    notes: Sequence[str] = ()
    """Things worth knowing that are no failure, as frames outside every tract."""

    def total(self, state: str) -> int:
        """Return the number of quanta in `state` (done, skipped, failed or blocked) over all stages."""
        return sum(getattr(stage, state) for stage in self.stages)
