"""The cube stage of the Faraday driver: Stokes channel images become cubes on the patches.

Scatter the patches; a patch scatters its channels, and each rank brings one channel's beams onto the patch and joins
them; the patch gathers them into cubes.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mpidriver.drivers._quantum import Quantum
from mpidriver.drivers._stage import Context, Prepared, Record, Stage
from mpidriver.pool import current_pool
from mpidriver.store import read_raw, wcs_from_header, write_image, write_table

if TYPE_CHECKING:
    import numpy as np

    from mpidriver.drivers._desk import Desk
    from mpidriver.store import Frame

__all__ = ["STAGES", "STOKES", "combine_beams", "make_cube"]

#: Planes of a patch's cube: Stokes parameters, and the variance of each of Q and U.
STOKES = ("I", "Q", "U", "V_QU")


def make_cube(context: Context, quantum: Quantum, *, channels: Sequence["tuple[Frame, ...]"]) -> Record:
    """Bring every channel's beams onto one patch and stack the channels into Stokes cubes."""
    import numpy as np

    planes = current_pool().map(functools.partial(combine_beams, context, quantum), channels)
    cube = np.stack(planes)  # (chan, stokes, row, col)
    wcs = context.patch(quantum).wcs(binning=context.config.faraday.binning)
    products = []
    for number, stokes in enumerate(STOKES):
        path = context.path("cube", quantum, stokes=stokes)
        unit = "(Jy/beam)2" if stokes == "V_QU" else "Jy/beam"
        written = write_image(path, cube[:, number], wcs=wcs, header={"CTYPE3": "CHANNEL", "BUNIT": unit})
        products.append(context.product("cube", written))
    frequencies = np.array([(frames[0].metadata["freq_hz"],) for frames in channels], dtype=[("freq", "f8")])
    path = context.path("faraday", quantum, name="channels")
    products.append(context.product("faraday", write_table(path, frequencies, units={"freq": "Hz"})))
    return Record(products=tuple(products))


def combine_beams(context: Context, quantum: Quantum, frames: "tuple[Frame, ...]") -> "np.ndarray":
    """Return one channel on a patch: the beams' mean, each weighted by its inverse variance.

    Returns
    -------
    ndarray of float32, shape (stokes, row, col)
        I, Q, U in Jy/beam and the variance of Q and U; NaN where no beam reaches.
    """
    import numpy as np

    shape = context.patch(quantum).shape(binning=context.config.faraday.binning)
    total = np.zeros((len(STOKES), *shape))
    weights = np.zeros(shape)
    for frame in frames:
        stokes, variance = _on_patch(context, quantum, frame, shape)
        weight = np.where(np.isfinite(stokes).all(axis=0), 1.0 / variance, 0.0)
        used = weight > 0.0
        weights += weight
        total[:3, used] += (weight * stokes)[:, used]
        total[3, used] += (weight**2 * variance)[used]
    with np.errstate(invalid="ignore", divide="ignore"):
        total[:3] /= weights
        total[3] /= weights**2
    return total.astype(np.float32)


def _on_patch(
    context: Context, quantum: Quantum, frame: "Frame", shape: tuple[int, int]
) -> "tuple[np.ndarray, np.ndarray]":
    """Return a beam's I, Q, U on a patch and the variance of its Q and U there.

    Brightness in Jy/beam belongs to the beam, not the pixel, so that the flux that the warp conserves is undone.
    """
    import numpy as np
    from astropy.wcs.utils import proj_plane_pixel_area

    from mpidriver.tasks.warp import warp

    pixels, _ = read_raw(context.repository.root / frame.path, frame.hdu)
    image = np.asarray(pixels, dtype=np.float32).reshape(-1, *pixels.shape[-2:])[:3]
    variance = np.full(image.shape[1:], _noise_variance(image[1:3]), dtype=np.float32)
    wcs_in = wcs_from_header(frame.wcs_header)
    wcs_out = context.patch(quantum).wcs(binning=context.config.faraday.binning)
    scale = proj_plane_pixel_area(wcs_in) / proj_plane_pixel_area(wcs_out)
    warped = warp(image, wcs_in, wcs_out, shape, variance=variance, scale=scale, options=context.config.warp)
    return warped.image, warped.variance[1]


def _noise_variance(planes: "np.ndarray") -> float:
    """Return the noise variance of Q and U from their median absolute deviation, which sources hardly touch."""
    import numpy as np

    values = planes[np.isfinite(planes)]
    if not values.size:
        return np.nan
    return float((1.4826 * np.median(np.abs(values - np.median(values)))) ** 2)


def _prepare(desk: "Desk", quantum: Quantum, inputs: list[Quantum]) -> Prepared:
    patch = desk.context.tract(quantum).patch(quantum.data_id.patch)
    frames = desk.channels(patch.corners_xyz)
    channels = [tuple(group) for _, group in itertools.groupby(frames, key=lambda frame: frame.band)]
    return Prepared({"channels": channels}, tuple(frame.digest for frame in frames))


STAGES = {
    "cube": Stage(
        make_cube,
        options=lambda config: (config.warp, config.skymap, config.faraday.binning),
        prepare=_prepare,
        seconds=4.0,
    )
}
