"""Tangent planes (gnomonic projection): offsets, the turn of north between two of them, and their WCS."""

import numpy as np

from mpidriver.sphere import unit_vectors

__all__ = ["north_angle_deg", "offset_position", "tangent_wcs"]


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


def north_angle_deg(ra_deg: float, dec_deg: float, ra0_deg: float, dec0_deg: float) -> float:
    """Return at one position the angle, from north to east, of the direction that is north at another.

    A camera that keeps its orientation on the field turns by this against north as it is dithered: nothing that
    matters but close to a pole.

    Parameters
    ----------
    ra_deg, dec_deg : float, deg
        Where the angle is seen.
    ra0_deg, dec0_deg : float, deg
        Where the direction is north; no more than some degrees away.
    """
    north = unit_vectors(ra0_deg, dec0_deg + 90.0)
    here_north, here_east = unit_vectors(ra_deg, dec_deg + 90.0), unit_vectors(ra_deg + 90.0, 0.0)
    return float(np.degrees(np.arctan2(north @ here_east, north @ here_north)))


def tangent_wcs(ra_deg: float, dec_deg: float, *, reference_px, cd_deg, shape: tuple[int, int]):
    """Return a TAN `astropy.wcs.WCS`.

    Parameters
    ----------
    ra_deg, dec_deg : float, deg
        Point of tangency.
    reference_px : array_like, shape (2,), pixel
        Its 0-based x and y.
    cd_deg : array_like, shape (2, 2), deg/pixel
        Matrix from pixel offsets (x, y) to (east, north).
    shape
        Rows and columns of the image.
    """
    from astropy.wcs import WCS

    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.crval = [float(ra_deg), float(dec_deg)]
    wcs.wcs.crpix = np.asarray(reference_px) + 1.0
    wcs.wcs.cd = cd_deg
    wcs.wcs.lonpole = 180.0  # the default at a declination of exactly 90 deg is another
    wcs.wcs.radesys = "ICRS"
    wcs.pixel_shape = (shape[1], shape[0])
    wcs.wcs.set()
    return wcs
