"""How a job stands: its own records say so; what the batch system says is a hint for what the job cannot know."""

import signal
import time
from dataclasses import dataclass

from mpidriver.batch._job import Job
from mpidriver.batch._records import Attempt, JobFolder

__all__ = ["ENDED", "Hint", "Standing", "standings"]

#: A job that runs but has given no sign of life for so long is lost.
SILENT_SECONDS = 180.0
#: So long after it was taken the batch system may not know a job yet.
UNKNOWN_SECONDS = 30.0

#: States from which a job does not go on by itself.
ENDED = frozenset({"done", "incomplete", "failed", "stopped", "cancelled", "lost", "rejected"})

_MEANING = {
    1: ("incomplete", "some quanta failed, everything else was finished"),
    2: ("failed", "usage or configuration"),
    3: ("failed", "repository missing, damaged, full or in use"),
    4: ("failed", "the ranks could not be started, or the pool failed"),
    70: ("failed", "an error in mpidriver itself"),
    75: ("stopped", "stopped; the same command goes on"),
    130: ("stopped", "interrupted; the same command goes on"),
}


@dataclass(frozen=True)
class Hint:
    """What the batch system says of a job."""

    state: str
    """``waiting``, ``running``, ``ended`` or ``unknown``."""
    words: str = ""
    """In its own words."""


@dataclass(frozen=True)
class Standing:
    """How a job stands."""

    job: Job
    """What was asked for."""
    element: int | None
    """Number of the array's element."""
    state: str
    """``waiting``, ``running`` or one of `ENDED`."""
    why: str
    """In words."""
    scheduler_id: str
    """The batch system's number, empty if it was never taken."""
    submitted: float | None
    """Unix time."""
    attempts: tuple[Attempt, ...]
    """The times that it ran."""
    log: str
    """Path of what it prints."""


def standings(
    folders: list[JobFolder], hints: dict[str, Hint] | None = None, *, now: float | None = None
) -> list[Standing]:
    """Return how jobs stand, each element of an array by itself.

    Parameters
    ----------
    folders
        All jobs of a repository, by number: a job may wait for earlier ones.
    hints
        The batch system's word by its number of the job; none if it was not asked.
    now
        Unix time.
    """
    now = time.time() if now is None else now
    found: list[Standing] = []
    of_job: dict[int, list[Standing]] = {}
    for folder in folders:
        if not (folder.path / "job.json").exists():
            continue  # somebody is just submitting it
        job, submitted = folder.job(), folder.submitted()
        own = []
        for one in folder.elements():
            hint = None if hints is None or submitted is None else hints.get(_name(submitted[0], one.element))
            if hints is not None and hint is None and submitted is not None:
                hint = hints.get(submitted[0], Hint("unknown"))
            attempts = tuple(one.attempts())
            state, why = _state(one, job, submitted, attempts, hint, of_job, now)
            scheduler_id, since = submitted or ("", None)
            own.append(Standing(job, one.element, state, why, scheduler_id, since, attempts, str(one.log)))
        of_job[job.number] = own
        found += own
    return found


def _name(scheduler_id: str, element: int | None) -> str:
    return scheduler_id if element is None else f"{scheduler_id}_{element}"


def _state(
    folder: JobFolder,
    job: Job,
    submitted: tuple[str, float] | None,
    attempts: tuple[Attempt, ...],
    hint: Hint | None,
    of_job: dict[int, list[Standing]],
    now: float,
) -> tuple[str, str]:
    """Return state and reason; the job's own word comes first."""
    cancelled = folder.cancelled()
    if attempts:
        last = attempts[-1]
        if last.ended is None:
            return _running(last, cancelled, hint, now)
        if not last.requeued:
            return ("cancelled", cancelled) if cancelled and last.code == 75 else _ended(last)
        if cancelled:
            return "cancelled", cancelled
        return _waiting(hint, f"back in the queue: {last.why}", last.ended, now)
    if submitted is None:
        return "rejected", cancelled or "the batch system did not take it"
    if cancelled:
        return "cancelled", cancelled
    culprit = _culprit(job, of_job)
    if culprit is not None:
        return "cancelled", culprit
    return _waiting(hint, "", submitted[1], now)


def _running(last: Attempt, cancelled: str, hint: Hint | None, now: float) -> tuple[str, str]:
    silent = now - last.alive
    where = f"on {last.host}"
    if hint is not None and hint.state == "waiting":
        return "waiting", f"back in the queue after {last.host} was lost"
    if hint is not None and hint.state in ("ended", "unknown"):
        if cancelled:
            return "cancelled", cancelled
        return "lost", f"{where}: ended without a word of its own {_hinted(hint)}{_killed(hint)}"
    if silent > SILENT_SECONDS:
        return ("cancelled", cancelled) if cancelled else ("lost", f"{where}: no sign of life for {silent:.0f} s")
    return "running", f"{where}, being cancelled: {cancelled}" if cancelled else where


def _ended(last: Attempt) -> tuple[str, str]:
    if last.code == 0:
        return "done", last.why
    code = last.code or 0
    name = f"killed by {signal.Signals(code - 128).name}" if code - 128 in set(signal.Signals) else "failed"
    state, meaning = _MEANING.get(code, ("failed", name))
    return state, f"code {code}: {last.why or meaning}"


def _waiting(hint: Hint | None, why: str, since: float, now: float) -> tuple[str, str]:
    if hint is not None and (hint.state == "ended" or (hint.state == "unknown" and now - since > UNKNOWN_SECONDS)):
        return "cancelled", f"the batch system dropped it {_hinted(hint)}"
    words = [part for part in (why, hint.words if hint is not None else "") if part]
    return "waiting", "; ".join(words)


def _hinted(hint: Hint) -> str:
    return f"({hint.words or hint.state})"


def _killed(hint: Hint) -> str:
    words = hint.words.upper()
    if "OUT_OF_MEMORY" in words or "0:9" in words:
        return "; probably its memory was not enough: submit again with more --memory"
    return ""


def _culprit(job: Job, of_job: dict[int, list[Standing]]) -> str | None:
    """Return why a job that waits for others will never run, none if it may."""
    for number in job.after:
        for standing in of_job.get(number, []):
            if standing.state in ENDED and standing.state != "done":
                element = "" if standing.element is None else f", element {standing.element}"
                return f"job {number} ({standing.job.name}{element}) is {standing.state}: {standing.why}"
    return None
