"""Where each dataset of a repository lies: one template a dataset name."""

import re
from typing import Any

from mpidriver.errors import DataError

__all__ = ["DATASETS", "dataset_path"]

#: Dataset name -> path relative to the repository, in the fields of `str.format`.
DATASETS: dict[str, str] = {
    "raw": "raw/{exposure:012d}-{detector:03d}-{band}.fits",
    "bias": "calibs/bias-{detector:03d}.fits",
    "dark": "calibs/dark-{detector:03d}.fits",
    "flat_scales": "calibs/flat-scales-{band}.fits",
    "flat": "calibs/flat-{detector:03d}-{band}.fits",
    "defects": "calibs/defects-{detector:03d}.fits",
    "fringe": "calibs/fringe-{detector:03d}-{band}.fits",
    "couplings": "calibs/crosstalk.fits",
    "sky": "calibs/sky-{detector:03d}-{band}.fits",
    "crosstalk": "frames/{exposure:012d}/{detector:03d}-crosstalk.fits",
    "sky_correction": "frames/{exposure:012d}/sky-{band}.fits",
    "frame": "frames/{exposure:012d}/{detector:03d}.fits",
    "frame_catalogue": "frames/{exposure:012d}/{detector:03d}-cat.fits",
    "frame_background": "frames/{exposure:012d}/{detector:03d}-bkg.fits",
    "channel_frame": "frames/{exposure:012d}/{detector:03d}-{band}.fits",
    "mosaic": "mosaic/{tract:05d}.fits",
    "tract_solution": "mosaic/{tract:05d}-alone.fits",
    "joined_solutions": "mosaic/joined.fits",
    "background_match": "mosaic/{tract:05d}-backgrounds.fits",
    "background_seams": "mosaic/{tract:05d}-seams.fits",
    "warp": "warps/{tract:05d}/{patch}/{band}/{exposure:012d}-{detector:03d}.fits",
    "coadd": "coadds/{tract:05d}/{patch}/{band}.fits",
    "detections": "catalogues/{tract:05d}/{patch}/detections-{band}.fits",
    "combined_detections": "catalogues/{tract:05d}/{patch}/combined.fits",
    "footprints": "catalogues/{tract:05d}/{patch}/footprints.fits",
    "merged_detections": "catalogues/{tract:05d}/{patch}/detections.fits",
    "measurements": "catalogues/{tract:05d}/{patch}/measurements-{band}.fits",
    "merged_measurements": "catalogues/{tract:05d}/{patch}/measurements.fits",
    "forced": "catalogues/{tract:05d}/{patch}/forced-{band}.fits",
    "light_curves": "catalogues/{tract:05d}/{patch}/light-curves.fits",
    "fakes": "fakes/{tract:05d}/{patch}.fits",
    "fakes_on_frames": "fakes/frames.fits",
    "survey_fakes": "fakes/fakes.fits",
    "fakes_summary": "fakes/summary.fits",
    "objects": "catalogues/{tract:05d}/{patch}/objects.fits",
    "tract_catalogue": "catalogues/{tract:05d}.fits",
    "survey_catalogue": "catalogues/objects.fits",
    "survey_catalogue_parquet": "catalogues/objects.parquet",
    "reference": "catalogues/reference.fits",
    "cube": "faraday/{tract:05d}/{patch}/cube-{stokes}.fits",
    "faraday": "faraday/{tract:05d}/{patch}/{name}.fits",
    "rm_patch_catalogue": "catalogues/{tract:05d}/{patch}/rm.fits",
    "rm_catalogue": "catalogues/rm-{tract:05d}.fits",
    "rm_survey_catalogue": "catalogues/rm.fits",
    "ionosphere": "faraday/ionosphere/{exposure:012d}-{detector:03d}.fits",
    "source_spectra": "faraday/cells/{cell:07d}/spectra.fits",
    "source_fdf": "faraday/cells/{cell:07d}/fdf.fits",
    "source_rm": "faraday/cells/{cell:07d}/rm.fits",
    "source_qu": "faraday/cells/{cell:07d}/qu.fits",
    "source_cutouts": "cutouts/{cell:07d}.fits",
    "source_cubes": "cutouts/{cell:07d}-fdf.fits",
    "rm_table": "catalogues/rmtable.fits",
    "rm_votable": "catalogues/rmtable.xml",
    "polspectra": "catalogues/polspectra.fits",
    "components": "catalogues/components.fits",
    "islands": "catalogues/islands.fits",
    "cutout": "cutouts/{name}.fits",
    "log": "logs/{name}",
    "report": "reports/{name}",
}

_FARADAY_NAME = re.compile(r"(FDF|RMSF|CLEAN)_\w+")
_SAFE_NAME = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9_.,+-]*")


def dataset_path(dataset: str, data_id: dict[str, Any]) -> str:
    """Return the path of a dataset relative to its repository.

    Parameters
    ----------
    dataset
        A key of `DATASETS`; ``cube-Q`` stands for ``cube`` with ``stokes="Q"`` and the products of RM synthesis
        (``FDF_real_dirty``, ``RMSF_FWHM`` …) for ``faraday`` with that name.
    data_id
        What the template asks for; a patch is ``"x,y"`` or a pair. More than it asks for does no harm.

    Raises
    ------
    DataError
        For an unknown dataset, a missing part of the data id, or text that cannot be part of a file name.
    """
    template, fields = _resolve(dataset, data_id)
    try:
        return template.format(**{key: _path_part(dataset, key, value) for key, value in fields.items()})
    except KeyError as error:
        raise DataError(f"dataset {dataset!r} needs {error.args[0]!r} beside {sorted(data_id)} ({template})") from None


def _resolve(dataset: str, data_id: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    if dataset in DATASETS:
        return DATASETS[dataset], data_id
    if _FARADAY_NAME.fullmatch(dataset):
        return DATASETS["faraday"], {**data_id, "name": dataset}
    name, _, stokes = dataset.partition("-")
    if name == "cube" and stokes:
        return DATASETS["cube"], {**data_id, "stokes": stokes}
    raise DataError(f"unknown dataset {dataset!r}; known: {', '.join(sorted(DATASETS))}")


def _path_part(dataset: str, key: str, value: Any) -> Any:
    if key == "patch" and not isinstance(value, str):
        value = ",".join(str(int(part)) for part in value)
    if not isinstance(value, str):
        return int(value)
    if not _SAFE_NAME.fullmatch(value):
        raise DataError(f"dataset {dataset!r}: {key} {value!r} cannot be part of a file name")
    return value
