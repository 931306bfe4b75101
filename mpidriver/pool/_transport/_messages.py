"""The messages between ranks, and the life of one item.

::

    TASK     leader -> worker   run this batch of items
    OUTCOME  worker -> leader   values or errors of a batch, with what they cost
    GIVEBACK worker -> leader   the end of a batch, not begun: this rank is held up by what it runs
    FORGET   leader -> worker   functions that will not be called again
    WANT     leader -> parent   so many tasks of mine are run by nobody
    SETTLED  parent -> leader   your WANT 0 is noted: no grant is under way to you
    GRANT    parent -> leader   these ranks are yours until you return them
    RETURN   leader -> parent   I have nothing for this rank
    STOPPING any    -> root     begin nothing more; the root tells all
    PART     leader -> member   the gang is over: free its communicator
    TRACE    rank   -> root     what I have noted, after STOP
    STOP     root   -> all      the pool closes
    BYE      rank   -> root     I am still here, and ready to go
    ATTACH   rank   -> owner    I have looked up your shared values, or want them
    SHARED   owner  -> rank     they lie there on your host, or: here they are, or: they are released
    PLACED   rank   -> owner    my host's copy of them lies there
    RELEASE  owner  -> rank     nobody will look at them again
    FETCH    rank   -> owner    I need these held values of yours
    LEND     owner  -> holder   send these to that rank
    VALUE    any    -> rank     a held value; or how to compute it; or why there is none
    HOLDS    rank   -> owner    I have it, or hold it too from now on
    MISSING  holder -> owner    I do not hold it
    DROP     owner  -> holder   these held values are released
    LOST     wire   -> its rank a rank has died: nothing comes from it any more
    RECLAIM  leader -> rank     the leader you were lent to has died: say when you do nothing more for it (RETURN)

The life of an item: ``map`` puts it into the backlog of the scope of the running task. The scope's scheduler assigns
it, alone or with others, to a rank that it holds (TASK). That rank's main thread runs it; if the item maps again,
the rank leads a scope of its own meanwhile, and asks the scope it works for (its parent) for ranks (WANT, GRANT,
RETURN). The value goes back to the leader (OUTCOME), which resolves it. An item whose rank is held up before
it begins (GIVEBACK) goes into the backlog again.

A scope is named by its leader's rank and a number, so that its name is also its address. Between two ranks messages
arrive in the order in which they were sent; nothing is assumed of messages from different ranks.
"""

from typing import Any, NamedTuple, TypeAlias

__all__ = [
    "ATTACH",
    "BYE",
    "DROP",
    "FETCH",
    "FORGET",
    "GIVEBACK",
    "GRANT",
    "HOLDS",
    "LEND",
    "LOST",
    "MISSING",
    "NAMES",
    "OUTCOME",
    "PART",
    "PLACED",
    "RECLAIM",
    "RELEASE",
    "RETURN",
    "SETTLED",
    "SHARED",
    "STOP",
    "STOPPING",
    "TASK",
    "TRACE",
    "VALUE",
    "WANT",
    "Message",
    "ScopeId",
    "Standing",
]

ScopeId: TypeAlias = tuple[int, int]
"""(rank of the leader, number of the scope on that rank)."""

Message: TypeAlias = tuple[Any, ...]
"""(kind, fields...); the fields are listed at each kind."""


class Standing(NamedTuple):
    """What a batch means for the ranks it occupies."""

    members: tuple[int, ...]
    """Further ranks of the gang that its one item is given."""
    reach: int
    """How many ranks its tasks can have at most."""
    is_firm: bool
    """Whether its rank belongs to the scope for as long as that lasts: what waits is not given back."""
    is_together: bool
    """Whether all ranks of the scope run such a batch at the same time: none may be given back."""
    leaders: tuple[int, ...]
    """Ranks of the scope's leader and of those of all scopes above: nobody wants the results once one has died."""


TASK = 0
"""scope, batch number, [(function key, (packed function, terms) or None, packed items, bare, timed), ...], standing.

The standing is a plain tuple, the fields of `Standing`, which is faster to read.
"""
OUTCOME = 1
"""scope, batch number, rank, [packed report of each span], (seconds busy, lost to dependency, lost to stragglers)."""
GIVEBACK = 2
"""scope, batch number, rank, [items kept of each span], whether the rank leaves the scope."""
FORGET = 3
"""scope, [function keys]."""
WANT = 4
"""parent scope, child scope, serial, count, work, need."""
SETTLED = 5
"""child scope, serial."""
GRANT = 6
"""child scope, ranks, those of them that are for gangs alone."""
RETURN = 7
"""parent scope, child scope, rank."""
STOP = 8
"""Ranks that have died, None to be answered by BYE first."""
ATTACH = 9
"""name of the values, rank, its host, what it wants, number of the request."""
SHARED = 10
"""number of the request, place or None, data or None."""
PLACED = 11
"""name of the values, host, place or None."""
RELEASE = 12
"""name of the values."""
STOPPING = 13
"""reason."""
PART = 14
"""scope."""
FETCH = 15
"""asking rank, [(number of the request, scope, name), ...]."""
LEND = 16
"""asking rank, [(number of the request, scope, name), ...]."""
VALUE = 17
"""[(number of the request, packed value or recipe or failure, whether it is the value), ...]."""
HOLDS = 18
"""scope, name, rank, number of the request, whether it holds it from now on."""
MISSING = 19
"""holder, asking rank, [(number of the request, scope, name), ...]."""
DROP = 20
"""[names]."""
TRACE = 21
"""rank, host, events, how many were dropped."""
LOST = 22
"""rank."""
RECLAIM = 23
"""parent scope, child scope."""
BYE = 24
"""rank."""

NAMES = (
    *("TASK", "OUTCOME", "GIVEBACK", "FORGET", "WANT", "SETTLED", "GRANT", "RETURN", "STOP"),
    *("ATTACH", "SHARED", "PLACED", "RELEASE"),
    *("STOPPING", "PART"),
    *("FETCH", "LEND", "VALUE", "HOLDS", "MISSING", "DROP"),
    *("TRACE", "LOST", "RECLAIM", "BYE"),
)
