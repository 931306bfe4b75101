"""Forced photometry on single frames: a patch scatters its frames and gathers its objects' light curves."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mpidriver.drivers._quantum import Quantum
from mpidriver.drivers._solutions import Solution
from mpidriver.drivers._stage import Context, Prepared, Record, Stage
from mpidriver.drivers.coadd import calibrated
from mpidriver.pool import current_pool
from mpidriver.store import read_masked_image, read_table, wcs_from_header, write_table

if TYPE_CHECKING:
    import numpy as np

    from mpidriver.drivers._desk import Desk

__all__ = ["STAGES"]


@dataclass(frozen=True)
class CoveringFrame:
    """A frame that covers a patch."""

    exposure: int
    detector: int
    band: str
    mjd: float
    """Start of the exposure, NaN if unknown."""
    solution: Solution
    """Its WCS, zero point and flat by the mosaic."""


def light_curves(context: Context, quantum: Quantum, *, frames: Sequence[CoveringFrame]) -> Record:
    """Measure a patch's objects on every frame that covers it, at the positions and shapes of the coadd."""
    import numpy as np

    from mpidriver.tasks.multiband import FRAME_UNITS

    tables = current_pool().map(functools.partial(force_on, context, quantum), frames)
    joined = np.concatenate(tables)
    joined = joined[np.lexsort((joined["detector"], joined["exposure"], joined["mjd"], joined["id"]))]
    written = write_table(context.path("light_curves", quantum), joined, units=FRAME_UNITS)
    return Record(products=(context.product("light_curves", written),))


def force_on(context: Context, quantum: Quantum, frame: CoveringFrame) -> "np.ndarray":
    """Return the forced photometry of a patch's objects on one frame."""
    from mpidriver.tasks.multiband import force_frame

    stored = read_masked_image(context.repository.path("frame", exposure=frame.exposure, detector=frame.detector))
    table = force_frame(
        calibrated(stored, frame.solution),
        wcs_from_header(frame.solution.wcs_header),
        read_table(context.path("merged_measurements", quantum)),
        context.patch(quantum).wcs(),
        zero_point_mag=frame.solution.zero_point_mag,
        options=context.config.multiband,
    )
    table["exposure"], table["detector"], table["band"] = frame.exposure, frame.detector, frame.band
    table["mjd"] = frame.mjd
    return table


def _prepare(desk: "Desk", quantum: Quantum, inputs: list[Quantum]) -> Prepared:
    """Name the frames that the mosaic has placed; where a frame's position is wrong, its light curve would be too."""
    frames = []
    for ids in (source.data_id for source in inputs if source.task == "single_frame"):
        solution = desk.matched_solution(quantum.data_id.tract, ids.exposure, ids.detector)
        if solution is not None and not solution.misplaced:
            mjd = desk.frame(ids.exposure, ids.detector, ids.band).mjd
            mjd = float("nan") if mjd is None else mjd
            frames.append(CoveringFrame(ids.exposure, ids.detector, str(ids.band), mjd, solution))
    said = tuple((frame.exposure, frame.detector, frame.mjd, *vars(frame.solution).values()) for frame in frames)
    return Prepared({"frames": frames}, said)


def _options(config: Any) -> tuple[Any, ...]:
    return (config.multiband, config.skymap)


STAGES = {"light_curves": Stage(light_curves, options=_options, prepare=_prepare, seconds=3.0)}
