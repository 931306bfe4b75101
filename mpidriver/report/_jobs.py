"""The table of `mpidriver jobs`, as rich renderables."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from mpidriver.report._tables import STYLES, Page, empty_table
from mpidriver.report._words import duration

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["jobs_table"]

_STYLES = {
    **STYLES,
    "incomplete": "yellow",
    "lost": "bold red",
    "rejected": "bold red",
    "stopped": "yellow",
    "cancelled": "yellow",
}


class Asked(Protocol):
    """What the table needs of a job's record."""

    number: int
    """Number in the repository."""
    name: str
    """Name."""
    text: str
    """The command."""
    nodes: int
    """Nodes."""
    ranks_per_node: int
    """Ranks on each."""


class Attempt(Protocol):
    """What the table needs of one time that a job ran."""

    started: float
    """Unix time."""
    alive: float
    """Last sign of life, Unix time."""
    ended: float | None
    """Unix time."""


class Standing(Protocol):
    """What the table needs of a job."""

    job: Asked
    """What was asked for."""
    element: int | None
    """Number of the array's element."""
    state: str
    """How it stands."""
    why: str
    """In words."""
    scheduler_id: str
    """The batch system's number."""
    submitted: float | None
    """Unix time."""
    attempts: Sequence[Attempt]
    """The times that it ran."""
    log: str
    """Path of what it prints."""


def jobs_table(standings: Sequence[Standing]) -> Page:
    """Return the jobs of a repository, one a line, and below what is to be said of those that did not go well.

    Parameters
    ----------
    standings
        From `mpidriver.batch.job_standings`.

    Returns
    -------
    Page
        For `rich.console.Console.print`, or for `print` as plain text.
    """
    from rich.text import Text

    parts: list = [_table(standings)]
    for one in standings:
        if one.why:
            parts.append(Text(f"{_label(one)}: {one.state}: {one.why}"))
        if one.state in ("failed", "incomplete", "lost"):
            parts.append(Text(f"    log: {one.log}", style="dim"))
    return Page(*parts)


def _table(standings: Sequence[Standing]) -> Table:
    from rich.text import Text

    table = empty_table(["job", "system", "ranks", "submitted", "ran", "sign of life", "state"], names=[])
    for one in standings:
        last = one.attempts[-1] if one.attempts else None
        alive = duration(time.time() - last.alive) + " ago" if last is not None and last.ended is None else ""
        table.add_row(
            f"{_label(one)} {one.job.name}",
            one.scheduler_id.partition(":")[0],
            f"{one.job.nodes} × {one.job.ranks_per_node}",
            "" if one.submitted is None else time.strftime("%m-%d %H:%M", time.localtime(one.submitted)),
            _ran(one.attempts),
            alive,
            Text(one.state, style=_STYLES.get(one.state, "")),
        )
    return table


def _label(one: Standing) -> str:
    return f"{one.job.number}" if one.element is None else f"{one.job.number}[{one.element}]"


def _ran(attempts: Sequence[Attempt]) -> str:
    """Return how long a job ran, over all the times that it did."""
    if not attempts:
        return ""
    seconds = sum((one.ended or one.alive) - one.started for one in attempts)
    return duration(seconds) + (f" in {len(attempts)} times" if len(attempts) > 1 else "")
