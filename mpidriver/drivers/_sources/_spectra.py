"""The source driver's first half: spectra of catalogued components, straight from the channel images.

Scatter the cells of the sky; a cell scatters its channels. Each rank cuts every component of the cell out of the beams'
images of one channel, takes the ionosphere out, smooths them to the cell's common beam, joins the beams, and reads off
values, backgrounds and noise; the cell gathers them into spectra. Nothing in between is written, unless it is to be
kept.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mpidriver.drivers._quantum import Quantum
from mpidriver.drivers._sources._cell_layout import CellLayout, lay_out
from mpidriver.drivers._sources._cells import is_inside
from mpidriver.drivers._sources._channel_images import ChannelImage, described, read_windows
from mpidriver.drivers._sources._cubes import write_cutouts
from mpidriver.drivers._sources._spectrum_table import SPECTRUM_UNITS, spectrum_table
from mpidriver.drivers._stage import Context, Prepared, Record, Stage
from mpidriver.errors import DataError
from mpidriver.pool import current_pool
from mpidriver.store import COMPONENT_UNITS, write_table

if TYPE_CHECKING:
    import numpy as np

    from mpidriver.drivers._desk import Desk
    from mpidriver.tasks.polarisation import WindowMap

__all__ = ["STAGES", "measure_cell", "measure_channel"]


def measure_cell(
    context: Context, quantum: Quantum, *, targets: "np.ndarray", images: Sequence[ChannelImage]
) -> Record:
    """Write the spectra of the components of one cell.

    Parameters
    ----------
    context, quantum
        The cell.
    targets
        Rows of the components.
    images
        The channel images that hold any of them, by frequency.
    """
    import numpy as np

    layout = lay_out(context, targets, images)
    channels = [list(group) for _, group in itertools.groupby(images, key=lambda image: image.freq_hz)]
    measured = current_pool().map(functools.partial(measure_channel, context, layout), channels)
    freq_hz = np.array([group[0].freq_hz for group in channels])
    values = np.stack([values for values, _ in measured], axis=1)
    table = spectrum_table(layout, targets, images, freq_hz, values, noise_clip=context.config.sources.noise_clip)
    units = {**COMPONENT_UNITS, **SPECTRUM_UNITS}
    written = write_table(context.path("source_spectra", quantum), table, units=units)
    products = [context.product("source_spectra", written)]
    if context.config.sources.keeps_cutouts:
        products.append(write_cutouts(context, quantum, layout, targets, freq_hz, [cutouts for _, cutouts in measured]))
    return Record(products=tuple(products))


def measure_channel(
    context: Context, layout: CellLayout, images: Sequence[ChannelImage]
) -> "tuple[np.ndarray, np.ndarray | None]":
    """Return what one channel tells of each target of a cell.

    Returns
    -------
    values : ndarray of float32, shape (target, stokes, 3)
        Value, background and noise of I, Q, U.
    cutouts : ndarray of float32, shape (target, stokes, row, col), or None
        The joined beams, if they are to be kept.
    """
    import numpy as np

    from mpidriver.tasks.polarisation import Mosaic, extract_sources

    mosaic = Mosaic(len(layout.ra_deg), layout.grid)
    for image in images:
        _add_image(context, layout, image, mosaic)
    cutouts = mosaic.mean()
    values = np.stack(extract_sources(cutouts, layout.annulus), axis=-1)
    return values, cutouts if context.config.sources.keeps_cutouts else None


def _add_image(context: Context, layout: CellLayout, image: ChannelImage, mosaic: Any) -> None:
    """Add one beam's image of a channel to the mosaics of the targets that it shows."""
    import numpy as np

    from mpidriver.tasks.polarisation import (
        beam_area_ratio,
        correct_rotation,
        ionospheric_factor,
        resample_window,
        smooth_cutouts,
    )

    places = [(target, place) for target, place in enumerate(layout.places[image.wcs_header]) if place is not None]
    if not places:
        return
    path = context.repository.path("channel_frame", **image.data_id.arguments())
    windows, header = read_windows(path, 0, [place for _, place in places])
    stokes = np.stack(
        [resample_window(window, place, layout.grid) for window, (_, place) in zip(windows, places, strict=True)]
    )
    rotation = layout.rotations.get((image.data_id.exposure, image.data_id.detector))
    if rotation is not None:
        stokes = correct_rotation(stokes, ionospheric_factor(rotation, [image.freq_hz])[0])
    stokes = smooth_cutouts(stokes, image.beam_deg, layout.beam_deg, layout.grid)
    noise = np.sqrt(np.mean([header[f"NOISE_{letter}"] ** 2 for letter in "IQU"]))
    noise *= np.sqrt(beam_area_ratio(image.beam_deg, layout.beam_deg))
    middle = layout.grid.size_px // 2
    for (target, place), planes in zip(places, stokes, strict=True):
        factor, weight = _weights(context, layout, image, target, place, float(noise))
        # an image that is blank on the target must not lend its surroundings, whose noise is another
        if np.isfinite(planes[:, middle, middle]).all() and weight[middle, middle] > 0.0:
            mosaic.add(target, planes, factor, weight)


def _weights(
    context: Context, layout: CellLayout, image: ChannelImage, target: int, place: "WindowMap", noise: float
) -> "tuple[np.ndarray, np.ndarray]":
    """Return factor and weight of an image's pixels about a target; see `beam_weights`."""
    import numpy as np

    from mpidriver.tasks.polarisation import axis_distance_deg, beam_weights, primary_beam, resample_weights

    options = context.config.sources
    if options.primary_beam == "weights":
        if image.weight is None:
            raise DataError(f"{image.data_id}: no weight map; name it by `weight` in [polarimeter]")
        path, hdu = image.weight
        (window,), _ = read_windows(context.repository.resolve(path), hdu, [place])
        weight = resample_weights(window[0], place, layout.grid)
        return weight, weight
    if options.primary_beam == "none":
        response = np.ones((layout.grid.size_px, layout.grid.size_px))
    else:
        offset = axis_distance_deg(layout.grid, layout.ra_deg[target], layout.dec_deg[target], image.axis_deg)
        response = primary_beam(
            options.primary_beam, offset, image.freq_hz, dish_m=options.dish_m, fwhm_factor=options.fwhm_factor
        )
    corrected = options.corrected or options.primary_beam == "none"
    return beam_weights(response, noise, corrected=corrected, cutoff=options.cutoff)


def _prepare(desk: "Desk", quantum: Quantum, inputs: list[Quantum]) -> Prepared:
    import numpy as np

    from mpidriver.sphere import unit_vectors

    config = desk.context.config
    corrected = {_beam(source) for source in inputs if source.task == "ionosphere"}
    channels = [source for source in inputs if source.task == "channel_frame"]
    if config.ionosphere.kind != "none":
        channels = [source for source in channels if _beam(source) in corrected]
    if not channels:
        raise DataError("no channel image of this cell could be used: each or its ionosphere has failed")
    frames = [desk.frame(ids.exposure, ids.detector, ids.band) for ids in (source.data_id for source in channels)]
    images = sorted(map(described, frames), key=lambda image: (image.freq_hz, image.data_id.items()))
    rows = desk.cell_components(quantum.data_id.cell, config.sources.cell_deg)
    vectors, inside = unit_vectors(rows["ra"], rows["dec"]), np.zeros(len(rows), bool)
    for corners in {frame.corners.tobytes(): frame.corners for frame in frames}.values():
        inside |= is_inside(vectors, unit_vectors(*corners.T))
    targets = rows[inside]
    fingerprint = (targets.tobytes(), [repr(image) for image in images])
    return Prepared({"targets": targets, "images": images}, fingerprint)


def _beam(quantum: Quantum) -> tuple[int | None, int | None]:
    return quantum.data_id.exposure, quantum.data_id.detector


STAGES = {
    "source_spectra": Stage(
        measure_cell,
        options=lambda config: (config.sources, config.ionosphere),
        prepare=_prepare,
        seconds=5.0,
    )
}
