"""The gnomonic (TAN) projection about one point, by unit vectors: no pole, no wrap, no branch."""

import numpy as np

from mpidriver.sphere import lon_lat, unit_vectors

__all__ = ["TangentPlane"]


class TangentPlane:
    """The plane that touches the sphere at one point; xi runs east, eta north, both in degrees.

    Calabretta & Greisen (2002), section 5.1.3, with LONPOLE = 180 everywhere, so that a plane at the pole is the
    limit of those near it along the centre's meridian.

    Parameters
    ----------
    ra_deg, dec_deg : float, deg
        Where the plane touches.
    """

    def __init__(self, ra_deg: float, dec_deg: float) -> None:
        self.ra_deg, self.dec_deg = float(ra_deg), float(dec_deg)
        ra, dec = np.radians(self.ra_deg), np.radians(self.dec_deg)
        east = [-np.sin(ra), np.cos(ra), 0.0]
        north = [-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)]
        #: Rows: unit vectors to the east, to the north and to the centre, shape (3, 3).
        self.basis = np.array([east, north, unit_vectors(self.ra_deg, self.dec_deg)])

    @property
    def centre_xyz(self) -> np.ndarray:
        """Unit vector of the centre, shape (3,)."""
        return self.basis[2]

    def project_xyz(self, vectors):
        """Return xi and eta in degrees of vectors of shape (…, 3); NaN on the far hemisphere."""
        east, north, depth = np.moveaxis(np.asarray(vectors, dtype=float) @ self.basis.T, -1, 0)
        depth = np.where(depth > 0.0, depth, np.nan)
        return np.degrees(east / depth), np.degrees(north / depth)

    def project(self, ra_deg, dec_deg):
        """Return xi and eta in degrees of sky positions in degrees; NaN on the far hemisphere."""
        return self.project_xyz(unit_vectors(ra_deg, dec_deg))

    def project_arcsec(self, ra_deg, dec_deg):
        """Return xi and eta in arcsec of sky positions in degrees, shape (…, 2); NaN on the far hemisphere."""
        return np.stack(self.project(ra_deg, dec_deg), axis=-1) * 3600.0

    def deproject_xyz(self, xi_deg, eta_deg):
        """Return the unit vectors, shape (…, 3), of positions in the plane in degrees."""
        xi, eta = np.radians(xi_deg), np.radians(eta_deg)
        vectors = np.stack([xi, eta, np.ones_like(xi + eta)], axis=-1) @ self.basis
        return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)

    def deproject(self, xi_deg, eta_deg):
        """Return right ascension and declination in degrees of positions in the plane in degrees."""
        return lon_lat(self.deproject_xyz(xi_deg, eta_deg))
