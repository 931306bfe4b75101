"""Cross-talk between the detectors of an exposure, taken out before its frames are reduced.

Scatter the detectors that take part: each rank reads one and keeps its counts above the bias. Scatter the victims:
each is given what its sources hold, and writes what they add to it.
"""

import functools
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpidriver.drivers._quantum import Quantum
from mpidriver.drivers._raw import couplings_of, load_calibrations, load_raw, made_calibrations
from mpidriver.drivers._stage import Context, Prepared, Record, Stage
from mpidriver.errors import DataError
from mpidriver.pool import current_pool
from mpidriver.store import Product, write_image, write_table

if TYPE_CHECKING:
    import numpy as np

    from mpidriver.drivers._desk import Desk
    from mpidriver.store import Frame
    from mpidriver.tasks.single_frame import Coupling

__all__ = ["MEASURING", "STAGES", "coupled_detectors", "spill_of"]

log = logging.getLogger(__name__)

_BEFORE = ("bias", "defects")
_COUPLING_DTYPE = [
    ("victim", "i4"),
    ("source", "i4"),
    ("coefficient", "f8"),
    ("error", "f8"),
    ("pixels", "i8"),
    ("source_section", "U32"),
    ("victim_section", "U32"),
]


@dataclass(frozen=True)
class Pair:
    """One coupling on one exposure."""

    number: int
    """Row of the table."""
    victim: "Frame"
    source: "Frame"
    coupling: "Coupling"


def coupled_detectors(context: Context) -> dict[int, set[int]]:
    """Return the detectors that record light of others, and those others; none without a table."""
    coupled: dict[int, set[int]] = defaultdict(set)
    for victim, couplings in couplings_of(context).items():
        for coupling in couplings:
            if coupling.source != victim:
                coupled[victim].add(coupling.source)
    return dict(coupled)


def spill_of(context: Context, detector: int, inputs: Iterable[Quantum]) -> dict[str, str]:
    """Return what a detector records of others, from the inputs of its frame: ``{"spill": path}``, or nothing."""
    records_others = any(one.source != detector for one in couplings_of(context).get(detector, ()))
    for source in inputs:
        if source.task == "crosstalk" and records_others:
            path = context.path("crosstalk", source, detector=detector)
            return {"spill": str(path.relative_to(context.repository.root))}
    return {}


def find_spill(
    context: Context, quantum: Quantum, *, frames: "Sequence[Frame]", made: dict[int, Mapping[str, str]]
) -> Record:
    """Write what the detectors of an exposure record of each other; a source that cannot be read adds nothing."""
    pool = current_pool()
    held = pool.scatter(functools.partial(counts_of, context), frames, [made[frame.detector] for frame in frames])
    by_detector = dict(zip((frame.detector for frame in frames), held, strict=True))
    coupled = coupled_detectors(context)
    victims = sorted(detector for detector in by_detector if detector in coupled)
    sources = [{one: by_detector[one] for one in sorted(coupled[victim]) if one in by_detector} for victim in victims]
    write = functools.partial(write_spill, context, quantum)
    outcomes = pool.map(write, victims, [by_detector[victim] for victim in victims], sources)
    for problem in sorted({problem for _, problems in outcomes for problem in problems}):
        log.warning("left out of %s: %s", quantum, problem)
    return Record(products=tuple(product for product, _ in outcomes if product is not None))


def counts_of(context: Context, frame: "Frame", made: Mapping[str, str]) -> "np.ndarray | str":
    """Return the counts of a detector above its bias, or why there are none."""
    from mpidriver.tasks.single_frame import counts_above_bias

    try:
        return counts_above_bias(load_raw(context, frame), load_calibrations(context, frame, made, kinds=("bias",)))
    except DataError as error:
        return str(error)


def write_spill(
    context: Context,
    quantum: Quantum,
    victim: int,
    own: "np.ndarray | str",
    sources: "dict[int, np.ndarray | str]",
) -> "tuple[Product | None, list[str]]":
    """Write what a detector records of others; return the file, and which of the others could not be read."""
    from mpidriver.tasks.single_frame import crosstalk

    problems = [counts for counts in (own, *sources.values()) if isinstance(counts, str)]
    if isinstance(own, str):
        return None, problems
    others = {detector: counts for detector, counts in sources.items() if not isinstance(counts, str)}
    couplings = [coupling for coupling in couplings_of(context)[victim] if coupling.source != victim]
    header = {"DETECTOR": victim, "EXPOSURE": quantum.data_id.exposure, "BUNIT": "adu"}
    path = context.path("crosstalk", quantum, detector=victim)
    written = write_image(path, crosstalk(couplings, others, own.shape), header=header)
    return context.product("crosstalk", written), problems


def _prepare(desk: "Desk", quantum: Quantum, inputs: list[Quantum]) -> Prepared:
    coupled = coupled_detectors(desk.context)
    taking_part = set(coupled).union(*coupled.values())
    frames = [
        frame
        for frame in desk.exposure_frames(quantum.data_id.exposure, quantum.data_id.band)
        if frame.detector in taking_part
    ]
    made = {
        frame.detector: made_calibrations(
            desk.context, [one for one in inputs if one.data_id.detector == frame.detector]
        )
        for frame in frames
    }
    table = desk.context.repository.resolve(str(desk.context.config.calibrations.crosstalk))
    known = tuple((frame.detector, frame.digest) for frame in frames)
    named = [(frame.path, frame.digest) for frame in frames]
    return Prepared({"frames": frames, "made": made}, (known, desk.file_digest(table)), (*named, desk.named(table)))


def measure_couplings(
    context: Context, quantum: Quantum, *, pairs: "Sequence[Pair]", made: dict[int, Mapping[str, str]]
) -> Record:
    """Measure the coefficients of the table on all frames of the sky; a frame that cannot be read is left out."""
    import numpy as np

    outcomes = current_pool().map(functools.partial(sums_of, context, made), pairs, on_error="return")
    couplings = [(victim, one) for victim, some in couplings_of(context).items() for one in some]
    total = np.zeros((len(couplings), 3))
    for pair, outcome in zip(pairs, outcomes, strict=True):
        if outcome.error is not None:
            log.warning("left out of %s: %s", quantum, outcome.error.cause)
        else:
            total[pair.number] += outcome.value
    table = np.zeros(len(couplings), _COUPLING_DTYPE)
    for row, (victim, one), (squares, products, count) in zip(table, couplings, total, strict=True):
        row["victim"], row["source"], row["pixels"] = victim, one.source, count
        row["coefficient"], row["error"] = (products / squares, squares**-0.5) if squares > 0 else (0.0, np.nan)
        row["source_section"], row["victim_section"] = one.source_section, one.victim_section
    written = write_table(context.path("couplings", quantum), table)
    return Record(products=(context.product("couplings", written),))


def sums_of(context: Context, made: dict[int, Mapping[str, str]], pair: Pair) -> "np.ndarray":
    """Return what one exposure tells of one coupling."""
    from mpidriver.tasks.calibs import coupling_sums
    from mpidriver.tasks.single_frame import signal_counts

    victim, source = (
        signal_counts(load_raw(context, frame), load_calibrations(context, frame, made[frame.detector], kinds=_BEFORE))
        for frame in (pair.victim, pair.source)
    )
    least_adu = context.config.calibs.crosstalk_least_adu
    return coupling_sums(pair.coupling, victim, source, least_adu=least_adu)


def _prepare_measuring(desk: "Desk", quantum: Quantum, inputs: list[Quantum]) -> Prepared:
    couplings = [(victim, one) for victim, some in couplings_of(desk.context).items() for one in some]
    frames = {(frame.exposure, frame.band, frame.detector): frame for frame in desk.frames("image")}
    pairs = [
        Pair(number, frames[exposure, band, victim], frames[exposure, band, one.source], one)
        for exposure, band in sorted({key[:2] for key in frames})
        for number, (victim, one) in enumerate(couplings)
        if {(exposure, band, victim), (exposure, band, one.source)} <= frames.keys()
    ]
    used = {frame.key: frame for pair in pairs for frame in (pair.victim, pair.source)}.values()
    made = {
        detector: made_calibrations(desk.context, [one for one in inputs if one.data_id.detector == detector])
        for detector in sorted({frame.detector for frame in used})
    }
    named = tuple((frame.path, frame.digest) for frame in used)
    return Prepared({"pairs": pairs, "made": made}, (tuple(couplings), named), named)


MEASURING = {
    "couplings": Stage(
        measure_couplings,
        options=lambda config: (config.calibs, config.calibrations),
        prepare=_prepare_measuring,
        seconds=20.0,
    )
}

STAGES = {"crosstalk": Stage(find_spill, options=lambda config: (config.calibrations,), prepare=_prepare, seconds=2.0)}
