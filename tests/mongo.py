"""Servers that tests of the MongoDB back end speak to: nx-27017 over a real socket, and any that the environment names.

MPIDRIVER_TEST_MONGO_URI names a further server and one of its databases, as mongodb://user:password@host/database;
what mpidriver keeps in that database is removed.
"""

import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import unquote

from pymongo import MongoClient

from mpidriver.store import StateOptions

REAL_SERVER = "MPIDRIVER_TEST_MONGO_URI"
PASSWORD = "MPIDRIVER_TEST_MONGO_PASSWORD"
COLLECTIONS = ("runs", "frames", "quanta", "tasks", "counters", "meta")


class NxServer:
    """A server of the MongoDB protocol on an SQLite file, on a port of its own; it can be killed and started again."""

    def __init__(self, folder):
        self._folder = Path(folder)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._process = None

    def start(self):
        """Start it, and return when it answers."""
        program = Path(sys.executable).with_name("nx-27017")
        files = ("--db", "nx.db", "--log-file", "nx.log", "--pid-file", "nx.pid")
        with open(self._folder / "nx.out", "ab") as output:
            self._process = subprocess.Popen(
                [program, "--port", str(self.port), *files], cwd=self._folder, stdout=output, stderr=output
            )
        with MongoClient(f"mongodb://127.0.0.1:{self.port}", serverSelectionTimeoutMS=30_000) as client:
            client.admin.command("ping")
        return self

    def kill(self):
        """Kill it."""
        self._process.kill()
        self._process.wait()

    @property
    def url(self):
        """The URL of its database; it has only one, whatever the name."""
        return f"mongodb://127.0.0.1:{self.port}/test"

    @property
    def impatient_url(self):
        """The same for clients that find out soon that it is away."""
        return f"{self.url}?serverSelectionTimeoutMS=200"


@contextlib.contextmanager
def nx_server(folder):
    """Run a server whose file is in a folder."""
    server = NxServer(folder).start()
    try:
        yield server
    finally:
        server.kill()


def real_server_options(**changes):
    """Return table [state] for the server that the environment names, with its password in a variable of its own."""
    scheme, _, rest = os.environ[REAL_SERVER].partition("://")
    credentials, at, place = rest.rpartition("@")
    user, _, password = credentials.partition(":")
    os.environ[PASSWORD] = unquote(password)
    return StateOptions(url=f"{scheme}://{user}{at}{place}", password_env=PASSWORD, **changes)


def emptied(options):
    """Return options after what mpidriver keeps in their database is removed."""
    password = {"password": os.environ[options.password_env]} if "@" in options.url else {}
    with MongoClient(options.url, **password) as client:
        for name in COLLECTIONS:
            client.get_default_database()[name].drop()
    return options


def wait_until(condition, timeout_s=60.0):
    """Return when a condition holds; other processes make it so."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "what was waited for has not come"
        time.sleep(0.02)
