"""Cells of the sky: pieces of about equal size whose catalogued sources are worked on together, and what covers them.

A cell's number depends on nothing but the position and the cells' size, so that entering more components or frames
leaves the other cells as they are.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mpidriver.drivers._quantum import DataId, Quantum

if TYPE_CHECKING:
    import numpy as np

    from mpidriver.drivers._plan import Plan
    from mpidriver.drivers.config import SurveyConfig
    from mpidriver.store import Frame

__all__ = ["cell_numbers", "is_inside", "plan_sources"]


def cell_numbers(ra_deg: "np.ndarray", dec_deg: "np.ndarray", cell_deg: float) -> "np.ndarray":
    """Return the number of the cell of each position: rings of declination, cut into equal lengths.

    Parameters
    ----------
    ra_deg, dec_deg : ndarray, shape (source,), deg
    cell_deg
        Height of the rings and, at most, length of a cell.

    Returns
    -------
    ndarray of int64, shape (source,)
    """
    import numpy as np

    rings = int(np.ceil(180.0 / cell_deg))
    edges = np.linspace(-90.0, 90.0, rings + 1)
    widest = np.where(edges[:-1] * edges[1:] <= 0.0, 0.0, np.minimum(np.abs(edges[:-1]), np.abs(edges[1:])))
    counts = np.maximum(np.ceil(360.0 * np.cos(np.radians(widest)) * rings / 180.0), 1.0).astype(np.int64)
    firsts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    ring = np.clip(np.floor((np.asarray(dec_deg) + 90.0) * rings / 180.0).astype(np.int64), 0, rings - 1)
    along = np.floor(np.asarray(ra_deg) % 360.0 / 360.0 * counts[ring]).astype(np.int64)
    return firsts[ring] + np.minimum(along, counts[ring] - 1)


def is_inside(vectors: "np.ndarray", corners_xyz: "np.ndarray") -> "np.ndarray":
    """Tell which unit vectors (source, 3) lie in a convex polygon of corners (corner, 3); bool (source,)."""
    import numpy as np

    centre = corners_xyz.mean(axis=0)
    normals = np.cross(corners_xyz, np.roll(corners_xyz, -1, axis=0))
    normals *= np.sign(normals @ centre)[:, None]
    return np.all(vectors @ normals.T >= 0.0, axis=1) & (vectors @ centre > 0.0)


def plan_sources(
    plan: "Plan", frames: "Iterable[Frame]", components: "np.ndarray", config: "SurveyConfig"
) -> list[str]:
    """Add to a plan, which has the channel frames, what takes catalogued components to the RM table.

    Parameters
    ----------
    plan
        The plan of the survey.
    frames
        The survey's frames.
    components
        From `load_components`.
    config
        For the cells' size and the ionosphere.

    Returns
    -------
    list of str
        What people should know: how many components lie in no image.
    """
    channels = [frame for frame in frames if frame.kind == "stokes" and frame.corners is not None]
    images = defaultdict(list)
    for frame in sorted(channels, key=lambda frame: (frame.exposure, frame.detector, frame.band)):
        data_id = DataId(exposure=frame.exposure, detector=frame.detector, band=frame.band)
        images[frame.corners.tobytes()].append(Quantum("channel_frame", data_id))  # type: ignore[union-attr]
    cells, covered = _covered_cells(images, components, config.sources.cell_deg)
    rotation = _plan_ionosphere(plan, images.values(), config)
    measured = []
    for cell in sorted(cells):
        inputs = [image for corners in cells[cell] for image in images[corners]]
        turned = _distinct(rotation.get(_beam(image)) for image in inputs)
        spectra = plan.add("source_spectra", uses=[*inputs, *turned], cell=cell)
        rms = plan.add("source_rm", needs=[spectra], cell=cell)
        measured.append(rms)
        if config.qu_fitting.models:
            measured.append(plan.add("source_qu", needs=[spectra, rms], cell=cell))
        if config.sources.cubes:
            plan.add("source_cubes", needs=[spectra], cell=cell)
    if measured:
        plan.add("rm_table", uses=measured)
    outside = len(components) - covered
    return [f"{outside:,} of {len(components):,} components lie in no channel image"] if outside else []


def _covered_cells(
    images: "dict[bytes, list[Quantum]]", components: "np.ndarray", cell_deg: float
) -> tuple[dict[int, list[bytes]], int]:
    """Return the footprints that hold a component of each cell, and how many components lie in any."""
    import numpy as np
    from scipy.spatial import cKDTree

    from mpidriver.sphere import unit_vectors

    vectors = unit_vectors(components["ra"], components["dec"])
    numbers = cell_numbers(components["ra"], components["dec"], cell_deg)
    tree = cKDTree(vectors)
    cells: dict[int, list[bytes]] = defaultdict(list)
    covered = np.zeros(len(components), bool)
    for footprint in images:
        corners = unit_vectors(*np.frombuffer(footprint).reshape(-1, 2).T)
        centre = corners.mean(axis=0) / np.linalg.norm(corners.mean(axis=0))
        reach = float(np.linalg.norm(corners - centre, axis=1).max()) + 1e-9
        near = np.array(sorted(tree.query_ball_point(centre, reach)), dtype=np.int64)
        inside = near[is_inside(vectors[near], corners)] if len(near) else near
        covered[inside] = True
        for cell in np.unique(numbers[inside]).tolist():
            cells[cell].append(footprint)
    return cells, int(covered.sum())


def _plan_ionosphere(
    plan: "Plan", images: "Iterable[list[Quantum]]", config: "SurveyConfig"
) -> dict[tuple[int | None, int | None], Quantum]:
    """Add the ionosphere towards each beam of each exposure; return its quantum by exposure and beam."""
    if config.ionosphere.kind == "none":
        return {}
    beams = sorted({_beam(quantum) for group in images for quantum in group})  # type: ignore[type-var]
    return {beam: plan.add("ionosphere", exposure=beam[0], detector=beam[1]) for beam in beams}


def _beam(quantum: Quantum) -> tuple[int | None, int | None]:
    return quantum.data_id.exposure, quantum.data_id.detector


def _distinct(quanta: "Iterable[Quantum | None]") -> list[Quantum]:
    return list(dict.fromkeys(quantum for quantum in quanta if quantum is not None))
