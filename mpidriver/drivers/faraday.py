"""The Faraday driver behind its cubes: RM synthesis of each patch, and the RM catalogue.

Scatter the patches; each scatters regions of its sky, whose spectra are written where they are computed; its sources
are measured on its own rank. Join a tract, join the survey.
"""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mpidriver.drivers._cubes._regions import cut_regions, fill_cubes
from mpidriver.drivers._cubes._synthesis import Synthesis
from mpidriver.drivers._quantum import Quantum
from mpidriver.drivers._stage import Context, Prepared, Record, Stage
from mpidriver.drivers.cube import STOKES
from mpidriver.drivers.rmsynth import SynthesisOptions, make_synthesis, synthesis_products
from mpidriver.options import digest
from mpidriver.pool import current_pool
from mpidriver.store import WrittenFile, file_digest, open_cube, read_image, read_table, write_table

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from mpidriver.drivers._desk import Desk
    from mpidriver.drivers.config import SurveyConfig

__all__ = ["STAGES", "join_survey", "join_tract", "synthesise"]


def synthesise(context: Context, quantum: Quantum) -> Record:
    """Transform one patch's cubes to Faraday depth and measure its sources."""
    from mpidriver.tasks.faraday import cube_lambda0

    cube = {stokes: read_image(context.path("cube", quantum, stokes=stokes))[0] for stokes in STOKES}
    freq_hz = read_table(context.path("faraday", quantum, name="channels"))["freq"].astype(float)
    weights = _weights(cube["V_QU"], context.config.faraday.weighting)
    lambda0 = cube_lambda0(cube["Q"], cube["U"], freq_hz, weights=weights)
    work = _make_work(context, quantum, freq_hz, _typical(weights), lambda0)
    products = _write_spectra(context, quantum, work)
    products.append(_write_sources(context, quantum, cube, freq_hz, work.phi_radm2))
    return Record(products=tuple(products))


def _weights(variance: "np.ndarray", weighting: str) -> "np.ndarray":
    """Return the weight of each voxel; zero where there are no data."""
    import numpy as np

    from mpidriver.tasks.faraday import inverse_variance

    return np.isfinite(variance).astype(np.float32) if weighting == "uniform" else inverse_variance(variance)


def _typical(weights: "np.ndarray") -> "np.ndarray":
    """Return the median weight of each channel's voxels with data; 1 for all channels of a patch without any."""
    import numpy as np

    typical = np.array([np.median(plane[plane > 0.0]) if np.any(plane > 0.0) else 0.0 for plane in weights])
    return typical if typical.any() else np.ones(len(weights))


def _make_work(
    context: Context, quantum: Quantum, freq_hz: "np.ndarray", weights: "np.ndarray", lambda0: float
) -> Synthesis:
    """Return the synthesis of a patch; channels' weights count for the transfer function, voxels' for the spectra."""
    options = context.config.faraday
    q, u, variance = (open_cube(context.path("cube", quantum, stokes=stokes)) for stokes in ("Q", "U", "V_QU"))
    how = SynthesisOptions(
        phi_max_radm2=options.phi_max_radm2,
        dphi_radm2=options.phi_step_radm2,
        samples=options.samples,
        lambda0_sq_m2=lambda0,
        threads=options.threads,
    )
    work = make_synthesis(q, u, None, freq_hz, weights, how)
    return dataclasses.replace(work, variance=variance if options.weighting == "variance" else None)


def _write_spectra(context: Context, quantum: Quantum, work: Synthesis) -> list[Any]:
    """Write a patch's Faraday cubes, transfer function and maps under the names that RM-Tools gave them."""
    how = SynthesisOptions()
    folder = context.path("faraday", quantum, name="channels").parent
    sources = [source.identity() for source in (work.q, work.u, work.variance) if source is not None]
    filled = fill_cubes(
        current_pool(),
        work.fill,
        cut_regions(
            work.q.shape[1:], granularity=(1, 1), bytes_a_pixel=work.bytes_a_pixel, memory_bytes=how.memory_bytes
        ),
        synthesis_products(work, folder, how),
        verb="faraday",
        digest=digest(quantum.key, sources, work.phi_radm2.tolist(), work.lambda0_sq_m2, work.weights.tolist()),
        finish=work.finish,
        keep_record=False,
    )
    written = [WrittenFile(path, file_digest(path), path.stat().st_size) for path in filled.files]
    return [context.product("faraday", file) for file in written]


def _write_sources(
    context: Context, quantum: Quantum, cube: "dict[str, np.ndarray]", freq_hz: "np.ndarray", phi: "np.ndarray"
) -> Any:
    """Measure the sources that are primary in this patch and write their rows of the RM catalogue."""
    from mpidriver.tasks.faraday import RM_UNITS, measure_patch

    patch = context.patch(quantum)
    wcs = patch.wcs(binning=context.config.faraday.binning)
    rows = measure_patch(
        cube["I"], cube["Q"], cube["U"], cube["V_QU"], freq_hz, phi, wcs, options=context.config.faraday
    )
    rows = rows[patch.is_primary(rows["ra"], rows["dec"])]
    path = context.path("rm_patch_catalogue", quantum)
    return context.product("rm_patch_catalogue", write_table(path, rows, units=RM_UNITS))


def join_tract(context: Context, quantum: Quantum, *, patches: Sequence[str]) -> Record:
    """Join the RM catalogues of a tract's patches."""
    paths = [context.path("rm_patch_catalogue", quantum, patch=patch) for patch in patches]
    return _joined(context, quantum, "rm_catalogue", paths)


def join_survey(context: Context, quantum: Quantum, *, tracts: Sequence[int]) -> Record:
    """Join the tracts' RM catalogues."""
    paths = [context.path("rm_catalogue", quantum, tract=tract) for tract in tracts]
    return _joined(context, quantum, "rm_survey_catalogue", paths)


def _joined(context: Context, quantum: Quantum, dataset: str, paths: "list[Path]") -> Record:
    import numpy as np

    from mpidriver.tasks.faraday import RM_UNITS

    rows = np.concatenate([read_table(path) for path in paths])
    written = write_table(context.path(dataset, quantum), rows, units=RM_UNITS)
    return Record(products=(context.product(dataset, written),))


def _prepare_tract(desk: "Desk", quantum: Quantum, inputs: list[Quantum]) -> Prepared:
    return Prepared({"patches": [source.data_id.arguments()["patch"] for source in inputs]})


def _prepare_survey(desk: "Desk", quantum: Quantum, inputs: list[Quantum]) -> Prepared:
    return Prepared({"tracts": [source.data_id.tract for source in inputs]})


def _options(config: "SurveyConfig") -> tuple[Any, ...]:
    return (config.faraday,)


STAGES = {
    "rm_synthesis": Stage(synthesise, options=_options, seconds=3.0),
    "tract_rm_catalogue": Stage(join_tract, options=_options, prepare=_prepare_tract, seconds=0.1),
    "survey_rm_catalogue": Stage(join_survey, options=_options, prepare=_prepare_survey, seconds=0.1),
}
