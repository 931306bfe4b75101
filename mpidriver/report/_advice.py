"""The table of `mpidriver advise`, as rich renderables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from mpidriver.report._tables import Page, bulleted, empty_table
from mpidriver.report._words import duration, plural

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from mpidriver.pool import Prediction

__all__ = ["advice_table"]

#: Lost time that is not worth naming a stage for.
LITTLE_IDLE = 0.05


class Advice(Protocol):
    """What the table needs of advice."""

    predictions: Sequence[Prediction]
    """One a number of ranks."""
    recommended: Prediction
    """One of them."""
    ranks_per_node: int | None
    """Ranks that share a node, None if there are no nodes."""
    ranks_that_fit: int | None
    """Ranks a node for whose memory there is room, None if unknown."""
    time_limit_seconds: float
    """Of the recommended run."""
    margin: float
    """Included in it, as a share."""
    notes: Sequence[str]
    """What was assumed."""

    def nodes(self, ranks: int) -> int:
        """Return the number of nodes for so many ranks."""

    def fits(self, prediction: Prediction) -> bool:
        """Tell whether the memory of a node is enough."""


def advice_table(advice: Advice) -> Page:
    """Return the predicted runs, one a line, and what to ask the batch system for.

    Parameters
    ----------
    advice
        From `mpidriver.drivers.advise`.

    Returns
    -------
    Page
        For `rich.console.Console.print`, or for `print` as plain text.
    """
    from rich.text import Text

    first = advice.predictions[0]
    jobs = sum(stage.jobs for stage in first.stages)
    what = f"{plural(jobs, 'task')}, {duration(first.work_seconds)} of work"
    longest = f"the longest chain of tasks that wait for each other takes {duration(first.critical_seconds)}"
    parts: list = [Text(f"{what}; {longest}"), _predictions(advice), _recommendation(advice)]
    if advice.notes:
        parts.append(bulleted("Notes", advice.notes))
    return Page(*parts)


def _predictions(advice: Advice) -> Table:
    headings = ["ranks", "wall", "efficiency", "core-hours", "waits for"]
    has_nodes, has_memory = bool(advice.ranks_per_node), any(one.node_memory_bytes for one in advice.predictions)
    headings[1:1] = ["nodes"] * has_nodes
    headings[-1:-1] = ["memory a node"] * has_memory
    table = empty_table(headings, names=[])
    for one in advice.predictions:
        cells = [duration(one.wall_seconds), f"{100 * one.efficiency:.0f} %", f"{one.core_hours:,.1f}", _limit(one)]
        cells[:0] = [f"{advice.nodes(one.ranks):,}"] * has_nodes
        cells[-1:-1] = [_memory(one, advice)] * has_memory
        table.add_row(f"{one.ranks:,}", *cells, style="bold" if one is advice.recommended else "")
    return table


def _memory(prediction: Prediction, advice: Advice) -> str:
    size = prediction.node_memory_bytes
    text = f"{size / 2**30:.1f} GiB" if size >= 0.95 * 2**30 else f"{size / 2**20:.0f} MiB"
    return text if advice.fits(prediction) else f"{text}: too much"


def _limit(prediction: Prediction) -> str:
    """Say what more ranks would have to wait for: a stage, or nothing but ranks."""
    limiting = prediction.limiting
    if limiting is None or 1 - prediction.efficiency < LITTLE_IDLE:
        return "ranks"
    idle_seconds = prediction.ranks * prediction.wall_seconds - prediction.work_seconds
    return f"{limiting.stage} ({100 * limiting.idle_seconds / idle_seconds:.0f} % of idle)"


def _recommendation(advice: Advice) -> Text:
    from rich.text import Text

    best = advice.recommended
    limit = f"time limit {_clock(advice.time_limit_seconds)} ({100 * advice.margin:.0f} % margin)"
    nodes = f" on {plural(advice.nodes(best.ranks), 'node')}" if advice.ranks_per_node else ""
    text = Text(f"Recommended: {plural(best.ranks, 'rank')}{nodes}, {limit}", style="bold")
    text.append(f"; {duration(best.wall_seconds)} at {100 * best.efficiency:.0f} % efficiency", style="not bold")
    if not advice.fits(best):
        fitting = advice.ranks_that_fit or 0
        hint = f"at most {plural(fitting, 'rank')} a node" if fitting else "nodes with more memory"
        text.append(f"\nIts tasks do not fit into the memory of a node: take {hint}", style="bold red")
    return text


def _clock(seconds: float) -> str:
    """Return a time limit as batch systems take it, ``26:05:00``."""
    minutes = round(seconds / 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:00"
