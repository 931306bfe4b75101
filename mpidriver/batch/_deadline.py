"""The time limit of a job: what runs is asked to end before it, and killed if it has not."""

import contextlib
import os
import signal
import subprocess
import threading

from mpidriver.batch._supervision import SignalRelay

__all__ = ["Deadline"]

SPARE_SECONDS = 15.0
"""So long before the time limit what still runs is killed, so that the job can put itself back into the queue."""
GRACE_SECONDS = 5.0
"""How long a launcher may take to end when it is told to."""
_LOOK_SECONDS = 1.0
"""How often to look whether Slurm's signal has come."""


class Deadline:
    """Ends what runs in time, for a ``with``: asks it to before the time limit, and kills what has not ended then.

    Slurm sends the signal by itself, also when it preempts the job or the limit is changed; then only what comes after
    the signal is left to do.

    Parameters
    ----------
    limit_seconds
        Time limit from now on.
    drain_seconds
        How long before it nothing more is begun.
    relay
        Passes the signal on to what runs.
    system
        The batch system.
    """

    def __init__(self, limit_seconds: float, drain_seconds: float, relay: SignalRelay, system: str) -> None:
        self.killed = False
        """Whether what ran had to be killed."""
        self._limit = limit_seconds
        self._drain = drain_seconds
        self._relay = relay
        self._sends = system != "slurm"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="mpidriver-job-clock", daemon=True)

    def __enter__(self) -> "Deadline":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        if self._sends:
            if self._over.wait(max(self._limit - self._drain, 0)):
                return
            os.kill(os.getpid(), signal.SIGUSR1)
        else:
            while signal.SIGUSR1 not in self._relay.came:
                if self._over.wait(_LOOK_SECONDS):
                    return
        if not self._over.wait(max(self._drain - SPARE_SECONDS, self._drain / 2)):
            self.killed = True
            self._kill()

    def _kill(self) -> None:
        process = self._relay.process
        if process is not None and process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(GRACE_SECONDS)
                os.killpg(process.pid, signal.SIGKILL)
