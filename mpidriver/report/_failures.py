"""Failures grouped by cause: what they say, and the line of our own or the user's code where they were raised."""

import re
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mpidriver.report._tables import Page
    from mpidriver.store import QuantumRecord

__all__ = ["FailureGroup", "cause_pattern", "failures_page", "group_failures", "innermost_line"]

#: Keys that a group of failures shows.
SHOWN_KEYS = 5

_NUMBERS_AND_PATHS = re.compile(r"\S*/\S+|\d+(\.\d+)?")
_LINE = re.compile(r'^\s*File "(?P<path>[^"]+)", line (?P<line>\d+), in (?P<function>.+)$', re.MULTILINE)
#: Where code lies that is neither ours nor the user's.
_LIBRARIES = ("/site-packages/", "/dist-packages/", "<frozen ", f"{sysconfig.get_path('stdlib')}/")
_OWN = "/mpidriver/"


@dataclass(frozen=True)
class FailureGroup:
    """Failures of one task that say the same but for numbers and paths, from the same line."""

    task: str
    """Name of the task."""
    cause: str
    """What the first of them says, in one line."""
    line: str
    """Where it was raised, as ``mpidriver/tasks/warp/_warp.py:88 in warp``; empty if nothing tells."""
    keys: list[str] = field(default_factory=list)
    """The quanta."""


def group_failures(records: "Iterable[QuantumRecord]") -> list[FailureGroup]:
    """Return failed quanta grouped by task, cause and line, the largest group first."""
    groups: dict[tuple[str, str, str], FailureGroup] = {}
    for record in records:
        cause = " ".join((record.error or "no cause was recorded").split())
        line = innermost_line(record.traceback or "")
        group = groups.setdefault((record.task, cause_pattern(cause), line), FailureGroup(record.task, cause, line))
        group.keys.append(record.key)
    return sorted(groups.values(), key=lambda group: -len(group.keys))


def cause_pattern(cause: str) -> str:
    """Return what a cause has in common with others that differ in numbers and paths alone."""
    return _NUMBERS_AND_PATHS.sub("#", cause)


def innermost_line(traceback: str) -> str:
    """Return the innermost line of a traceback that is mpidriver's or the user's, not a library's."""
    frames = [match.groupdict() for match in _LINE.finditer(traceback)]
    own = [frame for frame in frames if _OWN in frame["path"] or not any(part in frame["path"] for part in _LIBRARIES)]
    if not own:
        return ""
    path = own[-1]["path"]
    shown = f"mpidriver/{path.rpartition(_OWN)[2]}" if _OWN in path else path
    return f"{shown}:{own[-1]['line']} in {own[-1]['function']}"


def failures_page(groups: Iterable[FailureGroup]) -> "Page":
    """Return what `mpidriver status --failed` prints: each cause with its line, how often it was met, and by whom."""
    from rich.text import Text

    from mpidriver.report._tables import Page

    parts = []
    for group in groups:
        text = Text(f"{len(group.keys):,} × {group.task}: ", style="bold")
        text.append(group.cause, style="not bold red")
        if group.line:
            text.append(f"\n    at {group.line}", style="not bold dim")
        for key in group.keys[:SHOWN_KEYS]:
            text.append(f"\n    {key}", style="not bold")
        if len(group.keys) > SHOWN_KEYS:
            text.append(f"\n    and {len(group.keys) - SHOWN_KEYS:,} more", style="not bold")
        parts.append(text)
    return Page(*(parts or [Text("nothing has failed")]))
