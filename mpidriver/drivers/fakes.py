"""Fakes through the whole survey: a repository of the same raw frames with known sources in them, and what is found.

The copy is reduced like any other repository; each of its frames adds its fakes to the raw counts when it is read.
Afterwards the frames are scattered to look for the fakes in their catalogues, and the joined catalogue is compared.
"""

import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING

from mpidriver.drivers._frame_fakes import frame_solution, solutions_of
from mpidriver.drivers._quantum import DataId, parse_quantum
from mpidriver.drivers._stage import Context
from mpidriver.drivers.config import FakesOptions, SurveyConfig, config_text
from mpidriver.drivers.pipeline import open_context
from mpidriver.errors import ConfigError
from mpidriver.store import Repository, StateOptions, read_table, read_table_header, write_table

if TYPE_CHECKING:
    import numpy as np

    from mpidriver.pool import Pool
    from mpidriver.store import StateDatabase

__all__ = ["copy_with_fakes", "recover"]

_CATALOGUE = "fakes/injected.fits"
#: Significance that a frame's limiting magnitude stands for.
_LIMIT_SIGMA = 5.0
_FORCED = ("flux_psf", "flux_psf_err", "flux_model", "flux_model_err", "flags")


def copy_with_fakes(original: Context, state: "StateDatabase", root: Path) -> tuple[Context, int]:
    """Make a repository with the configuration of a reduced one and a catalogue of fakes for its frames.

    Parameters
    ----------
    original, state
        The reduced repository and its database.
    root
        Folder of the new one; raw frames are still to be ingested.

    Returns
    -------
    context : Context
    n_fakes : int

    Raises
    ------
    ConfigError
        If the original holds fakes itself, or no mosaic has placed a frame that tells how bright fakes should be.
    """
    import numpy as np

    from mpidriver.sphere import unit_vectors
    from mpidriver.tasks.image import NJY_ZERO_POINT_MAG
    from mpidriver.tasks.multiband import FAKE_UNITS
    from mpidriver.tasks.skymap import patches_under

    if original.config.fakes.catalogue is not None:
        raise ConfigError(f"{original.root}: holds fakes itself; name the repository without them")
    placed = solutions_of(original.root)
    frames = [frame for frame in state.frames(kind="image") if (frame.exposure, frame.detector) in placed]
    limits = [frame.quality.get("limiting_mag", np.nan) for frame in frames if frame.quality]
    limits = [limit for limit in limits if np.isfinite(limit)]
    if not limits:
        raise ConfigError(f"{original.root}: no frame is placed by a mosaic yet; run `mpidriver pipeline` on it first")
    noise_njy = 10.0 ** (-0.4 * (float(np.median(limits)) - NJY_ZERO_POINT_MAG)) / _LIMIT_SIGMA
    corners = unit_vectors(*np.moveaxis(np.stack([frame.corners for frame in frames]), -1, 0))
    patches = sorted({patch for some in patches_under(original.sky, corners) for patch in some})
    fakes = np.concatenate([_fakes_of_patch(original, *patch, noise_njy) for patch in patches])
    repository = Repository.create(root, config=config_text(_configuration(original, root)))
    (root / "fakes").mkdir(exist_ok=True)
    write_table(root / _CATALOGUE, fakes, units=FAKE_UNITS | {"tract": ""})
    return open_context(str(repository.root)), fakes.size


def _fakes_of_patch(context: Context, tract: int, index: tuple[int, int], noise_njy: float) -> "np.ndarray":
    """Return the fakes within a patch's own part of the sky, with the number of its tract."""
    from numpy.lib import recfunctions

    from mpidriver.tasks.multiband import make_fakes

    patch = context.sky.tract(tract).patch(index)
    options, seed = context.config.multiband, (tract, *index)
    fakes = make_fakes(patch.wcs(), patch.shape(), noise_njy=noise_njy, options=options, seed=seed)
    fakes = fakes[patch.is_primary(fakes["ra"], fakes["dec"])]
    return recfunctions.append_fields(fakes, "tract", [tract] * fakes.size, dtypes="i4", usemask=False)


def _configuration(original: Context, root: Path) -> SurveyConfig:
    """Return the configuration of the copy: paths lead to the original, its state is its own."""
    there, config = Path(original.root), original.config
    calibrations = {
        field.name: str(there / value)
        for field in dataclasses.fields(config.calibrations)
        if (value := getattr(config.calibrations, field.name)) is not None
    }
    reference = config.reference
    if reference.path is not None:
        reference = dataclasses.replace(reference, path=str(there / reference.path))
    return dataclasses.replace(
        config,
        name=f"{config.name} with fakes",
        calibrations=dataclasses.replace(config.calibrations, **calibrations),
        reference=reference,
        fakes=FakesOptions(catalogue=_CATALOGUE, original=str(there)),
        state=StateOptions(),
    )


def recover(context: Context, state: "StateDatabase", *, pool: "Pool") -> list[Path]:
    """Write what the catalogues of a reduced repository have of its fakes; return the tables.

    Parameters
    ----------
    context, state
        The repository with fakes.
    pool
        Reads the frames' catalogues.

    Raises
    ------
    ConfigError
        If there is no catalogue of fakes.
    """
    import numpy as np

    from mpidriver.tasks.multiband import FOUND_UNITS, SUMMARY_UNITS, fake_units, summary_of_fakes

    options = context.config.fakes
    if options.catalogue is None:
        raise ConfigError(f"{context.root}: survey.toml names no catalogue of fakes ([fakes] catalogue)")
    fakes = read_table(context.repository.resolve(options.catalogue))
    done = [parse_quantum(record.key).data_id for record in state.quanta(task="single_frame", status="done")]
    if not done:
        return []
    tables = pool.map(functools.partial(_of_frame, context, fakes), done)
    units = FOUND_UNITS | {"exposure": "", "detector": ""}
    written = [("fakes_on_frames", np.concatenate(tables), units)]
    if context.repository.path("survey_catalogue").exists():
        seen: dict[str, set[int]] = {}
        for ids, table in zip(done, tables, strict=True):
            seen.setdefault(str(ids.band), set()).update(table["fake"].tolist())
        covered = np.isin(np.arange(fakes.size), sorted(set.intersection(*seen.values())))
        table, bands = _of_catalogue(context, fakes, covered)
        written.append(("survey_fakes", table, fake_units(bands)))
        written.append(("fakes_summary", summary_of_fakes(table, bands), SUMMARY_UNITS))
    return [write_table(context.repository.path(name), rows, units=units).path for name, rows, units in written]


def _of_frame(context: Context, fakes: "np.ndarray", data_id: DataId) -> "np.ndarray":
    """Return what one frame's catalogue has of its fakes; nothing if a mosaic has not placed it."""
    import numpy as np
    from numpy.lib import recfunctions

    from mpidriver.tasks.multiband import found_on_frame

    key = int(data_id.exposure or 0), int(data_id.detector or 0)
    ids = {"exposure": key[0], "detector": key[1]}
    original = str(context.repository.resolve(context.config.fakes.original))
    solution = solutions_of(context.root).get(key)
    fakes = fakes if solution is not None and key in solutions_of(original) else fakes[:0]
    catalogue, shape = _catalogue(context.repository, ids)
    real, _ = _catalogue(Repository.open(original), ids) if fakes.size else (catalogue, None)
    where = frame_solution(solution) if solution is not None else (None, 0.0, ())
    found = found_on_frame(fakes, catalogue, real, where, shape)
    numbers = [np.full(found.size, number) for number in key]
    return recfunctions.append_fields(found, ["exposure", "detector"], numbers, dtypes=["i8", "i4"], usemask=False)


def _catalogue(repository: Repository, ids: dict[str, int]) -> "tuple[np.ndarray, tuple[int, int]]":
    """Return a frame's sources and its shape."""
    path = repository.path("frame_catalogue", **ids)
    header = read_table_header(path)
    return read_table(path), (int(header["NROW"]), int(header["NCOL"]))


def _of_catalogue(context: Context, fakes: "np.ndarray", covered: "np.ndarray") -> "tuple[np.ndarray, list[str]]":
    """Return what the joined catalogue has of the fakes, and its bands."""
    from mpidriver.tasks.multiband import recovered

    found = read_table(context.repository.path("survey_catalogue"))
    original = Repository.open(context.repository.resolve(context.config.fakes.original))
    real = read_table(original.path("survey_catalogue"))
    names = found.dtype.names or ()
    bands = sorted(name[9:-4] for name in names if name.startswith("flux_psf_") and name.endswith("_err"))
    forced = {band: {name: found[_column(name, band)] for name in _FORCED} for band in bands}
    return recovered(fakes, real, found, forced, covered=covered), bands


def _column(name: str, band: str) -> str:
    """Return the name of a band's column in the joined catalogue."""
    return f"{name[:-4]}_{band}_err" if name.endswith("_err") else f"{name}_{band}"
