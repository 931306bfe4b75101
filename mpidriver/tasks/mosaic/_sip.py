"""A FITS WCS (TAN, with SIP terms where needed) for any smooth map from pixels to the sky."""

from collections.abc import Callable

import numpy as np
from astropy.wcs import WCS, Sip

from mpidriver.tasks.skymap import TangentPlane

__all__ = ["fit_sip"]

DEG_IN_MAS = 3.6e6
#: Of SIP coefficients; more do not fit a card with a sign and an exponent, and a WCS would change when it is copied.
DIGITS = 13


def fit_sip(
    to_sky: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
    shape: tuple[int, int],
    *,
    tolerance_mas: float = 0.1,
    max_order: int = 6,
) -> tuple[WCS, float]:
    """Return the simplest TAN or TAN-SIP WCS that agrees with a map to the sky.

    Parameters
    ----------
    to_sky
        Right ascension and declination (deg) of pixel positions x, y (0-based).
    shape
        Rows and columns of the frame.
    tolerance_mas
        Largest error over the frame; the order rises from plain TAN until it is met.
    max_order
        Highest order of the SIP polynomials (Shupe et al. 2005).

    Returns
    -------
    wcs : WCS
    residual_mas : float
        Its largest error on a grid of 25 x 25 positions.
    """
    rows, columns = shape
    centre = (columns - 1) / 2, (rows - 1) / 2
    size = max(shape) / 2
    x, y = (axis.ravel() for axis in np.meshgrid(_span(columns), _span(rows)))
    ra, dec = to_sky(np.append(x, centre[0]), np.append(y, centre[1]))
    plane = TangentPlane(ra[-1], dec[-1])
    target = np.stack(plane.project(ra[:-1], dec[:-1]), axis=-1)
    u, v = (x - centre[0]) / size, (y - centre[1]) / size
    for order in range(1, max_order + 1):
        powers = _powers(order)
        design = _monomials(u, v, powers)
        coefficients = np.linalg.lstsq(design, target, rcond=None)[0]
        residual_mas = float(np.max(np.hypot(*(design @ coefficients - target).T))) * DEG_IN_MAS
        if residual_mas <= tolerance_mas:
            break
    coefficients = coefficients / size ** np.sum(powers, axis=1)[:, None]
    wcs = _tan_wcs(plane, centre, shape, cd=coefficients[:2].T)
    if order > 1:
        _add_sip(wcs, order, coefficients, x - centre[0], y - centre[1])
    return wcs, residual_mas


def _span(pixels: int) -> np.ndarray:
    return np.linspace(-0.5, pixels - 0.5, 25)


def _powers(order: int, lowest: int = 1) -> list[tuple[int, int]]:
    """Return the powers of u and v of all terms; the first two of ``lowest=1`` are u and v."""
    return [(total - j, j) for total in range(lowest, order + 1) for j in range(total + 1)]


def _monomials(u: np.ndarray, v: np.ndarray, powers: list[tuple[int, int]]) -> np.ndarray:
    return np.stack([u**i * v**j for i, j in powers], axis=-1)


def _tan_wcs(plane: TangentPlane, centre: tuple[float, float], shape: tuple[int, int], cd: np.ndarray) -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.cunit = "deg", "deg"
    wcs.wcs.crval = plane.ra_deg, plane.dec_deg
    wcs.wcs.crpix = centre[0] + 1.0, centre[1] + 1.0
    wcs.wcs.pc = cd
    wcs.wcs.cdelt = 1.0, 1.0
    wcs.wcs.lonpole = 180.0
    wcs.wcs.radesys = "ICRS"
    wcs.pixel_shape = shape[1], shape[0]
    wcs.wcs.set()
    return wcs


def _add_sip(wcs: WCS, order: int, coefficients: np.ndarray, u: np.ndarray, v: np.ndarray) -> None:
    """Add forward and inverse SIP polynomials; `u` and `v` are the pixels, from CRPIX, that the inverse is fit on."""
    to_pixels = np.linalg.inv(wcs.wcs.pc)
    forward = coefficients[2:] @ to_pixels.T
    a, b = (_table(order, _powers(order, 2), axis) for axis in forward.T)
    moved = _monomials(u, v, _powers(order)) @ coefficients @ to_pixels.T
    size = np.abs([u, v]).max()
    powers = _powers(order, 0)
    design = _monomials(*(moved / size).T, powers)
    backward = np.linalg.lstsq(design, np.stack([u, v], axis=-1) - moved, rcond=None)[0]
    backward /= size ** np.sum(powers, axis=1)[:, None]
    ap, bp = (_table(order, powers, axis) for axis in backward.T)
    wcs.sip = Sip(a, b, ap, bp, wcs.wcs.crpix)
    wcs.wcs.ctype = "RA---TAN-SIP", "DEC--TAN-SIP"
    wcs.wcs.set()


def _table(order: int, powers: list[tuple[int, int]], values: np.ndarray) -> np.ndarray:
    table = np.zeros((order + 1, order + 1))
    for (i, j), value in zip(powers, values, strict=True):
        table[i, j] = float(f"{value:.{DIGITS - 1}e}")
    return table
