"""The calibs driver: raw bias, dark and flat exposures become the calibration frames of each detector.

Scatter detectors: combine their bias frames, then their darks. Scatter the flats of a band, gather the level of each
frame, solve for the brightness of each exposure over the whole focal plane, scatter again: combine each detector's
flats. Fringes and sky frames come from the frames of the sky themselves.
"""

import functools
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mpidriver.drivers._quantum import Quantum
from mpidriver.drivers._raw import load_calibrations, load_raw, made_calibrations
from mpidriver.drivers._stage import Context, Prepared, Record, Stage
from mpidriver.errors import DataError
from mpidriver.pool import current_pool
from mpidriver.store import Spool, read_image, write_image, write_table

if TYPE_CHECKING:
    import numpy as np

    from mpidriver.drivers._desk import Desk
    from mpidriver.store import Frame
    from mpidriver.tasks.calibs import SkyMeshes

__all__ = ["KINDS", "ON_REQUEST", "PATTERNS", "STAGES"]

log = logging.getLogger(__name__)

#: What can be asked for, and the tasks that make it.
KINDS: dict[str, tuple[str, ...]] = {
    "bias": ("bias",),
    "dark": ("dark",),
    "flat": ("flat_scales", "flat"),
    "defects": ("defects",),
    "fringe": ("fringe",),
    "sky": ("sky",),
    "crosstalk": ("couplings",),
}
#: Tasks that look at the frames of the sky, when asked for.
PATTERNS = ("fringe", "sky")
#: What runs only when it is asked for.
ON_REQUEST = (*PATTERNS, *KINDS["crosstalk"])

_BEFORE_FLATS = ("bias", "crosstalk", "linearity", "dark")

Made = Mapping[str, str]
"""Calibration frames made before, kind to path."""


def combine_bias(context: Context, quantum: Quantum, *, frames: "Sequence[Frame]", made: Made) -> Record:
    """Combine the bias frames of a detector."""
    return _combined(context, quantum, frames, functools.partial(_counts, context, made, ()), "adu")


def combine_darks(context: Context, quantum: Quantum, *, frames: "Sequence[Frame]", made: Made) -> Record:
    """Combine the dark frames of a detector, each divided by its exposure time."""

    def dark_current(frame: "Frame") -> "np.ndarray":
        if not frame.exptime_s:
            raise DataError(f"{frame.path}: a dark frame without an exposure time")
        return _counts(context, made, ("bias", "crosstalk", "linearity"), frame) / frame.exptime_s

    return _combined(context, quantum, frames, dark_current, "adu/s")


def measure_flats(context: Context, quantum: Quantum, *, frames: "Sequence[Frame]", made: dict[int, Made]) -> Record:
    """Measure the level of each flat of a band, on all ranks, and solve for exposures and detectors."""
    import numpy as np

    from mpidriver.tasks.calibs import solve_scales

    one = functools.partial(_flat_level, context)
    outcomes = current_pool().map(one, frames, [made[frame.detector] for frame in frames], on_error="return")
    exposures, detectors = (sorted({getattr(frame, name) for frame in frames}) for name in ("exposure", "detector"))
    levels = np.full((len(exposures), len(detectors)), np.nan)
    for frame, outcome in zip(frames, outcomes, strict=True):
        if outcome.error is not None:
            log.warning("left out of %s: %s", quantum, outcome.error.cause)
            continue
        levels[exposures.index(frame.exposure), detectors.index(frame.detector)] = outcome.value
    scales = solve_scales(levels)
    table = np.array(
        [
            (exposure, detector, levels[i, j], scales.exposures[i], scales.detectors[j])
            for i, exposure in enumerate(exposures)
            for j, detector in enumerate(detectors)
        ],
        dtype=[("exposure", "i8"), ("detector", "i4"), ("level", "f8"), ("scale", "f8"), ("response", "f8")],
    )
    units = {"level": "electron", "scale": "electron"}
    written = write_table(context.path("flat_scales", quantum), table, units=units, header={"SCATTER": scales.rms})
    return Record(products=(context.product("flat_scales", written),))


def _flat_level(context: Context, frame: "Frame", made: Made) -> float:
    """Return the median signal of a flat in electrons."""
    import numpy as np

    return float(np.nanmedian(_counts(context, made, _BEFORE_FLATS, frame)) * (frame.gain or 1.0))


def combine_flats(
    context: Context, quantum: Quantum, *, frames: "Sequence[Frame]", made: Made, scales: Mapping[int, float]
) -> Record:
    """Combine the flats of a detector and band, each divided by the brightness of its exposure."""

    def response(frame: "Frame") -> "np.ndarray":
        return _counts(context, made, _BEFORE_FLATS, frame) * ((frame.gain or 1.0) / scales[frame.exposure])

    lit = [frame for frame in frames if scales.get(frame.exposure, 0.0) > 0]
    return _combined(context, quantum, lit, response, "")


def mark_defects(context: Context, quantum: Quantum, *, dark: str | None, flats: Sequence[str]) -> Record:
    """Find the pixels of a detector that do not work."""
    import numpy as np

    from mpidriver.tasks.calibs import find_defects

    root = context.repository.root
    defects = find_defects(
        None if dark is None else read_image(root / dark)[0],
        [read_image(root / flat)[0] for flat in flats],
        options=context.config.calibs,
    )
    header = {"DETECTOR": quantum.data_id.detector, "NDEFECTS": int(np.count_nonzero(defects))}
    written = write_image(context.path("defects", quantum), defects, header=header)
    return Record(products=(context.product("defects", written),))


def combine_fringes(context: Context, quantum: Quantum, *, frames: "Sequence[Frame]", made: Made) -> Record:
    """Combine what the frames of the sky of a detector and band show between their sources."""
    from mpidriver.tasks.calibs import fringe_of

    def pattern(frame: "Frame") -> "np.ndarray":
        calibrations = load_calibrations(context, frame, made, kinds=(*_BEFORE_FLATS, "flat", "defects"))
        return fringe_of(load_raw(context, frame), calibrations, context.config.single_frame)

    return _combined(context, quantum, frames, pattern, "")


def combine_sky(context: Context, quantum: Quantum, *, frames: "Sequence[Frame]", made: Made) -> Record:
    """Combine the sky of a detector and band by meshes, which the frames' ranks measure and send."""
    from mpidriver.tasks.calibs import combine_skies

    outcomes = current_pool().map(functools.partial(_sky_meshes, context, made), frames, on_error="return")
    used, skies = [], []
    for frame, outcome in zip(frames, outcomes, strict=True):
        if outcome.error is not None:
            log.warning("left out of %s: %s", quantum, outcome.error.cause)
            continue
        used.append(frame)
        skies.append(outcome.value)
    pattern = combine_skies(skies, context.config.calibs)
    return Record(products=(_write(context, quantum, pattern, used, ""),))


def _sky_meshes(context: Context, made: Made, frame: "Frame") -> "SkyMeshes":
    from mpidriver.tasks.calibs import sky_of

    calibrations = load_calibrations(context, frame, made, kinds=(*_BEFORE_FLATS, "flat", "defects"))
    options = context.config
    return sky_of(load_raw(context, frame), calibrations, options.single_frame, mesh_px=options.calibs.sky_mesh_px)


def _counts(context: Context, made: Made, kinds: Collection[str], frame: "Frame") -> "np.ndarray":
    """Return a frame's counts above what calibration frames of these kinds tell, NaN where saturated or masked."""
    from mpidriver.tasks.single_frame import signal_counts

    return signal_counts(load_raw(context, frame), load_calibrations(context, frame, made, kinds=kinds))


def _combined(
    context: Context,
    quantum: Quantum,
    frames: "Iterable[Frame]",
    plane: "Callable[[Frame], np.ndarray]",
    unit: str,
) -> Record:
    """Combine the planes of frames and write the result; a frame that cannot be used is left out and named."""
    from mpidriver.tasks.calibs import combine_frames

    used: list[Frame] = []
    shape: tuple[int, int] | None = None
    with Spool() as spool:
        for frame in frames:
            try:
                pixels = plane(frame)
                if shape not in (None, pixels.shape):
                    raise DataError(f"{frame.path}: its shape is {pixels.shape}, that of the frames before {shape}")
            except DataError as error:
                log.warning("left out of %s: %s", quantum, error)
                continue
            shape = pixels.shape
            spool.append(pixels)
            used.append(frame)
        combined = combine_frames(spool.read, len(spool), shape or (0, 0), options=context.config.calibs)
    return Record(products=(_write(context, quantum, combined.image, used, unit, NOISE=combined.noise),))


def _write(
    context: Context, quantum: Quantum, image: "np.ndarray", used: "Sequence[Frame]", unit: str, **cards: Any
) -> Any:
    ids = quantum.data_id
    header: dict[str, Any] = {"DETECTOR": ids.detector, "NINPUT": len(used), **cards}
    if ids.band is not None:
        header["BAND"] = ids.band
    if unit:
        header["BUNIT"] = unit
    header |= {f"IN{number:05d}": frame.exposure for number, frame in enumerate(used)}
    written = write_image(context.path(quantum.task, quantum), image, header=header)
    return context.product(quantum.task, written)


# What the root looks up


def _of_detector(kind: str) -> Callable[..., Prepared]:
    def prepare(desk: "Desk", quantum: Quantum, inputs: list[Quantum]) -> Prepared:
        ids = quantum.data_id
        frames = [frame for frame in desk.frames(kind, ids.detector) if ids.band in (None, frame.band)]
        return _with_frames(frames, made=made_calibrations(desk.context, inputs))

    return prepare


def _with_frames(frames: "Sequence[Frame]", **arguments: Any) -> Prepared:
    digests = tuple((frame.exposure, frame.detector, frame.digest, frame.exptime_s, frame.gain) for frame in frames)
    return Prepared({"frames": frames, **arguments}, digests, tuple((frame.path, frame.digest) for frame in frames))


def _prepare_scales(desk: "Desk", quantum: Quantum, inputs: list[Quantum]) -> Prepared:
    frames = [frame for frame in desk.frames("flat") if frame.band == quantum.data_id.band]
    made = {
        detector: made_calibrations(desk.context, [one for one in inputs if one.data_id.detector == detector])
        for detector in {frame.detector for frame in frames}
    }
    lacking = {
        detector
        for detector, there in made.items()
        if any(desk.frames(kind, detector) and kind not in there for kind in _BEFORE_FLATS)
    }
    return _with_frames([frame for frame in frames if frame.detector not in lacking], made=made)


def _prepare_flat(desk: "Desk", quantum: Quantum, inputs: list[Quantum]) -> Prepared:
    prepared = _of_detector("flat")(desk, quantum, inputs)
    table = desk.table(desk.context.repository.path("flat_scales", band=quantum.data_id.band))
    scales = {int(row["exposure"]): float(row["scale"]) for row in table}
    return Prepared({**prepared.arguments, "scales": scales}, prepared.fingerprint, prepared.files)


def _prepare_defects(desk: "Desk", quantum: Quantum, inputs: list[Quantum]) -> Prepared:
    root = desk.context.repository.root
    paths = {source: str(desk.context.path(source.task, source).relative_to(root)) for source in inputs}
    dark = next((path for source, path in paths.items() if source.task == "dark"), None)
    return Prepared({"dark": dark, "flats": [path for source, path in paths.items() if source.task == "flat"]})


def _options(config: Any) -> tuple[Any, ...]:
    return (config.calibs, config.calibrations)


STAGES = {
    "bias": Stage(combine_bias, options=_options, prepare=_of_detector("bias"), seconds=5.0),
    "dark": Stage(combine_darks, options=_options, prepare=_of_detector("dark"), seconds=5.0),
    "flat_scales": Stage(measure_flats, options=_options, prepare=_prepare_scales, seconds=5.0),
    "flat": Stage(combine_flats, options=_options, prepare=_prepare_flat, seconds=5.0),
    "defects": Stage(mark_defects, options=_options, prepare=_prepare_defects, seconds=1.0),
    "fringe": Stage(
        combine_fringes,
        options=lambda config: (config.calibs, config.calibrations, config.single_frame),
        prepare=_of_detector("image"),
        seconds=20.0,
    ),
    "sky": Stage(
        combine_sky,
        options=lambda config: (config.calibs, config.calibrations, config.single_frame),
        prepare=_of_detector("image"),
        seconds=20.0,
    ),
}
