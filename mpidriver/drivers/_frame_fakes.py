"""Fakes in frames: a catalogue of known sources is added to raw frames when they are read."""

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mpidriver.drivers._solutions import Solution, read_solutions
from mpidriver.errors import DataError
from mpidriver.store import Repository, read_masked_image, read_table, wcs_from_header

if TYPE_CHECKING:
    import numpy as np
    from astropy.wcs import WCS

    from mpidriver.drivers._desk import Desk
    from mpidriver.drivers._stage import Context
    from mpidriver.store import Frame
    from mpidriver.tasks.single_frame import Calibrations, RawFrame

__all__ = ["FrameFakes", "fakes_of", "frame_solution", "solutions_of", "with_fakes"]

#: Fakes are looked for this far beyond where a frame's edge may be.
_MARGIN_DEG = 0.1


@dataclass(frozen=True)
class FrameFakes:
    """The fakes of one frame, and where the frame really is."""

    rows: "np.ndarray"
    """From the catalogue of fakes."""
    original: str
    """The repository without fakes."""
    solution: Solution
    """The mosaic's solution of the frame there."""


def fakes_of(desk: "Desk", frame: "Frame") -> FrameFakes | None:
    """Return the fakes of a frame, none if survey.toml names no catalogue of fakes or the mosaic has not placed it."""
    import numpy as np

    from mpidriver.sphere import unit_vectors

    options = desk.context.config.fakes
    if options.catalogue is None or frame.corners is None:
        return None
    original = str(desk.context.repository.resolve(options.original))
    solution = solutions_of(original).get((frame.exposure, frame.detector))
    if solution is None:
        return None
    rows = desk.table(desk.context.repository.resolve(options.catalogue))
    corners = unit_vectors(*frame.corners.T)
    centre = corners.mean(axis=0) / np.linalg.norm(corners.mean(axis=0))
    radius = np.arccos(np.clip(np.min(corners @ centre), -1.0, 1.0)) + np.radians(_MARGIN_DEG)
    near = unit_vectors(rows["ra"], rows["dec"]) @ centre >= np.cos(radius)
    return FrameFakes(rows[near], original, solution)


@functools.lru_cache(maxsize=4)
def solutions_of(root: str) -> dict[tuple[int, int], Solution]:
    """Return the solution of each frame that a repository's mosaics have matched, the first tract's.

    Raises
    ------
    DataError
        If there is no repository.
    """
    if not (Path(root) / "survey.toml").exists():
        raise DataError(f"[fakes] original: {root} is no repository; has it been moved?")
    found: dict[tuple[int, int], Solution] = {}
    for path in sorted((Path(root) / "mosaic").glob("[0-9]*[0-9].fits")):
        for key, solution in read_solutions(path).items():
            if not solution.misplaced and not solution.reason:
                found.setdefault(key, solution)
    return found


def frame_solution(solution: Solution) -> "tuple[WCS, float, tuple[float, ...]]":
    """Return WCS, zero point and flat of a frame, as the tasks take them."""
    return wcs_from_header(solution.wcs_header), solution.zero_point_mag, solution.flat_mag


def with_fakes(
    context: "Context", frame: "Frame", raw: "RawFrame", calibrations: "Calibrations", fakes: FrameFakes
) -> "RawFrame":
    """Return a raw frame with fakes, as the detector would have counted them.

    Raises
    ------
    DataError
        If the original repository has not reduced the frame.
    """
    import numpy as np

    from mpidriver.tasks.image import MaskedImage
    from mpidriver.tasks.multiband import electrons_of_fakes
    from mpidriver.tasks.single_frame import saturation_limit

    repository, ids = Repository.open(fakes.original), {"exposure": frame.exposure, "detector": frame.detector}
    try:
        stored = read_masked_image(repository.path("frame", **ids))
        sources = read_table(repository.path("frame_catalogue", **ids))
    except DataError as error:
        raise DataError(f"[fakes] original: {error}") from None
    reduced = MaskedImage(stored.image, stored.variance, stored.mask)
    tract_wcs = context.sky.tract(int(fakes.rows["tract"][0])).wcs() if fakes.rows.size else None
    electrons = electrons_of_fakes(
        reduced,
        sources,
        fakes.rows,
        frame_solution(fakes.solution),
        tract_wcs,
        seed=(frame.exposure, frame.detector),
        options=dataclasses.replace(context.config.multiband, background_box_px=0),
    )
    if calibrations.flat is not None:
        electrons = electrons * np.where(np.asarray(calibrations.flat) > 0, calibrations.flat, 0.0)
    counts = np.array(raw.image, dtype=np.float32)
    x0, y0, x1, y1 = calibrations.science or (0, 0, counts.shape[1], counts.shape[0])
    counts[y0:y1, x0:x1] += (electrons / raw.gain).astype(np.float32)
    limit = saturation_limit(raw)
    if limit is not None:
        counts = np.minimum(counts, np.float32(limit))
    return dataclasses.replace(raw, image=counts, saturation=limit)
