"""The layout of a cell's cut-outs: their common beam and pixels, where they lie on each image, and the ionosphere."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpidriver.drivers._sources._channel_images import ChannelImage
from mpidriver.drivers._stage import Context
from mpidriver.store import read_table, wcs_from_header

if TYPE_CHECKING:
    import numpy as np

    from mpidriver.tasks.polarisation import CutoutGrid, WindowMap

__all__ = ["CellLayout", "lay_out"]

#: Of a cut-out beyond the annulus, in FWHM of the common beam: what smoothing reaches.
SMOOTHING_MARGIN_BEAMS = 1.5


@dataclass(frozen=True)
class CellLayout:
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


def lay_out(context: Context, targets: "np.ndarray", images: Sequence[ChannelImage]) -> CellLayout:
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
    return CellLayout(targets["ra"], targets["dec"], grid, beam, annulus, places, _rotations(context, images))


def _rotations(context: Context, images: Sequence[ChannelImage]) -> "dict[tuple[int | None, int | None], np.ndarray]":
    """Read the ionosphere's RM of every exposure and beam."""
    if context.config.ionosphere.kind == "none":
        return {}
    beams = sorted({(image.data_id.exposure, image.data_id.detector) for image in images})  # type: ignore[type-var]
    paths = {beam: context.repository.path("ionosphere", exposure=beam[0], detector=beam[1]) for beam in beams}
    return {beam: read_table(path)["rm"] for beam, path in paths.items()}
