"""The source driver's second half: RMs of catalogued components from their spectra, and the RM table of the survey.

Scatter the cells; each rank transforms, cleans and measures the spectra of one. Join the cells: what compares sources
is told there.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpidriver.drivers._quantum import DataId, Quantum
from mpidriver.drivers._stage import Context, Part, Prepared, Record, Stage
from mpidriver.store import read_table, write_table, write_votable

if TYPE_CHECKING:
    import numpy as np

    from mpidriver.drivers._desk import Desk
    from mpidriver.drivers.config import SurveyConfig
    from mpidriver.store import Product
    from mpidriver.tasks.faraday import SpectraAnalysis

__all__ = ["POLSPECTRA_UNITS", "STAGES", "join_survey", "measure_rms"]

#: How the standard names the two ways of correcting.
IONOSPHERE_NAMES = {"none": "None", "series": "FRion", "ionex": "FRion"}

#: Columns of the joined spectra, those of the PolSpectra standard; the vectors have a value a channel.
POLSPECTRA_UNITS = {
    "source_number": "",
    **dict.fromkeys(("ra", "dec", "l", "b"), "deg"),
    "freq": "Hz",
    **{f"stokes{stokes}{end}": "Jy/beam" for stokes in "IQU" for end in ("", "_error")},
    **dict.fromkeys(("beam_maj", "beam_min", "beam_pa"), "deg"),
    "Nchan": "",
    "ionosphere": "",
    "cat_id": "",
    "dataref": "",
    "telescope": "",
    "epoch": "d",
    "integration_time": "s",
    "interval": "d",
    "leakage": "",
    "channel_width": "Hz",
    "flux_type": "",
    "aperture": "deg",
}
_TEXTS = {"ionosphere": "U40", "cat_id": "U64", "dataref": "U80", "telescope": "U40", "flux_type": "U40"}


def measure_rms(context: Context, quantum: Quantum) -> Record:
    """Measure the components of one cell; each is a part of the record, with the reason if it could not be measured."""
    from mpidriver.tasks.polarisation import RM_TABLE_UNITS, analyse_components, source_rows, why_unmeasured

    spectra, options = read_table(context.path("source_spectra", quantum)), context.config.faraday
    analysis = analyse_components(spectra, options)
    rows = source_rows(spectra, analysis.table, options, ionosphere=IONOSPHERE_NAMES[context.config.ionosphere.kind])
    rows["cell"] = quantum.data_id.cell
    reasons = why_unmeasured(spectra, rows)
    rows = rows[[not reason for reason in reasons]]
    written = write_table(context.path("source_rm", quantum), rows, units=RM_TABLE_UNITS)
    products = (context.product("source_rm", written), _write_faraday(context, quantum, spectra, analysis))
    cell = quantum.data_id.cell
    parts = [
        Part(Quantum("source", DataId(cell=cell, source=name)), reason)
        for name, reason in zip(spectra["cat_id"].tolist(), reasons, strict=True)
    ]
    return Record(products=products, parts=tuple(parts))


def _write_faraday(context: Context, quantum: Quantum, spectra: "np.ndarray", analysis: "SpectraAnalysis") -> "Product":
    """Write the Faraday spectra of a cell, a row a component; the depths stand in the header."""
    import numpy as np

    parts = {
        "dirty": analysis.fdf.T,
        "clean": analysis.clean.cleaned.T,
        "components": analysis.clean.components.T,
        "rmtf": analysis.rmtf.T,
    }
    sides = [(f"{name}_{side}", values.shape[1:]) for name, values in parts.items() for side in ("real", "imag")]
    columns = [(name, "f4", shape) for name, shape in sides]
    columns.append(("stokesI_model", "f4", analysis.stokes_i_model.shape[1:]))
    scalars = [("cat_id", "U64"), ("ra", "f8"), ("dec", "f8"), ("noise", "f4"), ("lambda0_sq", "f8")]
    table = np.zeros(len(spectra), dtype=[*scalars, *columns])
    for name in ("cat_id", "ra", "dec"):
        table[name] = spectra[name]
    table["noise"], table["lambda0_sq"] = analysis.table["noise_theory"], analysis.table["lambda0_sq_m2"]
    for name, values in parts.items():
        table[f"{name}_real"], table[f"{name}_imag"] = values.real, values.imag
    table["stokesI_model"] = analysis.stokes_i_model
    phi = analysis.phi_radm2
    header = {"PHI0": float(phi[0]), "DPHI": float(phi[1] - phi[0]), "NPHI": len(phi)}
    units = {name: "" if name.startswith("rmtf") else "Jy/beam/RMSF" for name, *_ in columns}
    units |= {"noise": "Jy/beam/RMSF", "lambda0_sq": "m2", "stokesI_model": "Jy/beam"}
    path = context.path("source_fdf", quantum)
    return context.product("source_fdf", write_table(path, table, units=units, header=header))


def join_survey(
    context: Context, quantum: Quantum, *, cells: Sequence[int], fitted: Sequence[int], catalogue: "np.ndarray"
) -> Record:
    """Write the RM table as FITS and VOTable, and the spectra of its sources in the PolSpectra format.

    Parameters
    ----------
    context, quantum
        The survey.
    cells
        Those whose components have been measured.
    fitted
        Those of which there are QU fits.
    catalogue
        Positions and fluxes of all components.
    """
    import numpy as np

    from mpidriver.tasks.polarisation import RM_TABLE_UNITS, RM_TABLE_WORDS, compare_rows, fill_qu_columns

    rows = np.concatenate([read_table(context.repository.path("source_rm", cell=cell)) for cell in cells])
    rows = compare_rows(_standard(rows), catalogue, context.config.rm_table)
    for cell in fitted:
        fill_qu_columns(rows, read_table(context.repository.path("source_qu", cell=cell)))
    words = {name: text for name, (_, text) in RM_TABLE_WORDS.items()}
    header = {"VERSION": "1.3"}
    path = context.repository.path("rm_table")
    fits = write_table(path, rows, units=RM_TABLE_UNITS, descriptions=words, header=header, name="RMTABLE")
    path = context.repository.path("rm_votable")
    votable = write_votable(path, rows, units=RM_TABLE_UNITS, words=RM_TABLE_WORDS, name="RMTABLE")
    paths = [context.repository.path("source_spectra", cell=cell) for cell in cells]
    joined, path = join_spectra(paths, rows), context.repository.path("polspectra")
    spectra = write_table(path, joined, units=POLSPECTRA_UNITS, header={"VERSION": 0.2})
    named = zip(("rm_table", "rm_votable", "polspectra"), (fits, votable, spectra), strict=True)
    return Record(products=tuple(context.product(dataset, written) for dataset, written in named))


def _standard(rows: "np.ndarray") -> "np.ndarray":
    """Return rows with texts as wide as the standard wants them, whatever they were on disk."""
    from mpidriver.tasks.polarisation import RM_TABLE_DTYPE

    return rows.astype(RM_TABLE_DTYPE)


def join_spectra(paths: Sequence[Path], rows: "np.ndarray") -> "np.ndarray":
    """Return the spectra of the RM table's sources, in its order, on the channels of all cells.

    Parameters
    ----------
    paths
        Spectra of cells.
    rows
        The RM table.
    """
    import numpy as np

    places = {name: number for number, name in enumerate(rows["cat_id"].tolist())}
    tables = [read_table(path) for path in paths]
    freq_hz = np.unique(np.concatenate([table["freq"][0] for table in tables]))
    vectors = {name for name in POLSPECTRA_UNITS if name == "freq" or name.startswith("stokes")}
    kinds = {
        **_TEXTS,
        **dict.fromkeys(("source_number", "Nchan"), "i4"),
        **dict.fromkeys(vectors, f"({len(freq_hz)},)f8"),
    }
    joined = np.zeros(len(rows), dtype=[(name, kinds.get(name, "f8")) for name in POLSPECTRA_UNITS])
    joined["source_number"], joined["Nchan"], joined["freq"] = np.arange(len(rows)), len(freq_hz), freq_hz
    theirs = {"integration_time": "int_time", "interval": "obs_interval", "channel_width": "channelwidth"}
    for name in POLSPECTRA_UNITS:
        if name not in vectors and name not in ("source_number", "Nchan"):
            joined[name] = rows[theirs.get(name, name)]
    for table in tables:
        own = [number for number, name in enumerate(table["cat_id"].tolist()) if name in places]
        at = [places[name] for name in table["cat_id"][own].tolist()]
        channels = np.searchsorted(freq_hz, table["freq"][0])
        for name in vectors - {"freq"}:
            values = np.full((len(own), len(freq_hz)), np.nan)
            values[:, channels] = table[name][own]
            joined[name][at] = values
    return joined


def _prepare_survey(desk: "Desk", quantum: Quantum, inputs: list[Quantum]) -> Prepared:
    import numpy as np

    names = ["ra", "dec", "total_I_flux"]
    catalogue = np.empty(len(desk.components), dtype=[(name, "f8") for name in names])
    for name in names:
        catalogue[name] = desk.components[name]
    cells, fitted = (
        [source.data_id.cell for source in inputs if source.task == task] for task in ("source_rm", "source_qu")
    )
    digest = desk.file_digest(desk.context.repository.path("components"))
    return Prepared({"cells": cells, "fitted": fitted, "catalogue": catalogue}, (digest,))


def _options(config: "SurveyConfig") -> tuple[Any, ...]:
    return (config.faraday, config.ionosphere.kind)


STAGES = {
    "source_rm": Stage(measure_rms, options=_options, seconds=0.5),
    "rm_table": Stage(join_survey, options=lambda config: (config.rm_table,), prepare=_prepare_survey, seconds=0.5),
}
