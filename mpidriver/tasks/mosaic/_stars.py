"""The stars of one frame that the mosaic uses."""

from dataclasses import dataclass

import numpy as np

from mpidriver.tasks.mosaic._flat import flat_terms
from mpidriver.tasks.mosaic._options import MosaicOptions
from mpidriver.tasks.mosaic._records import FrameSources
from mpidriver.tasks.skymap import TangentPlane

__all__ = ["FrameStars", "choose_stars", "unit_square"]

#: Centroid error of a star whose catalogue has none, pixel.
UNKNOWN_ERROR_PX = 0.1


@dataclass(frozen=True)
class FrameStars:
    """Stars of one frame, the brightest first, in the plane that all frames share."""

    position: np.ndarray
    """By the input WCS, shape (n, 2), arcsec."""
    sigma: np.ndarray
    """Error of one coordinate, shape (n,), arcsec."""
    place: np.ndarray
    """Where on the frame, about -1..1 from its centre, shape (n, 2)."""
    linear_map: np.ndarray
    """Where the frame's centre lies, and the steps by one unit of `place`, complex, shape (3,), arcsec."""
    place_per_arcsec: np.ndarray
    """How `place` changes with `position`, shape (2, 2): ``place += shift @ place_per_arcsec``."""
    magnitude: np.ndarray
    """-2.5 log10 of the electrons, shape (n,)."""
    magnitude_error: np.ndarray
    """Shape (n,)."""
    flat_terms: np.ndarray
    """Of the detector's flat, shape (n, k)."""


def choose_stars(frame: FrameSources, plane: TangentPlane, options: MosaicOptions) -> FrameStars:
    """Return the brightest usable stars of a frame in a tangent plane."""
    sources = _usable(frame.sources, options)
    ra, dec = frame.wcs.all_pix2world(sources["x"], sources["y"], 0) if len(sources) else (np.empty(0), np.empty(0))
    position = plane.project_arcsec(ra, dec)
    known = np.isfinite(position).all(axis=1)
    sources, position = sources[known], position[known]
    error_px = np.sqrt((sources["x_err"].astype(float) ** 2 + sources["y_err"].astype(float) ** 2) / 2)
    error_px = np.where(error_px > 0, error_px, UNKNOWN_ERROR_PX)
    centre, pixel = _pixel_vectors(frame, plane)
    step = pixel * (max(frame.shape) / 2)
    pixel_arcsec = np.sqrt(abs(np.linalg.det(pixel)))
    return FrameStars(
        position=position,
        sigma=np.hypot(error_px * pixel_arcsec, options.centroid_floor_mas / 1000.0),
        place=unit_square(frame, sources["x"], sources["y"]),
        linear_map=np.array([complex(*vector) for vector in (centre, *step)]),
        place_per_arcsec=np.linalg.inv(step),
        magnitude=-2.5 * np.log10(sources["flux_aper"]),
        magnitude_error=np.hypot(_magnitude_error(sources), options.magnitude_floor_mmag / 1000.0),
        flat_terms=flat_terms(sources["x"], sources["y"], frame.shape, options.flat_degree),
    )


def unit_square(frame: FrameSources, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return pixel positions from the frame's centre in units of half its longer side, shape (n, 2)."""
    rows, columns = frame.shape
    half = max(frame.shape) / 2
    return np.stack([(x - (columns - 1) / 2) / half, (y - (rows - 1) / 2) / half], axis=-1)


def _usable(sources: np.ndarray, options: MosaicOptions) -> np.ndarray:
    usable = np.isfinite(sources["x"]) & np.isfinite(sources["y"]) & (sources["flux_aper"] > 0)
    usable &= ~(sources["snr"] < options.min_snr)
    sources = sources[usable & np.isfinite(sources["flux_aper"])]
    brightest = np.argsort(-sources["flux_aper"], kind="stable")
    return sources[brightest[: options.max_stars]]


def _magnitude_error(sources: np.ndarray) -> np.ndarray:
    relative = sources["flux_aper_err"] / sources["flux_aper"]
    return np.where(relative > 0, 2.5 / np.log(10.0) * relative, 0.1)


def _pixel_vectors(frame: FrameSources, plane: TangentPlane) -> tuple[np.ndarray, np.ndarray]:
    """Return the middle of a frame in the plane, (2,), and the steps by a pixel along x and y there, (2, 2), arcsec."""
    x, y = (frame.shape[1] - 1) / 2, (frame.shape[0] - 1) / 2
    position = plane.project_arcsec(*frame.wcs.all_pix2world([x, x + 1, x], [y, y, y + 1], 0))
    return position[0], position[1:] - position[0]
