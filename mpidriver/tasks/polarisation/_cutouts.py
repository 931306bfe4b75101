"""Cut-outs: windows of channel images, brought onto small tangent planes that are centred on what is cut out.

A cut-out's middle pixel lies exactly on its target, rows count to the north and columns to the west, so that what is
read there needs no further interpolation, and the same pixels serve every beam and channel.
"""

from typing import NamedTuple

import numpy as np

from mpidriver.sphere import unit_vectors
from mpidriver.tasks.polarisation._kernels import TAPS, sample_window

__all__ = [
    "CutoutGrid",
    "WindowMap",
    "cutout_wcs",
    "map_window",
    "offsets_deg",
    "resample_weights",
    "resample_window",
    "sky_positions",
]

#: Pixels of an image around those that are asked for: the reach of a spline's taps and of its prefilter.
MARGIN_PX = 10


class CutoutGrid(NamedTuple):
    """The pixels of every cut-out of a group."""

    size_px: int
    """Rows and columns, odd."""
    pixel_deg: float
    """Side of a pixel."""


class WindowMap(NamedTuple):
    """Where a cut-out lies on an image."""

    rows: slice
    cols: slice
    """The window of the image, within it."""
    x_map: np.ndarray
    y_map: np.ndarray
    """Polynomials from the cut-out's offsets to the window's columns and rows, (3, 3); see `sample_window`."""


def cutout_wcs(ra_deg, dec_deg, grid):
    """Return the `astropy.wcs.WCS` of a cut-out: TAN about its target, which is the middle pixel."""
    from astropy.wcs import WCS

    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [float(ra_deg), float(dec_deg)]
    wcs.wcs.crpix = [(grid.size_px + 1) / 2] * 2
    wcs.wcs.cdelt = [-grid.pixel_deg, grid.pixel_deg]
    wcs.wcs.lonpole = 180.0
    wcs.wcs.radesys = "ICRS"
    wcs.wcs.set()
    return wcs


def offsets_deg(grid):
    """Return the offsets (east, north) of a cut-out's pixels on its tangent plane, float64 (2, row, col)."""
    steps = (np.arange(grid.size_px) - grid.size_px // 2) * grid.pixel_deg
    north, east = np.meshgrid(steps, -steps, indexing="ij")
    return np.stack([east, north])


def map_window(wcs, shape, ra_deg, dec_deg, grid):
    """Return where a cut-out lies on an image, none if its target does not.

    The map is the polynomial of second order in each axis through nine points: between two tangent planes a degree
    apart it is exact to a thousandth of an arcsec over five arcmin.

    Parameters
    ----------
    wcs : astropy.wcs.WCS
        Of the image, celestial.
    shape : (int, int)
        Its rows and columns.
    ra_deg, dec_deg : float, deg
        The target.
    grid : CutoutGrid
    """
    half = grid.size_px // 2 * grid.pixel_deg
    nodes = np.array([-1.0, 0.0, 1.0])
    north, east = np.meshgrid(nodes * half, -nodes * half, indexing="ij")
    x, y = wcs.wcs_world2pix(*sky_positions(ra_deg, dec_deg, east, north), 0)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return None
    if not (-0.5 <= x[1, 1] < shape[1] - 0.5 and -0.5 <= y[1, 1] < shape[0] - 0.5):
        return None
    rows, cols = (_within(values, size) for values, size in ((y, shape[0]), (x, shape[1])))
    if rows is None or cols is None:
        return None
    through_nodes = np.linalg.inv(np.vander(nodes, 3, increasing=True))
    x_map = through_nodes @ (x - cols.start) @ through_nodes.T
    y_map = through_nodes @ (y - rows.start) @ through_nodes.T
    return WindowMap(rows, cols, np.ascontiguousarray(x_map), np.ascontiguousarray(y_map))


def sky_positions(ra_deg, dec_deg, east_deg, north_deg):
    """Return positions at offsets on a tangent plane."""
    centre = unit_vectors(ra_deg, dec_deg)
    towards_east = unit_vectors(ra_deg + 90.0, 0.0)
    towards_north = np.cross(centre, towards_east)
    east, north = np.deg2rad(east_deg)[..., None], np.deg2rad(north_deg)[..., None]
    x, y, z = np.moveaxis(centre + east * towards_east + north * towards_north, -1, 0)
    return np.rad2deg(np.arctan2(y, x)) % 360.0, np.rad2deg(np.arctan2(z, np.hypot(x, y)))


def _within(values, size):
    first = max(int(np.floor(values.min())) - MARGIN_PX, 0)
    last = min(int(np.ceil(values.max())) + MARGIN_PX + 1, size)
    return slice(first, last) if last - first >= TAPS else None


def resample_window(window, place, grid):
    """Return a cut-out from the window of an image that a map asks for.

    Parameters
    ----------
    window : float (plane, row, col)
        Pixels ``place.rows``, ``place.cols`` of the image; NaN where blank.
    place : WindowMap
    grid : CutoutGrid

    Returns
    -------
    float32 (plane, row, col)
        Values in the image's unit a beam, by B-splines of degree 5; NaN where no data reach.
    """
    from scipy.ndimage import spline_filter

    blank = ~np.isfinite(window).all(axis=0)
    out = np.full((len(window), grid.size_px, grid.size_px), np.nan, np.float32)
    if blank.all():
        return out
    filled = np.where(blank, 0.0, window).astype(np.float64)
    coefficients = np.stack([spline_filter(plane, order=5, mode="mirror") for plane in filled])
    sample_window(coefficients, blank, place.x_map, place.y_map, 2.0 / (grid.size_px - 1), out)
    return out


def resample_weights(weights, place, grid):
    """Return the weights of a cut-out's pixels from the window of a map of weights.

    The map is smoothed over a pixel rather than interpolated: interpolation rings beside an edge, and what rings
    about zero is positive somewhere.

    Parameters
    ----------
    weights : float (row, col)
        Pixels ``place.rows``, ``place.cols`` of the map.
    place : WindowMap
    grid : CutoutGrid

    Returns
    -------
    float32 (row, col)
        0 within three pixels of one whose weight is not positive and finite, and beyond the map.
    """
    with np.errstate(invalid="ignore"):
        unused = ~(np.isfinite(weights) & (weights > 0))
    out = np.zeros((1, grid.size_px, grid.size_px), np.float32)
    coefficients = np.where(unused, 0.0, weights).astype(np.float64)[None]
    sample_window(coefficients, unused, place.x_map, place.y_map, 2.0 / (grid.size_px - 1), out)
    return np.nan_to_num(out[0])
