"""Cubes about the components of a cell: their joined cut-outs, and what these are in Faraday depth.

Scatter the cells; a cell scatters its components, and each rank transforms and cleans the cut-out of one.
"""

import functools
from typing import TYPE_CHECKING, Any

from mpidriver.drivers._quantum import Quantum
from mpidriver.drivers._stage import Context, Record, Stage
from mpidriver.pool import current_pool
from mpidriver.store import depth_cards, read_image, read_table, wcs_from_header, write_images

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from mpidriver.drivers._sources._cell_layout import CellLayout
    from mpidriver.store import Product

__all__ = ["STAGES", "transform_cell", "transform_cutout", "write_cutouts"]


def transform_cell(context: Context, quantum: Quantum) -> Record:
    """Write, for each component of a cell, the dirty and the cleaned cube of Faraday depth about it."""
    spectra = read_table(context.path("source_spectra", quantum))
    cubes = current_pool().map(functools.partial(transform_cutout, context, quantum), spectra)
    written = write_images(context.path("source_cubes", quantum), _extensions(cubes))
    return Record(products=(context.product("source_cubes", written),))


def _extensions(cubes: "list[Any]") -> "Iterator[tuple[str, np.ndarray, Any, dict[str, Any]]]":
    import numpy as np

    for name, header, wcs, dirty, cleaned in cubes:
        for kind, cube in (("", dirty), ("_CLEAN", cleaned)):
            yield f"{name}{kind}", np.stack([cube.real, cube.imag]), wcs, header


def transform_cutout(
    context: Context, quantum: Quantum, spectrum: "np.void"
) -> "tuple[str, dict[str, Any], Any, np.ndarray, np.ndarray]":
    """Return name, header, coordinates, dirty and cleaned cube (phi, row, col) of one component.

    The weights of the channels are those of the component's own spectrum.
    """
    import numpy as np

    from mpidriver.tasks.faraday import double_phi_grid, lambda_sq, phi_grid, rm_clean, rm_synthesis, rmtf, rmtf_fwhm

    options = context.config.faraday
    name = str(spectrum["cat_id"])
    cube, header = read_image(context.path("source_cutouts", quantum), hdu=name.upper())
    freq_hz, errors = spectrum["freq"].astype(float), spectrum["stokesQ_error"].astype(float)
    used = np.isfinite(errors) & (errors > 0.0)
    weights = np.where(used, 1.0 if options.weighting == "uniform" else 1.0 / np.where(used, errors, 1.0) ** 2, 0.0)
    phi = phi_grid(
        freq_hz, phi_max_radm2=options.phi_max_radm2, dphi_radm2=options.phi_step_radm2, samples=options.samples
    )
    axes = depth_cards(phi) | {
        "CTYPE4": "COMPLEX",
        "CRPIX4": 1.0,
        "CRVAL4": 1.0,
        "CDELT4": 1.0,
        "BUNIT": "Jy/beam/RMSF",
    }
    axes |= {key: header[key] for key in ("BMAJ", "BMIN", "BPA")}
    wcs = wcs_from_header(header).celestial
    if not used.any():
        blank = np.full((len(phi), *cube.shape[-2:]), np.nan, np.complex64)
        return name, axes, wcs, blank, blank
    lambda0 = float(np.average(lambda_sq(freq_hz), weights=weights))
    dirty = rm_synthesis(cube[1], cube[2], freq_hz, phi, weights=weights, lambda0_sq_m2=lambda0)
    transfer = rmtf(freq_hz, double_phi_grid(phi), weights=weights, lambda0_sq_m2=lambda0)
    noise = float(np.sqrt(np.sum((weights * np.where(used, errors, 0.0)) ** 2)) / weights.sum())
    clean = rm_clean(dirty, transfer, phi, rmtf_fwhm(freq_hz[used]), noise=noise, **options.cleaning())
    return name, axes | {"LAMSQ0": lambda0}, wcs, dirty, clean.cleaned


def write_cutouts(
    context: Context,
    quantum: Quantum,
    layout: "CellLayout",
    targets: "np.ndarray",
    freq_hz: "np.ndarray",
    cutouts: "list[Any]",
) -> "Product":
    """Write the joined cubes (stokes, chan, row, col) of a cell's targets, an extension each."""
    import numpy as np

    from mpidriver.tasks.polarisation import cutout_wcs

    planes = np.stack(cutouts, axis=2)  # (target, stokes, chan, row, col)
    major, minor, pa = layout.beam_deg
    header = {"CTYPE3": "CHANNEL", "CTYPE4": "STOKES", "CRPIX4": 1.0, "CRVAL4": 1.0, "CDELT4": 1.0}
    header |= {"BUNIT": "Jy/beam", "BMAJ": float(major), "BMIN": float(minor), "BPA": float(pa)}
    header |= {f"FREQ{number:04d}": float(value) for number, value in enumerate(freq_hz, start=1)}
    extensions = (
        (str(row["cat_id"]), planes[number], cutout_wcs(row["ra"], row["dec"], layout.grid), header)
        for number, row in enumerate(targets)
    )
    return context.product("source_cutouts", write_images(context.path("source_cutouts", quantum), extensions))


STAGES = {
    "source_cubes": Stage(transform_cell, options=lambda config: (config.faraday,), seconds=5.0),
}
