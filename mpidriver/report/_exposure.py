"""One exposure as the focal plane saw it: the images of all its detectors, and what is left of their backgrounds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mpidriver.report._figure import finite_limits, picture, say
from mpidriver.sphere import lon_lat, unit_vectors
from mpidriver.tasks.skymap import TangentPlane

__all__ = ["SHOWN_DETECTOR_PX", "DetectorImage", "draw_exposure"]

#: Longest side of a detector's image in the picture, pixels.
SHOWN_DETECTOR_PX = 300


@dataclass(frozen=True)
class DetectorImage:
    """What one detector of an exposure saw."""

    detector: int
    """Number of the detector."""
    corners: np.ndarray
    """Right ascension and declination of corners (0, 0), (col, 0), (col, row), (0, row), degrees, shape (4, 2)."""
    image: np.ndarray
    """Without its background, binned to at most `SHOWN_DETECTOR_PX`, electrons a pixel."""
    background: np.ndarray
    """What is left of the background in superpixels, electrons a pixel."""


def draw_exposure(path, detectors: Sequence[DetectorImage], *, title=""):
    """Draw the images of the detectors where they lie on the sky, north up, beside their backgrounds.

    Parameters
    ----------
    path : str or Path
        The PNG file to write.
    detectors : sequence of DetectorImage
        All of one exposure.
    title : str
    """
    with picture(path, title, width_in=12.0, height_in=5.9) as figure:
        left, right = figure.subplots(1, 2)
        places = _on_the_plane([each.corners for each in detectors])
        _mosaic(figure, left, detectors, [each.image for each in detectors], places, "image", "gray", (20.0, 99.0))
        backgrounds = [each.background for each in detectors]
        _mosaic(figure, right, detectors, backgrounds, places, "background left", "RdBu_r", None)


def _on_the_plane(corners):
    """Return the corners east and north of the middle of all, arcmin, shape (detector, 4, 2)."""
    if not corners:
        return np.zeros((0, 4, 2))
    ra, dec = np.moveaxis(np.array(corners), -1, 0)
    plane = TangentPlane(*lon_lat(unit_vectors(ra, dec).mean(axis=(0, 1))))
    return plane.project_arcsec(ra, dec) / 60.0


def _mosaic(figure, axes, detectors, images, places, name, cmap, percentiles):
    axes.set_title(name)
    axes.set_xlabel("east of the middle (arcmin)")
    axes.set_ylabel("north (arcmin)")
    if not detectors:
        say(axes, "no detector has an image")
        return
    values = np.concatenate([image.ravel() for image in images])
    low, high = finite_limits(values, *percentiles) if percentiles else finite_limits(values, 2.0, 98.0, symmetric=True)
    for each, image, corners in zip(detectors, images, places, strict=True):
        drawn = _place(axes, image, corners, cmap=cmap, vmin=low, vmax=high)
        axes.text(*corners.mean(axis=0), str(each.detector), ha="center", va="center", fontsize=7.0, color="#E69F00")
    figure.colorbar(drawn, ax=axes, label="electron / pixel", shrink=0.9, pad=0.03)
    low_corner, high_corner = places.min(axis=(0, 1)), places.max(axis=(0, 1))
    margin = 0.03 * float((high_corner - low_corner).max())
    axes.set_xlim(high_corner[0] + margin, low_corner[0] - margin)
    axes.set_ylim(low_corner[1] - margin, high_corner[1] + margin)
    axes.set_aspect("equal")
    axes.set_facecolor("#F2F2F2")


def _place(axes, image, corners, **look):
    """Show an image with its corners where they are told, up to what an affine map leaves."""
    from matplotlib.transforms import Affine2D

    origin, along, up = corners[0], corners[1] - corners[0], corners[3] - corners[0]
    place = Affine2D(np.array([[along[0], up[0], origin[0]], [along[1], up[1], origin[1]], [0.0, 0.0, 1.0]]))
    return axes.imshow(
        image, origin="lower", extent=(0.0, 1.0, 0.0, 1.0), transform=place + axes.transData, aspect="auto", **look
    )
