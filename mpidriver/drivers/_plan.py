"""The graph of a whole survey, made from the frames' footprints in the state database alone."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mpidriver.drivers._graph import Graph
from mpidriver.drivers._quantum import DataId, Quantum

if TYPE_CHECKING:
    from mpidriver.store import Frame
    from mpidriver.tasks.skymap import SkyMap

__all__ = ["Plan", "plan_survey"]

PatchId = tuple[int, tuple[int, int]]


@dataclass
class Plan:
    """What a survey needs: its quanta, and what people should know about the input."""

    graph: Graph = field(default_factory=Graph)
    """Every quantum with its inputs."""
    notes: list[str] = field(default_factory=list)
    """Frames that no tract takes, with the reason."""

    def add(self, task: str, *, needs: Iterable[Quantum] = (), uses: Iterable[Quantum] = (), **data_id) -> Quantum:
        """Add one quantum and return it."""
        quantum = Quantum(task, DataId(**data_id))
        self.graph.add(quantum, needs=needs, uses=uses)
        return quantum


def plan_survey(
    frames: "Iterable[Frame]",
    sky: "SkyMap",
    *,
    margin_deg: float = 0.0,
    selected: Callable[[DataId], bool] = lambda _: True,
) -> Plan:
    """Return the graph of quanta that takes frames to catalogues and Faraday spectra.

    Parameters
    ----------
    frames
        Optical and Stokes frames with their footprints.
    sky
        Tracts and patches.
    margin_deg
        How far a footprint may be off; patches within it are planned too.
    selected
        Which data ids take part; the others, and what only they would feed, are left out.
    """
    plan = Plan()
    images: list[Frame] = []
    channels: list[Frame] = []
    for frame in sorted(frames, key=lambda frame: (frame.exposure, frame.detector, frame.band)):
        (channels if frame.kind == "stokes" else images).append(frame)
    catalogues = _plan_images(plan, images, _Coverage(sky, margin_deg, selected, plan.notes), selected)
    if catalogues:
        plan.add("survey_catalogue", uses=catalogues)
    rm_catalogues = _plan_channels(plan, channels, _Coverage(sky, margin_deg, selected, plan.notes), selected)
    if rm_catalogues:
        plan.add("survey_rm_catalogue", uses=rm_catalogues)
    return plan


class _Coverage:
    """Finds the selected patches under a frame, and notes the frames that have none."""

    def __init__(self, sky: "SkyMap", margin_deg: float, selected: Callable[[DataId], bool], notes: list[str]) -> None:
        self._sky = sky
        self._margin_deg = margin_deg
        self._selected = selected
        self._notes = notes

    def patches(self, frame: "Frame") -> list[PatchId]:
        """Return the patches that a frame touches, in order."""
        from mpidriver.sphere import grow_polygon, unit_vectors

        name = f"exposure {frame.exposure}, detector {frame.detector}, band {frame.band}"
        if frame.corners is None:
            self._notes.append(f"no position on the sky: {name}")
            return []
        corners = grow_polygon(unit_vectors(*frame.corners.T), self._margin_deg)
        tracts = self._sky.tracts_overlapping(corners)
        if not tracts:
            self._notes.append(f"outside every tract: {name}")
        found = [
            (tract, patch.index) for tract in tracts for patch in self._sky.tract(tract).patches_overlapping(corners)
        ]
        return [patch for patch in sorted(found) if self._selected(DataId(tract=patch[0], patch=patch[1]))]


def _plan_images(
    plan: Plan, images: "list[Frame]", coverage: _Coverage, selected: Callable[[DataId], bool]
) -> list[Quantum]:
    """Add single frames to tract catalogues; return the latter."""
    reduced: dict[Quantum, list[PatchId]] = {}
    for frame in images:
        data_id = DataId(exposure=frame.exposure, detector=frame.detector, band=frame.band)
        if selected(data_id):
            patches = coverage.patches(frame)
            quantum = Quantum("single_frame", data_id)
            plan.graph.add(quantum)
            reduced[quantum] = patches
    by_tract: dict[int, dict[Quantum, list[PatchId]]] = defaultdict(dict)
    for quantum, patches in reduced.items():
        for tract, patch in patches:
            by_tract[tract].setdefault(quantum, []).append((tract, patch))
    return [_plan_tract(plan, tract, by_tract[tract]) for tract in sorted(by_tract)]


def _plan_tract(plan: Plan, tract: int, members: dict[Quantum, list[PatchId]]) -> Quantum:
    """Add mosaic, warps, coadds and multiband of one tract; return its catalogue."""
    mosaic = plan.add("mosaic", uses=members, tract=tract)
    warps: dict[tuple[int, int], dict[str, list[Quantum]]] = defaultdict(lambda: defaultdict(list))
    for frame, patches in members.items():
        ids = frame.data_id
        for _, patch in patches:
            warp = plan.add(
                "warp",
                needs=[frame, mosaic],
                tract=tract,
                patch=patch,
                exposure=ids.exposure,
                detector=ids.detector,
                band=ids.band,
            )
            warps[patch][str(ids.band)].append(warp)
    merged: list[Quantum] = []
    forced: list[Quantum] = []
    for patch in sorted(warps):
        patch_merged, patch_forced = _plan_patch(plan, tract, patch, warps[patch])
        merged.append(patch_merged)
        forced += patch_forced
    return plan.add("tract_catalogue", uses=[*merged, *forced], tract=tract)


def _plan_patch(
    plan: Plan, tract: int, patch: tuple[int, int], warps: dict[str, list[Quantum]]
) -> tuple[Quantum, list[Quantum]]:
    """Add coadds and multiband measurement of one patch; return the merged measurement and the forced ones."""
    where = {"tract": tract, "patch": patch}
    bands = sorted(warps)
    coadds = {band: plan.add("coadd", uses=warps[band], band=band, **where) for band in bands}
    detections = [plan.add("detect", needs=[coadds[band]], band=band, **where) for band in bands]
    objects = plan.add("merge_detections", uses=detections, **where)
    measured = [plan.add("measure", needs=[objects, coadds[band]], band=band, **where) for band in bands]
    merged = plan.add("merge_measurements", uses=measured, **where)
    forced = [plan.add("forced", needs=[merged, coadds[band]], band=band, **where) for band in bands]
    return merged, forced


def _plan_channels(
    plan: Plan, channels: "list[Frame]", coverage: _Coverage, selected: Callable[[DataId], bool]
) -> list[Quantum]:
    """Add channel frames, cubes and RM synthesis; return the tracts' RM catalogues."""
    members: dict[int, dict[tuple[int, int], list[Quantum]]] = defaultdict(lambda: defaultdict(list))
    footprints: dict[bytes, list[PatchId]] = {}
    for frame in channels:
        data_id = DataId(exposure=frame.exposure, detector=frame.detector, band=frame.band)
        if not selected(data_id):
            continue
        quantum = Quantum("channel_frame", data_id)
        plan.graph.add(quantum)
        shape = b"" if frame.corners is None else frame.corners.tobytes()
        if shape not in footprints:  # the channels of a beam share their footprint
            footprints[shape] = coverage.patches(frame)
        for tract, patch in footprints[shape]:
            members[tract][patch].append(quantum)
    catalogues = []
    for tract in sorted(members):
        spectra = []
        for patch in sorted(members[tract]):
            cube = plan.add("cube", uses=members[tract][patch], tract=tract, patch=patch)
            spectra.append(plan.add("rm_synthesis", needs=[cube], tract=tract, patch=patch))
        catalogues.append(plan.add("tract_rm_catalogue", uses=spectra, tract=tract))
    return catalogues
