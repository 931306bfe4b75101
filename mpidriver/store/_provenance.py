"""What each product says in its header of where it comes from: set around the code that writes it.

Cards, in the first header of a file that holds values:

======== ==================================================================================
MPD_TASK the quantum that made it
MPD_VERS version of mpidriver
MPD_CODE digest of mpidriver's code
MPD_OPTS digest of the options of its task
INPnnnnn a file that it was made of, relative to the repository, and the digest of its bytes
======== ==================================================================================
"""

import contextlib
import contextvars
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["provenance_values", "stamped"]

#: Digits of an input's digest in a header; the state database has them all.
_DIGITS = 16

_values: contextvars.ContextVar[dict[str, Any] | None] = contextvars.ContextVar("_provenance", default=None)


@contextlib.contextmanager
def stamped(task: str, provenance: Mapping[str, Any]) -> Iterator[None]:
    """Let the files that this thread writes in the block say where they come from.

    Parameters
    ----------
    task
        The quantum that makes them.
    provenance
        ``inputs``: pairs of path and digest; ``options``, ``code``: digests; ``version``. No time, host or user, so
        that equal inputs give equal bytes.
    """
    values: dict[str, Any] = {
        "MPD_TASK": (task, "what made this"),
        "MPD_VERS": (provenance["version"], "version of mpidriver"),
        "MPD_CODE": (provenance["code"], "digest of its code"),
        "MPD_OPTS": (provenance["options"], "digest of the options"),
    }
    for number, (path, digest) in enumerate(provenance["inputs"], start=1):
        values[f"INP{number:05d}"] = f"{path} {digest[:_DIGITS]}"
    token = _values.set(values)
    try:
        yield
    finally:
        _values.reset(token)


def provenance_values() -> dict[str, Any]:
    """Return the header values of a file that is being written; none where nobody has said where it comes from."""
    return _values.get() or {}
