"""Offsets on the tangent plane (gnomonic projection)."""

import numpy as np

__all__ = ["offset_position"]


def offset_position(ra_deg, dec_deg, east_arcsec, north_arcsec):
    """Return the sky position at an offset on the plane tangent at `ra_deg`, `dec_deg`.

    Parameters
    ----------
    ra_deg, dec_deg : float, deg
        Point of tangency.
    east_arcsec, north_arcsec : array_like, shape (…), arcsec
        Standard coordinates.

    Returns
    -------
    ra_deg, dec_deg : ndarray of float64, shape (…), deg
        Right ascension in [0, 360).

    Notes
    -----
    Inverse of the TAN projection: Calabretta & Greisen 2002, A&A 395, 1077, section 5.1.3, in Cartesian form, which
    has no pole.
    """
    xi, eta = np.radians(np.asarray(east_arcsec) / 3600.0), np.radians(np.asarray(north_arcsec) / 3600.0)
    dec0 = np.radians(dec_deg)
    towards_axis = np.cos(dec0) - eta * np.sin(dec0)
    towards_pole = np.sin(dec0) + eta * np.cos(dec0)
    ra = (ra_deg + np.degrees(np.arctan2(xi, towards_axis))) % 360.0
    return ra, np.degrees(np.arctan2(towards_pole, np.hypot(xi, towards_axis)))
