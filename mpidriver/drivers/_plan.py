"""The graph of a whole survey, made from the frames' footprints in the state database alone."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mpidriver.drivers._campaign._graph import Graph
from mpidriver.drivers._plan_calibs import CalibrationPlan
from mpidriver.drivers._quantum import DataId, Quantum

if TYPE_CHECKING:
    from mpidriver.store import Frame
    from mpidriver.tasks.skymap import SkyMap

__all__ = ["Plan", "plan_survey"]

PatchIndex = tuple[int, int]


@dataclass
class Plan:
    """What a survey needs: its quanta, and what people should know about the input."""

    graph: Graph = field(default_factory=Graph)
    """Every quantum with its inputs."""
    unplaced: dict[Quantum, str] = field(default_factory=dict)
    """Quanta of frames that no tract takes, with the reason."""

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
    keep_warps: bool = True,
    sky_correction: bool = False,
    coupled: Mapping[int, Collection[int]] | None = None,
    couplings: bool = False,
    joined: bool = False,
) -> Plan:
    """Return the graph of quanta that takes frames to catalogues and Faraday spectra.

    The graph is that of the whole survey, whatever a run is to work on: what joins exposures, bands or patches joins
    all that there are.

    Parameters
    ----------
    frames
        Optical and Stokes frames with their footprints.
    sky
        Tracts and patches.
    margin_deg
        How far a footprint may be off; patches within it are planned too.
    keep_warps
        Whether warps are quanta with files; if not, a coadd is made of frames, and makes its warps itself.
    sky_correction
        Whether the detectors of an exposure share one model of its sky.
    coupled
        Detectors that record light of others, with those others.
    couplings
        Whether there is a table of cross-talk whose coefficients could be measured.
    joined
        Whether tracts that have frames in common are solved each for itself first and then joined, as they must be
        where no reference catalogue ties each.
    """
    plan = Plan()
    in_order = sorted(frames, key=lambda frame: (frame.exposure, frame.detector, frame.band))
    images = [frame for frame in in_order if frame.kind == "image"]
    channels = [frame for frame in in_order if frame.kind == "stokes"]
    calibrations = CalibrationPlan(plan.graph, in_order)
    calibrations.add_patterns(images)
    if couplings:
        plan.add("couplings", uses=[one for one in plan.graph if one.task in ("bias", "defects")])
    spills = _plan_spills(plan, images, calibrations, coupled or {})

    def before_sky(frame: "Frame") -> list[Quantum]:
        return calibrations.of_frame(frame) + spills.get((frame.exposure, frame.band, frame.detector), [])

    skies = _plan_skies(plan, images, before_sky) if sky_correction else {}

    def needed(frame: "Frame") -> list[Quantum]:
        shared = skies.get((frame.exposure, frame.band))
        return before_sky(frame) + ([] if shared is None else [shared])

    members = _members(plan, "single_frame", images, sky, margin_deg, needed)
    joining = _plan_joining(plan, members) if joined else {}
    catalogues = [_plan_tract(plan, tract, members[tract], keep_warps, joining) for tract in members]
    if catalogues:
        plan.add("survey_catalogue", uses=catalogues)
        plan.add("survey_fakes", uses=[quantum for quantum in plan.graph if quantum.task == "fakes"])
    rm_catalogues = _plan_channels(plan, _members(plan, "channel_frame", channels, sky, margin_deg))
    if rm_catalogues:
        plan.add("survey_rm_catalogue", uses=rm_catalogues)
    return plan


def _plan_spills(
    plan: Plan, frames: "list[Frame]", calibrations: CalibrationPlan, coupled: Mapping[int, Collection[int]]
) -> dict[tuple[int, str, int], list[Quantum]]:
    """Add the cross-talk of each exposure with coupled detectors; return it by exposure, band and victim."""
    exposures: dict[tuple[int, str], dict[int, Frame]] = defaultdict(dict)
    for frame in frames:
        exposures[frame.exposure, frame.band][frame.detector] = frame
    spills = {}
    for (exposure, band), there in exposures.items():
        pairs = [(victim, source) for victim in there for source in coupled.get(victim, ()) if source in there]
        if not pairs:
            continue
        taking_part = sorted({detector for pair in pairs for detector in pair})
        uses = dict.fromkeys(one for detector in taking_part for one in calibrations.of_frame(there[detector]))
        spill = plan.add("crosstalk", uses=uses, exposure=exposure, band=band)
        spills |= {(exposure, band, victim): [spill] for victim, _ in pairs}
    return spills


def _plan_skies(
    plan: Plan, frames: "list[Frame]", needed: "Callable[[Frame], Iterable[Quantum]]"
) -> dict[tuple[int, str], Quantum]:
    """Add the model of each exposure's sky; return them by exposure and band."""
    inputs: dict[tuple[int, str], dict[Quantum, None]] = defaultdict(dict)
    for frame in frames:
        inputs[frame.exposure, frame.band].update(dict.fromkeys(needed(frame)))
    return {
        (exposure, band): plan.add("sky_correction", uses=uses, exposure=exposure, band=band)
        for (exposure, band), uses in inputs.items()
    }


def _members(
    plan: Plan,
    task: str,
    frames: "list[Frame]",
    sky: "SkyMap",
    margin_deg: float,
    needed: "Callable[[Frame], Iterable[Quantum]]" = lambda frame: (),
) -> dict[int, dict[Quantum, list[PatchIndex]]]:
    """Add a quantum for each frame; return tract to the quanta of the frames that touch it, with their patches."""
    members: dict[int, dict[Quantum, list[PatchIndex]]] = defaultdict(dict)
    for frame, patches in zip(frames, _coverage(frames, sky, margin_deg), strict=True):
        needs = needed(frame)
        quantum = plan.add(task, needs=needs, exposure=frame.exposure, detector=frame.detector, band=frame.band)
        for tract, patch in patches:
            members[tract].setdefault(quantum, []).append(patch)
        if not patches:
            reason = "no position on the sky" if frame.corners is None else "outside every tract"
            plan.unplaced[quantum] = (
                f"{reason}: exposure {frame.exposure}, detector {frame.detector}, band {frame.band}"
            )
    return {tract: members[tract] for tract in sorted(members)}


def _coverage(frames: "list[Frame]", sky: "SkyMap", margin_deg: float) -> list[list[tuple[int, PatchIndex]]]:
    """Return the patches that each frame touches, in order; none for a frame without a position."""
    import numpy as np

    from mpidriver.sphere import grow_polygon, unit_vectors
    from mpidriver.tasks.skymap import patches_under

    footprints: dict[bytes, int] = {}  # the channels of a beam share theirs
    numbers = [
        -1 if frame.corners is None else footprints.setdefault(frame.corners.tobytes(), len(footprints))
        for frame in frames
    ]
    if not footprints:
        return [[] for _ in frames]
    corners = np.frombuffer(b"".join(footprints), dtype=float).reshape(len(footprints), -1, 2)
    patches = patches_under(sky, grow_polygon(unit_vectors(corners[..., 0], corners[..., 1]), margin_deg))
    return [[] if number < 0 else patches[number] for number in numbers]


def _plan_joining(plan: Plan, members: dict[int, dict[Quantum, list[PatchIndex]]]) -> dict[int, list[Quantum]]:
    """Add solutions of tracts that have frames in common, and what joins them; return the mosaics' needs by tract."""
    tracts_of: dict[Quantum, list[int]] = defaultdict(list)
    for tract, frames in members.items():
        for frame in frames:
            tracts_of[frame].append(tract)
    overlapping = sorted({tract for tracts in tracts_of.values() if len(tracts) > 1 for tract in tracts})
    alone = {tract: plan.add("solve_tract", uses=members[tract], tract=tract) for tract in overlapping}
    if not alone:
        return {}
    joined = plan.add("join_tracts", uses=alone.values())
    return {tract: [solution, joined] for tract, solution in alone.items()}


def _plan_tract(
    plan: Plan,
    tract: int,
    members: dict[Quantum, list[PatchIndex]],
    keep_warps: bool,
    joining: dict[int, list[Quantum]],
) -> Quantum:
    """Add mosaic, matching of backgrounds, warps, coadds and multiband of one tract; return its catalogue."""
    mosaic = plan.add("mosaic", needs=joining.get(tract, ()), uses=members, tract=tract)
    solved = [mosaic, plan.add("match_backgrounds", needs=[mosaic], uses=members, tract=tract)]
    images: dict[PatchIndex, dict[str, list[Quantum]]] = defaultdict(lambda: defaultdict(list))
    for frame, patches in members.items():
        ids = frame.data_id
        where = {"tract": tract, "exposure": ids.exposure, "detector": ids.detector, "band": ids.band}
        for patch in patches:
            image = plan.add("warp", needs=[frame, *solved], patch=patch, **where) if keep_warps else frame
            images[patch][str(ids.band)].append(image)
    covering: dict[PatchIndex, list[Quantum]] = defaultdict(list)
    for frame, patches in members.items():
        for patch in patches:
            covering[patch].append(frame)
    merged: list[Quantum] = []
    forced: list[Quantum] = []
    for patch in sorted(images):
        patch_merged, patch_forced = _plan_patch(plan, solved, patch, images[patch], keep_warps)
        plan.add("light_curves", needs=[patch_merged, mosaic], uses=covering[patch], tract=tract, patch=patch)
        plan.add("fakes", needs=[patch_merged], uses=patch_forced, tract=tract, patch=patch)
        merged.append(patch_merged)
        forced += patch_forced
    return plan.add("tract_catalogue", uses=[*merged, *forced], tract=tract)


def _plan_patch(
    plan: Plan, solved: list[Quantum], patch: PatchIndex, images: dict[str, list[Quantum]], keep_warps: bool
) -> tuple[Quantum, list[Quantum]]:
    """Add coadds of warps or frames and multiband measurement; return the merged measurement and the forced ones."""
    where = {"tract": solved[0].data_id.tract, "patch": patch}
    bands = sorted(images)
    needs = [] if keep_warps else solved
    coadds = {band: plan.add("coadd", needs=needs, uses=images[band], band=band, **where) for band in bands}
    detections = [plan.add("detect", needs=[coadds[band]], band=band, **where) for band in bands]
    detections.append(plan.add("detect_combined", uses=coadds.values(), **where))
    objects = plan.add("merge_detections", uses=detections, **where)
    measured = [plan.add("measure", needs=[objects, coadds[band]], band=band, **where) for band in bands]
    merged = plan.add("merge_measurements", uses=measured, **where)
    forced = [plan.add("forced", needs=[merged, coadds[band]], band=band, **where) for band in bands]
    return merged, forced


def _plan_channels(plan: Plan, members: dict[int, dict[Quantum, list[PatchIndex]]]) -> list[Quantum]:
    """Add cubes and RM synthesis; return the tracts' RM catalogues."""
    catalogues = []
    for tract, frames in members.items():
        inputs: dict[PatchIndex, list[Quantum]] = defaultdict(list)
        for frame, patches in frames.items():
            for patch in patches:
                inputs[patch].append(frame)
        spectra = []
        for patch in sorted(inputs):
            cube = plan.add("cube", uses=inputs[patch], tract=tract, patch=patch)
            spectra.append(plan.add("rm_synthesis", needs=[cube], tract=tract, patch=patch))
        catalogues.append(plan.add("tract_rm_catalogue", uses=spectra, tract=tract))
    return catalogues
