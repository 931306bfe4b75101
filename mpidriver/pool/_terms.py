"""On which terms the items of a call are run: how many ranks each gets, whether in a child process, what then."""

import re
from dataclasses import dataclass, replace
from typing import TypedDict

__all__ = ["PLAIN", "Terms", "TermsArguments"]

_UNITS = {
    "": 1,
    "B": 1,
    **{f"{letter}B": 1000**power for power, letter in enumerate("kMGT", 1)},
    **{f"{letter}iB": 1024**power for power, letter in enumerate("KMGT", 1)},
}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")


class TermsArguments(TypedDict, total=False):
    """The terms as keywords of `Pool.map` and `Pool.stream`; their meaning stands at the fields of `Terms`."""

    ranks: int
    isolate: bool
    memory: int | str | None
    timeout: float | None
    retries: int


@dataclass(frozen=True, slots=True)
class Terms:
    """How the items of a call are to be run."""

    ranks: int = 1
    """Ranks that each item gets, with a communicator of their own."""
    isolate: bool = False
    """Whether items run in a child process of their rank, which may die without harm to anything else."""
    memory: int | str | None = None
    """Memory that an isolated item may take, bytes or as ``"4GiB"``; None for no limit."""
    timeout: float | None = None
    """Seconds after which an isolated item is killed; None for no limit."""
    retries: int = 1
    """How often an item is tried again whose process or rank died, or that ran out of memory or time."""
    holds: bool = False
    """Whether results stay on the rank that computed them."""
    alone: bool = False
    """Whether an isolated item runs beside no other isolated item of its host; what ran out of memory is retried so."""

    def __post_init__(self) -> None:
        if self.ranks < 1:
            raise ValueError(f"ranks must be at least 1, got {self.ranks}")
        if self.retries < 0:
            raise ValueError(f"retries must not be negative, got {self.retries}")
        if self.timeout is not None and not self.timeout > 0:
            raise ValueError(f"timeout must be a positive number of seconds, got {self.timeout}")
        if not self.isolate and (self.memory is not None or self.timeout is not None or self.alone):
            raise ValueError("memory, timeout and alone are for a child process: they need isolate=True")
        if self.isolate and self.ranks > 1:
            raise ValueError(f"isolate=True runs an item in one child process, which has no ranks={self.ranks}")
        if self.memory is not None:
            object.__setattr__(self, "memory", _bytes(self.memory))

    @property
    def are_plain(self) -> bool:
        """Whether an item is no more than a call on one rank, which returns the value."""
        return not (self.isolate or self.holds or self.ranks > 1)

    @property
    def memory_bytes(self) -> int | None:
        """The memory limit in bytes."""
        assert not isinstance(self.memory, str)
        return self.memory

    def with_more_memory(self) -> "Terms":
        """Return the terms for what ran out of memory: twice the limit, and alone on its host."""
        return replace(self, memory=self.memory_bytes and 2 * self.memory_bytes, alone=True)


PLAIN = Terms()
"""One rank, in its own process."""


def _bytes(memory: int | str) -> int:
    if isinstance(memory, str):
        match = _SIZE.fullmatch(memory)
        if match is None or match[2] not in _UNITS:
            raise ValueError(f"memory must be a number of bytes or a text as '4GiB' or '500MB', got {memory!r}")
        memory = int(float(match[1]) * _UNITS[match[2]])
    if memory < 1:
        raise ValueError(f"memory must be at least 1 byte, got {memory}")
    return memory
