"""The RM of the ionosphere from maps of its electron content: a thin shell, and the Earth's field where it is."""

from typing import NamedTuple

import numpy as np

from mpidriver.errors import DataError
from mpidriver.sphere import unit_vectors
from mpidriver.tasks.polarisation._geomagnetism import magnetic_field_nt

__all__ = ["TecMaps", "slant_rm"]

#: RM in rad/m² of 1 TECU (1e16 electrons/m²) in a field of 1 nT along the line of sight: e³/(8π² ε0 m² c³).
RM_OF_TECU_NT = 2.6312e-13 * 1e16 * 1e-9
#: Shape of the Earth (WGS 84), for the telescope, and the sphere of IONEX maps, km.
EQUATOR_KM, FLATTENING, SPHERE_KM = 6378.137, 1.0 / 298.257223563, 6371.0
LOWEST_SIN_ELEVATION = 0.05
MJD_2000 = 51544.5


class TecMaps(NamedTuple):
    """Maps of the vertical electron content, as IONEX files hold them."""

    mjd: np.ndarray
    """(time,), ascending."""
    latitude_deg: np.ndarray
    """(lat,), geocentric, ascending."""
    longitude_deg: np.ndarray
    """(lon,), east, ascending, the whole circle."""
    tecu: np.ndarray
    """(time, lat, lon), 1e16 electrons/m²; NaN where unknown."""
    height_km: float
    """Height of the thin shell."""


def slant_rm(maps, mjd, ra_deg, dec_deg, *, longitude_deg, latitude_deg):
    """Return the RM of the ionosphere towards a direction.

    Parameters
    ----------
    maps : TecMaps
    mjd : float (time,)
        UTC.
    ra_deg, dec_deg : float, deg
        ICRS; the precession of the pole, 0.15 deg by 2026, is left out.
    longitude_deg, latitude_deg : float, deg
        Telescope, east and geodetic.

    Returns
    -------
    float64 (time,) rad/m²
        Positive where the field points to the telescope.

    Raises
    ------
    DataError
        If the maps do not cover the times, or the direction is below 3 deg of elevation.
    """
    mjd = np.atleast_1d(np.asarray(mjd, dtype=np.float64))
    turn_deg = np.rad2deg(_earth_rotation(mjd))
    towards = unit_vectors(ra_deg - turn_deg, np.full(mjd.shape, dec_deg))
    telescope = _geocentric(longitude_deg, latitude_deg)
    zenith = unit_vectors(longitude_deg, latitude_deg)
    if np.min(towards @ zenith) < LOWEST_SIN_ELEVATION:
        raise DataError(
            f"ionosphere: RA {ra_deg:.2f}, Dec {dec_deg:.2f} is {np.rad2deg(np.arcsin(np.min(towards @ zenith))):.0f} "
            "deg high during the exposure; are longitude_deg and latitude_deg of [ionosphere] right?"
        )
    pierced = _pierce(telescope, towards, SPHERE_KM + maps.height_km)
    outward = pierced / np.linalg.norm(pierced, axis=-1, keepdims=True)
    slant = 1.0 / np.einsum("ti,ti->t", outward, towards)
    field = magnetic_field_nt(pierced, 2000.0 + (mjd.mean() - MJD_2000) / 365.25)
    along = -np.einsum("ti,ti->t", field, towards)
    return RM_OF_TECU_NT * _vertical(maps, mjd, outward) * slant * along


def _earth_rotation(mjd):
    """Return the Earth rotation angle (IAU 2000), radians; UTC stands for UT1."""
    days = mjd - MJD_2000
    return 2.0 * np.pi * (0.7790572732640 + 0.00273781191135448 * days + days % 1.0)


def _geocentric(longitude_deg, latitude_deg):
    lat = np.deg2rad(latitude_deg)
    squash = FLATTENING * (2.0 - FLATTENING)
    normal = EQUATOR_KM / np.sqrt(1.0 - squash * np.sin(lat) ** 2)
    flat = normal * np.cos(lat)
    lon = np.deg2rad(longitude_deg)
    return np.array([flat * np.cos(lon), flat * np.sin(lon), normal * (1.0 - squash) * np.sin(lat)])


def _pierce(origin, towards, radius):
    """Return where rays from a point within a sphere leave it, (time, 3)."""
    along = towards @ origin
    distance = -along + np.sqrt(along**2 + radius**2 - origin @ origin)
    return origin + distance[:, None] * towards


def _vertical(maps, mjd, outward):
    """Return the electron content at positions; the maps of before and after turn with the Sun (IONEX 1.1, eq. 3)."""
    if mjd.min() < maps.mjd[0] or mjd.max() > maps.mjd[-1]:
        raise DataError(
            f"ionosphere: the maps are of MJD {maps.mjd[0]:.3f} to {maps.mjd[-1]:.3f}, the exposure is of "
            f"{mjd.min():.3f} to {mjd.max():.3f}"
        )
    after = np.clip(np.searchsorted(maps.mjd, mjd, side="right"), 1, len(maps.mjd) - 1)
    lon = np.rad2deg(np.arctan2(outward[:, 1], outward[:, 0]))
    lat = np.rad2deg(np.arcsin(np.clip(outward[:, 2], -1.0, 1.0)))
    share = (mjd - maps.mjd[after - 1]) / (maps.mjd[after] - maps.mjd[after - 1])
    values = [_at(maps, number, lat, lon + 360.0 * (mjd - maps.mjd[number])) for number in (after - 1, after)]
    content = (1.0 - share) * values[0] + share * values[1]
    if not np.isfinite(content).all():
        raise DataError("ionosphere: the maps have no electron content where the line of sight crosses the shell")
    return content


def _at(maps, number, lat, lon):
    """Interpolate maps bilinearly."""
    lat_step, lon_step = maps.latitude_deg[1] - maps.latitude_deg[0], maps.longitude_deg[1] - maps.longitude_deg[0]
    y = np.clip((lat - maps.latitude_deg[0]) / lat_step, 0.0, len(maps.latitude_deg) - 1.0)
    x = ((lon - maps.longitude_deg[0]) % 360.0) / lon_step
    row, col = (np.minimum(at.astype(int), size - 2) for at, size in ((y, len(maps.latitude_deg)),
                                                                      (x, len(maps.longitude_deg))))  # fmt: skip
    dy, dx = y - row, x - col
    corners = maps.tecu
    lower = (1 - dx) * corners[number, row, col] + dx * corners[number, row, col + 1]
    upper = (1 - dx) * corners[number, row + 1, col] + dx * corners[number, row + 1, col + 1]
    return (1 - dy) * lower + dy * upper
