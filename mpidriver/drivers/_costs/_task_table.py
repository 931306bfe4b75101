"""A table of tasks, how long they take and what they wait for, as the jobs of a workload.

A CSV file with a header and these columns, in any order; empty lines and lines that begin with # are passed over:

=======  =====================================================================================================
task     name, each once
seconds  mean seconds of one job
count    number of jobs (1)
spread   sigma of the lognormal distribution of the seconds, about the relative spread (0)
memory   memory of one job, bytes or as 4GiB (0)
needs    tasks whose jobs must be done before, separated by spaces (none)
=======  =====================================================================================================

A job waits for some jobs of a task in `needs`:

``warp``
    for its even share: both tasks are cut into as many parts as the smaller one has jobs.
``warp:6``
    for its share and its neighbours, six in all.
``warp:cyclic``
    for every n-th, where n is the number of jobs of the task that waits: they are dealt out in turn, as cards.
"""

import csv
import graphlib
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mpidriver.errors import ConfigError
from mpidriver.pool import Job, Terms

__all__ = ["read_task_table", "size_in_bytes"]

COLUMNS = ("task", "seconds", "count", "spread", "memory", "needs")
REQUIRED = ("task", "seconds")


@dataclass(frozen=True)
class _Task:
    where: str
    """File and line, for errors."""
    name: str
    seconds: float
    count: int
    spread: float
    memory_bytes: int
    needs: dict[str, str]
    """Name of a task to how its jobs are shared out."""


def read_task_table(path: str | Path, *, seed: int = 0) -> list[Job]:
    """Return the jobs of a table of tasks.

    The order of its lines plays no part.

    Parameters
    ----------
    path
        The CSV file.
    seed
        Of the seconds that are drawn.

    Raises
    ------
    ConfigError
        If the file cannot be read or is no such table; names the line.
    """
    tasks = _read_tasks(Path(path))
    jobs: list[Job] = []
    first: dict[str, int] = {}
    for task in _inputs_first(tasks):
        first[task.name] = len(jobs)
        seconds = _draw(task, seed)
        for number in range(task.count):
            needs = [
                first[name] + place
                for name, share in task.needs.items()
                for place in _share(share, number, task.count, tasks[name].count)
            ]
            jobs.append(Job(task.name, seconds[number], tuple(needs), task.memory_bytes, task.seconds))
    return jobs


def size_in_bytes(text: str) -> int:
    """Return the number of bytes that a text as ``4GiB`` means.

    Raises
    ------
    ValueError
        If it means none.
    """
    size = Terms(isolate=True, memory=int(text) if text.strip().isdigit() else text).memory_bytes
    assert size is not None
    return size


def _read_tasks(path: Path) -> dict[str, _Task]:
    tasks: dict[str, _Task] = {}
    for where, row in _rows(path):
        task = _task(where, row)
        if task.name in tasks:
            raise ConfigError(f"{where}: task {task.name!r} stands at {tasks[task.name].where} already")
        tasks[task.name] = task
    if not tasks:
        raise ConfigError(f"{path}: no task; expected a line for each below the header")
    for task in tasks.values():
        unknown = next((name for name in task.needs if name not in tasks), None)
        if unknown is not None:
            raise ConfigError(f"{task.where}: {task.name} needs {unknown!r}; the table has {', '.join(tasks)}")
    return tasks


def _rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield where each line below the header stands, and its values by column."""
    columns: list[str] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader("\n" if line.startswith("#") else line for line in file)
            for row in reader:
                values, where = [value.strip() for value in row], f"{path}, line {reader.line_num}"
                if not any(values):
                    continue
                if not columns:
                    _check_header(where, values)
                    columns = values
                elif len(values) != len(columns):
                    raise ConfigError(f"{where}: expected {len(columns)} values as in the header, got {len(values)}")
                else:
                    yield where, dict(zip(columns, values, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path}: cannot be read as a table of tasks: {error}") from None


def _check_header(where: str, names: list[str]) -> None:
    missing = next((name for name in REQUIRED if name not in names), None)
    if missing is not None:
        raise ConfigError(f"{where}: no column {missing!r}; columns are {', '.join(COLUMNS)}")
    unknown = next((name for name in names if name not in COLUMNS), None)
    if unknown is not None:
        raise ConfigError(f"{where}: unknown column {unknown!r}; columns are {', '.join(COLUMNS)}")


def _task(where: str, row: Mapping[str, str]) -> _Task:
    if not row["task"]:
        raise ConfigError(f"{where}: task must have a name")
    return _Task(
        where,
        row["task"],
        _number(where, "seconds", row["seconds"]),
        _count(where, row.get("count") or "1"),
        _number(where, "spread", row.get("spread") or "0"),
        _memory(where, row.get("memory") or "0"),
        dict(_need(where, word) for word in row.get("needs", "").split()),
    )


def _need(where: str, word: str) -> tuple[str, str]:
    name, _, share = word.partition(":")
    if share not in ("", "cyclic") and not (share.isdecimal() and int(share)):
        raise ConfigError(f"{where}: needs must be TASK, TASK:NUMBER or TASK:cyclic, got {word!r}")
    return name, share


def _count(where: str, text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise ConfigError(f"{where}: count must be a whole number of at least 1, got {text!r}")
    return int(text)


def _memory(where: str, text: str) -> int:
    try:
        return 0 if text == "0" else size_in_bytes(text)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None


def _number(where: str, column: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < math.inf:
        raise ConfigError(f"{where}: {column} must be a number of at least 0, got {text!r}")
    return number


def _inputs_first(tasks: Mapping[str, _Task]) -> list[_Task]:
    """Return tasks after those that they need, and else by name: lines of a table have no order."""
    sorter = graphlib.TopologicalSorter({name: sorted(tasks[name].needs) for name in sorted(tasks)})
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        circle = error.args[1]
        raise ConfigError(f"{tasks[circle[0]].where}: tasks wait for each other: {' → '.join(circle)}") from None
    ordered = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        ordered += [tasks[name] for name in ready]
        sorter.done(*ready)
    return ordered


def _draw(task: _Task, seed: int) -> list[float]:
    """Return lognormal seconds with the task's mean; each task has random numbers of its own."""
    source = random.Random(f"{seed}/{task.name}")
    shift = -(task.spread**2) / 2
    return [task.seconds * math.exp(shift + task.spread * source.gauss(0, 1)) for _ in range(task.count)]


def _share(share: str, number: int, count: int, others: int) -> Iterator[int]:
    """Yield for which of the jobs of another task a job waits."""
    if share == "cyclic":
        yield from range(number % others, others, count) if count <= others else [number % others]
        return
    first, last = number * others // count, ((number + 1) * others - 1) // count
    more = (int(share) if share else 0) - (last - first + 1)
    if more > 0:
        first = max(0, first - more // 2)
        last = min(others - 1, first + int(share) - 1)
        first = max(0, last - int(share) + 1)
    yield from range(first, last + 1)
