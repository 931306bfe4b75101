"""What is known of jobs: small files below ``REPO/jobs``, each written once and whole by the one who knows.

::

    jobs/0007/job.json            what was asked for         submit
    jobs/0007/script.sh           what the batch system runs submit
    jobs/0007/submitted.json      the system's number        submit, when the system has taken it
    jobs/0007/cancelled.json      since when and why         cancel
    jobs/0007/attempt-1.json      began where and when       the job
    jobs/0007/attempt-1-alive     last sign of life          the job, every 30 s
    jobs/0007/attempt-1-runs.json its runs in the database   the driver
    jobs/0007/attempt-1-end.json  ended when, code, why      the job
    jobs/0007/3/attempt-1.json …  the same, of element 3 of an array

No file has two writers, so nobody has to lock anything: a login node, a job and whoever cancels it may share nothing
but a file system. The state database is left to the run that holds it.
"""

import contextlib
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpidriver.batch._job import Job
from mpidriver.errors import ConfigError, RepositoryError
from mpidriver.store import write_text

__all__ = [
    "ATTEMPT_VARIABLE",
    "Attempt",
    "JobFolder",
    "all_jobs",
    "dead_runs",
    "find_job",
    "new_job_folder",
    "note_run",
]

#: Environment variable in which a job tells its driver where the records of the attempt lie.
ATTEMPT_VARIABLE = "MPIDRIVER_ATTEMPT"

_ATTEMPT = re.compile(r"attempt-(\d+)\.json")


@dataclass(frozen=True)
class Attempt:
    """One time that a job ran."""

    number: int
    """Counted from 1."""
    started: float
    """Unix time."""
    host: str
    """Where its script ran."""
    alive: float
    """Last sign of life, Unix time."""
    ended: float | None = None
    """Unix time; none while it runs, or if it was killed."""
    code: int | None = None
    """Exit code."""
    why: str = ""
    """What the job says of its end beyond the code."""
    requeued: bool = False
    """Whether it has put itself back into the queue."""
    runs: tuple[int, ...] = ()
    """Its runs in the state database."""


class JobFolder:
    """The records of one job, or of one element of an array.

    Parameters
    ----------
    path
        Folder of the job.
    element
        Number of the element, none for a job that is no array.
    """

    def __init__(self, path: Path, element: int | None = None) -> None:
        self.path = path
        self.element = element
        self._own = path if element is None else path / str(element)

    @property
    def number(self) -> int:
        """Number of the job."""
        return int(self.path.name)

    @property
    def script(self) -> Path:
        """The script."""
        return self.path / "script.sh"

    @property
    def log(self) -> Path:
        """What the script prints."""
        suffix = "" if self.element is None else f"-{self.element}"
        return self.path.parent.parent / "logs" / f"job-{self.path.name}{suffix}.log"

    def job(self) -> Job:
        """Return what was asked for."""
        path = self.path / "job.json"
        try:
            return Job.from_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError) as error:
            raise RepositoryError(f"{path}: not the record of a job: {error}; remove {self.path}") from None

    def elements(self) -> "list[JobFolder]":
        """Return the folders of its elements, or itself if it is no array."""
        numbers = self.job().array
        return [JobFolder(self.path, number) for number in numbers] if numbers else [self]

    def note_submitted(self, scheduler_id: str) -> None:
        """Note that the batch system has taken it."""
        _write(self.path / "submitted.json", {"scheduler_id": scheduler_id, "time": time.time()})

    def submitted(self) -> tuple[str, float] | None:
        """Return the batch system's number and the time, none if it was never taken."""
        record = _read(self.path / "submitted.json")
        return None if record is None else (str(record["scheduler_id"]), float(record["time"]))

    def note_cancelled(self, why: str) -> None:
        """Note that it is not wanted any more."""
        _write(self.path / "cancelled.json", {"why": why, "time": time.time()})

    def cancelled(self) -> str:
        """Return why it was cancelled; empty if it was not."""
        record = _read(self.path / "cancelled.json")
        return "" if record is None else str(record["why"])

    def begin(self, host: str, scheduler_id: str) -> Attempt:
        """Note that it begins to run, and return the attempt."""
        number = 1 + max((attempt.number for attempt in self.attempts()), default=0)
        now = time.time()
        _write(self.attempt_path(number, ".json"), {"started": now, "host": host, "scheduler_id": scheduler_id})
        return Attempt(number, now, host, now)

    def beat(self, attempt: Attempt) -> None:
        """Give a sign of life; a file system that refuses for a while ends nothing."""
        with contextlib.suppress(OSError):
            self.attempt_path(attempt.number, "-alive").write_text(f"{time.time()}\n", encoding="ascii")

    def end(self, attempt: Attempt, code: int, why: str, *, requeued: bool) -> None:
        """Note how an attempt has ended."""
        record = {"ended": time.time(), "code": code, "why": why, "requeued": requeued}
        _write(self.attempt_path(attempt.number, "-end.json"), record)

    def attempts(self) -> list[Attempt]:
        """Return the attempts, the oldest first."""
        names = [path.name for path in self._own.iterdir()] if self._own.is_dir() else []
        numbers = sorted(int(match[1]) for match in map(_ATTEMPT.fullmatch, names) if match)
        return [attempt for number in numbers if (attempt := self._attempt(number)) is not None]

    def attempt_path(self, number: int, suffix: str) -> Path:
        """Return the path of a file of an attempt."""
        return self._own / f"attempt-{number}{suffix}"

    def _attempt(self, number: int) -> Attempt | None:
        began = _read(self.attempt_path(number, ".json"))
        if began is None:
            return None
        started = float(began["started"])
        end = _read(self.attempt_path(number, "-end.json")) or {}
        runs = _read(self.attempt_path(number, "-runs.json")) or {}
        return Attempt(
            number, started, str(began["host"]), self._alive(number, started), runs=tuple(runs.get("runs", ())), **end
        )

    def _alive(self, number: int, started: float) -> float:
        try:
            return float(self.attempt_path(number, "-alive").read_text(encoding="ascii"))
        except (OSError, ValueError):  # not there yet, or just being written
            return started


def new_job_folder(repository: Path) -> JobFolder:
    """Make the folder of a new job; two that submit at once get two numbers."""
    parent = repository / "jobs"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        number = 1 + max((folder.number for folder in all_jobs(repository)), default=0)
        while True:
            with contextlib.suppress(FileExistsError):
                path = parent / f"{number:04d}"
                path.mkdir()
                return JobFolder(path)
            number += 1
    except OSError as error:
        raise RepositoryError(f"{parent}: no job can be recorded: {error.strerror}; make it writable") from error


def all_jobs(repository: Path) -> list[JobFolder]:
    """Return the jobs of a repository by number."""
    folders = (path for path in (repository / "jobs").glob("*") if path.name.isdigit() and path.is_dir())
    return sorted(map(JobFolder, folders), key=lambda folder: folder.number)


def find_job(repository: Path, name: str) -> JobFolder:
    """Return a job by its number, its name (the newest of that name), or the batch system's number.

    Raises
    ------
    ConfigError
        If there is none.
    """
    folders = [folder for folder in all_jobs(repository) if (folder.path / "job.json").exists()]
    for folder in folders:
        if name.isdigit() and folder.number == int(name):
            return folder
    for folder in reversed(folders):
        submitted = folder.submitted()
        if name == folder.job().name or (submitted is not None and submitted[0] == name):
            return folder
    known = ", ".join(f"{folder.number} ({folder.job().name})" for folder in folders[-5:]) or "none yet"
    raise ConfigError(f"{repository}: no job {name!r}; the last ones are {known}")


def note_run(environment: Mapping[str, str], run_id: int) -> None:
    """Note which run of the state database is this job's; nothing outside of jobs."""
    if environment.get(ATTEMPT_VARIABLE):
        folder, number = _attempt_of(environment[ATTEMPT_VARIABLE])
        path = folder / f"attempt-{number}-runs.json"
        known = (_read(path) or {}).get("runs", [])
        _write(path, {"runs": [*known, run_id]})


def dead_runs(environment: Mapping[str, str]) -> list[int]:
    """Return the runs of this job so far: none of them can be alive, since a job runs one at a time."""
    if not environment.get(ATTEMPT_VARIABLE):
        return []
    folder, _ = _attempt_of(environment[ATTEMPT_VARIABLE])
    return [run for path in sorted(folder.glob("attempt-*-runs.json")) for run in (_read(path) or {}).get("runs", [])]


def _attempt_of(path: str) -> tuple[Path, int]:
    match = _ATTEMPT.fullmatch(Path(path).name)
    if match is None:
        raise ConfigError(f"{ATTEMPT_VARIABLE}: expected the path of an attempt-<number>.json, got {path!r}")
    return Path(path).parent, int(match[1])


def _write(path: Path, record: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(record) + "\n")


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RepositoryError(f"{path}: cannot be read: {error}; remove it if it is damaged") from None
