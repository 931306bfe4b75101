"""The jobs of a recorded trace: Chrome trace JSON, as ``--trace`` writes it."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from mpidriver.errors import ConfigError
from mpidriver.pool import Job

__all__ = ["read_trace"]


def read_trace(path: str | Path) -> list[Job]:
    """Return the jobs of a trace, in the order in which they began.

    A trace does not say what waited for what: its jobs count as independent. Of a task within which others ran on the
    same rank, only its own time counts; the main program does not count at all.

    Parameters
    ----------
    path
        The file: complete events (``"ph": "X"``) with ``name``, ``ts`` and ``dur`` in microseconds, ``pid`` and
        ``tid`` of a rank and, if they are known, ``args.peak_rss_bytes`` and a quantum's key as ``args.item``.

    Raises
    ------
    ConfigError
        If the file cannot be read or holds no such event.
    """
    events = _complete_events(Path(path))
    own = _own_microseconds(events)
    return [
        Job(_stage(event), microseconds / 1e6, memory_bytes=_memory(event))
        for event, microseconds in zip(events, own, strict=True)
        if not _is_main_program(event)
    ]


def _complete_events(path: Path) -> list[dict[str, Any]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as a trace: {error}") from None
    listed = content.get("traceEvents") if isinstance(content, dict) else content
    if not isinstance(listed, list):
        raise ConfigError(f"{path}: no trace: expected a list of events, or an object with traceEvents")
    events = [event for event in listed if isinstance(event, dict) and event.get("ph") == "X"]
    for number, event in enumerate(events):
        times = (event.get("ts"), event.get("dur"))
        if not all(isinstance(time, int | float) for time in times) or times[1] < 0 or "name" not in event:
            raise ConfigError(f"{path}: complete event {number}: name, ts and dur are needed, got {event}")
    if all(map(_is_main_program, events)):
        raise ConfigError(f"{path}: no complete event (ph: X) of a task in it")
    return sorted(events, key=lambda event: (event["ts"], -event["dur"], str(event.get("tid"))))


def _own_microseconds(events: list[dict[str, Any]]) -> list[float]:
    """Return how long each event lasted without those within it on the same rank."""
    own = [float(event["dur"]) for event in events]
    open_events: defaultdict[tuple[Any, Any], list[int]] = defaultdict(list)
    for number, event in enumerate(events):
        around = open_events[event.get("pid"), event.get("tid")]
        while around and events[around[-1]]["ts"] + events[around[-1]]["dur"] < event["ts"] + event["dur"]:
            around.pop()
        if around:
            own[around[-1]] -= event["dur"]
        around.append(number)
    return [max(0.0, microseconds) for microseconds in own]


def _arguments(event: dict[str, Any]) -> dict[str, Any]:
    arguments = event.get("args")
    return arguments if isinstance(arguments, dict) else {}


def _is_main_program(event: dict[str, Any]) -> bool:
    return _arguments(event).get("depth") == 0


def _stage(event: dict[str, Any]) -> str:
    """Return the task of a quantum, or else the event's name."""
    for text in (_arguments(event).get("item"), event["name"]):
        task, brace, _ = str(text).partition("{")
        if brace and task.isidentifier():
            return task
    return str(event["name"])


def _memory(event: dict[str, Any]) -> int:
    peak = _arguments(event).get("peak_rss_bytes")
    return peak if isinstance(peak, int) and peak > 0 else 0
