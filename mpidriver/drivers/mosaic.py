"""The mosaic driver: one astrometric and photometric solution a tract over all its overlapping frames.

Scatter the frames' catalogues, gather their stars; scatter these by blocks, reduce their normal equations, solve on one
rank.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpidriver.drivers._quantum import Quantum
from mpidriver.drivers._solutions import write_solutions
from mpidriver.drivers._stage import Context, Prepared, Record, Stage
from mpidriver.pool import current_pool
from mpidriver.store import read_table, read_table_header, wcs_from_header

if TYPE_CHECKING:
    import numpy as np

    from mpidriver.drivers._desk import Desk

__all__ = ["STAGES", "load_stars", "solve"]

#: Reference stars are looked for this far beyond a tract's edge.
REFERENCE_MARGIN_DEG = 30.0 / 3600


def solve(
    context: Context, quantum: Quantum, *, members: Sequence[tuple[int, int, float]], reference: "np.ndarray | None"
) -> Record:
    """Solve one tract and write the solution of each of its frames."""
    from mpidriver.tasks.mosaic import solve_mosaic

    paths = [context.repository.path("frame_catalogue", exposure=e, detector=d) for e, d, _ in members]
    pool = current_pool()
    frames = pool.map(load_stars, paths, [mjd for _, _, mjd in members])
    solution = solve_mosaic(frames, reference=reference, options=context.config.mosaic, ranks=pool)
    header = {
        "TRACT": quantum.data_id.tract,
        "NMATCH": solution.n_matches,
        "ASTRMS": solution.astrometric_rms_mas,
        "ASTVAL": solution.validation_rms_mas,
        "PHOTRMS": solution.photometric_rms_mmag,
    }
    written = write_solutions(context.path("mosaic", quantum), solution, header)
    return Record(products=(context.product("mosaic", written),))


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


STAGES = {"mosaic": Stage(solve, options=lambda config: (config.mosaic,), prepare=_prepare, seconds=2.0)}
