"""The closing words of a driver: its table, or one line where it is to be quiet."""

from pathlib import Path
from typing import TYPE_CHECKING

from mpidriver.report import FailedQuantum, RunSummary, StageSummary

if TYPE_CHECKING:
    from mpidriver.drivers.pipeline import DriverRun
    from mpidriver.pool import Pool

__all__ = ["closing_summary", "quiet_failures"]


def closing_summary(verb: str, driven: "DriverRun", pool: "Pool", *, wall_s: float, pictures: list[Path]) -> RunSummary:
    """Return what the closing table shows of a run."""
    counts, seconds = driven.result.counts, driven.result.seconds
    stages = [
        StageSummary(
            stage,
            done=count["done"],
            skipped=count["unchanged"],
            failed=count["failed"],
            blocked=count["blocked"],
            seconds=seconds[stage],
        )
        for stage, count in counts.items()
    ]
    drawn = sorted({str(path.parent) for path in pictures})
    usage = pool.usage
    return RunSummary(
        command=verb,
        stages=stages,
        wall_s=wall_s,
        ranks=pool.size,
        efficiency=usage.busy,
        idle={
            "while the root computed": usage.serial,
            "waiting for inputs": usage.dependency,
            "last tasks": usage.straggler,
            "latency": usage.latency,
        },
        products=[*driven.products, *drawn],
        left=sum(count["left"] for count in counts.values()),
        failures=[FailedQuantum(key, cause) for key, cause in driven.result.failures],
        notes=driven.notes,
    )


def quiet_failures(driven: "DriverRun", repo: str) -> str:
    """Return one line that names the first failure and how many there are."""
    failures = driven.result.failures
    key, cause = failures[0]
    more = f", and {len(failures) - 1} more" if len(failures) > 1 else ""
    return f"failed: {key}: {cause}{more}; `mpidriver status {repo}` names all"
