"""Where sky positions lie on an image.

Most images are tangent planes, with or without SIP distortion; their coordinates are computed here, which takes a
fraction of what loading astropy takes, and the same to a millionth of a pixel. astropy does all others.
"""

import functools
import math
import re
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from mpidriver.tasks.skymap._tangent import TangentPlane

__all__ = ["AnyCoordinates", "Coordinates", "TangentCoordinates", "sky_to_pixel"]

#: Newton steps for the inverse of a distortion, and the error in pixels at which they end.
_STEPS, _TOLERANCE_PX = 20, 1e-9


class Coordinates(Protocol):
    """Which pixel of an image shows which position of the sky."""

    pixel_scale_deg: float
    """Side of a pixel at the reference position, as the root of its area, deg."""

    def to_pixel(self, ra_deg: Any, dec_deg: Any) -> tuple[Any, Any]:
        """Return x and y (px, 0-based) of sky positions, NaN where the image's projection does not reach."""
        ...

    def to_sky(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Return right ascension and declination (deg) of pixel positions."""
        ...


class TangentCoordinates:
    """A gnomonic projection, with or without SIP distortion (Shupe et al. 2005).

    Parameters
    ----------
    plane
        The tangent plane.
    reference_px
        CRPIX, 1-based.
    matrix : ndarray, shape (2, 2), deg
        From pixels to the plane.
    a, b : ndarray, shape (power of u, power of v)
        SIP polynomials of x and y; None without distortion.
    """

    def __init__(
        self,
        plane: TangentPlane,
        reference_px: tuple[float, float],
        matrix: np.ndarray,
        a: np.ndarray | None = None,
        b: np.ndarray | None = None,
    ) -> None:
        self._plane = plane
        self._reference = np.array(reference_px) - 1.0
        self._matrix = matrix
        self._inverse = np.linalg.inv(matrix)
        none = np.zeros((1, 1))
        self._sip = None if a is None and b is None else (none if a is None else a, none if b is None else b)
        self.pixel_scale_deg = math.sqrt(abs(np.linalg.det(matrix)))

    @classmethod
    def of_header(cls, get: Callable[..., Any]) -> "TangentCoordinates | None":
        """Return the coordinates that a header describes, None if they are not of this kind.

        Parameters
        ----------
        get
            Returns the value of a keyword, or the default given with it: ``header.get``.
        """
        types = re.fullmatch(r"RA---TAN(-SIP)? DEC--TAN(-SIP)?", f"{get('CTYPE1', '')} {get('CTYPE2', '')}")
        if types is None or types[1] != types[2] or _has_more(get):
            return None
        dec = float(get("CRVAL2", 0.0))
        if float(get("LONPOLE", 180.0 if dec < 90.0 else 0.0)) != 180.0:
            return None
        matrix = _matrix(get)
        if matrix is None or not np.linalg.det(matrix):
            return None
        reference = float(get("CRPIX1", 0.0)), float(get("CRPIX2", 0.0))
        polynomials = [_polynomial(get, letter) for letter in "AB"] if types[1] else [None, None]
        return cls(TangentPlane(float(get("CRVAL1", 0.0)), dec), reference, matrix, *polynomials)

    def to_pixel(self, ra_deg: Any, dec_deg: Any) -> tuple[Any, Any]:
        """Return x and y (px, 0-based) of sky positions, NaN where projection or distortion do not reach."""
        u, v = self._inverse @ np.stack(self._plane.project(np.ravel(ra_deg), np.ravel(dec_deg)))
        if self._sip is not None:
            u, v = self._undistorted(u, v)
        x, y = u + self._reference[0], v + self._reference[1]
        return x.reshape(np.shape(ra_deg)), y.reshape(np.shape(ra_deg))

    def to_sky(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Return right ascension and declination (deg) of pixel positions."""
        u, v = np.asarray(x, dtype=float) - self._reference[0], np.asarray(y, dtype=float) - self._reference[1]
        if self._sip is not None:
            (f, *_), (g, *_) = (_evaluated(table, u, v) for table in self._sip)
            u, v = u + f, v + g
        (a, b), (c, d) = self._matrix
        return self._plane.deproject(a * u + b * v, c * u + d * v)

    def _undistorted(self, u: Any, v: Any) -> tuple[Any, Any]:
        """Return the pixels from CRPIX whose distorted places are given, by Newton's method."""
        assert self._sip is not None
        target_u, target_v = u, v
        with np.errstate(all="ignore"):
            for _ in range(_STEPS):
                (f, f_u, f_v), (g, g_u, g_v) = (_evaluated(table, u, v) for table in self._sip)
                miss_u, miss_v = u + f - target_u, v + g - target_v
                if not np.any(np.hypot(miss_u, miss_v) > _TOLERANCE_PX):
                    break
                determinant = (1.0 + f_u) * (1.0 + g_v) - f_v * g_u
                u = u - ((1.0 + g_v) * miss_u - f_v * miss_v) / determinant
                v = v - ((1.0 + f_u) * miss_v - g_u * miss_u) / determinant
            found = np.hypot(miss_u, miss_v) < 1e-6
        return np.where(found, u, np.nan), np.where(found, v, np.nan)


def _has_more(get: Callable[..., Any]) -> bool:
    """Tell whether there is more than a tangent plane: PV terms, lookup tables, other units, mixed axes."""
    others = [f"{word}{axis}" for word in ("CPDIS", "CQDIS", "D2IMDIS") for axis in (1, 2)]
    others += [f"PV{axis}_{term}" for axis in (1, 2) for term in range(40)] + ["D2IM1", "D2IM2"]
    mixed = [f"{word}{i}_{j}" for word in ("CD", "PC") for i, j in _MIXED]
    units = {str(get(f"CUNIT{axis}", "deg")).strip() for axis in (1, 2)}
    return (
        any(get(keyword) is not None for keyword in others)
        or any(get(keyword, 0.0) for keyword in mixed)
        or not units <= {"deg", ""}
        or any(get(f"CROTA{axis}") for axis in (1, 2))
    )


_MIXED = [(i, j) for i in range(1, 5) for j in range(1, 5) if (i < 3) != (j < 3)]


def _matrix(get: Callable[..., Any]) -> np.ndarray | None:
    """Return the matrix from pixels to the plane, None if CD and PC are mixed."""
    names = [(i, j) for i in (1, 2) for j in (1, 2)]
    cd, pc = ([get(f"{word}{i}_{j}") for i, j in names] for word in ("CD", "PC"))
    if any(value is not None for value in cd):
        if any(value is not None for value in pc):
            return None
        return np.array([0.0 if value is None else float(value) for value in cd]).reshape(2, 2)
    turn = [float(i == j) if value is None else float(value) for value, (i, j) in zip(pc, names, strict=True)]
    scale = np.array([float(get("CDELT1", 1.0)), float(get("CDELT2", 1.0))])
    return scale[:, None] * np.array(turn).reshape(2, 2)


def _polynomial(get: Callable[..., Any], letter: str) -> np.ndarray | None:
    """Return a SIP polynomial as a table of its coefficients, by the powers of u and v."""
    order = int(get(f"{letter}_ORDER", 0))
    if not order:
        return None
    table = np.zeros((order + 1, order + 1))
    for i in range(order + 1):
        for j in range(order + 1 - i):
            table[i, j] = float(get(f"{letter}_{i}_{j}", 0.0))
    return table


def _evaluated(table: np.ndarray, u: Any, v: Any) -> tuple[Any, Any, Any]:
    """Return a polynomial and its derivatives by u and v."""
    value = by_u = by_v = np.zeros(np.shape(u))
    for row in table[::-1]:
        inner = inner_by_v = np.zeros(np.shape(u))
        for coefficient in row[::-1]:
            inner_by_v = inner_by_v * v + inner
            inner = inner * v + coefficient
        by_u = by_u * u + value
        value = value * u + inner
        by_v = by_v * u + inner_by_v
    return value, by_u, by_v


class AnyCoordinates:
    """Whatever coordinates astropy knows.

    Parameters
    ----------
    wcs : astropy.wcs.WCS
        Of two celestial axes, right ascension or longitude first or second.
    """

    def __init__(self, wcs: Any) -> None:
        self._wcs = wcs
        self._lon, self._lat = wcs.wcs.lng, wcs.wcs.lat

    @functools.cached_property
    def pixel_scale_deg(self) -> float:
        """Side of a pixel at the reference position, as the root of its area, deg."""
        from astropy.wcs.utils import proj_plane_pixel_area

        return math.sqrt(proj_plane_pixel_area(self._wcs))

    def to_pixel(self, ra_deg: Any, dec_deg: Any) -> tuple[Any, Any]:
        """Return x and y (px, 0-based) of sky positions, NaN where projection or distortion do not reach."""
        first, second = (ra_deg, dec_deg) if self._lon == 0 else (dec_deg, ra_deg)
        return sky_to_pixel(self._wcs, first, second)

    def to_sky(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Return right ascension and declination (deg) of pixel positions."""
        world = self._wcs.all_pix2world(x, y, 0)
        return world[self._lon], world[self._lat]


def sky_to_pixel(wcs, ra_deg, dec_deg):
    """Return the pixel positions of sky positions, NaN where the projection or its distortion does not reach.

    Parameters
    ----------
    wcs : astropy.wcs.WCS
        Of two celestial axes, with whatever distortion.
    ra_deg, dec_deg : ndarray of float64, deg

    Returns
    -------
    tuple of ndarray
        x (column) and y (row), px, 0-based.
    """
    from astropy.wcs import NoConvergence

    with np.errstate(all="ignore"):
        try:
            return wcs.all_world2pix(ra_deg, dec_deg, 0, tolerance=1e-6, maxiter=50)
        except NoConvergence as failure:
            # Far outside a frame its distortion polynomial has no inverse; those positions are off the image.
            x, y = failure.best_solution.T.copy()
            for which in (failure.divergent, failure.slow_conv):
                if which is not None:
                    x[which] = y[which] = np.nan
            return x.reshape(np.shape(ra_deg)), y.reshape(np.shape(ra_deg))
