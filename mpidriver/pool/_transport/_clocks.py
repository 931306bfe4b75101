"""How far the clocks of other hosts are from the root's."""

import time
from collections.abc import Sequence
from typing import Any

__all__ = ["clock_offsets"]

_CLOCK = 3
"""Tag of these messages, which the wire does not use."""
_JOURNEYS = 9
"""How often the clocks of two hosts are compared; the fastest time counts."""


def clock_offsets(comm: Any, hosts: Sequence[str]) -> dict[int, float]:
    """Compare the clocks of other hosts with the root's; every rank must call it, before anything is sent.

    Parameters
    ----------
    comm
        Communicator of all ranks.
    hosts
        Host of each rank.

    Returns
    -------
    offsets
        On the root, for ranks of other hosts: what to add to their `time.perf_counter` to get the root's. Right
        to half of the fastest journey there and back.
    """
    others = [rank for rank, host in enumerate(hosts) if host != hosts[0]]
    if comm.rank == 0:
        return {rank: _offset_of(comm, rank) for rank in others}
    if comm.rank in others:
        for _ in range(_JOURNEYS):
            comm.recv(source=0, tag=_CLOCK)
            comm.send(time.perf_counter(), 0, tag=_CLOCK)
    return {}


def _offset_of(comm: Any, rank: int) -> float:
    journeys = []
    for _ in range(_JOURNEYS):
        sent = time.perf_counter()
        comm.send(None, rank, tag=_CLOCK)
        theirs = float(comm.recv(source=rank, tag=_CLOCK))
        back = time.perf_counter()
        journeys.append((back - sent, 0.5 * (sent + back) - theirs))
    return min(journeys)[1]
