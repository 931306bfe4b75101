"""No batch system: a job is a process of this machine that outlives the terminal; the job itself waits for others."""

import contextlib
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mpidriver.batch._records import JobFolder
from mpidriver.batch._standing import Hint
from mpidriver.store import process_identity, process_is_alive

__all__ = ["Detached"]


class Detached:
    """This machine's part of the contract; see `Scheduler`."""

    def submit(self, script: Path) -> str:
        """Start a script and return ``host:process:identity``."""
        log = JobFolder(script.parent).log
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as output:
            streams: list[tuple[Any, ...]] = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
            streams += [(os.POSIX_SPAWN_DUP2, output.fileno(), number) for number in (1, 2)]
            pid = os.posix_spawnp("bash", ["bash", str(script)], os.environ, file_actions=streams, setsid=True)
        return f"{socket.gethostname()}:{pid}:{process_identity(pid)}"

    def cancel(self, scheduler_id: str) -> None:
        """End a job; what it runs is finished."""
        host, pid, identity = _parts(scheduler_id)
        if process_is_alive(host, pid, identity):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def requeue(self, script: Path, scheduler_id: str) -> str:
        """Do nothing: the job goes on by itself."""
        return scheduler_id

    def hints(self, scheduler_ids: Sequence[str]) -> dict[str, Hint]:
        """Return which of the processes are alive; those of other hosts are unknown."""
        found = {}
        for scheduler_id in scheduler_ids:
            host, pid, identity = _parts(scheduler_id)
            alive = process_is_alive(host, pid, identity)
            if alive is not None:
                found[scheduler_id] = Hint("running" if alive else "ended", "" if alive else f"process {pid} is gone")
        return found


def _parts(scheduler_id: str) -> tuple[str, int, str]:
    host, pid, identity = scheduler_id.split(":", 2)
    return host, int(pid), identity
