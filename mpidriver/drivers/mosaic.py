"""The mosaic driver: one astrometric and photometric solution a tract over all its overlapping frames.

Scatter the frames' catalogues, gather their stars, solve on one rank.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpidriver.drivers._quantum import Quantum
from mpidriver.drivers._stage import Context, Prepared, Record, Stage
from mpidriver.pool import current_pool
from mpidriver.store import read_table, read_table_header, wcs_from_header, write_table

if TYPE_CHECKING:
    import numpy as np

    from mpidriver.drivers._desk import Desk

__all__ = ["STAGES", "Solution", "read_solutions", "solve"]

#: Reference stars are looked for this far beyond a tract's edge.
REFERENCE_MARGIN_DEG = 30.0 / 3600


@dataclass(frozen=True)
class Solution:
    """What later stages need of a frame's mosaic solution."""

    wcs_header: str
    """FITS header text of the WCS."""
    zero_point_mag: float
    """AB magnitude of one electron in the frame."""


def solve(
    context: Context, quantum: Quantum, *, members: Sequence[tuple[int, int]], reference: "np.ndarray | None"
) -> Record:
    """Solve one tract and write the solution of each of its frames."""
    from mpidriver.tasks.mosaic import solve_mosaic

    paths = [context.repository.path("frame_catalogue", exposure=e, detector=d) for e, d in members]
    frames = current_pool().map(load_stars, paths)
    solution = solve_mosaic(frames, reference=reference, options=context.config.mosaic)
    header = {
        "TRACT": quantum.data_id.tract,
        "NMATCH": solution.n_matches,
        "ASTRMS": solution.astrometric_rms_mas,
        "ASTVAL": solution.validation_rms_mas,
        "PHOTRMS": solution.photometric_rms_mmag,
    }
    path = context.path("mosaic", quantum)
    written = write_table(path, _solution_table(solution), units=_SOLUTION_UNITS, header=header)
    return Record(products=(context.product("mosaic", written),))


def load_stars(path: Path) -> Any:
    """Read the stars of one frame's catalogue, with the frame's own solution."""
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
    )


_SOLUTION_UNITS = {"zero_point": "mag", "astrometric_rms": "mas", "photometric_rms": "mmag"}


def _solution_table(solution: Any) -> "np.ndarray":
    import numpy as np

    headers = [frame.wcs.to_header(relax=True).tostring() for frame in solution.frames]
    width = max(map(len, headers), default=1)
    table = np.zeros(
        len(headers),
        dtype=[
            ("exposure", "i8"),
            ("detector", "i4"),
            ("band", "S16"),
            ("zero_point", "f8"),
            ("n_stars", "i4"),
            ("astrometric_rms", "f8"),
            ("photometric_rms", "f8"),
            ("matched", "?"),
            ("wcs", f"S{width}"),
        ],
    )
    for row, frame, header in zip(table, solution.frames, headers, strict=True):
        row["exposure"], row["detector"], row["band"] = frame.exposure, frame.detector, frame.band
        row["zero_point"], row["n_stars"] = frame.zero_point_mag, frame.n_stars
        row["astrometric_rms"], row["photometric_rms"] = frame.astrometric_rms_mas, frame.photometric_rms_mmag
        row["matched"], row["wcs"] = frame.matched, header
    return table


def read_solutions(path: Path) -> dict[tuple[int, int], Solution]:
    """Read a tract's solutions, by exposure and detector."""
    return {
        (int(row["exposure"]), int(row["detector"])): Solution(_text(row["wcs"]), float(row["zero_point"]))
        for row in read_table(path)
    }


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _prepare(desk: "Desk", quantum: Quantum, inputs: list[Quantum]) -> Prepared:
    members = tuple((source.data_id.exposure, source.data_id.detector) for source in inputs)
    tract = desk.context.tract(quantum)
    reference = desk.reference_in(tract.corners_xyz, REFERENCE_MARGIN_DEG)
    fingerprint = (members, None if reference is None else reference.tobytes().hex())
    return Prepared({"members": members, "reference": reference}, fingerprint)


STAGES = {"mosaic": Stage(solve, options=lambda config: (config.mosaic,), prepare=_prepare, seconds=2.0)}
