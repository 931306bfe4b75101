"""What a driver is to do, from the state database and the catalogue of components alone: no other file is opened."""

import contextlib
import gc
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpidriver.drivers._campaign._graph import Graph
from mpidriver.drivers._plan import Plan, plan_survey
from mpidriver.drivers._quantum import DataId, Quantum
from mpidriver.drivers._selection import Selection, selected_quanta
from mpidriver.drivers._sources._cells import plan_sources
from mpidriver.drivers._stage import Context
from mpidriver.drivers._stages import DRIVERS, usual_tasks
from mpidriver.drivers.catalogue import load_components
from mpidriver.drivers.crosstalk import coupled_detectors
from mpidriver.errors import ConfigError

if TYPE_CHECKING:
    from mpidriver.store import Frame, QuantumRecord, StateDatabase

__all__ = ["DriverPlan", "plan_driver", "unplanned"]


@dataclass(frozen=True)
class DriverPlan:
    """What a driver is to do."""

    graph: Graph
    """The whole survey."""
    own: Mapping[Quantum, None]
    """The quanta that the driver runs, in the graph's order."""
    notes: list[str]
    """What people should know about the input."""


def plan_driver(
    context: Context,
    state: "StateDatabase",
    verb: str,
    selection: Selection,
    *,
    tasks: Collection[str] | None = None,
) -> DriverPlan:
    """Return the plan of the whole survey and which of its quanta a driver runs.

    Parameters
    ----------
    tasks
        Of the verb's tasks, those to run; by default all but those that run only when asked for.

    Raises
    ------
    ConfigError
        If there is no frame, or none selected, or nothing says which cross-talk to measure.
    """
    with collecting_no_garbage():
        return _planned(context, state.frames(), verb, selection, usual_tasks(verb) if tasks is None else tasks)


def _planned(
    context: Context, frames: "list[Frame]", verb: str, selection: Selection, tasks: Collection[str]
) -> DriverPlan:
    if not frames:
        raise ConfigError(
            f"{context.root}: no frames yet; enter raw frames with `mpidriver ingest {context.root} FILE …`"
        )
    if set(tasks) == {"couplings"} and context.config.calibrations.crosstalk is None:
        raise ConfigError(
            f"{context.root}: no cross-talk to measure; name a table of its couplings, coefficients 0, in survey.toml "
            f"([calibrations] crosstalk)"
        )
    margin_deg = context.config.pipeline.pointing_margin_arcsec / 3600
    plan = plan_survey(
        frames,
        context.sky,
        margin_deg=margin_deg,
        keep_warps=context.config.coadd.keep_warps,
        sky_correction=context.config.sky_correction.enabled,
        coupled=coupled_detectors(context),
        couplings=context.config.calibrations.crosstalk is not None,
        joined=context.config.reference.path is None or context.config.mosaic.join_tied_tracts,
    )
    remarks = _add_sources(plan, context, frames, verb)
    selected = selected_quanta(plan.graph, selection)
    if not (selected and _takes_a_frame(selection, frames)):
        raise ConfigError(f"{context.root}: none of its {len(frames)} frames is selected; {_what_there_is(frames)}")
    own = {quantum: None for quantum in plan.graph if quantum.task in tasks and quantum in selected}
    notes = [reason for quantum, reason in plan.unplaced.items() if quantum in selected] + remarks
    if not own:
        notes.append(f"nothing to do for {verb}: no selected frame leads to one of its stages")
    return DriverPlan(plan.graph, own, notes)


def _takes_a_frame(selection: Selection, frames: "list[Frame]") -> bool:
    """Tell whether a selection takes any frame; patterns that many frames have in common may be selected without."""
    takes = selection.compiled()
    return any(takes(DataId(exposure=frame.exposure, detector=frame.detector, band=frame.band)) for frame in frames)


def _add_sources(plan: Plan, context: Context, frames: "list[Frame]", verb: str) -> list[str]:
    """Add the components of the catalogue, for drivers that measure them; return what people should know of them."""
    if "rm_table" not in DRIVERS[verb]:
        return []
    components = load_components(context)
    if components is not None:
        return plan_sources(plan, frames, components, context.config)
    if verb == "pipeline":  # which does without
        return []
    raise ConfigError(
        f"{context.root}: no components yet; enter a source finder's tables with "
        f"`mpidriver catalogue {context.root} FILE …`"
    )


def _what_there_is(frames: "list[Frame]") -> str:
    """Say what frames can be selected by, as a hint."""
    exposures = sorted({frame.exposure for frame in frames})
    bands = list(dict.fromkeys(frame.band for frame in frames))
    shown = "^".join(bands[:8]) + ("^…" if len(bands) > 8 else "")
    return f"there are exposures {exposures[0]}..{exposures[-1]}, bands {shown}"


def unplanned(graph: Graph, records: "Iterable[QuantumRecord]", verb: str) -> list[str]:
    """Return keys of a driver's quanta that the survey no longer plans, as after a change of its sky map."""
    planned = {quantum.key for quantum in graph}
    return [record.key for record in records if record.task in DRIVERS[verb] and record.key not in planned]


@contextlib.contextmanager
def collecting_no_garbage() -> Iterator[None]:
    """Keep the garbage collector from looking through a growing plan again and again; nothing of it is garbage."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
