"""The table of a mosaic's solutions: what it holds, and what later stages read of it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpidriver.errors import DataError
from mpidriver.store import WrittenFile, read_table, wcs_from_header, write_table

if TYPE_CHECKING:
    import numpy as np

    from mpidriver.tasks.mosaic import FrameSolution

__all__ = [
    "Solution",
    "count_misplaced",
    "read_frame_solutions",
    "read_solutions",
    "solution_rows",
    "write_solutions",
]

_UNITS = {"zero_point": "mag", "flat": "mag", "astrometric_rms": "mas", "photometric_rms": "mmag"}


@dataclass(frozen=True)
class Solution:
    """What later stages need of a frame's mosaic solution."""

    wcs_header: str
    """FITS header text of the WCS."""
    zero_point_mag: float
    """AB magnitude of one electron, the mean over the frame."""
    misplaced: bool = False
    """Whether the frame's stars contradict those of other frames or the reference."""
    reason: str = ""
    """Why the frame could not be matched."""
    flat_mag: tuple[float, ...] = ()
    """What is to be added to the zero point over the frame: the flat of the stars."""
    background: tuple[float, ...] = ()
    """Polynomial that is added to the flattened frame to match its neighbours; not of the mosaic's file."""

    @property
    def fingerprint(self) -> tuple[object, ...]:
        """What of it the pixels of a warp depend on."""
        return self.wcs_header, self.zero_point_mag, self.flat_mag, self.background


def write_solutions(path: Path, rows: "np.ndarray", header: Mapping[str, Any]) -> WrittenFile:
    """Write the solutions of frames, as `solution_rows` gives them."""
    return write_table(path, rows, units=_UNITS, header=header)


def solution_rows(frames: "Sequence[FrameSolution]") -> "np.ndarray":
    """Return the solutions of frames as a table, a row a frame."""
    import numpy as np

    n_flat = max([1, *(len(frame.flat_mag) for frame in frames)])
    rows = [_row(frame, n_flat) for frame in frames]
    return np.array(
        rows,
        dtype=[
            ("exposure", "i8"),
            ("detector", "i4"),
            ("band", "S16"),
            ("n_row", "i4"),
            ("n_column", "i4"),
            ("zero_point", "f8"),
            ("flat", "f8", (n_flat,)),
            ("n_stars", "i4"),
            ("astrometric_rms", "f8"),
            ("photometric_rms", "f8"),
            ("matched", "?"),
            ("group", "i4"),
            ("misplaced", "?"),
            ("reason", f"S{_width(rows, -2)}"),
            ("wcs", f"S{_width(rows, -1)}"),
        ],
    )


def _row(frame: "FrameSolution", n_flat: int) -> tuple[Any, ...]:
    return (
        frame.exposure,
        frame.detector,
        frame.band,
        *frame.shape,
        frame.zero_point_mag,
        [*frame.flat_mag, *([0.0] * (n_flat - len(frame.flat_mag)))],
        frame.n_stars,
        frame.astrometric_rms_mas,
        frame.photometric_rms_mmag,
        frame.matched,
        frame.group,
        frame.misplaced,
        frame.reason,
        frame.wcs.to_header(relax=True).tostring(),
    )


def _width(rows: list[tuple[Any, ...]], column: int) -> int:
    return max([1, *(len(row[column]) for row in rows)])


def count_misplaced(rows: "np.ndarray") -> dict[tuple[int, str], int]:
    """Return how many frames lie elsewhere than they seem to, by exposure and reason."""
    misplaced = rows[rows["misplaced"]]
    names = zip(misplaced["exposure"].tolist(), map(_text, misplaced["reason"].tolist()), strict=True)
    return dict(sorted(Counter(names).items()))


def read_solutions(path: Path) -> dict[tuple[int, int], Solution]:
    """Read a tract's solutions, by exposure and detector.

    Raises
    ------
    DataError
        If an earlier version has made them, which lacks a column.
    """
    import numpy as np

    rows = read_table(path)
    missing = {"wcs", "zero_point", "misplaced", "reason", "flat"}.difference(rows.dtype.names or ())
    if missing:
        raise DataError(f"{path}: made by an earlier version: no column {min(missing)!r}; run `mpidriver mosaic` again")
    return {
        (int(row["exposure"]), int(row["detector"])): Solution(
            wcs_header=_text(row["wcs"]),
            zero_point_mag=float(row["zero_point"]),
            misplaced=bool(row["misplaced"]),
            reason=_text(row["reason"]),
            flat_mag=tuple(np.atleast_1d(row["flat"]).tolist()),
        )
        for row in rows
    }


def read_frame_solutions(path: Path) -> "list[FrameSolution]":
    """Read a tract's solutions as the mosaic made them."""
    import numpy as np

    from mpidriver.tasks.mosaic import FrameSolution

    return [
        FrameSolution(
            exposure=int(row["exposure"]),
            detector=int(row["detector"]),
            band=_text(row["band"]),
            shape=(int(row["n_row"]), int(row["n_column"])),
            wcs=wcs_from_header(_text(row["wcs"])),
            zero_point_mag=float(row["zero_point"]),
            flat_mag=tuple(np.atleast_1d(row["flat"]).tolist()),
            n_stars=int(row["n_stars"]),
            astrometric_rms_mas=float(row["astrometric_rms"]),
            photometric_rms_mmag=float(row["photometric_rms"]),
            matched=bool(row["matched"]),
            group=int(row["group"]),
            misplaced=bool(row["misplaced"]),
            reason=_text(row["reason"]),
        )
        for row in read_table(path)
    ]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
