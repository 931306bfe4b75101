"""What `--log-dir` does: each rank logs into a file of its own, one JSON object a line."""

import logging
import os
import re
import socket
import time
from collections.abc import Mapping
from pathlib import Path

__all__ = ["RUN_VARIABLE", "JsonHandler", "name_of_run"]

#: Environment variable in which `mpidriver -n` tells its ranks what their run is called.
RUN_VARIABLE = "MPIDRIVER_RUN"


def name_of_run(environment: Mapping[str, str]) -> str:
    """Return a name that all ranks of a run agree on, without asking each other."""
    if environment.get(RUN_VARIABLE):
        return environment[RUN_VARIABLE]
    if "SLURM_PROCID" in environment:
        return f"slurm-{environment.get('SLURM_JOB_ID', '')}.{environment.get('SLURM_STEP_ID', '')}"
    if "PMIX_NAMESPACE" in environment:
        return re.sub(r"[^\w.-]+", "-", environment["PMIX_NAMESPACE"])
    if "PMI_RANK" in environment:
        return f"{socket.gethostname()}-{os.getppid()}"  # the launcher's helper, one a host
    return time.strftime("%Y%m%dT%H%M%S")


class JsonHandler(logging.Handler):
    """Appends records to a file, which is made with the first one.

    Parameters
    ----------
    path
        The file.
    rank
        Number of this rank.
    """

    def __init__(self, path: Path, rank: int) -> None:
        super().__init__()
        self._path = path
        self._rank = rank
        self._host = socket.gethostname()
        self._file = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            self._write(record)
        except Exception:
            self.handleError(record)

    def _write(self, record: logging.LogRecord) -> None:
        import json

        from mpidriver.drivers._campaign._running import running_quantum

        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self._path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115
        quantum = running_quantum()
        line = {
            "time": round(record.created, 6),
            "level": record.levelname,
            "rank": self._rank,
            "host": self._host,
            "logger": record.name,
            "message": record.getMessage(),
            **({} if quantum is None else {"task": quantum.task, "quantum": quantum.key}),
            **({"traceback": logging.Formatter().formatException(record.exc_info)} if record.exc_info else {}),
        }
        self._file.write(json.dumps(line) + "\n")

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
        super().close()
