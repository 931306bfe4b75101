"""What the single-frame stage takes and gives."""

import dataclasses
import enum
from typing import TYPE_CHECKING

import numpy as np

from mpidriver.tasks.image import MaskedImage
from mpidriver.tasks.single_frame._crosstalk import Coupling
from mpidriver.tasks.single_frame._linearity import Linearity

if TYPE_CHECKING:
    from astropy.wcs import WCS

__all__ = ["SOURCE_DTYPE", "SOURCE_UNITS", "Calibrations", "RawFrame", "ReducedFrame", "SourceFlag"]

#: One row of a frame's catalogue.
SOURCE_DTYPE = np.dtype(
    [
        ("x", "f8"),
        ("y", "f8"),
        ("x_err", "f4"),
        ("y_err", "f4"),
        ("ra", "f8"),
        ("dec", "f8"),
        ("flux_aper", "f8"),
        ("flux_aper_err", "f8"),
        ("flux_auto", "f8"),
        ("flux_auto_err", "f8"),
        ("peak", "f4"),
        ("fwhm_px", "f4"),
        ("ellipticity", "f4"),
        ("snr", "f4"),
        ("flags", "i4"),
        ("star", "?"),
    ]
)

#: Unit of each column of `SOURCE_DTYPE`.
SOURCE_UNITS = {
    "x": "pix",
    "y": "pix",
    "x_err": "pix",
    "y_err": "pix",
    "ra": "deg",
    "dec": "deg",
    "flux_aper": "electron",
    "flux_aper_err": "electron",
    "flux_auto": "electron",
    "flux_auto_err": "electron",
    "peak": "electron",
    "fwhm_px": "pix",
    "ellipticity": "",
    "snr": "",
    "flags": "",
    "star": "",
}


class SourceFlag(enum.IntFlag):
    """What is wrong with a source: the bits of the column ``flags``."""

    BLENDED = 1
    """Split off a common footprint with another source."""
    EDGE = 2
    """Footprint or aperture reaches over the edge of the frame or into pixels without data."""
    SATURATED = 4
    """A saturated pixel within one FWHM."""
    INTERPOLATED = 8
    """A bad pixel within one FWHM was interpolated."""
    COSMIC_RAY = 16
    """A cosmic ray was taken out within one FWHM."""
    CENTROID = 32
    """The windowed centroid failed; the isophotal one stands."""
    FLUX = 64
    """The aperture flux is not positive."""


@dataclasses.dataclass(frozen=True)
class RawFrame:
    """One detector of one exposure as it was read."""

    image: np.ndarray
    """Counts, shape (row, col), ADU; any numeric dtype; NaN for pixels without data."""
    wcs: "WCS | None" = None
    """Approximate WCS of `image`, or None if nothing is known."""
    gain: float = 1.0
    """e/ADU."""
    read_noise: float = 0.0
    """e."""
    saturation: float | None = None
    """Counts at and above which a pixel is saturated, ADU; if None or NaN, the end of an integer image's range."""
    exptime_s: float = 1.0
    """Exposure time, for the dark."""
    band: str = ""
    """Name of the band; reference magnitudes are taken from the column ``mag_<band>``."""
    mask: np.ndarray | None = None
    """Companion mask, shape (row, col): pixels that are not zero are bad."""
    weight: np.ndarray | None = None
    """Companion weight map 1/variance, shape (row, col), ADU^-2; 0 or NaN where bad."""
    zero_point_mag: float | None = None
    """Magnitude of 1 ADU in the whole exposure by the header, or None."""


@dataclasses.dataclass(frozen=True)
class Calibrations:
    """Calibration products of one detector; what is None is not applied.

    Regions are ``(x0, y0, x1, y1)`` in pixels of the raw image, half open.
    """

    overscan: tuple[int, int, int, int] | None = None
    """Region of the overscan, whose median (a row or a column of the strip) is subtracted."""
    science: tuple[int, int, int, int] | None = None
    """Region that is kept; the other products have its shape."""
    bias: np.ndarray | None = None
    """Shape (row, col), ADU."""
    detector: int = 0
    """Number of the detector, by which `couplings` name it."""
    couplings: tuple[Coupling, ...] = ()
    """What its amplifiers record of each other; couplings to other detectors are left to `spill`."""
    spill: np.ndarray | None = None
    """What it records of other detectors, shape (row, col), ADU."""
    linearity: Linearity | None = None
    """How counts above the bias are brought into proportion to the light."""
    dark: np.ndarray | None = None
    """Shape (row, col), ADU/s."""
    flat: np.ndarray | None = None
    """Shape (row, col), response about 1; pixels that are not positive are bad."""
    defects: np.ndarray | None = None
    """Shape (row, col): pixels that are not zero are bad."""
    fringe: np.ndarray | None = None
    """Shape (row, col), the fringe pattern in units of the sky; NaN where it is not known."""
    sky: np.ndarray | None = None
    """Shape (row, col), the pattern on larger scales in units of the sky, about 0; NaN where it is not known."""


@dataclasses.dataclass(frozen=True)
class ReducedFrame:
    """A clean frame with what was measured on it."""

    image: MaskedImage
    """Electrons above the sky with variance and mask, shape (row, col)."""
    catalogue: np.ndarray
    """Sources, `SOURCE_DTYPE`, brightest first."""
    wcs: "WCS | None"
    """Refined WCS, or that of the raw frame."""
    zero_point_mag: float
    """Magnitude of 1 electron in the whole exposure."""
    quality: dict[str, float]
    """Figures of the frame; NaN for what could not be measured."""
    corners: np.ndarray
    """Outer corners of the frame, shape (4, 2): ra, dec in deg; NaN without WCS."""
    notes: tuple[str, ...] = ()
    """What could not be done, in words."""
