"""The runs in SQLite: one at a time, and what becomes of those that died."""

import contextlib
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Collection
from typing import Any

from mpidriver.errors import RepositoryError
from mpidriver.store._sqlite._connection import Connection
from mpidriver.store._state._records import RunRecord
from mpidriver.store._state._run_lock import RunLock, process_identity, process_is_alive

__all__ = ["RunTable"]

#: A run gives a sign of life this often …
BEAT_SECONDS = 30.0
#: … and one on another host counts as dead after this long without.
STALE_SECONDS = 180.0

_COLUMNS = "run_id, command, ranks, version, host, pid, started, heartbeat, ended, status"


class RunTable:
    """Runs of one database, and the one of this process.

    Parameters
    ----------
    connection
        The database.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = RunLock(connection.path.with_name(connection.path.name + "-lock"))
        self._stop = threading.Event()
        self._heart: threading.Thread | None = None
        self.current: int | None = None

    def begin(self, command: str, ranks: int, version: str, host: str, dead: Collection[int] = ()) -> int:
        """Claim the database; see `StateDatabase.begin_run`."""
        if not self._acquire():
            raise RepositoryError(self._held_by(self._running()))
        try:
            with self._connection.transaction() as sqlite:
                self._bury_the_dead(sqlite, dead)
                sqlite.execute("UPDATE quanta SET status = 'ready' WHERE status = 'running'")
                self.current = self._insert(sqlite, command, ranks, version, host)
        except BaseException:
            self._lock.release()
            raise
        self._start_heart()
        return self.current

    def end(self, run_id: int, status: str) -> None:
        """End a run; see `StateDatabase.end_run`."""
        with self._connection.transaction() as sqlite:
            _close_run(sqlite, run_id, status)
        if run_id == self.current:
            self.current = None
            self.abandon()

    def abandon(self) -> None:
        """Stop the signs of life and release the lock; a run that was not ended has died."""
        self._stop.set()
        if self._heart is not None:
            self._heart.join()
            self._heart = None
        if self.current is not None:
            with contextlib.suppress(RepositoryError), self._connection.transaction() as sqlite:
                _close_run(sqlite, self.current, "died")
        self._lock.release()
        self.current = None

    def all(self) -> list[RunRecord]:
        """Return all runs, the oldest first."""
        return [RunRecord(*row) for row in self._connection.rows(f"SELECT {_COLUMNS} FROM runs ORDER BY run_id")]

    def others(self) -> list[RunRecord]:
        """Return none: only one run may be alive."""
        return []

    def _acquire(self) -> bool:
        try:
            return self._lock.acquire()
        except OSError as error:
            raise RepositoryError(
                f"{self._connection.path.parent}: cannot be locked: {error}; make the directory writable"
            ) from error

    def _insert(self, sqlite: sqlite3.Connection, command: str, ranks: int, version: str, host: str) -> int:
        now = time.time()
        insert = (
            "INSERT INTO runs (command, ranks, version, host, pid, process, started, heartbeat, status) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'running')"
        )
        pid = os.getpid()
        command = command.encode(errors="backslashreplace").decode()  # paths need not be UTF-8
        done = sqlite.execute(insert, (command, ranks, version, host, pid, process_identity(pid), now, now))
        return int(done.lastrowid or 0)

    def _bury_the_dead(self, sqlite: sqlite3.Connection, dead: Collection[int]) -> None:
        query = f"SELECT {_COLUMNS}, process FROM runs WHERE status = 'running'"
        for *values, identity in sqlite.execute(query).fetchall():
            run = RunRecord(*values)
            if run.run_id not in dead and self._alive(run, identity):
                raise RepositoryError(self._held_by(run))
            _close_run(sqlite, run.run_id, "died")

    def _alive(self, run: RunRecord, identity: str) -> bool:
        if (run.host, run.pid) == (socket.gethostname(), os.getpid()):
            return False  # this process has lost it without an end, or the lock would not have been free
        known = process_is_alive(run.host, run.pid, identity)
        return time.time() - run.heartbeat < STALE_SECONDS if known is None else known

    def _running(self) -> RunRecord | None:
        return next((run for run in reversed(self.all()) if run.status == "running"), None)

    def _held_by(self, run: RunRecord | None) -> str:
        where = f"{self._connection.path.parent}: held by"
        if run is None:
            return f"{where} another run that is just starting; wait for it or stop it"
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.started))
        who = f"{where} process {run.pid} on {run.host} since {since} ({run.command!r})"
        if run.host == socket.gethostname():
            return f"{who}; wait for it or stop it"
        silent = time.time() - run.heartbeat
        return f"{who}, last sign of life {silent:.0f} s ago; if it is dead, try again in {STALE_SECONDS:.0f} s"

    def _start_heart(self) -> None:
        self._stop.clear()
        self._heart = threading.Thread(target=self._beat, name="mpidriver-state-heartbeat", daemon=True)
        self._heart.start()

    def _beat(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            try:
                with self._connection.transaction() as sqlite:
                    beat: tuple[Any, ...] = (time.time(), self.current)
                    sqlite.execute("UPDATE runs SET heartbeat = ? WHERE run_id = ?", beat)
            except RepositoryError:
                continue  # the run itself will meet the error, where somebody can be told


def _close_run(sqlite: sqlite3.Connection, run_id: int, status: str) -> None:
    """End a run and take back the quanta that it was running."""
    sqlite.execute("UPDATE quanta SET status = 'ready' WHERE status = 'running' AND run_id = ?", [run_id])
    sqlite.execute("UPDATE runs SET status = ?, ended = ? WHERE run_id = ?", (status, time.time(), run_id))
