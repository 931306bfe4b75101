"""One MongoDB database for all threads of the root process: waiting for it, errors in plain words.

Only what every server has is used: single-document updates, unordered inserts, plain indexes. No transactions and no
retryable writes, which standalone servers and DocumentDB refuse: what `MongoConnection.call` runs may run again.
"""

import contextlib
import datetime
import logging
import os
import threading
import time
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote

from pymongo import MongoClient
from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    InvalidOperation,
    OperationFailure,
    PyMongoError,
)

from mpidriver.errors import ConfigError, RepositoryError
from mpidriver.store._atomic import PARTIAL_PREFIX, write_text
from mpidriver.store._state._options import MongoUrl, StateOptions, read_password

if TYPE_CHECKING:
    from pymongo.collection import Collection
    from pymongo.database import Database

__all__ = ["Document", "MongoConnection", "is_duplicate"]

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1

#: What is numbered.
COUNTERS = ("runs", "quanta")

#: The file of a repository that tells it from all others, as its database on a server does not lie within.
IDENTITY_NAME = "state.id"

#: How long to look for a server each time, …
SELECT_SECONDS = 5.0
#: … to wait for an answer, before the connection counts as broken, …
ANSWER_SECONDS = 60.0
#: … and to pause before the next try.
PAUSE_SECONDS = 1.0

#: What the driver is told, but for what the URL says otherwise.
_SETTINGS = {
    "appname": "mpidriver",
    "retryWrites": False,
    "w": "majority",
    "journal": True,
    "serverSelectionTimeoutMS": 1000 * SELECT_SECONDS,
    "connectTimeoutMS": 1000 * SELECT_SECONDS,
    "socketTimeoutMS": 1000 * ANSWER_SECONDS,
}
_DUPLICATE = 11000
_UNAUTHORIZED = (13, 18)
_EPOCH = datetime.datetime(1970, 1, 1)
_INDEXES = {
    "quanta": {"by_order": ["n"], "by_status": ["status", "task"], "by_claim": ["claim"]},
    "frames": {"by_name": ["exposure", "detector", "band"], "by_cell": ["cells"]},
}

Document = dict[str, Any]
Result = TypeVar("Result")


class MongoConnection:
    """A database on a MongoDB server.

    Parameters
    ----------
    options
        Table [state] of survey.toml.
    root
        The repository's folder.
    readonly
        Only look: nothing is made, and writing is refused.

    Raises
    ------
    RepositoryError
        If the server cannot be reached, refuses the user, or keeps a state of another version.
    """

    def __init__(self, options: StateOptions, root: Path, *, readonly: bool = False) -> None:
        url = MongoUrl.read(options.url)
        self.place = url.place
        self.readonly = readonly
        self.writing = threading.RLock()
        """Held by whoever reads something in order to change it."""
        self.steady_since = time.monotonic()
        """When the server was last found again after it had been away, on the monotonic clock."""
        self._patience_s = 0.0
        self._password_source = options.password_file or options.password_env
        self._closing = threading.Event()
        self._gone_since: float | None = None
        self._client = self._connect(options, root, url)
        self._database: Database[Document] = self._client[url.database]
        try:
            self._prepare(root)
        except BaseException:
            self._client.close()
            raise
        self._patience_s = options.patience_s

    def _connect(self, options: StateOptions, root: Path, url: MongoUrl) -> "MongoClient[Document]":
        chosen = url.options.lower()
        settings: dict[str, Any] = {name: value for name, value in _SETTINGS.items() if name.lower() not in chosen}
        if options.tls:
            settings["tls"] = True
        for name, path in (
            ("tlsCAFile", options.tls_ca_file),
            ("tlsCertificateKeyFile", options.tls_certificate_key_file),
        ):
            if path:
                settings[name] = str(root / Path(path).expanduser())
        if url.user:
            settings["username"] = unquote(url.user)
        if url.needs_password:
            settings["password"] = read_password(options, root)
        address = f"{url.place}?{url.options}"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)  # an option of the URL that is unknown or wrong
                return MongoClient(address, **settings)
        except (ConfigurationError, UserWarning, ValueError, OSError) as error:
            raise ConfigError(f"[state] url {self.place}: {error}") from None

    def _prepare(self, root: Path) -> None:
        """Check that the database is this repository's; where it is to be written, make what must be there once."""
        identity = state_identity(root, make=not self.readonly)
        if not self.readonly:
            self.call(_make, identity)
        found = self.call(lambda database: database.meta.find_one({"_id": "state"}))
        if found is None:
            return
        if found["schema"] != SCHEMA_VERSION:
            raise RepositoryError(
                f"{self.place}: schema version {found['schema']}, this mpidriver knows {SCHEMA_VERSION}; "
                f"use the mpidriver that made it, or a new database"
            )
        if found["repository"] != identity:
            raise RepositoryError(
                f"{self.place}: keeps the state of another repository than {root}; name another database by [state] "
                f"url (or, if it is the same one, write {found['repository']} into {root / IDENTITY_NAME})"
            )

    def call(self, action: Callable[..., Result], *arguments: Any, patience_s: float | None = None) -> Result:
        """Return what an action on the database returns; try it again while the server cannot be reached.

        Parameters
        ----------
        action
            Called with the database and the arguments; it must do no harm if it is run again after it was broken off at
            any point.
        arguments
            Further arguments of the action.
        patience_s
            How long to wait for the server; none: as long as the options say.

        Raises
        ------
        RepositoryError
            If the server is away for longer, or refuses.
        """
        while True:
            try:
                result = action(self._database, *arguments)
            except ConnectionFailure as error:
                self._wait(error, self._patience_s if patience_s is None else patience_s)
            except PyMongoError as error:
                raise RepositoryError(f"{self.place}: {self._reason(error)}") from error
            else:
                self._note_answer()
                return result

    def change(self, action: Callable[..., Result], *arguments: Any) -> Result:
        """Return what a changing action returns, one at a time; see `call`.

        Raises
        ------
        RepositoryError
            Also if the database was opened only to look.
        """
        if self.readonly:
            raise RepositoryError(f"{self.place}: attempt to write a readonly database; it was opened only to look")
        with self.writing:
            return self.call(action, *arguments)

    def clock(self, *, patience_s: float | None = None) -> float:
        """Return the time by the server's clock, Unix time, which is the same for all runs; see `call`."""
        answer = self.call(lambda database: database.client.admin.command("hello"), patience_s=patience_s)
        # BSON dates are UTC; they come without a time zone.
        now = answer.get("localTime")
        return time.time() if now is None else (now - _EPOCH).total_seconds()

    def close(self) -> None:
        """Close the connection; whoever waits for the server gives up."""
        self._closing.set()
        self._client.close()

    def _wait(self, error: ConnectionFailure, patience_s: float) -> None:
        """Wait a moment for a server that is away, and say so once."""
        now = time.monotonic()
        gone_since = now if self._gone_since is None else self._gone_since
        left_s = gone_since + patience_s - now  # of the patience that all threads have together
        if left_s <= 0.0 or self._closing.is_set():
            raise RepositoryError(
                f"{self.place}: the database does not answer ({now - gone_since:.0f} s by now): {_first_line(error)}; "
                f"see that it runs and can be reached from here, then run the same command to go on"
            ) from error
        if self._gone_since is None:
            self._gone_since = now
            patience = f"waiting for it up to {patience_s:.0f} s"
            log.warning("%s: the database does not answer (%s); %s", self.place, _first_line(error), patience)
        self._closing.wait(min(PAUSE_SECONDS, left_s))

    def _note_answer(self) -> None:
        if self._gone_since is not None:
            self.steady_since = time.monotonic()
            log.warning("%s: the database answers again after %.0f s", self.place, self.steady_since - self._gone_since)
            self._gone_since = None

    def _reason(self, error: PyMongoError) -> str:
        text = _first_line(error)
        if isinstance(error, InvalidOperation):
            return f"{text}; was it closed?"
        if isinstance(error, OperationFailure) and error.code in _UNAUTHORIZED:
            return f"{text}; check user and authSource in [state] url, and the password in {self._password_source}"
        return text


def state_identity(root: Path, *, make: bool) -> str:
    """Return what tells a repository from all others, from a file of it; empty if there is none.

    Parameters
    ----------
    root
        The repository's folder.
    make
        Make it if there is none. Of several that make it at once one succeeds, and all return the same.
    """
    path = root / IDENTITY_NAME
    if make and not path.exists():
        new = path.with_name(f"{PARTIAL_PREFIX}{uuid.uuid4().hex}-{IDENTITY_NAME}")
        write_text(new, uuid.uuid4().hex + "\n")
        with contextlib.suppress(FileExistsError):
            os.link(new, path)
        new.unlink()
    return path.read_text(encoding="utf-8").strip() if path.exists() else ""


def _make(database: "Database[Document]", identity: str) -> None:
    """Make what must be there once; what is there already stays."""
    for collection, indexes in _INDEXES.items():
        for name, fields in indexes.items():
            database[collection].create_index([(field, 1) for field in fields], name=name)
    for counter in COUNTERS:
        _insert_once(database.counters, {"_id": counter, "next": 0})
    _insert_once(database.meta, {"_id": "state", "schema": SCHEMA_VERSION, "repository": identity})


def _insert_once(collection: "Collection[Document]", document: Document) -> None:
    """Insert a document that others may just have inserted; not by an upsert, which two at once can both fail at."""
    try:
        collection.insert_one(document)
    except OperationFailure as error:
        if not is_duplicate(error):
            raise


def is_duplicate(error: OperationFailure) -> bool:
    """Tell whether an insert was refused only because documents of these names are there already."""
    if isinstance(error, BulkWriteError):
        refused = [*error.details.get("writeErrors", ()), *error.details.get("writeConcernErrors", ())]
        return all(one.get("code") == _DUPLICATE for one in refused)
    return error.code == _DUPLICATE or "UNIQUE constraint" in str(error)  # some servers have no code for it


def _first_line(error: Exception) -> str:
    """Return what a server or the driver says, without the state of its topology and its whole answer."""
    text = str(error).split(", full error:")[0].split(", Timeout:")[0].split(" (configured timeouts:")[0]
    return text.splitlines()[0] if text else type(error).__name__
