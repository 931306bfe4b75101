"""Fakes: a patch's coadds with known sources added go through multiband again, beside the science products.

A patch scatters its bands: each rank reads one and adds fakes, keeps it, and detects, measures and forces there as the
survey does. Only what came of the fakes is written.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mpidriver.drivers._quantum import DataId, Quantum
from mpidriver.drivers._stage import Context, Prepared, Record, Stage
from mpidriver.drivers.coadd import coadd_psf, planes
from mpidriver.errors import DataError
from mpidriver.pool import current_pool
from mpidriver.store import read_masked_image, read_table, wcs_from_header, write_table

if TYPE_CHECKING:
    import numpy as np
    from astropy.wcs import WCS

    from mpidriver.drivers._desk import Desk
    from mpidriver.tasks.coadd import CoaddPsf
    from mpidriver.tasks.image import MaskedImage
    from mpidriver.tasks.multiband import MultibandOptions

__all__ = ["STAGES"]


def recover_fakes(context: Context, quantum: Quantum, *, bands: Sequence[str]) -> Record:
    """Add fakes to a patch's coadds, find and measure everything again, and write what came of them."""
    import numpy as np

    from mpidriver.tasks import multiband

    options, ids, patch = context.config.multiband, quantum.data_id, context.patch(quantum)
    real = read_table(context.path("merged_measurements", quantum))
    errors = [read_table(context.path("forced", quantum, band=band))["flux_psf_err"] for band in bands]
    noise_njy = float(np.median([np.nanmedian(error) for error in errors if np.isfinite(error).any()] or [np.nan]))
    if not noise_njy > 0.0:
        raise DataError("no object of this patch has a flux, so that nobody knows how bright fakes should be")
    seed = (ids.tract, *ids.patch)
    fakes = multiband.make_fakes(patch.wcs(), patch.shape(), noise_njy=noise_njy, options=options, seed=seed)

    pool = current_pool()
    held = pool.scatter(functools.partial(add_fakes, context, quantum, (real, fakes)), bands)

    def each_band(task: Any, *arguments: Any) -> dict[str, Any]:
        return dict(zip(bands, pool.map(functools.partial(task, options, *arguments), held), strict=True))

    detections = each_band(detect_one)
    coadds = [coadd.image for coadd in pool.gather(held)]
    combined = multiband.detect_combined(coadds, patch.wcs(), options=options, seed=seed)
    covered = np.logical_and.reduce([_has_data(coadd, fakes) for coadd in coadds])
    del coadds
    objects = multiband.merge_detections(
        detections, combined=combined, tract=ids.tract, patch=ids.patch, options=options
    )
    objects = objects[~objects["is_sky"]]
    real_objects = real[real["flags"] & int(multiband.ObjectFlag.SKY) == 0]
    reference = multiband.merge_measurements(each_band(measure_one, objects), options=options)
    table = multiband.recovered(fakes, real_objects, reference, each_band(force_one, reference), covered=covered)
    written = write_table(context.path("fakes", quantum), table, units=multiband.fake_units(bands))
    return Record(products=(context.product("fakes", written),))


@dataclass(frozen=True)
class FakedCoadd:
    """One band's coadd with fakes, which stays on the rank that read it."""

    image: "MaskedImage"
    wcs: "WCS"
    psf: "CoaddPsf"


def add_fakes(context: Context, quantum: Quantum, added: "tuple[np.ndarray, np.ndarray]", band: str) -> FakedCoadd:
    """Read one band's coadd and add fakes to it, which keep off the real objects."""
    from mpidriver.tasks.multiband import inject

    stored = read_masked_image(context.path("coadd", quantum, band=band))
    wcs, psf = wcs_from_header(stored.wcs_header), coadd_psf(context, quantum, band=band)
    return FakedCoadd(inject(planes(stored), wcs, *added, psf=psf, options=context.config.multiband), wcs, psf)


def _has_data(coadd: Any, fakes: "np.ndarray") -> "np.ndarray":
    """Tell which fakes lie on pixels with data."""
    import numpy as np

    rows, cols = coadd.shape
    row, col = (np.clip(np.rint(fakes[axis]).astype(int), 0, size - 1) for axis, size in (("y", rows), ("x", cols)))
    return np.isfinite(coadd.image[row, col])


def detect_one(options: "MultibandOptions", coadd: FakedCoadd) -> "np.ndarray":
    """Return what is detected in one band with fakes."""
    from mpidriver.tasks.multiband import detect

    return detect(coadd.image, coadd.wcs, options=options)


def measure_one(options: "MultibandOptions", objects: "np.ndarray", coadd: FakedCoadd) -> "np.ndarray":
    """Return the measurements in one band with fakes."""
    from mpidriver.tasks.multiband import measure

    return measure(coadd.image, coadd.wcs, objects, psf=coadd.psf, options=options)


def force_one(options: "MultibandOptions", reference: "np.ndarray", coadd: FakedCoadd) -> "np.ndarray":
    """Return the forced photometry in one band with fakes."""
    from mpidriver.tasks.multiband import force

    return force(coadd.image, coadd.wcs, reference, psf=coadd.psf, options=options)


def join_fakes(context: Context, quantum: Quantum, *, patches: Sequence[DataId]) -> Record:
    """Join the fakes of all patches, and sum up by magnitude what came of them."""
    from mpidriver.tasks.multiband import SUMMARY_UNITS, fake_units, join_fakes, summary_of_fakes

    joined, bands = join_fakes([read_table(context.path("fakes", quantum, **ids.arguments())) for ids in patches])
    summary = summary_of_fakes(joined, bands)
    tables = (("survey_fakes", joined, fake_units(bands)), ("fakes_summary", summary, SUMMARY_UNITS))
    written = [(name, write_table(context.path(name, quantum), table, units=units)) for name, table, units in tables]
    return Record(products=tuple(context.product(name, file) for name, file in written))


def _prepare_patch(desk: "Desk", quantum: Quantum, inputs: list[Quantum]) -> Prepared:
    return Prepared({"bands": [str(source.data_id.band) for source in inputs if source.task == "forced"]})


def _prepare_survey(desk: "Desk", quantum: Quantum, inputs: list[Quantum]) -> Prepared:
    return Prepared({"patches": [source.data_id for source in inputs]})


def _options(config: Any) -> tuple[Any, ...]:
    return (config.multiband, config.skymap)


STAGES = {
    "fakes": Stage(recover_fakes, options=_options, prepare=_prepare_patch, seconds=4.0),
    "survey_fakes": Stage(join_fakes, options=_options, prepare=_prepare_survey, seconds=0.2),
}
