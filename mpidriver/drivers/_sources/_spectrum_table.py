"""The table of a cell's spectra: a row a component, with what observed it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mpidriver.drivers._sources._cell_layout import CellLayout
from mpidriver.drivers._sources._channel_images import ChannelImage

if TYPE_CHECKING:
    import numpy as np

__all__ = ["SPECTRUM_UNITS", "spectrum_table"]

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


def spectrum_table(
    layout: CellLayout,
    targets: "np.ndarray",
    images: Sequence[ChannelImage],
    freq_hz: "np.ndarray",
    values: "np.ndarray",
    *,
    noise_clip: float,
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
    _fill_observation(table, layout, images)
    table["freq"] = freq_hz
    values = values.copy()
    values[:, :, 1:, 2] = np.sqrt(np.mean(values[:, :, 1:, 2] ** 2, axis=2, keepdims=True))  # Q and U share their noise
    values[flag_channels(values[..., 2], clip=noise_clip)] = np.nan
    for number, stokes in enumerate("IQU"):
        for kind, end in enumerate(("", "_bkg", "_error")):
            table[f"stokes{stokes}{end}"] = values[:, :, number, kind]
    return table


def _fill_observation(table: "np.ndarray", layout: CellLayout, images: Sequence[ChannelImage]) -> None:
    """Write what observed each target, in place."""
    import numpy as np

    from mpidriver.sphere import angular_separation_deg, unit_vectors

    table["beam_maj"], table["beam_min"], table["beam_pa"] = layout.beam_deg
    at = unit_vectors(layout.ra_deg, layout.dec_deg)
    table["beamdist"] = np.inf
    spans: list[dict[int | None, tuple[float, float]]] = [{} for _ in table]
    for image in {(image.wcs_header, image.data_id.exposure): image for image in images}.values():
        distance = angular_separation_deg(at, unit_vectors(*image.axis_deg))
        for target, place in enumerate(layout.places[image.wcs_header]):
            if place is not None:
                table["beamdist"][target] = min(table["beamdist"][target], distance[target])
                spans[target][image.data_id.exposure] = (image.start_mjd, image.exptime_s)
    for image in images:
        table["n_images"] += [place is not None for place in layout.places[image.wcs_header]]
    for row, span in zip(table, spans, strict=True):
        starts, lengths = np.array(list(span.values())).T if span else np.full((2, 1), np.nan)
        ends = starts + lengths / 86400.0
        row["epoch"], row["int_time"] = np.mean(0.5 * (starts + ends)), lengths.sum()
        row["obs_interval"] = ends.max() - starts.min()
    table["beamdist"][~np.isfinite(table["beamdist"])] = np.nan
