"""LSST's ``rings`` layout: how the sphere is cut into rings of declination and those into tracts.

The height of a ring is pi / (rings + 1), the two polar caps sharing one height. A ring is cut into
int(2 pi cos(dec) / height) + 1 tracts, dec being that of its edge nearest the equator. Tract 0 is the south cap; the
numbers rise eastwards along each ring and from south to north; the north cap comes last.
"""

import numpy as np

__all__ = ["Rings"]


class Rings:
    """The rings of one map.

    Parameters
    ----------
    rings
        Number of rings between the caps.
    ra_start_deg
        Right ascension of the first tract of each ring.
    """

    def __init__(self, rings: int, ra_start_deg: float) -> None:
        self.count = rings
        self.ra_start_deg = ra_start_deg
        self._height = np.pi / (rings + 1)
        south = self._height * (np.arange(rings) + 0.5) - 0.5 * np.pi
        widest = np.minimum(np.abs(south), np.abs(south + self._height))
        in_ring = (2 * np.pi * np.cos(widest) / self._height).astype(int) + 1
        #: Tracts of the south cap, of each ring and of the north cap.
        self.lengths = np.concatenate([[1], in_ring, [1]])
        self._first = np.cumsum(self.lengths) - self.lengths
        #: Ring of each tract, 0 for the south cap.
        self.ring_of_tract = np.repeat(np.arange(rings + 2), self.lengths)

    @property
    def height_deg(self) -> float:
        """Height of a ring, deg."""
        return float(np.degrees(self._height))

    def centres(self) -> tuple[np.ndarray, np.ndarray]:
        """Return right ascension and declination of all tracts' centres, deg."""
        ring = self.ring_of_tract
        place = np.arange(len(ring)) - self._first[ring]
        in_cap = (ring == 0) | (ring == self.count + 1)
        ra = np.where(in_cap, 0.0, (360.0 * place / self.lengths[ring] + self.ra_start_deg) % 360.0)
        return ra, np.degrees(self._height * ring - 0.5 * np.pi)

    def find(self, ra_deg: np.ndarray, dec_deg: np.ndarray) -> np.ndarray:
        """Return the tract whose ring and section hold each position."""
        above = np.radians(dec_deg) + 0.5 * np.pi - 0.5 * self._height
        ring = np.clip(np.floor(above / self._height).astype(int) + 1, 0, self.count + 1)
        turns = np.mod(ra_deg - self.ra_start_deg, 360.0) / 360.0
        place = np.floor(turns * self.lengths[ring] + 0.5).astype(int) % self.lengths[ring]
        return self._first[ring] + place

    def region(self, tract_id: int) -> tuple[np.ndarray, np.ndarray]:
        """Return sky positions whose box in the tangent plane is that of the region that `find` gives to a tract.

        In the plane a parallel is a conic about the central meridian and a meridian a straight line, so that the
        extremes lie at the corners and where the central meridian meets the edges; for a cap, at four points of its
        rim.
        """
        ring = self.ring_of_tract[tract_id]
        dec = np.degrees(self._height * ring - 0.5 * np.pi)
        half = self.height_deg / 2
        if ring in (0, self.count + 1):
            return np.array([0.0, 90.0, 180.0, 270.0]), np.full(4, dec - np.sign(dec) * half)
        ra = 360.0 * (tract_id - self._first[ring]) / self.lengths[ring] + self.ra_start_deg
        width = 180.0 / self.lengths[ring]
        return ra + np.tile([-width, 0.0, width], 2), dec + np.repeat([-half, half], 3)
