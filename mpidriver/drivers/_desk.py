"""The root's desk: what it looks up for a quantum before it hands it out, each file read once a run."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mpidriver.drivers._backgrounds import read_corrections
from mpidriver.drivers._reference import ReferenceStars, standard_columns
from mpidriver.drivers._solutions import Solution, read_solutions
from mpidriver.drivers._sources._cells import cell_numbers
from mpidriver.drivers._stage import Context
from mpidriver.drivers.catalogue import load_components
from mpidriver.errors import DataError
from mpidriver.store import read_table

if TYPE_CHECKING:
    import numpy as np

    from mpidriver.store import Frame, StateDatabase

__all__ = ["Desk"]


class Desk:
    """Looks up frames, reference stars and mosaic solutions for the stages.

    Ranks never read shared small files by themselves: what a quantum needs of them travels with it.

    Parameters
    ----------
    context
        Repository and configuration.
    state
        The state database.
    """

    def __init__(self, context: Context, state: "StateDatabase") -> None:
        self.context = context
        self.state = state
        self._frames = {(frame.exposure, frame.detector, frame.band): frame for frame in state.frames()}
        self._beams: dict[tuple[int, int], Frame] = {}
        self._cells: tuple[np.ndarray, np.ndarray] | None = None
        self._digests: dict[Path, str] = {}
        self._tables: dict[Path, np.ndarray] = {}
        self._solutions: dict[int, dict[tuple[int, int], Solution]] = {}
        self._corrections: dict[int, dict[tuple[int, int], tuple[float, ...]]] = {}

    def frame(self, exposure: int, detector: int, band: str) -> "Frame":
        """Return a frame as it was ingested or, if it has been reduced, as it is known since."""
        return self._frames[exposure, detector, band]

    def frames(self, kind: str, detector: int | None = None) -> "list[Frame]":
        """Return the frames of a kind, of one detector or of all, in their order."""
        return self._by_kind.get((kind, detector), [])

    def exposure_frames(self, exposure: int, band: str) -> "list[Frame]":
        """Return the frames of an exposure in a band, by detector."""
        return self._by_exposure.get((exposure, band), [])

    @functools.cached_property
    def _by_exposure(self) -> "dict[tuple[int, str], list[Frame]]":
        """Frames of the sky by exposure and band."""
        exposures: dict[tuple[int, str], list[Frame]] = {}
        for frame in self.frames("image"):
            exposures.setdefault((frame.exposure, frame.band), []).append(frame)
        return exposures

    @functools.cached_property
    def _by_kind(self) -> "dict[tuple[str, int | None], list[Frame]]":
        """Frames by kind and detector, and by kind alone."""
        kinds: dict[tuple[str, int | None], list[Frame]] = {}
        for key in sorted(self._frames):
            frame = self._frames[key]
            for detector in (None, frame.detector):
                kinds.setdefault((frame.kind, detector), []).append(frame)
        return kinds

    @functools.cached_property
    def patterns(self) -> "dict[tuple[int, str], dict[str, str]]":
        """Fringes and sky frames that the repository has, by detector and band: ``{"fringe": path, "sky": path}``."""
        found: dict[tuple[int, str], dict[str, str]] = {}
        for task in ("fringe", "sky"):
            for record in self.state.quanta(task=task, status="done"):
                where = int(record.data_id["detector"]), str(record.data_id["band"])
                for product in self.state.products(key=record.key):
                    found.setdefault(where, {})[task] = product.path
        return found

    def table(self, path: "Path") -> "np.ndarray":
        """Return a small table that many quanta need, read once a run."""
        if path not in self._tables:
            self._tables[path] = read_table(path)
        return self._tables[path]

    def any_frame(self, exposure: int, detector: int) -> "Frame":
        """Return the first channel of a beam of an exposure."""
        if not self._beams:
            for (number, beam, _), frame in self._frames.items():
                self._beams.setdefault((number, beam), frame)
        return self._beams[exposure, detector]

    def cell_components(self, cell: int, cell_deg: float) -> "np.ndarray":
        """Return the components of a cell of the sky, in the order of the catalogue."""
        import numpy as np

        if self._cells is None:
            numbers = cell_numbers(self.components["ra"], self.components["dec"], cell_deg)
            order = np.argsort(numbers, kind="stable")
            self._cells = order, numbers[order]
        order, numbers = self._cells
        first, last = np.searchsorted(numbers, [cell, cell + 1])
        return self.components[order[first:last]]

    @functools.cached_property
    def components(self) -> "np.ndarray":
        """The catalogue of components."""
        rows = load_components(self.context)
        if rows is None:
            raise DataError(f"{self.context.root}: no components; enter them with `mpidriver catalogue`")
        return rows

    def reference_in(self, corners_xyz: "np.ndarray", margin_deg: float) -> "np.ndarray | None":
        """Return the reference stars within the circle around a polygon, or none without a catalogue."""
        return None if self.reference is None else self.reference.around(corners_xyz, margin_deg)

    @functools.cached_property
    def reference(self) -> ReferenceStars | None:
        """The reference catalogue with standard column names."""
        options = self.context.config.reference
        if options.path is None:
            return None
        path = self.context.repository.root / options.path
        return ReferenceStars(standard_columns(read_table(path), options, str(path)))

    def file_digest(self, path: Path) -> str:
        """Return the digest of a small file that many quanta read, as a calibration frame; read once a run."""
        if path not in self._digests:
            from mpidriver.store import file_digest

            try:
                self._digests[path] = file_digest(path)
            except OSError as error:
                raise DataError(f"{path}: cannot be read: {error.strerror}; see survey.toml") from None
        return self._digests[path]

    def named(self, path: Path) -> tuple[str, str]:
        """Return how provenance names a small file: its path, in the repository if it is there, and its digest."""
        root = self.context.repository.root
        name = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
        return str(name), self.file_digest(path)

    def reference_file(self) -> list[tuple[str, str]]:
        """Return path and digest of the reference catalogue, as a list; empty without one."""
        path = self.context.config.reference.path
        return [] if path is None else [self.named(self.context.repository.root / path)]

    def joined_solutions(self, names: Sequence[tuple[int, int]]) -> "np.ndarray":
        """Return the rows of frames, exposure and detector, that the joining of tracts has solutions of."""
        rows, number = self._joined
        return rows[[number[name] for name in names if name in number]]

    @functools.cached_property
    def _joined(self) -> "tuple[np.ndarray, dict[tuple[int, int], int]]":
        """The joined solutions of all tracts, and the row of each frame."""
        rows = read_table(self.context.repository.path("joined_solutions"))
        names = zip(rows["exposure"].tolist(), rows["detector"].tolist(), strict=True)
        return rows, {name: number for number, name in enumerate(names)}

    def solution(self, tract: int, exposure: int, detector: int) -> Solution | None:
        """Return the mosaic's solution of one frame, or none if the mosaic has dropped it."""
        if tract not in self._solutions:
            path = self.context.repository.path("mosaic", tract=tract)
            self._solutions[tract] = read_solutions(path)
        return self._solutions[tract].get((exposure, detector))

    def matched_solution(self, tract: int, exposure: int, detector: int) -> Solution | None:
        """Return the mosaic's solution of one frame with what makes its background match those of its neighbours."""
        solution = self.solution(tract, exposure, detector)
        if solution is None:
            return None
        return dataclasses.replace(solution, background=self._background_correction(tract, exposure, detector))

    def _background_correction(self, tract: int, exposure: int, detector: int) -> tuple[float, ...]:
        if tract not in self._corrections:
            path = self.context.repository.path("background_match", tract=tract)
            self._corrections[tract] = read_corrections(path)
        return self._corrections[tract].get((exposure, detector), ())
