"""The source driver's first half: spectra of catalogued components, straight from the channel images.

Scatter the cells of the sky; a cell scatters its channels. Each rank cuts every component of the cell out of the beams'
images of one channel, takes the ionosphere out, smooths them to the cell's common beam, joins the beams, and reads off
values, backgrounds and noise; the cell gathers them into spectra. Nothing in between is written, unless it is to be
kept.
"""

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpidriver.drivers._quantum import DataId, Quantum
from mpidriver.drivers._sources._cells import is_inside
from mpidriver.drivers._sources._ionosphere import beam_centre
from mpidriver.drivers._stage import Context, Prepared, Record, Stage
from mpidriver.errors import DataError
from mpidriver.pool import current_pool
from mpidriver.store import (
    COMPONENT_UNITS,
    physical_values,
    read_table,
    region_planes,
    wcs_from_header,
    write_images,
    write_table,
)

if TYPE_CHECKING:
    import numpy as np

    from mpidriver.drivers._desk import Desk
    from mpidriver.store import Frame, Product
    from mpidriver.tasks.polarisation import CutoutGrid, WindowMap

__all__ = ["SPECTRUM_UNITS", "STAGES", "measure_cell", "measure_channel"]

#: Columns of a cell's spectra beside those of the components; the last ones have a value a channel.
SPECTRUM_UNITS = {
    "n_images": "",
    "beamdist": "deg",
    "epoch": "d",
    "int_time": "s",
    "obs_interval": "d",
    "beam_maj": "deg",
    "beam_min": "deg",
    "beam_pa": "deg",
    "freq": "Hz",
    **{f"stokes{stokes}{end}": "Jy/beam" for stokes in "IQU" for end in ("", "_error", "_bkg")},
}
#: Of a cut-out beyond the annulus, in FWHM of the common beam: what smoothing reaches.
SMOOTHING_MARGIN_BEAMS = 1.5


@dataclass(frozen=True)
class ChannelImage:
    """The Stokes image of one beam in one channel, as ranks need to know it."""

    data_id: DataId
    """Exposure, beam and channel."""
    freq_hz: float
    """Middle of the channel."""
    beam_deg: tuple[float, float, float]
    """Synthesised beam."""
    wcs_header: str
    """Coordinates, FITS header text."""
    shape: tuple[int, int]
    """Rows and columns."""
    axis_deg: tuple[float, float]
    """Where the beam points."""
    weight: tuple[str, int] | None
    """File and HDU of its map of inverse variance."""
    start_mjd: float
    """Start of the exposure."""
    exptime_s: float
    """Its length."""


@dataclass(frozen=True)
class CellWork:
    """What the channels of a cell share."""

    ra_deg: "np.ndarray"
    """Shape (target,)."""
    dec_deg: "np.ndarray"
    """Shape (target,)."""
    grid: "CutoutGrid"
    """Pixels of the cut-outs."""
    beam_deg: "np.ndarray"
    """The common beam, shape (3,)."""
    annulus: "np.ndarray"
    """Pixels of background and noise, bool (row, col)."""
    places: "dict[str, list[WindowMap | None]]"
    """Header text of an image to where each target lies on it."""
    rotations: "dict[tuple[int | None, int | None], np.ndarray]"
    """Exposure and beam to the ionosphere's RM through the exposure; empty where nothing is corrected."""


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

    work = _lay_out(context, targets, images)
    channels = [list(group) for _, group in itertools.groupby(images, key=lambda image: image.freq_hz)]
    measured = current_pool().map(functools.partial(measure_channel, context, work), channels)
    freq_hz = np.array([group[0].freq_hz for group in channels])
    table = _spectra(context, work, targets, images, freq_hz, np.stack([values for values, _ in measured], axis=1))
    units = {**COMPONENT_UNITS, **SPECTRUM_UNITS}
    written = write_table(context.path("source_spectra", quantum), table, units=units)
    products = [context.product("source_spectra", written)]
    if context.config.sources.keeps_cutouts:
        products.append(_write_cutouts(context, quantum, work, targets, freq_hz, [cutouts for _, cutouts in measured]))
    return Record(products=tuple(products))


def measure_channel(
    context: Context, work: CellWork, images: Sequence[ChannelImage]
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

    mosaic = Mosaic(len(work.ra_deg), work.grid)
    for image in images:
        _add_image(context, work, image, mosaic)
    cutouts = mosaic.mean()
    values = np.stack(extract_sources(cutouts, work.annulus), axis=-1)
    return values, cutouts if context.config.sources.keeps_cutouts else None


def _add_image(context: Context, work: CellWork, image: ChannelImage, mosaic: Any) -> None:
    """Add one beam's image of a channel to the mosaics of the targets that it shows."""
    import numpy as np

    from mpidriver.tasks.polarisation import (
        beam_area_ratio,
        correct_rotation,
        ionospheric_factor,
        resample_window,
        smooth_cutouts,
    )

    places = [(target, place) for target, place in enumerate(work.places[image.wcs_header]) if place is not None]
    if not places:
        return
    path = context.repository.path("channel_frame", **image.data_id.arguments())
    windows, header = _windows(path, 0, [place for _, place in places])
    stokes = np.stack(
        [resample_window(window, place, work.grid) for window, (_, place) in zip(windows, places, strict=True)]
    )
    rotation = work.rotations.get((image.data_id.exposure, image.data_id.detector))
    if rotation is not None:
        stokes = correct_rotation(stokes, ionospheric_factor(rotation, [image.freq_hz])[0])
    stokes = smooth_cutouts(stokes, image.beam_deg, work.beam_deg, work.grid)
    noise = np.sqrt(np.mean([header[f"NOISE_{letter}"] ** 2 for letter in "IQU"]))
    noise *= np.sqrt(beam_area_ratio(image.beam_deg, work.beam_deg))
    middle = work.grid.size_px // 2
    for (target, place), planes in zip(places, stokes, strict=True):
        factor, weight = _weights(context, work, image, target, place, float(noise))
        # an image that is blank on the target must not lend its surroundings, whose noise is another
        if np.isfinite(planes[:, middle, middle]).all() and weight[middle, middle] > 0.0:
            mosaic.add(target, planes, factor, weight)


def _windows(path: Path, hdu: int, places: "Sequence[WindowMap]") -> "tuple[list[np.ndarray], Mapping[str, float]]":
    """Read windows of an image, each (plane, row, col), and the noise that its header tells."""
    import numpy as np

    with region_planes(path) as planes:
        plane = next((plane for plane in planes if plane.number == hdu), None)
        if plane is None:
            raise DataError(f"{path}[{hdu}]: expected an image")
        stored = plane.read([(place.rows, place.cols) for place in places])
        windows = [physical_values(box, plane.header).astype(np.float32) for box in stored]
        names = [f"NOISE_{letter}" for letter in "IQU"]
        noise = {name: float(plane.header.get(name)) for name in names if name in plane.header}
    return [window.reshape(-1, *window.shape[-2:]) for window in windows], noise


def _weights(
    context: Context, work: CellWork, image: ChannelImage, target: int, place: "WindowMap", noise: float
) -> "tuple[np.ndarray, np.ndarray]":
    """Return factor and weight of an image's pixels about a target; see `beam_weights`."""
    import numpy as np

    from mpidriver.tasks.polarisation import axis_distance_deg, beam_weights, primary_beam, resample_window

    options = context.config.sources
    if options.primary_beam == "weights":
        if image.weight is None:
            raise DataError(f"{image.data_id}: no weight map; name it by `weight` in [polarimeter]")
        path, hdu = image.weight
        (window,), _ = _windows(context.repository.resolve(path), hdu, [place])
        inverse_variance = resample_window(window[:1], place, work.grid)[0]
        weight = np.maximum(np.nan_to_num(inverse_variance), 0.0)
        return weight, weight
    if options.primary_beam == "none":
        response = np.ones((work.grid.size_px, work.grid.size_px))
    else:
        offset = axis_distance_deg(work.grid, work.ra_deg[target], work.dec_deg[target], image.axis_deg)
        response = primary_beam(
            options.primary_beam, offset, image.freq_hz, dish_m=options.dish_m, fwhm_factor=options.fwhm_factor
        )
    corrected = options.corrected or options.primary_beam == "none"
    return beam_weights(response, noise, corrected=corrected, cutoff=options.cutoff)


def _lay_out(context: Context, targets: "np.ndarray", images: Sequence[ChannelImage]) -> CellWork:
    """Decide the common beam and the pixels of a cell's cut-outs, and find them on its images."""
    import numpy as np
    from astropy.wcs.utils import proj_plane_pixel_scales

    from mpidriver.tasks.polarisation import CutoutGrid, annulus_mask, common_beam, map_window

    options = context.config.sources
    if options.resolution_arcsec:
        major, minor = options.resolution_arcsec
        beam = np.array([major / 3600, minor / 3600, options.resolution_pa_deg])
    else:
        beam = common_beam([image.beam_deg for image in images])
    coordinates = {image.wcs_header: image for image in images}
    systems = {text: wcs_from_header(text) for text in coordinates}
    pixel = min(float(proj_plane_pixel_scales(wcs).min()) for wcs in systems.values())
    half = int(np.ceil((options.annulus_beams[1] + SMOOTHING_MARGIN_BEAMS) * beam[0] / pixel))
    grid = CutoutGrid(2 * half + 1, pixel)
    positions = list(zip(targets["ra"].tolist(), targets["dec"].tolist(), strict=True))
    places = {
        text: [map_window(systems[text], image.shape, *position, grid) for position in positions]
        for text, image in coordinates.items()
    }
    annulus = annulus_mask(grid, beam, options.annulus_beams)
    return CellWork(targets["ra"], targets["dec"], grid, beam, annulus, places, _rotations(context, images))


def _rotations(context: Context, images: Sequence[ChannelImage]) -> "dict[tuple[int | None, int | None], np.ndarray]":
    """Read the ionosphere's RM of every exposure and beam."""
    if context.config.ionosphere.kind == "none":
        return {}
    beams = sorted({(image.data_id.exposure, image.data_id.detector) for image in images})  # type: ignore[type-var]
    paths = {beam: context.repository.path("ionosphere", exposure=beam[0], detector=beam[1]) for beam in beams}
    return {beam: read_table(path)["rm"] for beam, path in paths.items()}


def _spectra(
    context: Context,
    work: CellWork,
    targets: "np.ndarray",
    images: Sequence[ChannelImage],
    freq_hz: "np.ndarray",
    values: "np.ndarray",
) -> "np.ndarray":
    """Return the table of a cell's spectra from values (target, chan, stokes, value|background|noise)."""
    import numpy as np

    from mpidriver.tasks.polarisation import flag_channels

    kinds = [(name, targets.dtype[name]) for name in targets.dtype.names or ()]
    kinds += [(name, "i4" if name == "n_images" else "f8") for name in SPECTRUM_UNITS if not name.startswith("stokes")]
    vectors = [(name, "f4", (len(freq_hz),)) for name in SPECTRUM_UNITS if name.startswith("stokes")]
    kinds = [(name, kind, (len(freq_hz),)) if name == "freq" else (name, kind) for name, kind in kinds]
    table = np.zeros(len(targets), dtype=[*kinds, *vectors])
    for name in targets.dtype.names or ():
        table[name] = targets[name]
    _fill_observation(table, work, images)
    table["freq"] = freq_hz
    values = values.copy()
    values[:, :, 1:, 2] = np.sqrt(np.mean(values[:, :, 1:, 2] ** 2, axis=2, keepdims=True))  # Q and U share their noise
    values[flag_channels(values[..., 2], clip=context.config.sources.noise_clip)] = np.nan
    for number, stokes in enumerate("IQU"):
        for kind, end in enumerate(("", "_bkg", "_error")):
            table[f"stokes{stokes}{end}"] = values[:, :, number, kind]
    return table


def _fill_observation(table: "np.ndarray", work: CellWork, images: Sequence[ChannelImage]) -> None:
    """Write what observed each target, in place."""
    import numpy as np

    from mpidriver.sphere import angular_separation_deg, unit_vectors

    table["beam_maj"], table["beam_min"], table["beam_pa"] = work.beam_deg
    at = unit_vectors(work.ra_deg, work.dec_deg)
    table["beamdist"] = np.inf
    spans: list[dict[int | None, tuple[float, float]]] = [{} for _ in table]
    for image in {(image.wcs_header, image.data_id.exposure): image for image in images}.values():
        distance = angular_separation_deg(at, unit_vectors(*image.axis_deg))
        for target, place in enumerate(work.places[image.wcs_header]):
            if place is not None:
                table["beamdist"][target] = min(table["beamdist"][target], distance[target])
                spans[target][image.data_id.exposure] = (image.start_mjd, image.exptime_s)
    for image in images:
        table["n_images"] += [place is not None for place in work.places[image.wcs_header]]
    for row, span in zip(table, spans, strict=True):
        starts, lengths = np.array(list(span.values())).T if span else np.full((2, 1), np.nan)
        ends = starts + lengths / 86400.0
        row["epoch"], row["int_time"] = np.mean(0.5 * (starts + ends)), lengths.sum()
        row["obs_interval"] = ends.max() - starts.min()
    table["beamdist"][~np.isfinite(table["beamdist"])] = np.nan


def _write_cutouts(
    context: Context,
    quantum: Quantum,
    work: CellWork,
    targets: "np.ndarray",
    freq_hz: "np.ndarray",
    cutouts: "list[Any]",
) -> "Product":
    """Write the joined cubes (stokes, chan, row, col) of a cell's targets, an extension each."""
    import numpy as np

    from mpidriver.tasks.polarisation import cutout_wcs

    planes = np.stack(cutouts, axis=2)  # (target, stokes, chan, row, col)
    major, minor, pa = work.beam_deg
    header = {"CTYPE3": "CHANNEL", "CTYPE4": "STOKES", "CRPIX4": 1.0, "CRVAL4": 1.0, "CDELT4": 1.0}
    header |= {"BUNIT": "Jy/beam", "BMAJ": float(major), "BMIN": float(minor), "BPA": float(pa)}
    header |= {f"FREQ{number:04d}": float(value) for number, value in enumerate(freq_hz, start=1)}
    extensions = (
        (str(row["cat_id"]), planes[number], cutout_wcs(row["ra"], row["dec"], work.grid), header)
        for number, row in enumerate(targets)
    )
    return context.product("source_cutouts", write_images(context.path("source_cutouts", quantum), extensions))


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
    images = sorted(map(_described, frames), key=lambda image: (image.freq_hz, image.data_id.items()))
    rows = desk.cell_components(quantum.data_id.cell, config.sources.cell_deg)
    vectors, inside = unit_vectors(rows["ra"], rows["dec"]), np.zeros(len(rows), bool)
    for corners in {frame.corners.tobytes(): frame.corners for frame in frames}.values():
        inside |= is_inside(vectors, unit_vectors(*corners.T))
    targets = rows[inside]
    fingerprint = (targets.tobytes().hex(), [repr(image) for image in images])
    return Prepared({"targets": targets, "images": images}, fingerprint)


def _beam(quantum: Quantum) -> tuple[int | None, int | None]:
    return quantum.data_id.exposure, quantum.data_id.detector


def _described(frame: "Frame") -> ChannelImage:
    """Return what ranks need to know of a frame."""
    nan = float("nan")
    beam = tuple(float(frame.metadata.get(name, nan)) for name in ("bmaj_deg", "bmin_deg", "bpa_deg"))
    return ChannelImage(
        data_id=DataId(exposure=frame.exposure, detector=frame.detector, band=frame.band),
        freq_hz=float(frame.metadata["freq_hz"]),
        beam_deg=beam,  # type: ignore[arg-type]
        wcs_header=str(frame.wcs_header),
        shape=(frame.shape[-2], frame.shape[-1]),
        axis_deg=beam_centre(frame),
        weight=None if frame.weight_path is None else (frame.weight_path, frame.weight_hdu),
        start_mjd=nan if frame.mjd is None else frame.mjd,
        exptime_s=nan if frame.exptime_s is None else frame.exptime_s,
    )


STAGES = {
    "source_spectra": Stage(
        measure_cell,
        options=lambda config: (config.sources, config.ionosphere),
        prepare=_prepare,
        seconds=5.0,
    )
}
