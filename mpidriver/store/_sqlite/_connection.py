"""One SQLite connection for all threads of the root process: schema, transactions, errors in plain words.

The journal is a rollback journal, not a WAL: WAL needs memory shared between processes, which network file systems do
not give. ``synchronous=FULL`` with ``journal_mode=TRUNCATE`` syncs database and journal, so that a transaction that
returned survives a power cut, as far as the disk keeps its promises.
"""

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mpidriver.errors import RepositoryError

__all__ = ["SCHEMA_VERSION", "Connection"]

SCHEMA_VERSION = 3

#: Marks the file as ours: "mpid".
_APPLICATION_ID = 0x6D706964

#: How long to wait for another process that holds the database.
BUSY_SECONDS = 30.0

_SCHEMA = """
CREATE TABLE runs (
    run_id INTEGER PRIMARY KEY, command TEXT NOT NULL, ranks INTEGER NOT NULL, version TEXT NOT NULL,
    host TEXT NOT NULL, pid INTEGER NOT NULL, process TEXT NOT NULL, started REAL NOT NULL, heartbeat REAL NOT NULL,
    ended REAL, status TEXT NOT NULL
);
CREATE TABLE frames (
    id INTEGER PRIMARY KEY, exposure INTEGER NOT NULL, detector INTEGER NOT NULL, band TEXT NOT NULL,
    kind TEXT NOT NULL, path TEXT NOT NULL, hdu INTEGER NOT NULL, digest TEXT NOT NULL, exptime_s REAL, mjd REAL,
    gain REAL, read_noise REAL, saturation REAL, zero_point_mag REAL, shape TEXT NOT NULL, wcs_header TEXT,
    corners BLOB, weight_path TEXT, weight_hdu INTEGER NOT NULL, mask_path TEXT, mask_hdu INTEGER NOT NULL,
    mask_bits INTEGER NOT NULL, metadata TEXT NOT NULL, solved_wcs_header TEXT, solved_corners BLOB,
    quality TEXT NOT NULL, stamp TEXT NOT NULL, UNIQUE (exposure, detector, band)
);
CREATE VIRTUAL TABLE footprints USING rtree (id, x_min, x_max, y_min, y_max, z_min, z_max);
CREATE TABLE quanta (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, task TEXT NOT NULL, data_id TEXT NOT NULL, status TEXT NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0, started REAL, seconds REAL, peak_rss_bytes INTEGER, rank INTEGER, host TEXT,
    inputs_digest TEXT, error TEXT, traceback TEXT, provenance TEXT, run_id INTEGER
);
CREATE TABLE attempts (
    quantum INTEGER NOT NULL, attempt INTEGER NOT NULL, status TEXT NOT NULL, started REAL, seconds REAL,
    peak_rss_bytes INTEGER, rank INTEGER, host TEXT, inputs_digest TEXT, error TEXT, traceback TEXT,
    PRIMARY KEY (quantum, attempt)
) WITHOUT ROWID;
CREATE INDEX quanta_by_status ON quanta (task, status, run_id, seconds);
CREATE TABLE products (
    path TEXT PRIMARY KEY, quantum INTEGER NOT NULL, dataset TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX products_by_quantum ON products (quantum);
"""

#: What came of a quantum is kept when it has run again; a trigger, as hardly any quantum ever does.
_KEEP_ATTEMPT = """
CREATE TRIGGER keep_attempt BEFORE UPDATE OF started ON quanta
WHEN OLD.started IS NOT NULL AND NEW.started IS NOT OLD.started
BEGIN
    INSERT OR REPLACE INTO attempts VALUES (
        OLD.id, OLD.attempt, OLD.status, OLD.started, OLD.seconds, OLD.peak_rss_bytes, OLD.rank, OLD.host,
        OLD.inputs_digest, OLD.error, OLD.traceback
    );
END
"""


class Connection:
    """A connection that threads may share; one transaction at a time.

    Parameters
    ----------
    path
        The database; made if it does not exist.
    readonly
        Only look. A missing database looks like an empty one.
    """

    def __init__(self, path: Path, *, readonly: bool = False) -> None:
        self.path = path
        self.readonly = readonly
        self._lock = threading.RLock()
        with self.errors_named():
            self._sqlite = self._connect()
            try:
                self._prepare()
            except BaseException:
                self._sqlite.close()
                raise

    def _connect(self) -> sqlite3.Connection:
        name: str | Path = self.path
        if self.readonly and not self.path.exists():
            name = ":memory:"
        elif self.readonly and not os.access(self.path, os.W_OK):
            name = f"{self.path.absolute().as_uri()}?mode=ro"
        return sqlite3.connect(
            name, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, uri=isinstance(name, str)
        )

    def _prepare(self) -> None:
        if not self.readonly:
            self._sqlite.execute("PRAGMA journal_mode = TRUNCATE")
            self._sqlite.execute("PRAGMA synchronous = FULL")
        version = self._version()
        if version == 0:
            self._make_schema()
        elif version != SCHEMA_VERSION:
            raise RepositoryError(
                f"{self.path}: schema version {version}, this mpidriver knows {SCHEMA_VERSION}; "
                f"use the mpidriver that made the repository, or a new repository"
            )
        if self.readonly:
            # A reader opens read-write where it may, so that it can roll back what a killed writer left half done.
            self._sqlite.execute("PRAGMA query_only = ON")

    def _version(self) -> int:
        (version,) = self._sqlite.execute("PRAGMA user_version").fetchone()
        (owner,) = self._sqlite.execute("PRAGMA application_id").fetchone()
        (tables,) = self._sqlite.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and owner != _APPLICATION_ID:
            raise RepositoryError(f"{self.path}: a database of another program; move it away")
        return int(version)

    def _make_schema(self) -> None:
        if self.readonly and self.path.exists():
            if not self.path.stat().st_size:
                self._sqlite.close()
                self._sqlite = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            elif self._version() == SCHEMA_VERSION:
                return
        self._sqlite.execute("BEGIN IMMEDIATE")
        if self._version() == 0:  # nobody was faster
            for statement in (*_SCHEMA.split(";"), _KEEP_ATTEMPT):
                self._sqlite.execute(statement)
            self._sqlite.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            self._sqlite.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self._sqlite.execute("COMMIT")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection inside a transaction that is on disk when the block ends, and undone on an error."""
        with self._lock, self.errors_named():
            try:
                self._sqlite.execute("BEGIN IMMEDIATE")
                yield self._sqlite
                self._sqlite.execute("COMMIT")
            except BaseException:
                if self._sqlite.in_transaction:
                    self._sqlite.execute("ROLLBACK")
                raise

    def rows(self, query: str, parameters: Iterable[Any] = ()) -> list[Any]:
        """Return all rows of a query; the database is free for writers when this returns."""
        with self._lock, self.errors_named():
            return self._sqlite.execute(query, tuple(parameters)).fetchall()

    def close(self) -> None:
        """Close the connection; more than once does no harm."""
        with self._lock:
            self._sqlite.close()

    @contextlib.contextmanager
    def errors_named(self) -> Iterator[None]:
        """Turn SQLite's errors into RepositoryErrors that say what would do."""
        try:
            yield
        except sqlite3.ProgrammingError as error:
            raise RepositoryError(f"{self.path}: {error}; was it closed?") from error
        except sqlite3.Error as error:
            raise RepositoryError(f"{self.path}: {error}{self._advice(error)}") from error

    def _advice(self, error: sqlite3.Error) -> str:
        name = getattr(error, "sqlite_errorname", "")
        advice = {
            "SQLITE_BUSY": f"; another process held it for {BUSY_SECONDS:.0f} s: look for one that hangs",
            "SQLITE_FULL": "; free some space, nothing that was recorded is lost",
            "SQLITE_READONLY": "; make it and its directory writable",
            "SQLITE_CANTOPEN": "; its directory must exist and be writable",
            "SQLITE_NOTADB": "; it is damaged or no database: restore it from a copy",
            "SQLITE_CORRUPT": "; it is damaged: restore it from a copy",
            "SQLITE_IOERR": "; check the disk, its quota and the file size limit",
        }
        return next((text for start, text in advice.items() if name.startswith(start)), "")
