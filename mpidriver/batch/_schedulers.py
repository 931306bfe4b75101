"""The batch systems behind one contract, and which of them is here."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from mpidriver.batch._standing import Hint
from mpidriver.errors import ConfigError, LaunchError

__all__ = ["Scheduler", "find_scheduler", "scheduler_of", "tell"]

#: Batch system to the command that takes its jobs.
_COMMANDS = {"slurm": "sbatch", "pbs": "qsub"}
_PATIENCE_SECONDS = 60.0


class Scheduler(Protocol):
    """What a batch system can be asked for."""

    def submit(self, script: Path) -> str:
        """Hand in a script and return the system's number of the job.

        Raises
        ------
        LaunchError
            If it is refused; with the system's own words.
        """
        ...

    def cancel(self, scheduler_id: str) -> None:
        """End a job, or take it from the queue; one that is over already is left alone."""
        ...

    def requeue(self, script: Path, scheduler_id: str) -> str:
        """Put the job that calls this back into the queue and return its number from now on."""
        ...

    def hints(self, scheduler_ids: Sequence[str]) -> dict[str, Hint]:
        """Return what the system says of jobs, by number; those that it does not know are left out."""
        ...


def scheduler_of(system: str) -> Scheduler:
    """Return the batch system of a name: ``slurm``, ``pbs`` or ``local``."""
    from mpidriver.batch._detached import Detached
    from mpidriver.batch._pbs import Pbs
    from mpidriver.batch._slurm import Slurm

    makers: dict[str, type[Scheduler]] = {"slurm": Slurm, "pbs": Pbs, "local": Detached}
    if system not in makers:
        raise ConfigError(f"--system must be one of {', '.join(makers)}, got {system!r}")
    return makers[system]()


def find_scheduler() -> str:
    """Return the name of the batch system whose command is on PATH, ``local`` if there is none."""
    return next((name for name, command in _COMMANDS.items() if shutil.which(command)), "local")


def tell(command: Sequence[str], *, why: str, path: Path | None = None) -> str:
    """Run a command of a batch system and return what it prints.

    Parameters
    ----------
    command
        The command.
    why
        What it is for, for the message.
    path
        Folder to run it in.

    Raises
    ------
    LaunchError
        If there is no such command, it fails, or it does not answer.
    """
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=path, timeout=_PATIENCE_SECONDS, env=os.environ
        )
    except FileNotFoundError:
        raise LaunchError(f"{why}: there is no `{command[0]}` on PATH; run it where the batch system is") from None
    except subprocess.TimeoutExpired:
        raise LaunchError(f"{why}: `{command[0]}` has not answered for {_PATIENCE_SECONDS:.0f} s") from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split()) or "it did not say why"
        raise LaunchError(f"{why}: `{command[0]}` failed with code {done.returncode}: {said}")
    return done.stdout
