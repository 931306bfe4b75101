"""Slurm: sbatch, scancel, scontrol, squeue and sinfo."""

import contextlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mpidriver.batch._schedulers import tell
from mpidriver.batch._standing import Hint
from mpidriver.errors import LaunchError

__all__ = ["Partition", "Slurm", "partition_of_slurm", "srun_speaks"]

_WAITING = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"}
_RUNNING = {"RUNNING", "COMPLETING", "STOPPED", "SUSPENDED", "SIGNALING", "STAGE_OUT", "RESIZING"}


class Slurm:
    """Slurm's part of the contract; see `Scheduler`."""

    def submit(self, script: Path) -> str:
        """Hand in a script and return the job's number."""
        answer = tell(["sbatch", "--parsable", str(script)], why="not submitted").strip()
        number = answer.splitlines()[-1].partition(";")[0] if answer else ""  # with -M: number;cluster
        if not number.isdigit():
            raise LaunchError(f"not submitted: `sbatch` printed {answer!r} instead of a number")
        return number

    def cancel(self, scheduler_id: str) -> None:
        """End a job, or take it from the queue."""
        try:
            tell(["scancel", scheduler_id], why=f"job {scheduler_id} not cancelled")
        except LaunchError as error:
            if "Invalid job id" not in str(error):  # over for so long that Slurm has forgotten it
                raise

    def requeue(self, script: Path, scheduler_id: str) -> str:
        """Put the job that calls this back into the queue; it keeps its number."""
        own = os.environ.get("SLURM_JOB_ID", scheduler_id)  # of an array's element a number of its own
        tell(["scontrol", "requeue", own], why="not put back into the queue")
        return scheduler_id

    def hints(self, scheduler_ids: Sequence[str]) -> dict[str, Hint]:
        """Return what Slurm says of jobs; elements of an array as ``number_element``."""
        wanted = set(scheduler_ids)
        query = ["squeue", "--me", "--noheader", "--array", "--states=all", "--format=%F|%K|%T|%r"]
        lines = tell(query, why="Slurm was not asked").splitlines()
        found = {}
        for number, element, state, reason in (line.split("|", 3) for line in lines if line.count("|") >= 3):
            if number in wanted:
                kind = "waiting" if state in _WAITING else "running" if state in _RUNNING else "ended"
                words = state if reason in ("None", "") else f"{state}, {reason}"
                if state == "FAILED":
                    words += f", exit code {_exit_code(number, element)}"
                found[f"{number}_{element}" if element.isdigit() else number] = Hint(kind, f"Slurm: {words}")
        return found


def _exit_code(number: str, element: str) -> str:
    """Return code and signal of a job that has failed, as Slurm writes them: ``0:9`` for one that was killed."""
    name = f"{number}_{element}" if element.isdigit() else number
    with contextlib.suppress(LaunchError):
        match = re.search(r"ExitCode=(\S+)", tell(["scontrol", "-o", "show", "job", name], why="not asked"))
        if match:
            return match[1]
    return "unknown"


@dataclass(frozen=True)
class Partition:
    """What a partition of Slurm gives to one job; none where Slurm does not say, or sets no limit."""

    cores_per_node: int
    """Cores of its smallest node."""
    memory_per_node: int
    """Memory of that node in bytes."""
    nodes: int | None
    """The most nodes."""
    time_limit: str | None
    """The longest time, as Slurm writes it."""


def partition_of_slurm(queue: str) -> Partition | None:
    """Return what a partition gives, empty for the default one; none if Slurm does not say."""
    with contextlib.suppress(LaunchError):
        lines = tell(["sinfo", "--noheader", "--format=%P|%c|%m|%D|%s|%l"], why="Slurm was not asked").splitlines()
        groups = [line.split("|") for line in lines if line.count("|") == 5]  # of nodes that are alike
        own = [one for one in groups if one[0].rstrip("*") == queue or (not queue and one[0].endswith("*"))]
        if own:
            cores, memory = min((int(one[1].rstrip("+")), int(one[2].rstrip("+")) << 20) for one in own)
            count, (_, _, most) = sum(int(one[3]) for one in own), own[0][4].partition("-")
            return Partition(cores, memory, min(count, int(most)) if most.isdigit() else count, _limit(own[0][5]))
    return None


def _limit(text: str) -> str | None:
    return text if text[:1].isdigit() else None  # or "infinite", "n/a"


def srun_speaks(protocol: str) -> bool | None:
    """Tell whether srun knows a protocol, as ``pmix``; none if it does not say."""
    try:
        answer = tell(["srun", "--mpi=list"], why="srun was not asked")
    except LaunchError:
        return None
    return protocol in re.findall(r"[\w]+", answer) if answer.strip() else None
