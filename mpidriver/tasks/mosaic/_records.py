"""What the mosaic takes and gives."""

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from astropy.wcs import WCS

__all__ = ["FrameSolution", "FrameSources", "MosaicSolution"]


@dataclass(frozen=True)
class FrameSources:
    """The stars of one frame with the frame's own solution."""

    exposure: int
    detector: int
    band: str
    wcs: "WCS"
    """Input WCS, right to within the search radius."""
    shape: tuple[int, int]
    """Rows and columns of the frame."""
    zero_point_mag: float
    """Input magnitude of one electron; NaN if not known."""
    sources: np.ndarray
    """Stars, structured: x, y, x_err, y_err (pixel), flux_aper, flux_aper_err (electron), snr."""
    mjd: float = np.nan
    """When it was taken; NaN if not known, and then reference stars do not move for it."""


@dataclass(frozen=True)
class FrameSolution:
    """Where one frame lies on the sky and how bright one of its electrons is."""

    exposure: int
    detector: int
    band: str
    shape: tuple[int, int]
    """Rows and columns."""
    wcs: "WCS"
    """TAN or TAN-SIP; the input WCS where the frame is not matched."""
    zero_point_mag: float
    """Magnitude of one electron, the mean over the frame; the input where the frame is not matched."""
    n_stars: int
    """Stars in common with other frames or the reference that the solution uses."""
    astrometric_rms_mas: float
    """Error-weighted rms of one coordinate about the stars' positions, mas; NaN if not matched."""
    photometric_rms_mmag: float
    """Error-weighted rms about the stars' magnitudes, mmag; NaN if not matched."""
    matched: bool
    """Whether the solution rests on stars in common with other frames or the reference."""
    reason: str = ""
    """Why the frame is not matched."""
    misplaced: bool = False
    """Whether it has stars that contradict those of overlapping frames or the reference: its position is wrong."""
    flat_mag: tuple[float, ...] = ()
    """What is to be added to the zero point over the frame, for `flat_magnitudes`; empty where it is not matched."""
    group: int = 0
    """Number of the frames that hang together by common stars or the reference."""
    wcs_residual_mas: float = 0.0
    """Largest error of `wcs` against the solution that it stands for, mas."""

    def as_dict(self) -> dict[str, Any]:
        """Return the record without its WCS, as plain values."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "wcs"}


@dataclass(frozen=True)
class Summary:
    """Figures of a whole solution; NaN for what could not be measured."""

    n_frames: int = 0
    """Frames that are matched."""
    n_stars: int = 0
    """Stars that tie frames to each other or to the reference."""
    n_matches: int = 0
    """Measurements of those stars that the solution uses."""
    n_reference: int = 0
    """Stars among them that are tied to the reference catalogue."""
    astrometric_rms_mas: float = np.nan
    """Error-weighted rms of one coordinate about the stars' positions, mas."""
    validation_rms_mas: float = np.nan
    """The same for stars that were kept out of the solution."""
    reference_rms_mas: float = np.nan
    """Error-weighted rms of one coordinate of the reference about the stars' positions, mas."""
    photometric_rms_mmag: float = np.nan
    """Error-weighted rms about the stars' magnitudes, mmag."""


@dataclass(frozen=True)
class MosaicSolution(Summary):
    """The solution of one tract."""

    frames: tuple[FrameSolution, ...] = ()
    """One for each input frame, in the order of the input."""

    def summary(self) -> dict[str, Any]:
        """Return the figures and, under ``frames``, one dictionary a frame, all plain values."""
        figures = {field.name: getattr(self, field.name) for field in fields(Summary)}
        return figures | {"frames": [frame.as_dict() for frame in self.frames]}

    @classmethod
    def of(cls, summary: Summary, frames: list[FrameSolution]) -> "MosaicSolution":
        """Return the figures with their frames."""
        return cls(**asdict(summary), frames=tuple(frames))
