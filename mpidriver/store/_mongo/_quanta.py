"""The quanta in MongoDB, each a document with its products and whoever holds it."""

import json
import logging
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

from pymongo import UpdateOne

from mpidriver.errors import DataError
from mpidriver.store._mongo._connection import Document, MongoConnection
from mpidriver.store._mongo._insert import batches, insert_missing
from mpidriver.store._mongo._runs import FREE, MongoRuns, next_number
from mpidriver.store._state._records import STATUSES, Product, QuantumRecord, QuantumUpdate, known_statuses

__all__ = ["MongoQuanta"]

log = logging.getLogger(__name__)

_MEASURED = ("started", "seconds", "peak_rss_bytes", "rank", "host", "inputs_digest")
_REPLACED = ("error", "traceback")
_ATTEMPT = ("status", "attempt", *_MEASURED, *_REPLACED)
_FIELDS = ("task", *_ATTEMPT)

#: How often to try for a quantum whose holder has just died.
_CLAIM_TRIES = 3


class MongoQuanta:
    """Quanta of one database.

    Parameters
    ----------
    connection
        The database.
    runs
        Its runs, and the one that claims and records.
    """

    def __init__(self, connection: MongoConnection, runs: MongoRuns) -> None:
        self._connection = connection
        self._runs = runs

    def plan(self, quanta: Iterable[Any]) -> int:
        """Enter quanta that are not there; see `StateDatabase.plan`."""
        planned = [(key, task, data_id) for key, task, data_id in quanta]
        if not planned:
            return 0
        first = next_number(self._connection, "quanta", len(planned))
        documents: dict[str, Document] = {}
        for number, (key, task, data_id) in enumerate(planned, start=first):
            new = {"_id": key, "n": number, "task": task, "data_id": json.dumps(data_id)}
            documents.setdefault(key, {**new, "status": "ready", "attempt": 0, "claim": FREE})
        tasks = {document["task"]: document["n"] for document in reversed(documents.values())}
        insert_missing(self._connection, "tasks", ({"_id": task, "n": number} for task, number in tasks.items()))
        return insert_missing(self._connection, "quanta", documents.values())

    def select(self, task: str | None, status: str | None) -> list[QuantumRecord]:
        """Return quanta in the order of planning."""
        condition = {name: value for name, value in (("task", task), ("status", status)) if value is not None}
        return [_record(document) for document in self._find(condition)]

    def one(self, key: str) -> QuantumRecord:
        """Return one quantum; see `StateDatabase.quantum`."""
        known = _record(self._document(key))
        (found,) = self._connection.call(_named, [key], {"provenance": 1})
        made_of = found.get("provenance")
        return known if made_of is None else replace(known, provenance=json.loads(made_of))

    def earlier(self, key: str) -> list[QuantumRecord]:
        """Return what came of a quantum before it was run again; see `StateDatabase.earlier`."""
        shown = {"task": 1, "data_id": 1, "earlier": 1}
        found = self._connection.call(_named, [key], shown)
        return [_record({**document, **attempt}) for document in found for attempt in _earlier(document)]

    def claim(self, key: str) -> QuantumRecord | None:
        """Claim a quantum for the run in progress; see `StateDatabase.claim`."""
        run = self._runs.current or FREE
        mine = {"_id": key, "claim": {"$in": [FREE, run]}}
        take = {"$set": {"claim": run}}
        for _ in range(_CLAIM_TRIES):
            found = self._connection.change(lambda database: database.quanta.find_one_and_update(mine, take))
            if found is not None:
                return _record(found)
            holder = self._document(key)["claim"]
            if holder != FREE and self._runs.alive([holder]):
                break
        return None

    def release(self, key: str) -> None:
        """Give back a claimed quantum that was not run."""
        mine = {"_id": key, "claim": self._runs.current or FREE}
        self._connection.change(lambda database: database.quanta.update_one(mine, {"$set": {"claim": FREE}}))

    def held(self, keys: Collection[str]) -> set[str]:
        """Return which of these quanta other live runs hold."""
        mine = (FREE, self._runs.current or FREE)
        claims = {key: document["claim"] for key, document in self._known(list(keys)).items()}
        alive = self._runs.alive({claim for claim in claims.values() if claim not in mine})
        return {key for key, claim in claims.items() if claim in alive}

    def record(self, updates: Iterable[QuantumUpdate]) -> None:
        """Record what has become of quanta; see `StateDatabase.record`."""
        updates = known_statuses(updates)
        with self._connection.writing:
            keys = list({update.key for update in updates})
            if len(self._known(keys)) < len(keys):
                missing = next(update.key for update in updates if update.key not in self._known([update.key]))
                raise DataError(
                    f"quantum {missing!r} was never planned; nothing of {len(updates)} outcomes was recorded"
                )
            for batch in batches(updates):
                self._connection.change(self._write, batch)

    def _write(self, database: Any, updates: list[QuantumUpdate]) -> None:
        """Write outcomes; if it is run again after it was broken off, an attempt counts once, by when it started."""
        known = self._known([update.key for update in updates])
        run = self._runs.current or FREE
        writes = []
        for update in updates:
            document = known[update.key]
            if update.started is not None and any(one.get("started") == update.started for one in _earlier(document)):
                continue  # written before the batch was broken off, and superseded by a later one of it
            if document["claim"] in (FREE, run):
                changes = _changes(update, document, run)
                document.update(dict.fromkeys(changes.get("$unset", ())), **changes["$set"])
                writes.append(UpdateOne({"_id": update.key, "claim": {"$in": [FREE, run]}}, changes))
            else:
                log.warning("%s: another run has taken it over; its outcome here is not recorded", update.key)
        if writes:
            database.quanta.bulk_write(writes, ordered=True)

    def forget(self, keys: Iterable[str]) -> None:
        """Remove quanta with their products; see `StateDatabase.forget`."""
        for names in batches(list(keys)):
            self._connection.change(lambda database, some: database.quanta.delete_many({"_id": {"$in": some}}), names)

    def timings(self, run_id: int | None) -> dict[str, tuple[int, float]]:
        """Return numbers and seconds of timed quanta; see `StateDatabase.timings`."""
        condition = {"seconds": {"$exists": True}} | ({} if run_id is None else {"run": run_id})

        def count(database: Any) -> dict[str, tuple[int, float]]:
            timed: dict[str, tuple[int, float]] = {}
            for found in database.quanta.find(condition, {"task": 1, "seconds": 1}):
                number, seconds = timed.get(found["task"], (0, 0.0))
                timed[found["task"]] = number + 1, seconds + found["seconds"]
            return timed

        return self._connection.call(count)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of quanta by task and status."""
        tasks = self._connection.call(lambda database: list(database.tasks.find().sort("n", 1)))
        counts: dict[str, dict[str, int]] = {task["_id"]: {} for task in tasks}
        for status in STATUSES:
            for group in self._connection.call(_count_by_task, status):
                counts.setdefault(group["_id"], {})[status] = int(group["count"])
        return {task: count for task, count in counts.items() if count}

    def products(self, key: str | None, dataset: str | None) -> list[Product]:
        """Return products by path."""
        conditions = {"_id": key, "products.dataset": dataset}
        condition = {name: value for name, value in conditions.items() if value is not None}
        found = self._connection.call(lambda database: list(database.quanta.find(condition, {"products": 1})))
        products = [Product(**product) for document in found for product in document.get("products", ())]
        chosen = [product for product in products if dataset in (None, product.dataset)]
        return sorted(chosen, key=lambda product: product.path)

    def _find(self, condition: Document) -> list[Document]:
        shown = {"products": 0, "provenance": 0, "earlier": 0}
        return self._connection.call(lambda database: list(database.quanta.find(condition, shown).sort("n", 1)))

    def _document(self, key: str) -> Document:
        found = self._find({"_id": key})
        if not found:
            raise DataError(f"{self._connection.place}: no quantum {key!r}")
        return found[0]

    def _known(self, keys: list[str]) -> dict[str, Document]:
        """Return what must be known of quanta before they are changed, by key."""
        shown = dict.fromkeys((*_ATTEMPT, "claim", "earlier"), 1)
        known: dict[str, Document] = {}
        for names in batches(keys):
            found = self._connection.call(_named, names, shown)
            known.update((document["_id"], document) for document in found)
        return known


def _named(database: Any, keys: list[str], shown: Document) -> list[Document]:
    return list(database.quanta.find({"_id": {"$in": keys}}, shown))


def _count_by_task(database: Any, status: str) -> list[Document]:
    group = {"$group": {"_id": "$task", "count": {"$sum": 1}}}
    return list(database.quanta.aggregate([{"$match": {"status": status}}, group]))


def _earlier(document: Document) -> list[Document]:
    found: list[Document] = document.get("earlier", [])
    return found


def _changes(update: QuantumUpdate, known: Document, run: int) -> dict[str, Document]:
    """Return the changes of a quantum's document that an update makes."""
    starts_again = update.started is not None and update.started != known.get("started")
    values: Document = {name: getattr(update, name) for name in _MEASURED if getattr(update, name) is not None}
    values["status"] = update.status
    values["attempt"] = known["attempt"] + starts_again if update.attempt is None else update.attempt
    values["claim"] = run if update.status == "running" else FREE
    if run != FREE:
        values["run"] = run
    if update.provenance is not None:
        values["provenance"] = json.dumps(update.provenance)
    if update.products is not None:
        values["products"] = [{**vars(product), "path": str(product.path)} for product in update.products]
    gone = {name: "" for name in _REPLACED if getattr(update, name) is None}
    values |= {name: getattr(update, name) for name in _REPLACED if name not in gone}
    if starts_again and known.get("started") is not None:
        last = {name: known[name] for name in _ATTEMPT if known.get(name) is not None}
        values["earlier"] = [*_earlier(known), last]
    return {"$set": values, "$unset": gone} if gone else {"$set": values}


def _record(document: Document) -> QuantumRecord:
    values: dict[str, Any] = {name: document.get(name) for name in _FIELDS}
    return QuantumRecord(key=document["_id"], data_id=json.loads(document["data_id"]), **values)
