"""Background matching: one solution a tract and band makes what is left of the sky the same in overlapping frames.

Scatter the frames' superpixels, gather them on the tract's cells, solve on one rank; warps add the corrections.
"""

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpidriver.drivers._backgrounds import read_superpixels, write_corrections
from mpidriver.drivers._quantum import Quantum
from mpidriver.drivers._stage import Context, Prepared, Record, Stage
from mpidriver.pool import current_pool
from mpidriver.store import wcs_from_header

if TYPE_CHECKING:
    from mpidriver.drivers._desk import Desk
    from mpidriver.drivers._solutions import Solution
    from mpidriver.tasks.matching import FrameCells, MatchedBackgrounds

__all__ = ["STAGES", "load_cells", "match"]


@dataclass(frozen=True)
class Member:
    """One frame of a tract with its mosaic solution."""

    exposure: int
    detector: int
    band: str
    solution: "Solution"


def match(context: Context, quantum: Quantum, *, members: tuple[Member, ...]) -> Record:
    """Solve one tract, each band by itself, and write the correction of each frame."""
    from mpidriver.tasks.matching import match_backgrounds

    options = context.config.matching
    rows, seams = [], {}
    cells = current_pool().map(functools.partial(load_cells, context, quantum), members)
    for band in sorted({member.band for member in members}):
        own = [number for number, member in enumerate(members) if member.band == band]
        matched = match_backgrounds([cells[number] for number in own], options=options)
        rows += [
            (member.exposure, member.detector, band, n_cells, correction)
            for member, n_cells, correction in zip(
                (members[number] for number in own), matched.n_cells, matched.coefficients, strict=True
            )
        ]
        seams[band] = matched
    n_terms = cells[0].basis.shape[1] if cells else 1
    written = write_corrections(context.path("background_match", quantum), rows, n_terms, _header(quantum, seams))
    return Record(products=(context.product("background_match", written),))


def load_cells(context: Context, quantum: Quantum, member: Member) -> "FrameCells":
    """Read the superpixels of one frame and bring them onto the cells of the tract."""
    from mpidriver.tasks.image import NJY_ZERO_POINT_MAG
    from mpidriver.tasks.matching import sample_cells

    path = context.repository.path("frame_background", exposure=member.exposure, detector=member.detector)
    tract = context.tract(quantum)
    return sample_cells(
        read_superpixels(path),
        wcs_from_header(member.solution.wcs_header),
        tract.plane,
        cell_deg=context.config.single_frame.superpixel_px * context.config.skymap.pixel_scale_arcsec / 3600,
        scale=10.0 ** (-0.4 * (member.solution.zero_point_mag - NJY_ZERO_POINT_MAG)),
        degree=context.config.matching.degree,
    )


def _header(quantum: Quantum, matched: "dict[str, MatchedBackgrounds]") -> dict[str, object]:
    """Return the number of seams and their rms over all bands, nJy/arcsec²."""
    import numpy as np

    seams = np.array([(s.before, s.after) for each in matched.values() for s in each.seams]).reshape(-1, 2)
    before, after = np.sqrt(np.mean(seams**2, axis=0)) if len(seams) else (None, None)
    return {
        "TRACT": quantum.data_id.tract,
        "NSEAM": len(seams),
        "SEAMIN": (None if before is None else float(before), "[nJy/arcsec2] rms seam before"),
        "SEAMOUT": (None if after is None else float(after), "[nJy/arcsec2] rms seam after"),
    }


def _prepare(desk: "Desk", quantum: Quantum, inputs: list[Quantum]) -> Prepared:
    members = []
    for source in inputs:
        ids = source.data_id
        solution = None if source.task == "mosaic" else desk.solution(quantum.data_id.tract, ids.exposure, ids.detector)
        if solution is not None and not solution.misplaced:
            members.append(Member(ids.exposure, ids.detector, ids.band, solution))
    fingerprint = [(m.exposure, m.detector, m.solution.wcs_header, m.solution.zero_point_mag) for m in members]
    return Prepared({"members": tuple(members)}, tuple(fingerprint))


STAGES = {
    "match_backgrounds": Stage(
        match,
        options=lambda config: (config.matching, config.skymap, config.single_frame.superpixel_px),
        prepare=_prepare,
        seconds=1.0,
    )
}
