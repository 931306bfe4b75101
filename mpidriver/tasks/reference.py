"""The stars of a reference catalogue: where they are at another time, and how well that is known."""

import numpy as np

from mpidriver.sphere import lon_lat, unit_vectors

__all__ = ["at_epoch", "julian_year", "position_errors_mas"]

#: Error of a proper motion that the catalogue does not know, though it knows others', mas/yr.
UNKNOWN_MOTION = 5.0
RADIANS_PER_MAS = np.radians(1.0 / 3.6e6)
#: Columns of errors, with those of the motions that add to them.
ERRORS = {
    "ra_err_mas": ("pm_ra_err_masyr",),
    "dec_err_mas": ("pm_dec_err_masyr",),
    "error_mas": ("pm_ra_err_masyr", "pm_dec_err_masyr"),
}


def julian_year(mjd: float) -> float:
    """Return a modified Julian date as a Julian year."""
    return 2000.0 + (mjd - 51544.5) / 365.25


def at_epoch(stars: np.ndarray, epoch_yr: float) -> np.ndarray:
    """Return stars where they are at another time, their errors grown by those of their proper motions.

    Parallaxes and radial velocities are left out: stars are a few mas off for 100 pc.

    Parameters
    ----------
    stars : ndarray, shape (n,)
        Structured: ra, dec (deg) and, if known, epoch_yr, pm_ra_masyr (times cos dec), pm_dec_masyr, errors of both
        (pm_ra_err_masyr …) and of the positions (ra_err_mas and dec_err_mas, or error_mas).
    epoch_yr : float
        Julian year; the stars stay where they are if it is NaN.

    Returns
    -------
    ndarray, shape (n,)
        The array itself if its stars have no motions.
    """
    names = stars.dtype.names or ()
    if not {"epoch_yr", "pm_ra_masyr", "pm_dec_masyr"} <= set(names) or not np.isfinite(epoch_yr):
        return stars
    years = epoch_yr - stars["epoch_yr"]
    known = np.isfinite(stars["pm_ra_masyr"]) & np.isfinite(stars["pm_dec_masyr"]) & np.isfinite(years)
    ra, dec = np.radians(stars["ra"]), np.radians(stars["dec"])
    east = np.stack([-np.sin(ra), np.cos(ra), np.zeros(len(ra))], axis=-1)
    north = np.stack([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)], axis=-1)
    along_ra, along_dec = (
        np.where(known, stars[name] * years * RADIANS_PER_MAS, 0.0)[:, None] for name in ("pm_ra_masyr", "pm_dec_masyr")
    )
    moved = stars.copy()
    moved["ra"], moved["dec"] = lon_lat(unit_vectors(stars["ra"], stars["dec"]) + along_ra * east + along_dec * north)
    moved["epoch_yr"] = np.where(np.isfinite(years), epoch_yr, stars["epoch_yr"])
    for name in set(ERRORS) & set(names):
        moved[name] = np.hypot(stars[name], np.nan_to_num(years) * _motion_error(stars, ERRORS[name], known))
    return moved


def _motion_error(stars: np.ndarray, names: tuple[str, ...], known: np.ndarray) -> np.ndarray:
    """Return the error of the motions along one axis, or rms of both, mas/yr; 0 where the catalogue names none."""
    listed = [np.nan_to_num(stars[name]) for name in names if name in (stars.dtype.names or ())]
    error = np.sqrt(np.mean(np.square(listed), axis=0)) if listed else np.zeros(len(stars))
    return np.where(known, error, UNKNOWN_MOTION)


def position_errors_mas(stars: np.ndarray) -> np.ndarray:
    """Return the error of one coordinate, mas, shape (n,); NaN where the catalogue has none."""
    names = stars.dtype.names or ()
    if {"ra_err_mas", "dec_err_mas"} <= set(names):
        error = np.sqrt((stars["ra_err_mas"] ** 2 + stars["dec_err_mas"] ** 2) / 2)
    elif "error_mas" in names:
        error = stars["error_mas"].astype(float)
    else:
        error = np.full(len(stars), np.nan)
    return np.where(error > 0, error, np.nan)
