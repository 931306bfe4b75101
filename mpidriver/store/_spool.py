"""Arrays set aside on the node's own disk while more of them are needed at once than fit in memory."""

import os
import tempfile
from types import TracebackType
from typing import Any

import numpy as np

from mpidriver.errors import RepositoryError

__all__ = ["Spool"]

Array = np.ndarray[Any, np.dtype[np.float32]]


class Spool:
    """Planes of float32 in a file without a name, which is gone when the process is; to be used in ``with``.

    It lies in ``$TMPDIR``. It is written and read by calls, not mapped: on a full disk a mapped file kills its process.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (`__exit__` closes it)
        self._shapes: list[tuple[int, int]] = []
        self._starts = [0]

    def __enter__(self) -> "Spool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._shapes)

    def append(self, plane: Array) -> None:
        """Set a plane aside, shape (row, col).

        Raises
        ------
        RepositoryError
            If the disk takes no more.
        """
        pixels = np.ascontiguousarray(plane, dtype=np.float32)
        try:
            self._write(pixels.data.cast("B"))
        except OSError as error:
            written = f"{self._starts[-1] >> 20} MiB of frames that are to be combined"
            raise RepositoryError(
                f"{tempfile.gettempdir()}: {error.strerror} after {written}; free space there or set TMPDIR"
            ) from error
        self._shapes.append((pixels.shape[0], pixels.shape[1]))
        self._starts.append(self._starts[-1] + pixels.nbytes)

    def _write(self, data: memoryview) -> None:
        place = self._starts[-1]
        while data:
            written = os.pwrite(self._file.fileno(), data, place)
            place, data = place + written, data[written:]

    def read(self, number: int, rows: slice) -> Array:
        """Return rows of a plane, shape (len(rows), col)."""
        n_rows, cols = self._shapes[number]
        first, last, _ = rows.indices(n_rows)
        block = np.empty((last - first, cols), np.float32)
        os.preadv(self._file.fileno(), [block.data.cast("B")], self._starts[number] + 4 * cols * first)
        return block
