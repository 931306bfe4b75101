"""Channel images of beams: what ranks need to know of them, and windows about components read from their files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mpidriver.drivers._quantum import DataId
from mpidriver.drivers._sources._ionosphere import beam_centre
from mpidriver.errors import DataError
from mpidriver.store import physical_values, region_planes

if TYPE_CHECKING:
    import numpy as np

    from mpidriver.store import Frame
    from mpidriver.tasks.polarisation import WindowMap

__all__ = ["ChannelImage", "described", "read_windows"]


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


def described(frame: "Frame") -> ChannelImage:
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


def read_windows(path: Path, hdu: int, places: "Sequence[WindowMap]") -> "tuple[list[np.ndarray], Mapping[str, float]]":
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
