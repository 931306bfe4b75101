"""Where a detector's pixels look: the true WCS of a frame and the one that its header claims.

Focal plane x runs with an image's columns and to the west, y with its rows and to the north. The reference pixel of
both WCS is the optical axis, which may lie outside the detector.
"""

import numpy as np
from astropy.wcs import WCS, Sip

from mpidriver.tasks.simulate._options import SimulationOptions
from mpidriver.tasks.simulate._survey import field_half_size_arcsec

__all__ = ["claimed_wcs", "distance_from_axis", "true_wcs"]


def claimed_wcs(options: SimulationOptions, exposure, detector) -> WCS:
    """Return the WCS that a frame's header claims: nominal geometry about the commanded pointing.

    Parameters
    ----------
    options
    exposure, detector
        One row each of the tables `Truth.exposures` and `Truth.detectors`.

    Returns
    -------
    astropy.wcs.WCS
        A TAN projection.
    """
    scale = options.camera.pixel_scale_arcsec
    centre = np.array([detector["x_arcsec"], detector["y_arcsec"]])
    axis = _detector_middle(options) - centre / scale
    return _tan(axis, _rotation(0.0), scale, exposure["header_ra"], exposure["header_dec"], options)


def true_wcs(options: SimulationOptions, exposure, detector) -> WCS:
    """Return the WCS by which a frame's sources are placed: TAN with a radial distortion (SIP).

    A point at distance r from the axis in the focal plane is seen at the tangent-plane distance
    r (1 + distortion (r / r_corner)²).

    Parameters
    ----------
    options
    exposure, detector
        One row each of the tables `Truth.exposures` and `Truth.detectors`.
    """
    scale = options.camera.pixel_scale_arcsec
    turned = _rotation(detector["rotation_deg"])
    centre = np.array(
        [detector["x_arcsec"] + detector["x_shift_arcsec"], detector["y_arcsec"] + detector["y_shift_arcsec"]]
    )
    axis = _detector_middle(options) - turned.T @ centre / scale
    matrix = _rotation(exposure["rotation_deg"]) @ turned
    wcs = _tan(axis, matrix, scale * exposure["scale"], exposure["ra"], exposure["dec"], options)
    if options.errors.distortion:
        _distort(wcs, options.errors.distortion / _corner_distance_px(options) ** 2)
    return wcs


def distance_from_axis(options: SimulationOptions, detector):
    """Return x and y in arcsec of a detector's columns and rows from the axis, shapes (col,) and (row,)."""
    n_rows, n_cols = options.camera.detector_shape
    scale = options.camera.pixel_scale_arcsec
    x = detector["x_arcsec"] + (np.arange(n_cols) - (n_cols - 1) / 2) * scale
    y = detector["y_arcsec"] + (np.arange(n_rows) - (n_rows - 1) / 2) * scale
    return x, y


def _detector_middle(options: SimulationOptions) -> np.ndarray:
    n_rows, n_cols = options.camera.detector_shape
    return np.array([(n_cols - 1) / 2, (n_rows - 1) / 2])


def _corner_distance_px(options: SimulationOptions) -> float:
    return float(np.hypot(*field_half_size_arcsec(options))) / options.camera.pixel_scale_arcsec


def _rotation(angle_deg: float) -> np.ndarray:
    cos, sin = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    return np.array([[cos, -sin], [sin, cos]])


def _tan(axis_px, matrix, scale_arcsec: float, ra: float, dec: float, options: SimulationOptions) -> WCS:
    """Return the TAN WCS with the optical axis at 0-based pixel `axis_px` (x, y) and focal plane axes turned."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.crval = [float(ra), float(dec)]
    wcs.wcs.crpix = np.asarray(axis_px) + 1.0
    wcs.wcs.cd = np.diag([-1.0, 1.0]) @ matrix * (scale_arcsec / 3600.0)
    wcs.wcs.radesys = "ICRS"
    n_rows, n_cols = options.camera.detector_shape
    wcs.pixel_shape = (n_cols, n_rows)
    wcs.wcs.set()
    return wcs


def _distort(wcs: WCS, stretch_px2: float) -> None:
    """Add the radial cubic u (u² + v²) · `stretch_px2` to a WCS whose reference pixel is the axis."""
    a, b = np.zeros((4, 4)), np.zeros((4, 4))
    a[3, 0] = a[1, 2] = b[0, 3] = b[2, 1] = stretch_px2
    wcs.sip = Sip(a, b, None, None, wcs.wcs.crpix)
    wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
    wcs.wcs.set()
