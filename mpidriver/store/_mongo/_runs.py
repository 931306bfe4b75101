"""The runs in MongoDB: several at once, their signs of life, and what becomes of those that died.

Times are those of the server's clock, so that hosts with other clocks agree on who is alive. A run on this machine is
looked up by its process, one elsewhere counts as dead without a sign of life. That is judged only by a run that has
itself reached the server for some time: after an outage all others look dead for a moment.
"""

import os
import socket
import threading
import time
import uuid
from collections.abc import Collection
from typing import Any

from pymongo import ReturnDocument

from mpidriver.errors import RepositoryError
from mpidriver.store._mongo._connection import Document, MongoConnection
from mpidriver.store._mongo._insert import insert_missing
from mpidriver.store._state._records import RunRecord
from mpidriver.store._state._run_lock import machine_identity, process_identity, process_is_alive

__all__ = ["FREE", "MongoRuns"]

#: A run that nobody is: the claim of a quantum that is free.
FREE = 0

#: Signs of life that a run gives before it counts as dead without.
BEATS = 6

_begun_here: set[str] = set()
"""Tokens of the runs that objects of this process are in the middle of."""


class MongoRuns:
    """Runs of one database, and the one of this object.

    Parameters
    ----------
    connection
        The database.
    expiry_s
        After so long without a sign of life a run counts as dead.
    """

    def __init__(self, connection: MongoConnection, expiry_s: float) -> None:
        self._connection = connection
        self._expiry_s = expiry_s
        self._stop = threading.Event()
        self._heart: threading.Thread | None = None
        self._token = ""
        self.current: int | None = None

    def begin(self, command: str, ranks: int, version: str, host: str, dead: Collection[int] = ()) -> int:
        """Begin a run beside those that are alive; see `StateDatabase.begin_run`."""
        if self.current is not None:
            where = f"{self._connection.place}: held by process {os.getpid()}"
            raise RepositoryError(f"{where}, this one, in its run {self.current}; end that first")
        self._end_dead(dead)
        self.others()  # takes over what the dead have left
        self._token = uuid.uuid4().hex
        now, pid = self._connection.clock(), os.getpid()
        run_id = next_number(self._connection, "runs", 1)
        run = {
            "_id": run_id,
            "token": self._token,
            "command": command.encode(errors="backslashreplace").decode(),  # paths need not be UTF-8
            "ranks": ranks,
            "version": version,
            "host": host,
            "pid": pid,
            "machine": machine_identity(),
            "process": process_identity(pid),
            "started": now,
            "heartbeat": now,
            "status": "running",
        }
        insert_missing(self._connection, "runs", [run])
        _begun_here.add(self._token)
        self.current = run_id
        self._start_heart()
        return run_id

    def end(self, run_id: int, status: str) -> None:
        """End a run; see `StateDatabase.end_run`."""
        if run_id == self.current:
            self._stop_heart()
        self._free(run_id)
        end = {"$set": {"status": status, "ended": self._connection.clock()}}
        self._connection.change(lambda database: database.runs.update_one({"_id": run_id}, end))
        if run_id == self.current:
            self.current = None
            _begun_here.discard(self._token)

    def _end_dead(self, dead: Collection[int]) -> None:
        """Take over runs that are known to be over, whatever their last sign of life."""
        for run in self._find({"_id": {"$in": sorted(dead)}, "status": "running"}):
            self.end(run["_id"], "died")

    def abandon(self) -> None:
        """Stop the signs of life; a run that was not ended has died."""
        self._stop_heart()
        if self.current is not None:
            _begun_here.discard(self._token)
            try:
                self.end(self.current, "died")
            except RepositoryError:
                self.current = None  # others find out by themselves

    def all(self) -> list[RunRecord]:
        """Return all runs, the oldest first."""
        return [_record(run) for run in self._find({})]

    def others(self) -> list[RunRecord]:
        """Return the runs that are alive beside this one; what dead ones held is free from then on."""
        running = [run for run in self._find({"status": "running"}) if run["_id"] != self.current]
        alive = self._alive(running)
        return [_record(run) for run in running if run["_id"] in alive]

    def alive(self, run_ids: Collection[int]) -> set[int]:
        """Return which of these runs are alive; what the others held is free from then on."""
        return self._alive(self._find({"_id": {"$in": sorted(run_ids)}}))

    def _find(self, condition: Document) -> list[Document]:
        return self._connection.call(lambda database: list(database.runs.find(condition).sort("_id", 1)))

    def _alive(self, runs: list[Document]) -> set[int]:
        if not runs:
            return set()
        now = self._connection.clock()
        alive = {run["_id"] for run in runs if run["status"] == "running" and self._is_alive(run, now)}
        if not self._connection.readonly:
            for run in runs:
                if run["_id"] not in alive and self._bury(run):
                    self._free(run["_id"])
        return alive

    def _is_alive(self, run: Document, now: float) -> bool:
        if run["token"] in _begun_here:
            return True
        if run["machine"] and run["machine"] == machine_identity():
            in_this_process = run["pid"] == os.getpid() and run["process"] == process_identity(os.getpid())
            return not in_this_process and bool(process_is_alive(socket.gethostname(), run["pid"], run["process"]))
        silent_s, steady_s = now - run["heartbeat"], time.monotonic() - self._connection.steady_since
        return silent_s < self._expiry_s or steady_s < 2.0 * self._expiry_s / BEATS

    def _bury(self, run: Document) -> bool:
        """Note that a run has died, unless it has given a sign of life meanwhile; return whether it is over."""
        if run["status"] != "running":
            return True
        seen = {"_id": run["_id"], "heartbeat": run["heartbeat"], "status": "running"}
        died = {"$set": {"status": "died", "ended": self._connection.clock()}}
        self._connection.change(lambda database: database.runs.update_one(seen, died))
        return not self._find({"_id": run["_id"], "status": "running"})

    def _free(self, run_id: int) -> None:
        """Take back what a run held and what it was running."""
        running, held = {"run": run_id, "status": "running"}, {"claim": run_id}
        self._connection.change(lambda database: database.quanta.update_many(running, {"$set": {"status": "ready"}}))
        self._connection.change(lambda database: database.quanta.update_many(held, {"$set": {"claim": FREE}}))

    def _start_heart(self) -> None:
        self._stop.clear()
        self._heart = threading.Thread(target=self._beat, name="mpidriver-state-heartbeat", daemon=True)
        self._heart.start()

    def _stop_heart(self) -> None:
        self._stop.set()
        if self._heart is not None:
            self._heart.join()
            self._heart = None

    def _beat(self) -> None:
        """Give signs of life; a run that was taken for dead is alive again, with what nobody has taken over."""
        me = {"_id": self.current}
        while not self._stop.wait(self._expiry_s / BEATS):
            try:
                now = self._connection.clock(patience_s=0.0)
                beat = {"$set": {"heartbeat": now, "status": "running"}, "$unset": {"ended": ""}}
                self._connection.call(lambda database, beat: database.runs.update_one(me, beat), beat, patience_s=0.0)
            except RepositoryError:
                continue  # the run itself will meet the error, where somebody can be told


def next_number(connection: MongoConnection, name: str, count: int) -> int:
    """Return the first of so many numbers that nobody else gets."""
    more = {"$inc": {"next": count}}
    counter: Document = connection.change(
        lambda database: database.counters.find_one_and_update(
            {"_id": name}, more, return_document=ReturnDocument.AFTER
        )
    )
    return int(counter["next"]) - count + 1


def _record(run: Document) -> RunRecord:
    names = ("command", "ranks", "version", "host", "pid", "started", "heartbeat")
    values: dict[str, Any] = {name: run[name] for name in names}
    return RunRecord(run_id=run["_id"], ended=run.get("ended"), status=run["status"], **values)
