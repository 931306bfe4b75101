"""The sky map: all tracts of one layout."""

import abc
import functools
from typing import Any

import numpy as np

from mpidriver.errors import DataError
from mpidriver.sphere import bounding_circles, polygons_overlap, unit_vectors
from mpidriver.tasks.skymap import _healpix
from mpidriver.tasks.skymap._options import SkyMapOptions
from mpidriver.tasks.skymap._rings import Rings
from mpidriver.tasks.skymap._tangent import TangentPlane
from mpidriver.tasks.skymap._tract import Grid, Tract

__all__ = ["SkyMap", "make_skymap"]


def make_skymap(options: SkyMapOptions) -> "SkyMap":
    """Return the sky map that the options describe; the same object for equal options.

    Parameters
    ----------
    options
        Kind and measures of the map.

    Returns
    -------
    SkyMap
        Cheap: a tract is made when it is first asked for.
    """
    return _make_once(options)


@functools.lru_cache(maxsize=16)
def _make_once(options: SkyMapOptions) -> "SkyMap":
    return {"rings": RingsSkyMap, "healpix": HealpixSkyMap, "discrete": DiscreteSkyMap}[options.kind](options)


class SkyMap(abc.ABC):
    """All tracts of one layout, numbered from 0; pickles as its options.

    Parameters
    ----------
    options
        Kind and measures of the map.
    """

    def __init__(self, options: SkyMapOptions) -> None:
        self.options = options
        self._made: dict[int, Tract] = {}
        self._centres_deg = self._centres()

    def __reduce__(self) -> tuple[Any, ...]:
        return make_skymap, (self.options,)

    def __len__(self) -> int:
        return len(self._centres_deg[0])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} tracts)"

    def tract(self, tract_id: int) -> Tract:
        """Return one tract by its number."""
        tract_id = int(tract_id)
        if tract_id not in self._made:
            self._made[tract_id] = self._make_tract(tract_id)
        return self._made[tract_id]

    def find_tract(self, ra_deg, dec_deg):
        """Return the number of the one tract that a sky position belongs to.

        Parameters
        ----------
        ra_deg, dec_deg : array_like, deg

        Returns
        -------
        int, or ndarray of int
            -1 for a position that no tract holds (only a discrete map has such) and for NaN.
        """
        ra, dec = np.broadcast_arrays(np.asarray(ra_deg, dtype=float), np.asarray(dec_deg, dtype=float))
        known = np.isfinite(ra) & np.isfinite(dec)
        found = np.where(known, self._find(np.where(known, ra, 0.0), np.where(known, dec, 0.0)), -1)
        return int(found) if found.ndim == 0 else found

    def tracts_overlapping(self, corners_xyz) -> list[int]:
        """Return the numbers of the tracts that share a point with a convex footprint, shape (corner, 3)."""
        corners = np.asarray(corners_xyz, dtype=float)
        near = self.tracts_near(*bounding_circles(corners))
        return [int(tract) for tract in near if polygons_overlap(self.tract(tract).corners_xyz, corners)]

    def tracts_near(self, centre_xyz: np.ndarray, radius_rad: float) -> np.ndarray:
        """Return the numbers of the tracts whose bounding circle touches a circle on the sky."""
        reach = np.cos(np.minimum(self._radii + radius_rad + 1e-9, np.pi))
        return np.flatnonzero(self._centres_xyz @ centre_xyz >= reach)

    @functools.cached_property
    def _centres_xyz(self) -> np.ndarray:
        return unit_vectors(*self._centres_deg)

    @functools.cached_property
    def _radii(self) -> np.ndarray:
        """Distance of each tract's farthest corner from its centre, rad."""
        shapes = self._shape_of_tract()
        _, first, inverse = np.unique(shapes, return_index=True, return_inverse=True)
        tracts = [self.tract(index) for index in first]
        return np.array([np.arccos(np.min(tract.corners_xyz @ tract.plane.centre_xyz)) for tract in tracts])[inverse]

    def _make_tract(self, tract_id: int) -> Tract:
        if not 0 <= tract_id < len(self):
            raise DataError(f"sky map of {len(self)} tracts: tract must be within 0..{len(self) - 1}, got {tract_id}")
        plane = TangentPlane(self._centres_deg[0][tract_id], self._centres_deg[1][tract_id])
        options = self.options
        pixel = np.radians(options.pixel_scale_arcsec / 3600.0)
        half = np.tan(np.radians(self._radius_deg(tract_id) + options.tract_overlap_deg)) / pixel
        margin = np.radians(options.tract_overlap_deg / 2) / pixel
        x, y = (np.radians(position) / pixel for position in self._region_in_plane(tract_id, plane))
        columns, rows = (
            Grid.covering(half, (min(axis) - margin, max(axis) + margin), options.patch_inner_px) for axis in (-x, y)
        )
        return Tract(self, tract_id, plane, columns, rows)

    def _region_in_plane(self, tract_id: int, plane: TangentPlane) -> tuple[np.ndarray, np.ndarray]:
        """Return positions (xi, eta, deg) whose bounding box the tract must hold whatever its nominal radius."""
        return np.zeros(1), np.zeros(1)

    @abc.abstractmethod
    def _centres(self) -> tuple[np.ndarray, np.ndarray]:
        """Return right ascension and declination of all centres, deg."""

    @abc.abstractmethod
    def _find(self, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
        """Return the tract of each position."""

    @abc.abstractmethod
    def _radius_deg(self, tract_id: int) -> float:
        """Return half the nominal side of a tract, overlap not included."""

    @abc.abstractmethod
    def _shape_of_tract(self) -> np.ndarray:
        """Return one number a tract, equal for tracts of equal shape."""


class RingsSkyMap(SkyMap):
    """Rings of declination between two polar caps, numbered as LSST does."""

    def __init__(self, options: SkyMapOptions) -> None:
        self._rings = Rings(options.rings, options.ra_start_deg)
        super().__init__(options)

    def _centres(self):
        return self._rings.centres()

    def _find(self, ra, dec):
        return self._rings.find(ra, dec)

    def _radius_deg(self, tract_id):
        return self._rings.height_deg / 2

    def _shape_of_tract(self):
        return self._rings.ring_of_tract

    def _region_in_plane(self, tract_id, plane):
        return plane.project(*self._rings.region(tract_id))


class HealpixSkyMap(SkyMap):
    """One tract for each HEALPix pixel, in ring ordering."""

    def _centres(self):
        return _healpix.pixel_centres(2**self.options.order)

    def _find(self, ra, dec):
        return _healpix.pixel_at(2**self.options.order, ra, dec)

    def _radius_deg(self, tract_id):
        return _healpix.max_pixel_radius_deg(2**self.options.order)

    def _shape_of_tract(self):
        return np.zeros(len(self), dtype=int)


class DiscreteSkyMap(SkyMap):
    """Tracts about given centres; a position that several hold belongs to the one with the nearest centre."""

    def _centres(self):
        centres = np.array(self.options.centres, dtype=float)
        return centres[:, 0] % 360.0, centres[:, 1]

    def _find(self, ra, dec):
        vectors = unit_vectors(ra, dec)
        found = np.full(ra.shape, -1)
        nearest = np.full(ra.shape, -np.inf)
        for tract_id, centre in enumerate(self._centres_xyz):
            closeness = vectors @ centre
            better = (closeness > nearest) & self.tract(tract_id).contains(ra, dec)
            found, nearest = np.where(better, tract_id, found), np.where(better, closeness, nearest)
        return found

    def _radius_deg(self, tract_id):
        return self.options.radii_deg[tract_id]

    def _shape_of_tract(self):
        return np.arange(len(self))
