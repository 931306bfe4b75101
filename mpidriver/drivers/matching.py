"""Background matching: one solution a tract and band makes what is left of the sky the same in overlapping frames.

Scatter the frames' superpixels, gather them on the tract's cells, solve on one rank; warps add the corrections.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mpidriver.drivers._backgrounds import read_superpixels, write_corrections, write_seams
from mpidriver.drivers._quantum import Quantum
from mpidriver.drivers._stage import Context, Prepared, Record, Stage
from mpidriver.pool import current_pool
from mpidriver.store import wcs_from_header

if TYPE_CHECKING:
    from mpidriver.drivers._desk import Desk
    from mpidriver.drivers._solutions import Solution
    from mpidriver.tasks.matching import FrameCells, Seam

__all__ = ["STAGES", "load_cells", "match"]


@dataclass(frozen=True)
class Member:
    """One frame of a tract with its mosaic solution."""

    exposure: int
    detector: int
    band: str
    solution: "Solution"


def match(context: Context, quantum: Quantum, *, members: tuple[Member, ...]) -> Record:
    """Solve one tract, each band by itself, and write the correction of each frame and what it does to the seams."""
    from mpidriver.tasks.matching import match_backgrounds

    options = context.config.matching
    corrections: list[tuple[Any, ...]] = []
    seams: list[tuple[Any, ...]] = []
    pool = current_pool()
    cells = pool.map(functools.partial(load_cells, context, quantum), members)
    for band in sorted({member.band for member in members}):
        numbers = [number for number, member in enumerate(members) if member.band == band]
        own = [members[number] for number in numbers]
        matched = match_backgrounds([cells[number] for number in numbers], options=options, ranks=pool)
        corrections += [
            (member.exposure, member.detector, band, n_cells, correction)
            for member, n_cells, correction in zip(own, matched.n_cells, matched.coefficients, strict=True)
        ]
        seams += [_seam_row(seam, band, own) for seam in matched.seams]
    n_terms = cells[0].basis.shape[1] if cells else 1
    header = {"TRACT": quantum.data_id.tract}
    written = {
        "background_match": write_corrections(context.path("background_match", quantum), corrections, n_terms, header),
        "background_seams": write_seams(context.path("background_seams", quantum), seams, header),
    }
    return Record(products=tuple(context.product(dataset, file) for dataset, file in written.items()))


def _seam_row(seam: "Seam", band: str, members: Sequence[Member]) -> tuple[Any, ...]:
    first, second = members[seam.first], members[seam.second]
    frames = (first.exposure, first.detector, second.exposure, second.detector)
    return (band, *frames, seam.n_cells, seam.before, seam.after)


def load_cells(context: Context, quantum: Quantum, member: Member) -> "FrameCells":
    """Read the superpixels of one frame and bring them onto the cells of the tract."""
    from mpidriver.tasks.image import NJY_ZERO_POINT_MAG
    from mpidriver.tasks.matching import sample_cells
    from mpidriver.tasks.mosaic import flatten

    path = context.repository.path("frame_background", exposure=member.exposure, detector=member.detector)
    tract = context.tract(quantum)
    background = read_superpixels(path)
    level, variance = flatten(background.level, background.variance, member.solution.flat_mag)
    return sample_cells(
        replace(background, level=level, variance=variance),
        wcs_from_header(member.solution.wcs_header),
        tract.plane,
        cell_deg=context.config.single_frame.superpixel_px * context.config.skymap.pixel_scale_arcsec / 3600,
        scale=10.0 ** (-0.4 * (member.solution.zero_point_mag - NJY_ZERO_POINT_MAG)),
        degree=context.config.matching.degree,
    )


def _prepare(desk: "Desk", quantum: Quantum, inputs: list[Quantum]) -> Prepared:
    members = []
    for source in inputs:
        ids = source.data_id
        solution = None if source.task == "mosaic" else desk.solution(quantum.data_id.tract, ids.exposure, ids.detector)
        if solution is not None and not solution.misplaced:
            members.append(Member(ids.exposure, ids.detector, ids.band, solution))
    fingerprint = [(m.exposure, m.detector, *m.solution.fingerprint) for m in members]
    return Prepared({"members": tuple(members)}, tuple(fingerprint))


STAGES = {
    "match_backgrounds": Stage(
        match,
        options=lambda config: (config.matching, config.skymap, config.single_frame.superpixel_px),
        prepare=_prepare,
        seconds=1.0,
    )
}
