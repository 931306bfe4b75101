"""A tract (one tangent plane in whole patches) and its patches.

Pixel coordinates are 0-based with integers at pixel centres, x (col) to the west and y (row) to the north. A position
belongs to the pixel whose centre is nearest; a box of pixels x0..x1 therefore spans x0 - 0.5 <= x < x1 - 0.5.
"""

import dataclasses
import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mpidriver.errors import DataError
from mpidriver.sphere import lon_lat, polygons_overlap, unit_vectors
from mpidriver.tasks.skymap._tangent import TangentPlane

if TYPE_CHECKING:
    from astropy.wcs import WCS

    from mpidriver.tasks.skymap._sky import SkyMap

__all__ = ["Box", "Grid", "Patch", "Tract", "overlap_in_plane"]


class Box(NamedTuple):
    """A rectangle of pixels, half-open: columns x0 up to x1, rows y0 up to y1."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.y1 - self.y0, self.x1 - self.x0

    def grown(self, border: int, limits: "Box") -> "Box":
        """Return the box with a border on every side, cut at `limits`."""
        return Box(
            max(self.x0 - border, limits.x0),
            max(self.y0 - border, limits.y0),
            min(self.x1 + border, limits.x1),
            min(self.y1 + border, limits.y1),
        )

    def contains(self, x, y):
        """Tell which positions lie on the box's pixels; False for NaN."""
        return (x >= self.x0 - 0.5) & (x < self.x1 - 0.5) & (y >= self.y0 - 0.5) & (y < self.y1 - 0.5)

    def corners(self) -> tuple[np.ndarray, np.ndarray]:
        """Return x and y of the four outer corners of the corner pixels, shape (4,) each."""
        x0, y0, x1, y1 = (edge - 0.5 for edge in self)
        return np.array([x0, x1, x1, x0]), np.array([y0, y0, y1, y1])


@dataclasses.dataclass(frozen=True)
class Grid:
    """How one axis of a tract is cut: whole patches of `inner` pixels around the tangent point."""

    centre: int
    """Pixel of the tangent point."""
    patches: int
    """Number of patches along the axis."""

    @classmethod
    def covering(cls, half_px: float, region_px: tuple[float, float], inner: int) -> "Grid":
        """Return LSST's grid for a tract of half-side `half_px`, with patches added where the region reaches further.

        Parameters
        ----------
        half_px
            Half the side that LSST's ``ExplicitTractInfo`` covers; its box is grown to whole patches about the centre.
        region_px
            Lowest and highest position, from the tangent point, of what the tract must hold.
        inner
            Side of a patch.
        """
        half = int(np.floor(half_px + 0.5))
        size = 2 * half + 1
        patches = -(-size // inner)
        start = -half - (patches * inner - size) // 2
        stop = start + patches * inner
        below = max(0, int(np.ceil((start - 0.5 - region_px[0]) / inner)))
        above = max(0, int(np.ceil((region_px[1] - (stop - 0.5)) / inner)))
        return cls(centre=below * inner - start, patches=below + patches + above)


class Tract:
    """One tangent plane of the sky map, tiled by whole patches.

    Made by `SkyMap.tract`; pickles as the map's options and its number.

    Parameters
    ----------
    sky
        The map that it belongs to.
    tract_id
        Its number there.
    plane
        Its tangent plane.
    columns, rows
        How its two axes are cut into patches.
    """

    def __init__(self, sky: "SkyMap", tract_id: int, plane: TangentPlane, columns: Grid, rows: Grid) -> None:
        self.sky = sky
        self.id = tract_id
        self.plane = plane
        self.scale_deg = sky.options.pixel_scale_arcsec / 3600.0
        #: Patches along x and y.
        self.grid = (columns.patches, rows.patches)
        #: Pixel (x, y) of the tangent point.
        self.centre_px = (columns.centre, rows.centre)
        inner = sky.options.patch_inner_px
        #: All pixels of the tract.
        self.box = Box(0, 0, columns.patches * inner, rows.patches * inner)

    def __reduce__(self) -> tuple[Any, ...]:
        return _same_tract, (self.sky, self.id)

    def __repr__(self) -> str:
        ra, dec = self.centre
        return f"Tract({self.id}, centre=({ra:.4f}, {dec:+.4f}), patches={self.grid[0]}x{self.grid[1]})"

    @property
    def centre(self) -> tuple[float, float]:
        """Right ascension and declination of the tangent point, deg."""
        return self.plane.ra_deg, self.plane.dec_deg

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the tract."""
        return self.box.shape

    @functools.cached_property
    def corners_xyz(self) -> np.ndarray:
        """Unit vectors of the tract's corners, shape (4, 3)."""
        return self.pixel_to_xyz(*self.box.corners())

    @functools.cached_property
    def patches(self) -> list["Patch"]:
        """All patches, x fastest."""
        columns, rows = self.grid
        return [Patch(self, (x, y)) for y in range(rows) for x in range(columns)]

    def patch(self, index: tuple[int, int] | str) -> "Patch":
        """Return the patch with index ``(x, y)`` or name ``"x,y"``."""
        x, y = (int(part) for part in index.split(",")) if isinstance(index, str) else index
        columns, rows = self.grid
        if not (0 <= x < columns and 0 <= y < rows):
            raise DataError(f"tract {self.id}: patch must be within 0,0 to {columns - 1},{rows - 1}, got {x},{y}")
        return self.patches[y * columns + x]

    def xyz_to_pixel(self, vectors):
        """Return x and y of unit vectors of shape (…, 3); NaN on the far hemisphere."""
        xi, eta = self.plane.project_xyz(vectors)
        return self.centre_px[0] - xi / self.scale_deg, self.centre_px[1] + eta / self.scale_deg

    def pixel_to_xyz(self, x, y):
        """Return the unit vectors, shape (…, 3), of pixel positions."""
        xi = (self.centre_px[0] - np.asarray(x, dtype=float)) * self.scale_deg
        eta = (np.asarray(y, dtype=float) - self.centre_px[1]) * self.scale_deg
        return self.plane.deproject_xyz(xi, eta)

    def sky_to_pixel(self, ra_deg, dec_deg):
        """Return pixel x and y of sky positions in degrees; NaN on the far hemisphere."""
        return self.xyz_to_pixel(unit_vectors(ra_deg, dec_deg))

    def pixel_to_sky(self, x, y):
        """Return right ascension and declination in degrees of pixel positions."""
        return lon_lat(self.pixel_to_xyz(x, y))

    def contains(self, ra_deg, dec_deg):
        """Tell which sky positions lie on the tract's pixels."""
        return self.box.contains(*self.sky_to_pixel(ra_deg, dec_deg))

    def patches_overlapping(self, corners_xyz) -> list["Patch"]:
        """Return the patches whose outer box shares a point with a convex footprint, shape (corner, 3)."""
        x, y = self.xyz_to_pixel(corners_xyz)
        if not np.all(np.isfinite(x)):  # a corner beyond the horizon has no place in the plane
            return [patch for patch in self.patches if polygons_overlap(patch.corners_xyz, corners_xyz)]
        touched = overlap_in_plane(np.stack([x, y], axis=-1), self.outer_boxes)
        return [self.patches[index] for index in np.flatnonzero(touched)]

    @functools.cached_property
    def outer_boxes(self) -> np.ndarray:
        """Edges ``x0, y0, x1, y1`` of the patches' outer boxes in the tract's pixels, shape (patch, 4)."""
        return np.array([patch.outer for patch in self.patches], dtype=float) - 0.5

    def wcs(self) -> "WCS":
        """Return the tract's astropy WCS (TAN)."""
        return self._wcs_of(self.box, 1)

    def _wcs_of(self, box: Box, binning: int) -> "WCS":
        from astropy.wcs import WCS

        wcs = WCS(naxis=2)
        wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
        wcs.wcs.cunit = "deg", "deg"
        wcs.wcs.crval = self.centre
        wcs.wcs.cdelt = -self.scale_deg * binning, self.scale_deg * binning
        x, y = self.centre_px
        wcs.wcs.crpix = (x - box.x0 + 0.5) / binning + 0.5, (y - box.y0 + 0.5) / binning + 0.5
        wcs.wcs.lonpole = 180.0  # else it would be 0 for a centre at +90 deg
        wcs.wcs.radesys = "ICRS"
        rows, columns = box.shape
        wcs.pixel_shape = -(-columns // binning), -(-rows // binning)
        wcs.wcs.set()
        return wcs


class Patch:
    """A rectangle of a tract's pixels: an inner box that tiles the tract, an outer one that adds the border.

    Parameters
    ----------
    tract
        The tract that it belongs to.
    index
        Its place ``(x, y)`` there.
    """

    def __init__(self, tract: Tract, index: tuple[int, int]) -> None:
        self.tract = tract
        self.index = index
        options = tract.sky.options
        side = options.patch_inner_px
        x, y = index
        #: The pixels that are this patch's alone.
        self.inner = Box(x * side, y * side, (x + 1) * side, (y + 1) * side)
        #: All pixels of the patch, border included; cut at the tract's edge.
        self.outer = self.inner.grown(options.patch_border_px, tract.box)

    def __reduce__(self) -> tuple[Any, ...]:
        return _same_patch, (self.tract, self.index)

    def __repr__(self) -> str:
        return f"Patch(tract={self.tract.id}, index={self.index})"

    @property
    def name(self) -> str:
        """The index as it stands in keys and paths, ``"x,y"``."""
        return f"{self.index[0]},{self.index[1]}"

    @functools.cached_property
    def corners_xyz(self) -> np.ndarray:
        """Unit vectors of the outer box's corners, shape (4, 3)."""
        return self.tract.pixel_to_xyz(*self.outer.corners())

    def shape(self, binning: int = 1) -> tuple[int, int]:
        """Return rows and columns of the outer box in pixels of `binning` x `binning`; a last part counts as whole."""
        rows, columns = self.outer.shape
        return -(-rows // binning), -(-columns // binning)

    def wcs(self, binning: int = 1) -> "WCS":
        """Return the astropy WCS (TAN) of the outer box, in pixels of `binning` x `binning`."""
        return self.tract._wcs_of(self.outer, binning)

    def contains_inner(self, x, y):
        """Tell which of the tract's pixel positions lie on the inner box."""
        return self.inner.contains(np.asarray(x), np.asarray(y))

    def is_primary(self, ra_deg, dec_deg):
        """Tell for which sky positions (deg) this is the one patch of the survey that they belong to."""
        in_inner = self.contains_inner(*self.tract.sky_to_pixel(ra_deg, dec_deg))
        return in_inner & (self.tract.sky.find_tract(ra_deg, dec_deg) == self.tract.id)


def _same_tract(sky: "SkyMap", tract_id: int) -> Tract:
    return sky.tract(tract_id)


def _same_patch(tract: Tract, index: tuple[int, int]) -> Patch:
    return tract.patch(index)


def overlap_in_plane(polygons: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Tell which boxes share a point with convex polygons, by separating axes.

    Parameters
    ----------
    polygons : ndarray, shape (…, corner, 2)
    boxes : ndarray, shape (…, 4)
        ``x0, y0, x1, y1`` of each; the leading axes are broadcast with those of the polygons.

    Returns
    -------
    ndarray of bool, shape (…)
    """
    low, high = polygons.min(axis=-2), polygons.max(axis=-2)
    overlap = np.all((boxes[..., :2] <= high) & (boxes[..., 2:] >= low), axis=-1)
    corners = boxes[..., [[0, 1], [2, 1], [2, 3], [0, 3]]]  # (…, 4, 2)
    along = np.roll(polygons, -1, axis=-2) - polygons
    normals = np.stack([along[..., 1], -along[..., 0]], axis=-1)
    offsets = np.sum(normals * polygons, axis=-1)
    inwards = np.sign(np.sum(normals * polygons.mean(axis=-2, keepdims=True), axis=-1) - offsets)
    normals *= -inwards[..., None]
    limits = np.sum(normals * polygons, axis=-1)
    beyond = corners @ np.swapaxes(normals, -1, -2) > limits[..., None, :]  # (…, box corner, edge)
    return overlap & ~np.any(np.all(beyond, axis=-2), axis=-1)
