"""The warps that a coadd is made of, by blocks of rows: from files, or from the memory of the ranks that made them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpidriver.pool import current_pool
from mpidriver.store import MaskedImageReader, read_table

if TYPE_CHECKING:
    import numpy as np

    from mpidriver.drivers._quantum import DataId
    from mpidriver.drivers._solutions import Solution
    from mpidriver.tasks.image import MaskedImage

__all__ = ["HeldWarps", "WarpFiles"]

#: Rows of warps, of all together, that are fetched at once.
_MOST_ROWS = 8192


class WarpFiles:
    """Warps that stand in files.

    Parameters
    ----------
    paths
        One or more files, in the order of the table of inputs.
    """

    byte_order = ">"

    def __init__(self, paths: Sequence[Path]) -> None:
        import numpy as np

        self._readers = [MaskedImageReader(path) for path in paths]
        self.inputs = np.concatenate([read_table(path, hdu="INPUTS") for path in paths])

    def fill(self, number: int, rows: slice, block: "MaskedImage") -> bool:
        """Put rows of a warp into a block, for `coadd_blocks`."""
        self._readers[number].read_into(rows, block.image, block.variance, block.mask)
        return True


class HeldWarps:
    """Warps that are made when they are asked for and stay where they were made; only blocks of rows travel.

    Parameters
    ----------
    warp
        ``warp(ids, solution)`` returns a warp and its row of the table of inputs, or none if there is nothing of it.
    frames
        What is to be warped.
    """

    byte_order = "="

    def __init__(
        self,
        warp: "Callable[[DataId, Solution], tuple[MaskedImage, np.ndarray] | None]",
        frames: "Sequence[tuple[DataId, Solution]]",
    ) -> None:
        import numpy as np

        from mpidriver.tasks.coadd import INPUT_DTYPE

        self._pool = current_pool()
        held = self._pool.scatter(
            _Cut(warp), [ids for ids, _ in frames], [solution for _, solution in frames], on_error="return"
        )
        self.failures = [
            (ids, one.error.cause.splitlines()[0])
            for (ids, _), one in zip(frames, held, strict=True)
            if one.error is not None
        ]
        made = [one for one in held if one.error is None]
        described = self._pool.map(_row, made)
        self._held = [one for one, row in zip(made, described, strict=True) if row is not None]
        self.inputs = np.concatenate([np.empty(0, INPUT_DTYPE), *(row for row in described if row is not None)])
        self._rows: slice | None = None
        self._blocks: list[Any] = []

    def fill(self, number: int, rows: slice, block: "MaskedImage") -> bool:
        """Put rows of a warp into a block, for `coadd_blocks`; a few of them are fetched of all warps at once."""
        if (rows.stop - rows.start) * len(self._held) > _MOST_ROWS:
            return _put(self._fetched([self._held[number]], rows)[0], block)
        if rows != self._rows:
            self._rows, self._blocks = rows, self._fetched(self._held, rows)
        return _put(self._blocks[number], block)

    def _fetched(self, held: list[Any], rows: slice) -> list[Any]:
        return self._pool.map(_rows_of, held, [rows] * len(held))


class _Cut:
    """Makes a warp and keeps of it the rows and columns where there is something."""

    def __init__(self, warp: Callable[..., Any]) -> None:
        self._warp = warp

    def __call__(self, ids: "DataId", solution: "Solution") -> Any:
        import numpy as np

        made = self._warp(ids, solution)
        if made is None:
            return None
        warped, row = made
        something = np.isfinite(warped.image) | (warped.mask != _no_data())
        rows, cols = (_span(something.any(axis=axis)) for axis in (1, 0))
        cut = [plane[rows, cols].copy() for plane in (warped.image, warped.variance, warped.mask)]
        return row, (rows.start, cols.start), tuple(cut)


def _no_data() -> int:
    from mpidriver.tasks.image import MaskPlane

    return int(MaskPlane.NO_DATA)


def _span(some: "np.ndarray") -> slice:
    import numpy as np

    places = np.flatnonzero(some)
    return slice(int(places[0]), int(places[-1]) + 1)


def _row(made: Any) -> "np.ndarray | None":
    return None if made is None else made[0]


def _rows_of(made: Any, rows: slice) -> Any:
    """Return the part of a warp that lies in rows: its first row there, its first column, and its planes."""
    _, (top, left), cut = made
    first, last = max(rows.start, top), min(rows.stop, top + len(cut[0]))
    if first >= last:
        return None
    return first - rows.start, left, tuple(plane[first - top : last - top] for plane in cut)


def _put(part: Any, block: "MaskedImage") -> bool:
    """Put a part of a warp into a block that is blank elsewhere; return False if there is none."""
    import numpy as np

    if part is None:
        return False
    row, col, cut = part
    where = np.s_[row : row + cut[0].shape[0], col : col + cut[0].shape[1]]
    for plane, values, blank in zip(
        (block.image, block.variance, block.mask), cut, (np.nan, np.nan, _no_data()), strict=True
    ):
        if values.shape != plane.shape:
            plane[...] = blank
        plane[where] = values
    return True
