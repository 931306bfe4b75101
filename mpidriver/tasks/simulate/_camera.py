"""Where a detector's pixels look: the true WCS of a frame and the one that its header claims.

Focal plane x runs with an image's columns and to the west, y with its rows and to the north of the field's centre,
but for the exposure's rotation (the angle of y from the pointing's north to east). The reference pixel of
both WCS is the optical axis, which may lie outside the detector.
"""

import numpy as np
from astropy.wcs import WCS, Sip

from mpidriver.tasks.simulate._options import SimulationOptions
from mpidriver.tasks.simulate._survey import focal_plane_half_size_arcsec
from mpidriver.tasks.simulate._tangent import tangent_wcs

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
    return tangent_wcs(
        exposure["header_ra"],
        exposure["header_dec"],
        reference_px=_detector_middle(options) - centre / scale,
        cd_deg=_west_and_north(scale) @ _rotation(exposure["header_rotation_deg"]),
        shape=options.camera.detector_shape,
    )


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
    wcs = tangent_wcs(
        exposure["ra"],
        exposure["dec"],
        reference_px=_detector_middle(options) - turned.T @ centre / scale,
        cd_deg=_west_and_north(scale * exposure["scale"]) @ _rotation(exposure["rotation_deg"]) @ turned,
        shape=options.camera.detector_shape,
    )
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
    return float(np.hypot(*focal_plane_half_size_arcsec(options.camera))) / options.camera.pixel_scale_arcsec


def _west_and_north(scale_arcsec: float) -> np.ndarray:
    """Return the matrix in degrees from focal plane pixels (x west, y north) to (east, north)."""
    return np.diag([-1.0, 1.0]) * (scale_arcsec / 3600.0)


def _rotation(angle_deg: float) -> np.ndarray:
    cos, sin = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    return np.array([[cos, -sin], [sin, cos]])


def _distort(wcs: WCS, stretch_px2: float) -> None:
    """Add the radial cubic u (u² + v²) · `stretch_px2` to a WCS whose reference pixel is the axis."""
    a, b = np.zeros((4, 4)), np.zeros((4, 4))
    a[3, 0] = a[1, 2] = b[0, 3] = b[2, 1] = stretch_px2
    wcs.sip = Sip(a, b, None, None, wcs.wcs.crpix)
    wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
    wcs.wcs.set()
