"""The Faraday driver behind its cubes: RM synthesis of each patch, and the RM catalogue.

Scatter the patches; each scatters blocks of rows, whose spectra come back as the patch's cube of Faraday depth; its
sources are measured where the cube is. Join a tract, join the survey.
"""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mpidriver.drivers._quantum import Quantum
from mpidriver.drivers._stage import Context, Prepared, Record, Stage
from mpidriver.drivers.cube import STOKES
from mpidriver.pool import current_pool
from mpidriver.store import read_image, read_table, write_image, write_table

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from mpidriver.drivers._desk import Desk
    from mpidriver.drivers.config import SurveyConfig

__all__ = ["STAGES", "depth_axis", "join_survey", "join_tract", "synthesise"]

#: Rows of a cube that one rank transforms at a time.
BLOCK_ROWS = 16


def synthesise(context: Context, quantum: Quantum) -> Record:
    """Transform one patch's cubes to Faraday depth and measure its sources."""
    import numpy as np

    from mpidriver.tasks.faraday import cube_lambda0, find_peaks, phi_grid

    options = context.config.faraday
    cube = {stokes: read_image(context.path("cube", quantum, stokes=stokes))[0] for stokes in STOKES}
    freq_hz = read_table(context.path("faraday", quantum, name="channels"))["freq"].astype(float)
    phi = phi_grid(
        freq_hz, phi_max_radm2=options.phi_max_radm2, dphi_radm2=options.phi_step_radm2, samples=options.samples
    )
    weights = _weights(cube["V_QU"], options.weighting)
    lambda0 = cube_lambda0(cube["Q"], cube["U"], freq_hz, weights=weights)
    rows = range(0, cube["Q"].shape[1], BLOCK_ROWS)
    transform = functools.partial(transform_rows, context, quantum, freq_hz, phi, lambda0)
    fdf = np.concatenate(current_pool().map(transform, rows), axis=1)
    peaks = find_peaks(fdf, phi)
    products = _write_spectra(context, quantum, fdf, phi, freq_hz, weights, lambda0, peaks)
    products.append(_write_sources(context, quantum, cube, freq_hz, phi))
    return Record(products=tuple(products))


def transform_rows(
    context: Context, quantum: Quantum, freq_hz: "np.ndarray", phi: "np.ndarray", lambda0: float, first: int
) -> "np.ndarray":
    """Return the Faraday spectra of a block of rows, read where they are needed; shape (phi, row, col)."""
    from mpidriver.tasks.faraday import rm_synthesis

    rows = slice(first, first + BLOCK_ROWS)
    q, u, variance = (
        read_image(context.path("cube", quantum, stokes=stokes), rows=rows)[0] for stokes in ("Q", "U", "V_QU")
    )
    options = context.config.faraday
    weights = _weights(variance, options.weighting)
    return rm_synthesis(q, u, freq_hz, phi, weights=weights, lambda0_sq_m2=lambda0, threads=options.threads)


def _weights(variance: "np.ndarray", weighting: str) -> "np.ndarray":
    """Return the weight of each voxel; zero where there are no data."""
    import numpy as np

    if weighting == "uniform":
        return np.isfinite(variance).astype(np.float32)
    with np.errstate(divide="ignore"):
        return np.where(np.isfinite(variance) & (variance > 0.0), 1.0 / variance, 0.0).astype(np.float32)


def _write_spectra(
    context: Context,
    quantum: Quantum,
    fdf: "np.ndarray",
    phi: "np.ndarray",
    freq_hz: "np.ndarray",
    weights: "np.ndarray",
    lambda0: float,
    peaks: Any,
) -> list[Any]:
    """Write a patch's Faraday cubes, transfer function and peak maps under the names that RM-Tools gave them."""
    import numpy as np

    from mpidriver.tasks.faraday import double_phi_grid, rmtf, rmtf_fwhm

    wcs = context.patch(quantum).wcs(binning=context.config.faraday.binning)
    depth = depth_axis(phi) | {"LAMSQ0": lambda0}
    channel_weights = np.nanmedian(np.where(weights > 0.0, weights, np.nan), axis=(1, 2))
    spread = double_phi_grid(phi)
    transfer = rmtf(freq_hz, spread, weights=np.nan_to_num(channel_weights))[:, None, None]
    transfer_header = depth_axis(spread) | {"LAMSQ0": lambda0, "FWHM": rmtf_fwhm(freq_hz), "BUNIT": ""}
    images = {
        "FDF_real_dirty": (fdf.real, wcs, depth | {"BUNIT": "Jy/beam/RMSF"}),
        "FDF_im_dirty": (fdf.imag, wcs, depth | {"BUNIT": "Jy/beam/RMSF"}),
        "FDF_tot_dirty": (np.abs(fdf), wcs, depth | {"BUNIT": "Jy/beam/RMSF"}),
        "FDF_maxPI": (peaks.amplitude, wcs, {"BUNIT": "Jy/beam/RMSF"}),
        "FDF_peakRM": (peaks.phi_radm2, wcs, {"BUNIT": "rad/m^2"}),
        "RMSF_real": (transfer.real, None, transfer_header),
        "RMSF_im": (transfer.imag, None, transfer_header),
        "RMSF_tot": (np.abs(transfer), None, transfer_header),
    }
    return [
        context.product(
            "faraday",
            write_image(
                context.path("faraday", quantum, name=name), image.astype(np.float32), wcs=image_wcs, header=header
            ),
        )
        for name, (image, image_wcs, header) in images.items()
    ]


def depth_axis(phi: "np.ndarray") -> dict[str, Any]:
    """Return the header of the third axis, Faraday depth."""
    middle = len(phi) // 2
    return {
        "CTYPE3": "FDEP",
        "CUNIT3": "rad/m^2",
        "CRPIX3": float(middle + 1),
        "CRVAL3": float(phi[middle]),
        "CDELT3": float(phi[1] - phi[0]) if len(phi) > 1 else 1.0,
    }


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
