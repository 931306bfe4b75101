"""The multiband driver: one catalogue of objects over all bands.

Scatter patch and band to detect, and patches to detect on all bands together; merge a patch's detections; scatter patch
and band again to measure; merge; scatter once more to measure every object at its merged position in every band; join a
tract, join the survey.
Nothing waits for more than its own patch until the tract is joined.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpidriver.drivers._quantum import Quantum
from mpidriver.drivers._stage import Context, Prepared, Record, Stage
from mpidriver.drivers.coadd import coadd_psf, planes
from mpidriver.store import (
    WrittenFile,
    read_image,
    read_masked_image,
    read_table,
    wcs_from_header,
    write_image,
    write_parquet,
    write_table,
)

if TYPE_CHECKING:
    import numpy as np

    from mpidriver.drivers._desk import Desk

__all__ = ["STAGES"]


def detect(context: Context, quantum: Quantum) -> Record:
    """Detect sources on one band's coadd of a patch."""
    from mpidriver.tasks.multiband import DETECTION_UNITS
    from mpidriver.tasks.multiband import detect as detect_sources

    image, wcs = _coadd(context, quantum)
    detections = detect_sources(image, wcs, options=context.config.multiband)
    return _written(context, quantum, "detections", detections, DETECTION_UNITS)


def detect_combined(context: Context, quantum: Quantum, *, bands: Sequence[str]) -> Record:
    """Detect sources on all bands of a patch together, and choose empty places; write the footprints."""
    import numpy as np

    from mpidriver.tasks.multiband import DETECTION_UNITS
    from mpidriver.tasks.multiband import detect_combined as detect_all

    coadds = [_coadd(context, quantum, band=band) for band in bands]
    wcs = coadds[0][1]
    ids = quantum.data_id
    seed = (ids.tract, *ids.patch)
    found = detect_all([image for image, _ in coadds], wcs, options=context.config.multiband, seed=seed)
    footprints = write_image(context.path("footprints", quantum), found.footprints.astype(np.int32), wcs=wcs)
    record = _written(context, quantum, "combined_detections", found.table, DETECTION_UNITS)
    return Record(products=(*record.products, context.product("footprints", footprints)))


def merge_detections(context: Context, quantum: Quantum, *, bands: Sequence[str], combined: bool) -> Record:
    """Merge a patch's detections over its bands into one list of objects."""
    from mpidriver.tasks.multiband import MERGED_UNITS, CombinedDetections
    from mpidriver.tasks.multiband import merge_detections as merge

    tables = {band: read_table(context.path("detections", quantum, band=band)) for band in bands}
    together = None
    if combined:
        footprints, _ = read_image(context.path("footprints", quantum))
        together = CombinedDetections(read_table(context.path("combined_detections", quantum)), footprints)
    ids = quantum.data_id
    options = context.config.multiband
    merged = merge(tables, combined=together, tract=ids.tract, patch=ids.patch, options=options)
    return _written(context, quantum, "merged_detections", merged, MERGED_UNITS)


def measure(context: Context, quantum: Quantum) -> Record:
    """Measure a patch's objects on one band's coadd."""
    from mpidriver.tasks.multiband import MEASUREMENT_UNITS
    from mpidriver.tasks.multiband import measure as measure_objects

    image, wcs = _coadd(context, quantum)
    objects = read_table(context.path("merged_detections", quantum))
    table = measure_objects(image, wcs, objects, psf=coadd_psf(context, quantum), options=context.config.multiband)
    return _written(context, quantum, "measurements", table, MEASUREMENT_UNITS)


def merge_measurements(context: Context, quantum: Quantum, *, bands: Sequence[str]) -> Record:
    """Choose each object's reference band and keep its position and shape."""
    from mpidriver.tasks.multiband import REFERENCE_UNITS
    from mpidriver.tasks.multiband import merge_measurements as merge

    tables = {band: read_table(context.path("measurements", quantum, band=band)) for band in bands}
    merged = merge(tables, options=context.config.multiband)
    return _written(context, quantum, "merged_measurements", merged, REFERENCE_UNITS)


def force(context: Context, quantum: Quantum) -> Record:
    """Measure one band's coadd at the positions and with the apertures of the reference bands."""
    from mpidriver.tasks.multiband import FORCED_UNITS
    from mpidriver.tasks.multiband import force as force_photometry

    image, wcs = _coadd(context, quantum)
    merged = read_table(context.path("merged_measurements", quantum))
    table = force_photometry(image, wcs, merged, psf=coadd_psf(context, quantum), options=context.config.multiband)
    return _written(context, quantum, "forced", table, FORCED_UNITS)


def join_tract(context: Context, quantum: Quantum, *, patches: dict[tuple[int, int], Sequence[str]]) -> Record:
    """Join the forced photometry of a tract's patches; each sky position is primary in exactly one."""
    import numpy as np

    from mpidriver.tasks.multiband import ObjectFlag, join_bands

    tract = context.tract(quantum)
    bands = sorted({band for present in patches.values() for band in present})
    tables = []
    for index, present in sorted(patches.items()):
        merged = read_table(context.path("merged_measurements", quantum, patch=_name(index)))
        forced = {band: read_table(context.path("forced", quantum, patch=_name(index), band=band)) for band in present}
        primary = tract.patch(index).is_primary(merged["ra"], merged["dec"])
        primary &= merged["flags"] & int(ObjectFlag.SKY) == 0
        tables.append(join_bands(merged, forced, bands=bands, is_primary=primary, tract=tract.id, patch=index))
    joined = np.concatenate(tables)
    written = _write_objects(context.path("tract_catalogue", quantum), joined, bands)
    return Record(products=(context.product("tract_catalogue", written),))


def join_survey(context: Context, quantum: Quantum, *, tracts: Sequence[int]) -> Record:
    """Join the tracts' catalogues into the survey's, as FITS and Parquet; only primary rows are kept."""
    from mpidriver.tasks.multiband import join_catalogues, object_descriptions, object_units

    tables = [read_table(context.path("tract_catalogue", quantum, tract=tract)) for tract in tracts]
    joined, bands = join_catalogues(tables)
    path = context.path("survey_catalogue_parquet", quantum)
    parquet = write_parquet(path, joined, units=object_units(bands), descriptions=object_descriptions(bands))
    fits = _write_objects(context.path("survey_catalogue", quantum), joined, bands)
    written = {"survey_catalogue": fits, "survey_catalogue_parquet": parquet}
    return Record(products=tuple(context.product(dataset, file) for dataset, file in written.items()))


def _write_objects(path: Path, table: "np.ndarray", bands: Sequence[str]) -> WrittenFile:
    """Write an object table with units, descriptions and the bits of its flags."""
    from mpidriver.tasks.multiband import OBJECT_FLAGS, object_descriptions, object_units

    return write_table(
        path,
        table,
        units=object_units(bands),
        descriptions=object_descriptions(bands),
        header={f"FLAG_{name}": bit for name, bit in OBJECT_FLAGS.items()},
    )


def _coadd(context: Context, quantum: Quantum, **more: Any) -> tuple[Any, Any]:
    """Return a coadd and its WCS."""
    stored = read_masked_image(context.path("coadd", quantum, **more))
    return planes(stored), wcs_from_header(stored.wcs_header)


def _written(context: Context, quantum: Quantum, dataset: str, table: "np.ndarray", units: dict[str, str]) -> Record:
    written = write_table(context.path(dataset, quantum), table, units=units)
    return Record(products=(context.product(dataset, written),))


def _name(patch: tuple[int, int]) -> str:
    return f"{patch[0]},{patch[1]}"


def _prepare_bands(desk: "Desk", quantum: Quantum, inputs: list[Quantum]) -> Prepared:
    return Prepared({"bands": [str(source.data_id.band) for source in inputs]})


def _prepare_merge(desk: "Desk", quantum: Quantum, inputs: list[Quantum]) -> Prepared:
    bands = [str(source.data_id.band) for source in inputs if source.task == "detect"]
    return Prepared({"bands": bands, "combined": any(source.task == "detect_combined" for source in inputs)})


def _prepare_tract(desk: "Desk", quantum: Quantum, inputs: list[Quantum]) -> Prepared:
    patches: dict[tuple[int, int], list[str]] = {}
    for source in inputs:
        if source.task == "merge_measurements":
            patches.setdefault(source.data_id.patch, [])
    for source in inputs:
        if source.task == "forced" and source.data_id.patch in patches:
            patches[source.data_id.patch].append(str(source.data_id.band))
    return Prepared({"patches": patches})


def _prepare_survey(desk: "Desk", quantum: Quantum, inputs: list[Quantum]) -> Prepared:
    return Prepared({"tracts": [source.data_id.tract for source in inputs]})


def _options(config: Any) -> tuple[Any, ...]:
    return (config.multiband,)


STAGES = {
    "detect": Stage(detect, options=_options, seconds=0.3),
    "detect_combined": Stage(detect_combined, options=_options, prepare=_prepare_bands, seconds=0.5),
    "merge_detections": Stage(merge_detections, options=_options, prepare=_prepare_merge, seconds=0.1),
    "measure": Stage(measure, options=_options, seconds=1.0),
    "merge_measurements": Stage(merge_measurements, options=_options, prepare=_prepare_bands, seconds=0.1),
    "forced": Stage(force, options=_options, seconds=1.0),
    "tract_catalogue": Stage(join_tract, options=_options, prepare=_prepare_tract, seconds=0.2),
    "survey_catalogue": Stage(join_survey, options=_options, prepare=_prepare_survey, seconds=0.2),
}
