"""The part of the graph that makes calibration frames from raw bias, dark and flat exposures."""

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mpidriver.drivers._quantum import DataId, Quantum

if TYPE_CHECKING:
    from mpidriver.drivers._campaign._graph import Graph
    from mpidriver.store import Frame

__all__ = ["CalibrationPlan"]


class CalibrationPlan:
    """The calibration frames of a survey.

    A dark needs the bias of its detector, flats need both. The levels of a band's flats over all detectors are measured
    and solved together, those of a detector without bias or dark left out; the defects of a detector are found on its
    dark and on its flats in all bands, as far as there are any.

    Parameters
    ----------
    graph
        Where quanta are added.
    frames
        Raw frames of all kinds.
    """

    def __init__(self, graph: "Graph", frames: "Iterable[Frame]") -> None:
        self._graph = graph
        self._found: dict[tuple[str, int, str], Quantum] = {}
        detectors: dict[str, set[int]] = defaultdict(set)
        bands: dict[str, set[int]] = defaultdict(set)
        for frame in frames:
            detectors[frame.kind].add(frame.detector)
            if frame.kind == "flat":
                bands[frame.band].add(frame.detector)
        for detector in sorted(detectors["bias"]):
            self._add("bias", detector)
        for detector in sorted(detectors["dark"]):
            self._add("dark", detector, needs=self._made(detector, "bias"))
        for band in sorted(bands):
            self._add_flats(band, sorted(bands[band]))
        for detector in sorted(detectors["dark"] | detectors["flat"]):
            flats = [quantum for (task, one, _), quantum in self._found.items() if (task, one) == ("flat", detector)]
            self._add("defects", detector, uses=[*self._made(detector, "dark"), *flats])

    def of_frame(self, frame: "Frame") -> list[Quantum]:
        """Return the calibration frames that a frame of the sky needs."""
        flat = self._found.get(("flat", frame.detector, frame.band))
        return [*self._made(frame.detector, "bias", "dark", "defects"), *([flat] if flat is not None else [])]

    def add_patterns(self, frames: "Iterable[Frame]") -> None:
        """Add the fringes and the pattern of the sky of frames, one each a detector and band."""
        examples = {(frame.detector, frame.band): frame for frame in frames}
        for detector, band in sorted(examples):
            needs = self.of_frame(examples[detector, band])
            for task in ("fringe", "sky"):
                self._graph.add(Quantum(task, DataId(detector=detector, band=band)), needs=needs)

    def _add_flats(self, band: str, detectors: list[int]) -> None:
        needs = {detector: self._made(detector, "bias", "dark") for detector in detectors}
        scales = Quantum("flat_scales", DataId(band=band))
        self._graph.add(scales, uses=[quantum for some in needs.values() for quantum in some])
        for detector in detectors:
            self._add("flat", detector, band, needs=[*needs[detector], scales])

    def _add(
        self,
        task: str,
        detector: int,
        band: str = "",
        *,
        needs: Iterable[Quantum] = (),
        uses: Iterable[Quantum] = (),
    ) -> None:
        quantum = Quantum(task, DataId(detector=detector, band=band or None))
        self._graph.add(quantum, needs=needs, uses=uses)
        self._found[task, detector, band] = quantum

    def _made(self, detector: int, *tasks: str) -> list[Quantum]:
        known = (self._found.get((task, detector, "")) for task in tasks)
        return [quantum for quantum in known if quantum is not None]
