"""Sky correction: the detectors of an exposure share one model of its sky.

Scatter the detectors of an exposure: each bins the sky between its sources, and keeps what it has found. Gather the
meshes, fit one sky over the focal plane, scatter it: each detector brings it to its own pixels.
"""

import functools
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mpidriver.drivers._quantum import Quantum
from mpidriver.drivers._raw import calibration_paths, load_calibrations, load_raw, made_calibrations
from mpidriver.drivers._stage import Context, Prepared, Record, Stage
from mpidriver.drivers.crosstalk import spill_of
from mpidriver.pool import current_pool
from mpidriver.store import write_table

if TYPE_CHECKING:
    import numpy as np

    from mpidriver.drivers._desk import Desk
    from mpidriver.store import Frame
    from mpidriver.tasks.sky_correction import DetectorSky, FocalPlaneSky

__all__ = ["STAGES", "model_of", "model_sky"]

log = logging.getLogger(__name__)

_UNITS = {"offset": "electron", "model": "electron"}


def model_sky(
    context: Context, quantum: Quantum, *, frames: "Sequence[Frame]", made: dict[int, Mapping[str, str]]
) -> Record:
    """Model the sky of an exposure over all its detectors; one that cannot be used is left out and named."""
    from mpidriver.tasks.sky_correction import fit_focal_plane

    measure = functools.partial(measure_sky, context)
    outcomes = current_pool().map(measure, frames, [made[frame.detector] for frame in frames], on_error="return")
    for outcome in outcomes:
        if outcome.error is not None:
            log.warning("left out of %s: %s", quantum, outcome.error.cause)
    skies = {frame.detector: end.value for frame, end in zip(frames, outcomes, strict=True) if end.error is None}
    model = fit_focal_plane(list(skies.values()), context.config.sky_correction)
    header = {"EXPOSURE": quantum.data_id.exposure, "BAND": quantum.data_id.band}
    if model is not None:
        header |= {"SKYRMS": model.rms_e, "DEGREE": model.degree}
    table = _table(skies, model, context.config.sky_correction.degree + 1)
    written = write_table(context.path("sky_correction", quantum), table, units=_UNITS, header=header)
    return Record(products=(context.product("sky_correction", written),))


def measure_sky(context: Context, frame: "Frame", made: Mapping[str, str]) -> "DetectorSky":
    """Return the binned sky of one detector."""
    from mpidriver.tasks.sky_correction import detector_sky

    return detector_sky(
        load_raw(context, frame),
        calibrations=load_calibrations(context, frame, made),
        nodes=context.config.sky_correction.degree + 1,
        options=context.config.single_frame,
    )


def model_of(desk: "Desk", detector: int, inputs: list[Quantum]) -> "np.ndarray | None":
    """Return the model of a detector's sky from the inputs of its frame; none without a sky correction."""
    for source in inputs:
        if source.task == "sky_correction":
            table = desk.table(desk.context.path("sky_correction", source))
            rows = table[table["detector"] == detector]
            return rows["model"][0] if len(rows) else None
    return None


def _table(skies: "dict[int, DetectorSky]", model: "FocalPlaneSky | None", size: int) -> "np.ndarray":
    """Return one row a detector; none without a model."""
    import numpy as np

    from mpidriver.tasks.sky_correction import detector_model

    kinds = [("detector", "i4"), ("offset", "f8"), ("n_meshes", "i4"), ("n_used", "i4"), ("model", "f8", (size, size))]
    if model is None:
        return np.zeros(0, dtype=kinds)
    rows = [
        (detector, model.offsets[i], sky.level.size, model.used[i], detector_model(sky, model, i))
        for i, (detector, sky) in enumerate(skies.items())
    ]
    return np.array(rows, dtype=kinds)


def _prepare(desk: "Desk", quantum: Quantum, inputs: list[Quantum]) -> Prepared:
    frames = desk.exposure_frames(quantum.data_id.exposure, quantum.data_id.band)
    made: dict[int, dict[str, str]] = {}
    files = []
    for frame in frames:
        own = [one for one in inputs if one.data_id.detector == frame.detector]
        patterns = desk.patterns.get((frame.detector, frame.band), {})
        made[frame.detector] = made_calibrations(desk.context, own) | patterns
        files += calibration_paths(desk.context, frame, made[frame.detector]).values()
        made[frame.detector] |= spill_of(desk.context, frame.detector, inputs)
    known = tuple((frame.detector, frame.digest, frame.wcs_header, frame.gain) for frame in frames)
    named = ((frame.path, frame.digest) for frame in frames)
    return Prepared(
        {"frames": frames, "made": made},
        (known, tuple(map(desk.file_digest, files))),
        (*named, *map(desk.named, files)),
    )


STAGES = {
    "sky_correction": Stage(
        model_sky,
        options=lambda config: (config.sky_correction, config.single_frame, config.calibrations),
        prepare=_prepare,
        seconds=3.0,
    )
}
