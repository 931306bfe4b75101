"""The quanta and their products in SQLite."""

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from mpidriver.errors import DataError
from mpidriver.store._sqlite._connection import Connection
from mpidriver.store._sqlite._runs import RunTable
from mpidriver.store._state._records import Product, QuantumRecord, QuantumUpdate, known_statuses

__all__ = ["QuantumTable"]

_COLUMNS = (
    "key, task, data_id, status, attempt, started, seconds, peak_rss_bytes, rank, host, inputs_digest, error, "
    "traceback, provenance"
)
_JSON = (2, 13)
_EARLIER = f"""
SELECT {_COLUMNS.replace("provenance", "NULL")}
FROM (
    SELECT quantum AS id, key, task, data_id, attempts.* FROM quanta JOIN attempts ON attempts.quantum = quanta.id
    WHERE key = ?
)
ORDER BY attempt
"""
#: Values that an update leaves out stay; a run that was started counts as one more attempt.
_UPDATE = """
UPDATE quanta SET status = :status,
    attempt = coalesce(:attempt, attempt + (:started IS NOT NULL AND :started IS NOT started)),
    started = coalesce(:started, started), seconds = coalesce(:seconds, seconds),
    peak_rss_bytes = coalesce(:peak_rss_bytes, peak_rss_bytes), rank = coalesce(:rank, rank),
    host = coalesce(:host, host), inputs_digest = coalesce(:inputs_digest, inputs_digest), error = :error,
    traceback = :traceback, provenance = coalesce(:provenance, provenance), run_id = coalesce(:run_id, run_id)
WHERE key = :key
"""
_ADD_PRODUCT = """
INSERT OR REPLACE INTO products (path, quantum, dataset, digest, size)
SELECT ?, id, ?, ?, ? FROM quanta WHERE key = ?
"""
#: Quanta of a status by the index of tasks and statuses, task by task: the few that have failed among a million.
_OF_STATUS = """
id IN (
    WITH RECURSIVE tasks (task) AS (
        SELECT min(task) FROM quanta
        UNION ALL SELECT (SELECT min(task) FROM quanta WHERE task > tasks.task) FROM tasks WHERE tasks.task IS NOT NULL
    )
    SELECT id FROM quanta WHERE status = ? AND task IN (SELECT task FROM tasks WHERE task IS NOT NULL)
)
"""


class QuantumTable:
    """Quanta of one database.

    Parameters
    ----------
    connection
        The database.
    runs
        Its runs, and the one that records.
    """

    def __init__(self, connection: Connection, runs: RunTable) -> None:
        self._connection = connection
        self._runs = runs

    def plan(self, quanta: Iterable[Any]) -> int:
        """Enter quanta that are not there; see `StateDatabase.plan`."""
        insert = "INSERT INTO quanta (key, task, data_id, status) VALUES (?, ?, ?, 'ready') ON CONFLICT DO NOTHING"
        rows = [(key, task, json.dumps(data_id)) for key, task, data_id in quanta]
        with self._connection.transaction() as sqlite:
            return sqlite.executemany(insert, rows).rowcount

    def select(self, task: str | None, status: str | None) -> list[QuantumRecord]:
        """Return quanta in the order of planning."""
        conditions = {"task = ?": task, "status = ?" if task is not None else _OF_STATUS: status}
        tests = [test for test, value in conditions.items() if value is not None]
        where = f"WHERE {' AND '.join(tests)}" if tests else ""
        values = [value for value in conditions.values() if value is not None]
        columns = _COLUMNS.replace("provenance", "NULL")
        rows = self._connection.rows(f"SELECT {columns} FROM quanta {where} ORDER BY id", values)
        return [_record(row) for row in rows]

    def one(self, key: str) -> QuantumRecord:
        """Return one quantum; see `StateDatabase.quantum`."""
        rows = self._connection.rows(f"SELECT {_COLUMNS} FROM quanta WHERE key = ?", [key])
        if not rows:
            raise DataError(f"{self._connection.path}: no quantum {key!r}")
        return _record(rows[0])

    def earlier(self, key: str) -> list[QuantumRecord]:
        """Return what came of a quantum before it was run again; see `StateDatabase.earlier`."""
        return [_record(row) for row in self._connection.rows(_EARLIER, [key])]

    def claim(self, key: str) -> QuantumRecord:
        """Return what is known of a quantum; the one live run holds all of them."""
        return self.one(key)

    def release(self, key: str) -> None:
        """Leave a quantum to whoever comes; there is nobody else."""

    def held(self, keys: Collection[str]) -> set[str]:
        """Return none: there is no other run."""
        return set()

    def record(self, updates: Iterable[QuantumUpdate]) -> None:
        """Record what has become of quanta; see `StateDatabase.record`."""
        updates = known_statuses(updates)
        run_id = self._runs.current
        with self._connection.transaction() as sqlite:
            changed = sqlite.executemany(_UPDATE, (_row(update, run_id) for update in updates)).rowcount
            if changed != len(updates) and updates:
                raise DataError(_missing(sqlite, updates))
            _replace_products(sqlite, updates)

    def forget(self, keys: Iterable[str]) -> None:
        """Remove quanta with their products; see `StateDatabase.forget`."""
        names = [(key,) for key in keys]
        with self._connection.transaction() as sqlite:
            sqlite.executemany("DELETE FROM products WHERE quantum = (SELECT id FROM quanta WHERE key = ?)", names)
            sqlite.executemany("DELETE FROM attempts WHERE quantum = (SELECT id FROM quanta WHERE key = ?)", names)
            sqlite.executemany("DELETE FROM quanta WHERE key = ?", names)

    def timings(self, run_id: int | None) -> dict[str, tuple[int, float]]:
        """Return numbers and seconds of timed quanta; see `StateDatabase.timings`."""
        of_run, values = ("", []) if run_id is None else ("AND run_id = ?", [run_id])
        query = f"SELECT task, count(*), sum(seconds) FROM quanta WHERE seconds IS NOT NULL {of_run} GROUP BY task"
        return {task: (count, seconds) for task, count, seconds in self._connection.rows(query, values)}

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of quanta by task and status."""
        query = "SELECT task, status, count(*), min(id) FROM quanta GROUP BY task, status"
        rows = self._connection.rows(query)
        first = {task: min(row[3] for row in rows if row[0] == task) for task in {row[0] for row in rows}}
        counts: dict[str, dict[str, int]] = {task: {} for task in sorted(first, key=lambda task: first[task])}
        for task, status, count, _ in rows:
            counts[task][status] = count
        return counts

    def products(self, key: str | None, dataset: str | None) -> list[Product]:
        """Return products by path."""
        conditions = {"quantum = (SELECT id FROM quanta WHERE key = ?)": key, "dataset = ?": dataset}
        tests = [test for test, value in conditions.items() if value is not None]
        where = f"WHERE {' AND '.join(tests)}" if tests else ""
        values = [value for value in conditions.values() if value is not None]
        query = f"SELECT dataset, path, digest, size FROM products {where} ORDER BY path"
        return [Product(*row) for row in self._connection.rows(query, values)]


def _record(row: tuple[Any, ...]) -> QuantumRecord:
    values = list(row)
    for place in _JSON:
        values[place] = None if values[place] is None else json.loads(values[place])
    return QuantumRecord(*values)


def _row(update: QuantumUpdate, run_id: int | None) -> dict[str, Any]:
    made_of = None if update.provenance is None else json.dumps(update.provenance)
    return {**vars(update), "provenance": made_of, "run_id": run_id}


def _missing(sqlite: sqlite3.Connection, updates: list[QuantumUpdate]) -> str:
    for update in updates:
        if sqlite.execute("SELECT 1 FROM quanta WHERE key = ?", [update.key]).fetchone() is None:
            return f"quantum {update.key!r} was never planned; nothing of {len(updates)} outcomes was recorded"
    return "a quantum could not be updated"


def _replace_products(sqlite: sqlite3.Connection, updates: list[QuantumUpdate]) -> None:
    made = [update for update in updates if update.products is not None]
    remove = "DELETE FROM products WHERE quantum = (SELECT id FROM quanta WHERE key = ?)"
    sqlite.executemany(remove, ((update.key,) for update in made))
    sqlite.executemany(_ADD_PRODUCT, _product_rows(made))


def _product_rows(updates: list[QuantumUpdate]) -> Iterator[tuple[Any, ...]]:
    for update in updates:
        for product in update.products or ():
            yield str(product.path), product.dataset, product.digest, int(product.size), update.key
