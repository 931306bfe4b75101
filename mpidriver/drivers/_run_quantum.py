"""Running one quantum on a rank."""

import logging
import time
from typing import Any

from mpidriver.drivers._quantum import Quantum
from mpidriver.drivers._running import running
from mpidriver.drivers._stage import Context, Record
from mpidriver.drivers._stages import STAGES
from mpidriver.store import all_or_none

__all__ = ["run_quantum"]

log = logging.getLogger(__name__)


def run_quantum(context: Context, quantum: Quantum, arguments: dict[str, Any]) -> Record:
    """Run one quantum on this rank and return its record."""
    with running(quantum):
        log.debug("%s begins", quantum)
        began = time.monotonic()
        with all_or_none():  # or the first of several products would stay behind, unknown to the database
            record = STAGES[quantum.task].run(context, quantum, **arguments)
        log.info("%s done in %.2f s", quantum, time.monotonic() - began)
        return record
