"""PBS (OpenPBS, PBS Pro, Torque): qsub, qdel, qstat and qalter."""

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path

from mpidriver.batch._records import JobFolder, all_jobs
from mpidriver.batch._schedulers import tell
from mpidriver.batch._standing import Hint
from mpidriver.errors import LaunchError

__all__ = ["Pbs"]

_KINDS = {**dict.fromkeys("QHWTS", "waiting"), **dict.fromkeys("REB", "running"), **dict.fromkeys("CFX", "ended")}


class Pbs:
    """PBS's part of the contract; see `Scheduler`."""

    def submit(self, script: Path) -> str:
        """Hand in a script and return the job's number, as ``123.server``."""
        answer = tell(["qsub", str(script)], why="not submitted").strip()
        number = answer.splitlines()[-1] if answer else ""
        if not re.match(r"\d+", number):
            raise LaunchError(f"not submitted: `qsub` printed {answer!r} instead of a number")
        return number

    def cancel(self, scheduler_id: str) -> None:
        """End a job, or take it from the queue."""
        try:
            tell(["qdel", scheduler_id], why=f"job {scheduler_id} not cancelled")
        except LaunchError as error:
            if not re.search("Unknown Job|has finished|Invalid job id|invalid state", str(error), re.IGNORECASE):
                raise

    def requeue(self, script: Path, scheduler_id: str) -> str:
        """Hand in the script again, since only operators may put a job back, and let those that wait wait for it."""
        number = self.submit(script)
        folder = JobFolder(script.parent)
        for other in all_jobs(script.parent.parent.parent):
            submitted = other.submitted()
            if submitted is not None and folder.number in other.job().after and not other.attempts():
                with contextlib.suppress(LaunchError):  # then it is cancelled with the first one, and says so
                    tell(["qalter", "-W", f"depend=afterok:{number}", submitted[0]], why="dependency not moved")
        return number

    def hints(self, scheduler_ids: Sequence[str]) -> dict[str, Hint]:
        """Return what PBS says of jobs."""
        found = {}
        for scheduler_id in scheduler_ids:  # one unknown among several would hide the others
            with contextlib.suppress(LaunchError):
                answer = tell(["qstat", "-f", scheduler_id], why="PBS was not asked")
                match = re.search(r"job_state\s*=\s*(\w)", answer)
                if match:
                    found[scheduler_id] = Hint(_KINDS.get(match[1], "waiting"), f"PBS: job_state {match[1]}")
        return found
