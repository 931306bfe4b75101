"""QU fits of the components of a cell.

Scatter the cells; a cell scatters its components again, and each rank fits models to one. One that fails stops no other
and has its own record.
"""

import functools
from typing import TYPE_CHECKING

from mpidriver.drivers._quantum import DataId, Quantum
from mpidriver.drivers._stage import Context, Part, Record, Stage
from mpidriver.pool import current_pool
from mpidriver.store import read_table, write_table

if TYPE_CHECKING:
    from mpidriver.pool import Outcome

__all__ = ["STAGES", "fit_cell"]


def fit_cell(context: Context, quantum: Quantum) -> Record:
    """Fit models to Q and U of every component of a cell that has been measured, and write what they tell."""
    import numpy as np

    from mpidriver.tasks.polarisation import QU_UNITS, fit_component, qu_table

    options, cell = context.config.qu_fitting, quantum.data_id.cell
    spectra, faraday, rows = (
        read_table(context.path(name, quantum)) for name in ("source_spectra", "source_fdf", "source_rm")
    )
    measured = np.flatnonzero(np.isin(spectra["cat_id"], rows["cat_id"]))
    outcomes = current_pool().map(
        functools.partial(fit_component, options),
        [spectra[number] for number in measured],
        [faraday["stokesI_model"][number].astype(float) for number in measured],
        on_error="return",
        name="qu_fit",
    )
    names = spectra["cat_id"][measured].tolist()
    table = qu_table(names, [outcome.value or {} for outcome in outcomes], criterion=options.criterion)
    written = write_table(context.path("source_qu", quantum), table, units=QU_UNITS)
    parts = [
        Part(Quantum("qu_fit", DataId(cell=cell, source=name)), _reason(outcome))
        for name, outcome in zip(names, outcomes, strict=True)
    ]
    return Record(products=(context.product("source_qu", written),), parts=tuple(parts))


def _reason(outcome: "Outcome") -> str:
    """Return why a fit failed, an empty text if it did not."""
    return "" if outcome.error is None else outcome.error.cause


STAGES = {"source_qu": Stage(fit_cell, options=lambda config: (config.qu_fitting,), seconds=2.0)}
