"""What people look at: the progress bar, the closing table, the status table and the pictures.

Names are loaded when first used, so that a run without pictures never imports matplotlib.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mpidriver.report._progress import Progress
    from mpidriver.report._summary import FailedQuantum, RunSummary, StageSummary
    from mpidriver.report._tables import closing_table, print_summary, status_table

_HOMES = {
    "FailedQuantum": "_summary",
    "Progress": "_progress",
    "RunSummary": "_summary",
    "StageSummary": "_summary",
    "closing_table": "_tables",
    "print_summary": "_tables",
    "status_table": "_tables",
}

__all__ = [
    "FailedQuantum",
    "Progress",
    "RunSummary",
    "StageSummary",
    "closing_table",
    "print_summary",
    "status_table",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"mpidriver.report.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'mpidriver.report' has no attribute {name!r}")
