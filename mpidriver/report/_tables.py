"""The closing table of a run and the table of `mpidriver status`, as rich renderables."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mpidriver.report._failures import cause_pattern
from mpidriver.report._summary import FailedQuantum, RunSummary, StageSummary
from mpidriver.report._terminal import terminal_columns
from mpidriver.report._words import duration, plural

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.table import Table
    from rich.text import Text

    from mpidriver.report._pace import Pace
    from mpidriver.store import QuantumRecord

__all__ = ["Page", "bulleted", "closing_table", "empty_table", "print_summary", "status_table"]

#: More failures than this are grouped by what they say.
MANY_FAILURES = 10
#: Keys that a group of failures names.
NAMED_PER_GROUP = 3

#: Causes of idle ranks with smaller shares are not named.
LEAST_SHARE = 0.005

#: Columns of a table where there is no terminal.
LOG_COLUMNS = 120

#: Styles of the states' counts.
STYLES = {
    "done": "green",
    "skipped": "dim",
    "failed": "bold red",
    "blocked": "yellow",
    "ready": "dim",
    "running": "cyan",
}


class Page:
    """Renderables below each other for a rich console; `print` and `str` give plain text of unbroken lines."""

    def __init__(self, *parts: RenderableType) -> None:
        self.parts = parts

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self.parts

    def __str__(self) -> str:
        from io import StringIO

        from rich.console import Console

        console = Console(file=StringIO(), width=LOG_COLUMNS, color_system=None)
        console.print(self, soft_wrap=True)
        return str(console.file.getvalue()).rstrip("\n")


def print_summary(summary: RunSummary, console: Console | None = None) -> None:
    """Print the closing table.

    Parameters
    ----------
    summary
        What the run did.
    console
        Where to print; standard output if None. On something that is no terminal, lines are as long as they need to
        be, so that a log can be searched for a whole key.
    """
    from rich.console import Console

    if console is None:
        columns = terminal_columns(sys.stdout)
        console = Console(force_terminal=bool(columns), width=columns or LOG_COLUMNS)
    console.print(closing_table(summary), soft_wrap=not console.is_terminal)


def closing_table(summary: RunSummary) -> Page:
    """Return the closing table: stage by state, efficiency, products, notes, then each failure with its cause.

    Parameters
    ----------
    summary
        What the run did; empty parts are left out.

    Returns
    -------
    Page
        For `rich.console.Console.print`, or for `print` as plain text.
    """
    from rich.text import Text

    parts: list[RenderableType] = [_stage_table(summary), _verdict(summary)]
    if summary.products:
        parts.append(bulleted("Products", [str(product) for product in summary.products]))
    if summary.notes:
        parts.append(bulleted("Notes", summary.notes))
    if summary.failures:
        parts += [Text(), _failure_list(summary.failures)]
    return Page(*parts)


def _stage_table(summary: RunSummary) -> Table:
    states = [state for state in ("done", "skipped", "failed", "blocked") if summary.total(state) or state == "done"]
    table = empty_table(["stage", *states, "work"], names=[stage.stage for stage in summary.stages])
    for stage in summary.stages:
        table.add_row(stage.stage, *_cells(stage, states), duration(stage.seconds))
    if len(summary.stages) > 1:
        table.add_section()
        whole = StageSummary("all", **{state: summary.total(state) for state in states})
        seconds = sum(stage.seconds for stage in summary.stages)
        table.add_row("all", *_cells(whole, states), duration(seconds), style="bold")
    return table


def empty_table(headings: Sequence[str], *, names: Iterable[str]) -> Table:
    """Return an empty table whose first column never cuts one of `names`."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(headings[0], no_wrap=True, min_width=max(map(len, names), default=0))
    for heading in headings[1:]:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _cells(stage: StageSummary, states: Sequence[str]) -> list[Text]:
    return [_count(getattr(stage, state), state) for state in states]


def _count(count: int, state: str) -> Text:
    from rich.text import Text

    return Text(f"{count:,}" if count else "·", style=STYLES.get(state, "") if count else "dim")


def _verdict(summary: RunSummary) -> Text:
    """Return one line: what happened, on how many ranks, how long, how well they were used."""
    from rich.text import Text

    failed, blocked = summary.total("failed"), summary.total("blocked")
    text = Text(f"{summary.command}: ", style="bold")
    if failed or blocked or summary.left:
        lost = [f"{failed:,} failed"] if failed else []
        lost += [f"{blocked:,} blocked by failures"] if blocked else []
        lost += [f"{summary.left:,} not started"] if summary.left else ["everything else finished"]
        text.append(", ".join(lost), style="bold red")
    else:
        text.append("all done", style="bold green")
    text.append(f" in {duration(summary.wall_s)} on {plural(summary.ranks, 'rank')}", style="not bold")
    if summary.efficiency is not None:
        text.append(f", {100.0 * summary.efficiency:.0f} % efficient", style="not bold")
        lost = [f"{100.0 * share:.0f} % {cause}" for cause, share in summary.idle.items() if share >= LEAST_SHARE]
        if lost:
            text.append(f"; idle: {', '.join(lost)}", style="not bold")
    return text


def bulleted(heading: str, lines: Iterable[str]) -> Text:
    """Return a heading with a line below it for each thing to say."""
    from rich.text import Text

    text = Text(f"{heading}:", style="bold")
    for line in lines:
        text.append(f"\n  {line}", style="not bold")
    return text


def _failure_list(failures: Sequence[FailedQuantum]) -> Text:
    from rich.text import Text

    text = Text(plural(len(failures), "failure") + ":", style="bold red")
    if len(failures) <= MANY_FAILURES:
        for failure in failures:
            _append_failure(text, failure.key, failure.cause)
        return text
    for group in _groups(failures):
        keys = ", ".join(failure.key for failure in group[:NAMED_PER_GROUP])
        more = f" and {len(group) - NAMED_PER_GROUP} more" if len(group) > NAMED_PER_GROUP else ""
        head = f"{len(group)} × {group[0].stage}: " if len(group) > 1 else ""
        _append_failure(text, f"{head}{keys}{more}", group[0].cause)
    return text


def _append_failure(text: Text, what: str, cause: str) -> None:
    text.append(f"\n  {what}", style="not bold default")
    text.append(f"\n      {_one_line(cause)}", style="not bold red")


def _one_line(cause: str) -> str:
    return " ".join(cause.split()) or "no cause was recorded"


def _groups(failures: Sequence[FailedQuantum]) -> list[list[FailedQuantum]]:
    """Return failures that say the same but for numbers and paths, largest group first."""
    groups: dict[tuple[str, str], list[FailedQuantum]] = {}
    for failure in failures:
        groups.setdefault((failure.stage, cause_pattern(_one_line(failure.cause))), []).append(failure)
    return sorted(groups.values(), key=len, reverse=True)


def status_table(
    counts: Mapping[str, Mapping[str, int]],
    failures: Iterable[FailedQuantum | QuantumRecord] = (),
    *,
    running: Iterable[str] = (),
    pace: Pace | None = None,
) -> Page:
    """Return what `mpidriver status` prints: stage by state, what runs now and how fast, and the failed quanta.

    Parameters
    ----------
    counts
        Number of quanta by task and status, as the state database counts them.
    failures
        The failed quanta, as the state database has them too.
    running
        Keys of the quanta that are running now.
    pace
        Of the run that is on, none if there is none.

    Returns
    -------
    Page
        For `rich.console.Console.print`, or for `print` as plain text.
    """
    from rich.text import Text

    if not counts:
        return Page(Text("no quanta are planned yet"))
    states = _states_of(counts)
    table = empty_table(["stage", *states, "all"], names=counts)
    for stage, by_state in counts.items():
        cells = [_count(by_state.get(state, 0), state) for state in states]
        table.add_row(stage, *cells, f"{sum(by_state.values()):,}")
    if len(counts) > 1:
        table.add_section()
        whole = {state: sum(by_state.get(state, 0) for by_state in counts.values()) for state in states}
        cells = [_count(whole[state], state) for state in states]
        table.add_row("all", *cells, f"{sum(whole.values()):,}", style="bold")
    parts: list[RenderableType] = [table]
    if pace is not None:
        parts.append(_pace_line(pace))
    running = list(running)
    if running:
        parts.append(bulleted("Running", running))
    failed = [_failed_quantum(failure) for failure in failures]
    if failed:
        parts.append(_failure_list(failed))
    return Page(*parts)


def _pace_line(pace: Pace) -> Text:
    from rich.text import Text

    text = Text(f"{pace.command}: ", style="bold")
    where = f"on {plural(pace.ranks, 'rank')} of {pace.host} for {duration(pace.elapsed_seconds)}"
    text.append(f"{pace.ended:,} quanta {where}, {pace.quanta_per_second:.3g} a second", style="not bold")
    if pace.is_silent:
        silent = f"; no sign of life for {duration(pace.silent_seconds)}: it may be dead"
        text.append(silent, style="bold red")
    elif pace.remaining_seconds is not None:
        text.append(f"; about {duration(pace.remaining_seconds)} left", style="not bold")
    return text


def _failed_quantum(record: FailedQuantum | QuantumRecord) -> FailedQuantum:
    if isinstance(record, FailedQuantum):
        return record
    return FailedQuantum(record.key, record.error or "")


def _states_of(counts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the states that occur, in the order of a quantum's life."""
    found = {state for by_state in counts.values() for state, count in by_state.items() if count}
    life = ["ready", "running", "done", "skipped", "failed", "blocked"]
    return [state for state in life if state in found or state == "done"] + sorted(found.difference(life))
