"""Inserting into MongoDB what is not there yet, while others may do the same."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from pymongo.errors import OperationFailure

from mpidriver.store._mongo._connection import Document, MongoConnection, is_duplicate

if TYPE_CHECKING:
    from pymongo.database import Database

__all__ = ["batches", "insert_missing"]

#: Documents a request.
BATCH = 2000

Item = TypeVar("Item")


def insert_missing(
    connection: MongoConnection,
    collection: str,
    documents: Iterable[Document],
    examine: Callable[[Document], None] = lambda _: None,
) -> int:
    """Insert the documents that are not there, and return how many those were.

    Parameters
    ----------
    connection
        The database.
    collection
        Name of the collection.
    documents
        What to insert; ``_id`` is the name of each.
    examine
        Called with each document that is there already; what it raises is raised before anything is inserted.
    """
    missing = {document["_id"]: document for document in documents}
    _drop_known(connection, collection, missing, examine)
    count = len(missing)
    while missing:
        for batch in batches(list(missing.values())):
            if connection.change(_insert, collection, batch):
                for document in batch:
                    del missing[document["_id"]]
        _drop_known(connection, collection, missing, examine)
    return count


def batches(items: list[Item]) -> Iterator[list[Item]]:
    """Yield the items in pieces of what one request takes."""
    for first in range(0, len(items), BATCH):
        yield items[first : first + BATCH]


def _drop_known(
    connection: MongoConnection, collection: str, missing: dict[Any, Document], examine: Callable[[Document], None]
) -> None:
    """Take out of `missing` what is there already."""
    for names in batches(list(missing)):
        for document in connection.call(_named, collection, names):
            examine(document)
            del missing[document["_id"]]


def _named(database: "Database[Document]", collection: str, names: list[Any]) -> list[Document]:
    return list(database[collection].find({"_id": {"$in": names}}))


def _insert(database: "Database[Document]", collection: str, batch: list[Document]) -> bool:
    """Insert documents; return whether none of them was there: otherwise some may be missing still."""
    try:
        database[collection].insert_many(batch, ordered=False)
    except OperationFailure as error:
        if not is_duplicate(error):
            raise
        return False
    return True
