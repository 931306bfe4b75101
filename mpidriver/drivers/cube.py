"""The first stages of the Faraday driver: channel images are checked, and become cubes on the patches.

Scatter the channel images; each rank blanks what is no measurement and measures the noise of one. Scatter the patches;
a patch scatters its channels, and each rank brings one channel's beams onto the patch and joins them; the patch gathers
them into cubes.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mpidriver.drivers._quantum import DataId, Quantum
from mpidriver.drivers._stage import Context, Prepared, Record, Stage
from mpidriver.errors import DataError
from mpidriver.pool import current_pool
from mpidriver.store import FrameUpdate, jy_per_beam, read_image, read_raw, wcs_from_header, write_image, write_table

if TYPE_CHECKING:
    import numpy as np

    from mpidriver.drivers._desk import Desk
    from mpidriver.store import Frame

__all__ = ["STAGES", "STOKES", "check_channel", "combine_beams", "make_cube"]

#: Planes of a patch's cube: Stokes parameters, and the variance of each of Q and U.
STOKES = ("I", "Q", "U", "V_QU")


def check_channel(context: Context, quantum: Quantum, *, frame: "Frame") -> Record:
    """Write one channel image as I, Q, U in Jy/beam, blank where no measurement can be, and measure their noise."""
    import numpy as np

    from mpidriver.tasks.faraday import channel_noise

    pixels, _ = read_raw(context.repository.root / frame.path, frame.hdu)
    stored = np.asarray(pixels).reshape(-1, *pixels.shape[-2:])
    factor = np.float32(jy_per_beam(frame.metadata["unit"]))
    planes = factor * stored[[frame.metadata["stokes"].index(letter) for letter in "IQU"]].astype(np.float32)
    planes[:, ~np.isfinite(planes).all(axis=0) | (planes == 0.0).all(axis=0)] = np.nan
    noise = channel_noise(planes)
    if not np.all(noise > 0.0):
        raise DataError(f"empty frame: I, Q and U hold no signal, their noise is {', '.join(f'{n:g}' for n in noise)}")
    wcs = wcs_from_header(frame.wcs_header)
    header = {f"NOISE_{stokes}": float(value) for stokes, value in zip("IQU", noise, strict=True)}
    header |= {"FREQ": frame.metadata["freq_hz"], "CTYPE3": "STOKES", "BUNIT": "Jy/beam"}
    written = write_image(context.path("channel_frame", quantum), planes, wcs=wcs, header=header)
    quality = {f"noise_{stokes}_jy": float(value) for stokes, value in zip("iqu", noise, strict=True)}
    return Record(
        products=(context.product("channel_frame", written),),
        frame=FrameUpdate(*frame.key, wcs_header=frame.wcs_header, corners=frame.corners, quality=quality),
    )


def make_cube(context: Context, quantum: Quantum, *, channels: Sequence[tuple[float, list[DataId]]]) -> Record:
    """Bring every channel's beams onto one patch and stack the channels into Stokes cubes.

    Parameters
    ----------
    context, quantum
        The patch.
    channels
        Frequency in Hz and the beams' data ids of each channel, by frequency.
    """
    import numpy as np

    planes = current_pool().map(functools.partial(combine_beams, context, quantum), [ids for _, ids in channels])
    cube = np.stack(planes)  # (chan, stokes, row, col)
    wcs = context.patch(quantum).wcs(binning=context.config.faraday.binning)
    products = []
    for number, stokes in enumerate(STOKES):
        path = context.path("cube", quantum, stokes=stokes)
        unit = "(Jy/beam)2" if stokes == "V_QU" else "Jy/beam"
        written = write_image(path, cube[:, number], wcs=wcs, header={"CTYPE3": "CHANNEL", "BUNIT": unit})
        products.append(context.product("cube", written))
    frequencies = np.array([(freq_hz,) for freq_hz, _ in channels], dtype=[("freq", "f8")])
    path = context.path("faraday", quantum, name="channels")
    products.append(context.product("faraday", write_table(path, frequencies, units={"freq": "Hz"})))
    return Record(products=tuple(products))


def combine_beams(context: Context, quantum: Quantum, beams: Sequence[DataId]) -> "np.ndarray":
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
    for beam in beams:
        stokes, variance = _on_patch(context, quantum, beam, shape)
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
    context: Context, quantum: Quantum, beam: DataId, shape: tuple[int, int]
) -> "tuple[np.ndarray, np.ndarray]":
    """Return a beam's I, Q, U on a patch and the variance of its Q and U there.

    Brightness in Jy/beam belongs to the beam, not the pixel, so that the flux that the warp conserves is undone.
    """
    import numpy as np
    from astropy.wcs.utils import proj_plane_pixel_area

    from mpidriver.tasks.warp import warp

    image, header = read_image(context.repository.path("channel_frame", **beam.arguments()))
    variance = np.full(image.shape[1:], (header["NOISE_Q"] ** 2 + header["NOISE_U"] ** 2) / 2, dtype=np.float32)
    wcs_in = wcs_from_header(header).celestial
    wcs_out = context.patch(quantum).wcs(binning=context.config.faraday.binning)
    scale = proj_plane_pixel_area(wcs_in) / proj_plane_pixel_area(wcs_out)
    warped = warp(image, wcs_in, wcs_out, shape, variance=variance, scale=scale, options=context.config.warp)
    return warped.image, warped.variance[1]


def _prepare_channel(desk: "Desk", quantum: Quantum, inputs: list[Quantum]) -> Prepared:
    ids = quantum.data_id
    frame = desk.frame(ids.exposure, ids.detector, ids.band)
    header = (frame.wcs_header, frame.metadata["stokes"], frame.metadata["unit"])
    return Prepared({"frame": frame}, (frame.digest, *header), ((frame.path, frame.digest),))


def _prepare_cube(desk: "Desk", quantum: Quantum, inputs: list[Quantum]) -> Prepared:
    frames = [desk.frame(ids.exposure, ids.detector, ids.band) for ids in (source.data_id for source in inputs)]
    frames.sort(key=lambda frame: (frame.metadata["freq_hz"], frame.key))
    channels = [
        (freq_hz, [DataId(exposure=e, detector=d, band=b) for e, d, b in (frame.key for frame in group)])
        for freq_hz, group in itertools.groupby(frames, key=lambda frame: frame.metadata["freq_hz"])
    ]
    return Prepared({"channels": channels})


STAGES: dict[str, Stage] = {
    "channel_frame": Stage(check_channel, options=lambda config: (), prepare=_prepare_channel, seconds=0.1),
    "cube": Stage(
        make_cube,
        options=lambda config: (config.warp, config.skymap, config.faraday.binning),
        prepare=_prepare_cube,
        seconds=4.0,
    ),
}
