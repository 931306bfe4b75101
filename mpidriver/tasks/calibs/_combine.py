"""Many frames of one detector into one."""

import dataclasses
from collections.abc import Callable

import numpy as np

from mpidriver.errors import DataError
from mpidriver.tasks.calibs._kernels import clipped_means, scatters
from mpidriver.tasks.calibs._options import CalibsOptions

__all__ = ["Combined", "combine_frames"]

#: Rows from which the noise of the stack is estimated.
_SAMPLE_ROWS = 64


@dataclasses.dataclass(frozen=True)
class Combined:
    """The clipped mean of a stack."""

    image: np.ndarray
    """float32, shape (row, col); NaN where no frame has a number."""
    n_image: np.ndarray
    """int16, shape (row, col): how many frames were averaged."""
    noise: float
    """Standard deviation of a pixel in one frame, the median over the sampled pixels."""


def combine_frames(
    read: Callable[[int, slice], np.ndarray], count: int, shape: tuple[int, int], *, options: CalibsOptions
) -> Combined:
    """Return the mean of frames without outliers, such as cosmic rays.

    Parameters
    ----------
    read
        Returns rows of a frame by its number: float32, shape (len(rows), col); NaN where there is no number.
    count
        Number of frames.
    shape
        Rows and columns of each.
    options
        Clipping and memory.

    Raises
    ------
    DataError
        If there are fewer frames than `options.frames_min`.
    """
    if count < options.frames_min:
        raise DataError(f"{count} frames, and at least {options.frames_min} are needed ([calibs] frames_min)")
    rows, cols = shape
    noise = _typical_noise(_stack(read, count, _middle_rows(rows)))
    image, n_image = np.empty(shape, np.float32), np.empty(shape, np.int16)
    step = max(1, (options.block_mib << 20) // (4 * count * cols))
    for first in range(0, rows, step):
        block = slice(first, min(rows, first + step))
        means, counts = image[block].reshape(-1), n_image[block].reshape(-1)
        clipped_means(_stack(read, count, block), options.clip_sigma, np.float32(noise), means, counts)
    return Combined(image, n_image, noise)


def _stack(read: Callable[[int, slice], np.ndarray], count: int, rows: slice) -> np.ndarray:
    blocks = [np.asarray(read(number, rows), np.float32).reshape(-1) for number in range(count)]
    return np.stack(blocks)


def _middle_rows(rows: int) -> slice:
    first = max(0, (rows - _SAMPLE_ROWS) // 2)
    return slice(first, min(rows, first + _SAMPLE_ROWS))


def _typical_noise(stack: np.ndarray) -> float:
    scatter = np.empty(stack.shape[1], np.float32)
    scatters(stack, scatter)
    known = scatter[np.isfinite(scatter)]
    return float(np.median(known)) if known.size else 0.0
