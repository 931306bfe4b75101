"""The ionosphere towards each beam of each exposure: its RM through the exposure, from a table or from IONEX maps."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpidriver.drivers._quantum import Quantum
from mpidriver.drivers._stage import Context, Prepared, Record, Stage
from mpidriver.errors import DataError
from mpidriver.store import read_ionex, read_table, write_table

if TYPE_CHECKING:
    import numpy as np

    from mpidriver.drivers._desk import Desk
    from mpidriver.store import Frame

__all__ = ["STAGES", "follow_ionosphere"]


def follow_ionosphere(context: Context, quantum: Quantum, *, frame: "Frame", model: Any) -> Record:
    """Write the RM of the ionosphere towards a beam at equal steps through its exposure.

    Parameters
    ----------
    context, quantum
        Exposure and beam.
    frame
        Any channel of it: start, length and position.
    model
        Rows ``mjd``, ``rm`` of the exposure, or IONEX maps.
    """
    import numpy as np

    from mpidriver.tasks.polarisation import TecMaps, exposure_times, series_at, slant_rm

    options = context.config.ionosphere
    times = exposure_times(frame.mjd, frame.exptime_s, options.step_s)
    if options.kind == "series":
        rm = series_at(times, model["mjd"], model["rm"])
    else:
        ra, dec = beam_centre(frame)
        rm = slant_rm(
            TecMaps(*model), times, ra, dec, longitude_deg=options.longitude_deg, latitude_deg=options.latitude_deg
        )
    rows = np.zeros(len(times), dtype=[("mjd", "f8"), ("rm", "f8")])
    rows["mjd"], rows["rm"] = times, rm
    path = context.path("ionosphere", quantum)
    written = write_table(path, rows, units={"mjd": "d", "rm": "rad/m2"}, header={"RMMEAN": float(rm.mean())})
    return Record(products=(context.product("ionosphere", written),))


def beam_centre(frame: "Frame") -> tuple[float, float]:
    """Return where a beam points: what its headers say as beam_ra_deg and beam_dec_deg, else its image's middle."""
    from mpidriver.sphere import lon_lat, unit_vectors

    if {"beam_ra_deg", "beam_dec_deg"} <= frame.metadata.keys():
        return float(frame.metadata["beam_ra_deg"]), float(frame.metadata["beam_dec_deg"])
    ra, dec = lon_lat(unit_vectors(*frame.corners.T).sum(axis=0))  # type: ignore[union-attr]
    return float(ra), float(dec)


def _prepare(desk: "Desk", quantum: Quantum, inputs: list[Quantum]) -> Prepared:
    ids = quantum.data_id
    options = desk.context.config.ionosphere
    frame = desk.any_frame(ids.exposure, ids.detector)
    if frame.mjd is None or frame.exptime_s is None:
        raise DataError("the channel images tell no start and length; name mjd and exptime_s in [polarimeter]")
    path = desk.context.repository.root / str(options.path)
    digest = desk.file_digest(path)
    model = _series(path, digest, ids.exposure) if options.kind == "series" else _maps(path, digest)
    return Prepared({"frame": frame, "model": model}, (digest, frame.mjd, frame.exptime_s, beam_centre(frame)))


@functools.lru_cache(maxsize=4)
def _maps(path: Path, digest: str) -> tuple[Any, ...]:
    return tuple(read_ionex(path))


def _series(path: Path, digest: str, exposure: int | None) -> "np.ndarray":
    """Return the rows of a table that hold for an exposure: its own, or all if rows name none."""
    rows = _table(path, digest)
    if "exposure" not in (rows.dtype.names or ()):
        return rows
    own: np.ndarray = rows[rows["exposure"] == exposure]
    if not len(own):
        raise DataError(f"{path}: no row for exposure {exposure}")
    return own


@functools.lru_cache(maxsize=4)
def _table(path: Path, digest: str) -> "np.ndarray":
    import numpy as np

    if path.name.lower().endswith((".fits", ".fit")):
        rows = read_table(path)
    else:
        from astropy.table import Table

        try:
            layout = "ascii.ecsv" if path.suffix.lower() == ".ecsv" else "ascii.csv"
            rows = np.asarray(Table.read(path, format=layout).as_array())
        except Exception as error:
            raise DataError(f"{path}: cannot be read as ECSV or CSV: {error!r}") from None
    missing = [name for name in ("mjd", "rm") if name not in (rows.dtype.names or ())]
    if missing:
        raise DataError(f"{path}: no column {missing[0]!r}; it has {', '.join(rows.dtype.names or ())}")
    return rows


STAGES = {
    "ionosphere": Stage(follow_ionosphere, options=lambda config: (config.ionosphere,), prepare=_prepare, seconds=0.1)
}
