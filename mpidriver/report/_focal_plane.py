"""Frames on the sky: where they lie and how good they are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mpidriver.report._figure import INK, band_colours, finite_limits, picture, say, sort_bands
from mpidriver.report._sky import show_image, sky_axes
from mpidriver.sphere import lon_lat, unit_vectors

__all__ = ["FramePoint", "draw_focal_plane"]

#: Pixels along a side of the maps of mean quality.
MAP_PX = 240
#: Frames whose centres lie further than this from the mean are not drawn on one tangent plane.
LARGEST_RADIUS_DEG = 60.0


@dataclass(frozen=True)
class FramePoint:
    """One frame as the picture needs it."""

    exposure: int
    """Number of the exposure."""
    detector: int
    """Number of the detector."""
    band: str
    """Band of the frame."""
    corners: np.ndarray
    """Shape (4, 2), right ascension and declination in degrees."""
    zero_point_mag: float = np.nan
    """Zero point, mag; NaN if unknown."""
    fwhm_arcsec: float = np.nan
    """Seeing, arcsec; NaN if unknown."""


def draw_focal_plane(path, frames: Sequence[FramePoint], *, title=""):
    """Draw the mean zero point and seeing over the sky with each frame's outline, and both by exposure.

    Zero points are shown against the median of their band, so that bands can be seen together.

    Parameters
    ----------
    path : str or Path
        The PNG file to write.
    frames : sequence of FramePoint
        Frames without finite corners are left out.
    title : str
    """
    frames = [frame for frame in frames if np.isfinite(np.asarray(frame.corners, dtype=float)).all()]
    frames = sorted(frames, key=lambda frame: (frame.exposure, frame.detector, frame.band))
    with picture(path, title, width_in=11.0, height_in=7.8) as figure:
        grid = figure.add_gridspec(2, 2, height_ratios=(1.75, 1.0))
        if not frames:
            say(figure.add_subplot(grid[:, :]), "no frame has a position on the sky")
            return
        zero_points = 1000.0 * _against_band_median(frames)
        seeing = np.array([frame.fwhm_arcsec for frame in frames])
        wcs, polygons = _tangent_plane(frames)
        axes = sky_axes(figure, grid[0, 0], wcs)
        limits = finite_limits(zero_points, 2.0, 98.0, symmetric=True)
        _quality_map(figure, axes, polygons, zero_points, "zero point − median (mmag)", "RdBu", limits)
        axes = sky_axes(figure, grid[0, 1], wcs, sharing_labels=True)
        _quality_map(figure, axes, polygons, seeing, "FWHM (arcsec)", "viridis", finite_limits(seeing, 2.0, 98.0))
        _by_exposure(figure.add_subplot(grid[1, 0]), frames, zero_points, "zero point − median (mmag)")
        _by_exposure(figure.add_subplot(grid[1, 1]), frames, seeing, "FWHM (arcsec)")


def _against_band_median(frames):
    values = np.array([frame.zero_point_mag for frame in frames], dtype=float)
    bands = np.array([frame.band for frame in frames])
    for band in set(bands):
        own = (bands == band) & np.isfinite(values)
        if own.any():
            values[own] -= np.median(values[own])
    return values


def _tangent_plane(frames):
    """Return a TAN WCS of MAP_PX pixels around all frames, and their corners in its pixels, shape (frame, 4, 2)."""
    from astropy.wcs import WCS

    corners = np.array([np.asarray(frame.corners, dtype=float) for frame in frames])
    vectors = unit_vectors(corners[..., 0], corners[..., 1])
    centre = vectors.mean(axis=(0, 1))
    ra, dec = lon_lat(centre)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [float(ra), float(dec)]
    near = vectors.mean(axis=1) @ (centre / np.linalg.norm(centre)) > np.cos(np.radians(LARGEST_RADIUS_DEG))
    wcs.wcs.crpix, wcs.wcs.cdelt = [1.0, 1.0], [-1.0, 1.0]
    plane = np.full(corners.shape, np.nan)
    plane[near] = wcs.wcs_world2pix(corners[near].reshape(-1, 2), 0).reshape(-1, 4, 2)
    low, high = np.nanmin(plane, axis=(0, 1)), np.nanmax(plane, axis=(0, 1))
    scale = max(float((high - low).max()) * 1.06 / MAP_PX, 1e-9)
    offset = 0.5 * (MAP_PX - 1) - 0.5 * (low + high) / scale
    wcs.wcs.cdelt, wcs.wcs.crpix = [-scale, scale], list(offset + 1.0)
    return wcs, plane / scale + offset


def _quality_map(figure, axes, polygons, values, label, cmap, limits):
    axes.set_title(label.split(" (")[0])
    shown = _mean_over_polygons(polygons, values)
    drawn = show_image(axes, shown, cmap=cmap, vmin=limits[0], vmax=limits[1])
    from matplotlib.collections import PolyCollection

    width = float(np.clip(4.0 / np.sqrt(len(polygons)), 0.15, 0.8))
    axes.add_collection(PolyCollection(polygons, facecolors="none", edgecolors=INK, linewidths=width, alpha=0.6))
    axes.set_xlim(-0.5, MAP_PX - 0.5)
    axes.set_ylim(-0.5, MAP_PX - 0.5)
    figure.colorbar(drawn, ax=axes, label=label, shrink=0.9, pad=0.03)


def _mean_over_polygons(polygons, values):
    """Return the mean of the finite values of the convex polygons over each pixel, NaN where there is none."""
    total, count = np.zeros((MAP_PX, MAP_PX)), np.zeros((MAP_PX, MAP_PX))
    for polygon, value in zip(polygons, values, strict=True):
        if not (np.isfinite(value) and np.isfinite(polygon).all()):
            continue
        low = np.maximum(np.floor(polygon.min(axis=0)).astype(int), 0)
        high = np.minimum(np.ceil(polygon.max(axis=0)).astype(int) + 1, MAP_PX)
        window = (slice(low[1], high[1]), slice(low[0], high[0]))
        inside = _inside(polygon, np.arange(low[0], high[0])[None, :], np.arange(low[1], high[1])[:, None])
        total[window] += inside * value
        count[window] += inside
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count > 0, total / count, np.nan)


def _inside(polygon, x, y):
    edges = np.roll(polygon, -1, axis=0) - polygon
    sides = [dx * (y - y0) - dy * (x - x0) for (x0, y0), (dx, dy) in zip(polygon, edges, strict=True)]
    return np.all(np.array(sides) >= 0, axis=0) | np.all(np.array(sides) <= 0, axis=0)


def _by_exposure(axes, frames, values, label):
    """Plot values against the running number of the exposure, a colour a band."""
    numbers = {exposure: i for i, exposure in enumerate(sorted({frame.exposure for frame in frames}))}
    places = np.array([numbers[frame.exposure] for frame in frames], dtype=float)
    bands = np.array([frame.band for frame in frames])
    colours = band_colours(bands)
    axes.grid(True)
    axes.set_xlabel("exposure (in order of number)")
    axes.set_ylabel(label)
    size = float(np.clip(2000.0 / len(frames), 3.0, 22.0))
    for band in sort_bands(colours):
        own = (bands == band) & np.isfinite(values)
        axes.scatter(places[own], values[own], s=size, color=colours[band], alpha=0.8, linewidths=0, label=band)
    axes.set_xlim(-0.5, len(numbers) - 0.5)
    axes.xaxis.get_major_locator().set_params(integer=True)
    if not np.isfinite(values).any():
        say(axes)
        return
    low, high = finite_limits(values, 0.0, 100.0)
    axes.set_ylim(low - 0.08 * (high - low), high + 0.3 * (high - low))
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.legend(ncols=len(colours), loc="upper right", title="band", handletextpad=0.1)
