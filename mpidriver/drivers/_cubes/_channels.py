"""Channels of cubes: their frequencies, their weights, and which of them have data at all."""

import functools
from typing import TYPE_CHECKING

from mpidriver.drivers._cubes._regions import Region, cut_regions
from mpidriver.errors import DataError
from mpidriver.pool import Pool
from mpidriver.store import CubeSource, read_channel_values

if TYPE_CHECKING:
    import numpy as np

__all__ = ["channel_frequencies", "channel_weights", "used_channels"]

SAMPLED_ROWS = 16
"""Rows that are looked at before a channel is looked through."""


def channel_frequencies(cube: CubeSource, path: str | None, *, any_order: bool = False) -> "np.ndarray":
    """Return the frequencies of a cube's channels, from a file if there is one, else from the header.

    Raises
    ------
    DataError
        If there are none or not as many as channels, if they are not finite or cannot be in Hz, or if they neither
        rise nor fall from channel to channel.
    """
    import numpy as np

    from mpidriver.tasks.faraday import check_frequencies

    if path is not None:
        freq_hz, where = read_channel_values(path, column="freq", unit="Hz"), path
    elif cube.freq_hz is not None:
        freq_hz, where = np.array(cube.freq_hz), cube.path
    else:
        raise DataError(f"{cube.path}: its header has no linear axis of frequency; give --freq FILE with a Hz a line")
    if freq_hz.size != cube.shape[0]:
        raise DataError(
            f"{where}: expected {cube.shape[0]} frequencies, as {cube.path} has channels, got {freq_hz.size}"
        )
    try:
        freq_hz = check_frequencies(freq_hz)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    steps = np.diff(freq_hz)
    if not any_order and not (np.all(steps > 0) or np.all(steps < 0)):
        direction = np.sign(freq_hz[-1] - freq_hz[0]) or 1.0
        wrong = int(np.flatnonzero(np.sign(steps) != direction)[0])
        raise DataError(
            f"{where}: frequencies must rise or fall from channel to channel; channel {wrong + 1} has "
            f"{freq_hz[wrong]:.10g} Hz, the next {freq_hz[wrong + 1]:.10g} Hz; if that is meant, say --any-order"
        )
    return freq_hz


def channel_weights(channels: int, *, noise: str | None, weights: str | None) -> "np.ndarray":
    """Return the weights of the channels, 1 without a file; what is no positive number has weight 0."""
    import numpy as np

    if noise is not None and weights is not None:
        raise DataError("--noise and --weights exclude each other")
    path = noise or weights
    if path is None:
        return np.ones(channels)
    values = read_channel_values(path, column="noise" if noise else "weight")
    if values.size != channels:
        raise DataError(f"{path}: expected {channels} values, one a channel, got {values.size}")
    usable = np.isfinite(values) & (values > 0)
    if not usable.any():
        raise DataError(f"{path}: expected a positive number for at least one channel, found none")
    known = np.where(usable, values, 1.0)
    return np.where(usable, 1.0 / known**2 if noise else known, 0.0)


def used_channels(
    pool: Pool, q: CubeSource, u: CubeSource, weights: "np.ndarray", *, memory_bytes: int
) -> "np.ndarray":
    """Return which channels have a voxel that is finite in Q and U.

    Most channels show one in the first rows that are looked at; those that do not are looked through by all ranks.
    """
    import numpy as np

    used = weights <= 0  # of no interest, so not looked for
    rows = q.shape[1]
    for row in dict.fromkeys(_sampled_rows(rows)):
        if used.all():
            break
        used |= _with_data(q, u, slice(row, row + 1), slice(0, q.shape[2]), slice(None))
    unknown = np.flatnonzero(~used)
    if unknown.size:
        bytes_a_pixel = 2 * max(q.bytes_a_pixel, u.bytes_a_pixel)
        regions = cut_regions(
            q.shape[1:], granularity=q.granularity, bytes_a_pixel=bytes_a_pixel, memory_bytes=memory_bytes
        )
        found = pool.map(functools.partial(_look_through, q, u, unknown), regions, name="channels")
        used[unknown] = np.any(found, axis=0)
    return used & (weights > 0)


def _sampled_rows(rows: int) -> "list[int]":
    """Return the middle row first, where mosaics are filled, then some over all the sky."""
    return [rows // 2, *(rows * (2 * number + 1) // (2 * SAMPLED_ROWS) for number in range(SAMPLED_ROWS))]


def _look_through(q: CubeSource, u: CubeSource, channels: "np.ndarray", region: Region) -> "np.ndarray":
    """Return which of some channels have data in a region."""
    import numpy as np

    if q.spectral_last or u.spectral_last:  # reading one channel takes as long as reading all
        return _with_data(q, u, region.rows, region.cols, slice(None))[channels]
    return np.array(
        [_with_data(q, u, region.rows, region.cols, slice(chan, chan + 1))[0] for chan in channels.tolist()]
    )


def _with_data(q: CubeSource, u: CubeSource, rows: slice, cols: slice, chans: slice) -> "np.ndarray":
    import numpy as np

    finite = np.isfinite(q.read(rows, cols, chans)) & np.isfinite(u.read(rows, cols, chans))
    return finite.any(axis=(1, 2))
