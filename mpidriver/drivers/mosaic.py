"""The mosaic driver: one astrometric and photometric solution a tract over all its overlapping frames.

Scatter the frames' catalogues, gather their stars; scatter these by blocks, reduce their normal equations, solve on one
rank. Without a reference, tracts that have frames in common are solved so first (`solve_tract`) and then joined, and
each mosaic is what was joined of its frames.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpidriver.drivers._quantum import Quantum
from mpidriver.drivers._solutions import count_misplaced, read_frame_solutions, solution_rows, write_solutions
from mpidriver.drivers._stage import Context, Prepared, Record, Stage
from mpidriver.pool import current_pool
from mpidriver.store import read_table, read_table_header, wcs_from_header

if TYPE_CHECKING:
    import numpy as np

    from mpidriver.drivers._desk import Desk

__all__ = ["STAGES", "join", "load_stars", "mosaic", "solve_alone"]

log = logging.getLogger(__name__)

#: Reference stars are looked for this far beyond a tract's edge.
REFERENCE_MARGIN_DEG = 30.0 / 3600
#: Cards of a solution: tract, matches, rms of positions (mas), of stars kept out (mas) and of magnitudes (mmag).
FIGURES = ("TRACT", "NMATCH", "ASTRMS", "ASTVAL", "PHOTRMS")


def solve_alone(context: Context, quantum: Quantum, **given: Any) -> Record:
    """Solve one tract, which is to be joined to others, and write the solution of each of its frames."""
    return _write(context, quantum, "tract_solution", *_solve(context, quantum, **given))


def join(context: Context, quantum: Quantum, *, tracts: Sequence[int]) -> Record:
    """Join the solutions of tracts and write one of each frame."""
    from mpidriver.tasks.mosaic import join_tracts

    paths = [context.repository.path("tract_solution", tract=tract) for tract in tracts]
    pool = current_pool()
    alone = dict(zip(tracts, pool.map(read_frame_solutions, paths), strict=True))
    tied = context.config.reference.path is not None
    joined = join_tracts(alone, context.config.mosaic, tied=tied, ranks=pool)
    return _write(context, quantum, "joined_solutions", solution_rows([joined[name] for name in sorted(joined)]), {})


def mosaic(context: Context, quantum: Quantum, *, joined: "np.ndarray | None" = None, **given: Any) -> Record:
    """Solve one tract, or write what has been joined of it; write each frame's solution and name those left out."""
    if joined is None:
        rows, figures = _solve(context, quantum, **given)
    else:
        header = read_table_header(context.path("tract_solution", quantum))
        rows, figures = joined, {name: header[name] for name in FIGURES}
    for (exposure, reason), n_frames in count_misplaced(rows).items():
        log.warning("%s leaves out %d frames of exposure %d: %s", quantum, n_frames, exposure, reason)
    return _write(context, quantum, "mosaic", rows, figures)


def _write(context: Context, quantum: Quantum, dataset: str, rows: "np.ndarray", header: Mapping[str, Any]) -> Record:
    written = write_solutions(context.path(dataset, quantum), rows, header)
    return Record(products=(context.product(dataset, written),))


def _solve(
    context: Context,
    quantum: Quantum,
    *,
    members: Sequence[tuple[int, int, float]],
    reference: "np.ndarray | None",
) -> "tuple[np.ndarray, dict[str, Any]]":
    """Return the solutions of one tract's frames as a table, and its header."""
    from mpidriver.tasks.mosaic import solve_mosaic

    paths = [context.repository.path("frame_catalogue", exposure=e, detector=d) for e, d, _ in members]
    pool = current_pool()
    frames = pool.map(load_stars, paths, [mjd for _, _, mjd in members])
    solution = solve_mosaic(frames, reference=reference, options=context.config.mosaic, ranks=pool)
    numbers = (
        quantum.data_id.tract,
        solution.n_matches,
        solution.astrometric_rms_mas,
        solution.validation_rms_mas,
        solution.photometric_rms_mmag,
    )
    return solution_rows(solution.frames), dict(zip(FIGURES, numbers, strict=True))


def load_stars(path: Path, mjd: float) -> Any:
    """Read the stars of one frame's catalogue, with the frame's own solution and when it was taken."""
    from mpidriver.tasks.mosaic import FrameSources

    sources = read_table(path)
    header = read_table_header(path)
    return FrameSources(
        exposure=int(header["EXPOSURE"]),
        detector=int(header["DETECTOR"]),
        band=str(header["BAND"]),
        wcs=wcs_from_header(header),
        shape=(int(header["NROW"]), int(header["NCOL"])),
        zero_point_mag=float(header["ZEROPNT"]),
        sources=sources[sources["star"]],
        mjd=mjd,
    )


def _prepare(desk: "Desk", quantum: Quantum, inputs: list[Quantum]) -> Prepared:
    frames = [desk.frame(one.data_id.exposure, one.data_id.detector, one.data_id.band) for one in inputs]
    members = tuple((one.exposure, one.detector, math.nan if one.mjd is None else one.mjd) for one in frames)
    tract = desk.context.tract(quantum)
    reference = desk.reference_in(tract.corners_xyz, REFERENCE_MARGIN_DEG)
    fingerprint = (members, None if reference is None else reference.tobytes())
    return Prepared({"members": members, "reference": reference}, fingerprint, tuple(desk.reference_file()))


def _prepare_joining(desk: "Desk", quantum: Quantum, inputs: list[Quantum]) -> Prepared:
    return Prepared({"tracts": tuple(one.data_id.tract for one in inputs)})


def _prepare_mosaic(desk: "Desk", quantum: Quantum, inputs: list[Quantum]) -> Prepared:
    frames = [one for one in inputs if one.task == "single_frame"]
    if len(frames) == len(inputs):
        return _prepare(desk, quantum, inputs)
    names = [(one.data_id.exposure, one.data_id.detector) for one in frames]
    return Prepared({"joined": desk.joined_solutions(names)})


STAGES = {
    "solve_tract": Stage(solve_alone, options=lambda config: (config.mosaic,), prepare=_prepare, seconds=2.0),
    "join_tracts": Stage(join, options=lambda config: (config.mosaic, config.reference.path), prepare=_prepare_joining),
    "mosaic": Stage(mosaic, options=lambda config: (config.mosaic,), prepare=_prepare_mosaic, seconds=2.0),
}
