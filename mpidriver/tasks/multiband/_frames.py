"""Forced photometry on single frames: the objects of a patch on the pixels of an exposure."""

import numpy as np

from mpidriver.tasks.image import NJY_ZERO_POINT_MAG, MaskedImage
from mpidriver.tasks.multiband._columns import empty, frame_dtype
from mpidriver.tasks.multiband._flags import ObjectFlag
from mpidriver.tasks.multiband._measure import force
from mpidriver.tasks.multiband._options import MultibandOptions

__all__ = ["force_frame", "on_grid", "transformed_ellipses"]

#: Pixels around the objects that are measured too, for the background and the PSF.
_MARGIN_PX = 100
#: Objects this far outside by the linear part of the WCS are not looked at: its distortion may not converge there.
_FAR_PX = 200.0


def on_grid(merged, wcs_from, wcs_to):
    """Return a reference table with positions and ellipses on the pixels of another WCS.

    Parameters
    ----------
    merged : ndarray, shape (object,)
        From `merge_measurements`.
    wcs_from, wcs_to : astropy.wcs.WCS
        That of the table, and that to be had.

    Returns
    -------
    ndarray, shape (object,)
        With `x`, `y`, the model's ellipse and the Kron ellipse changed by the local linear map between both pixels.
    """
    out = merged.copy()
    if merged.size == 0:
        return out
    places, local = _local_maps(merged, wcs_from, wcs_to)
    out["x"], out["y"] = places
    model = _transformed(local, *(merged[f"model_{name}"] for name in ("xx", "yy", "xy")))
    out["model_xx"], out["model_yy"], out["model_xy"] = model
    out["kron_a_px"], out["kron_b_px"], out["kron_theta_rad"] = _axes(
        *_transformed(local, *_matrix(merged["kron_a_px"], merged["kron_b_px"], merged["kron_theta_rad"]))
    )
    return out


def transformed_ellipses(rows, wcs_from, wcs_to, names):
    """Return positions of rows with `ra` and `dec` on the pixels of another WCS, and their ellipses there.

    Parameters
    ----------
    rows : ndarray, shape (object,)
    wcs_from, wcs_to : astropy.wcs.WCS
    names : tuple of str
        Columns of xx, yy, xy.

    Returns
    -------
    places : ndarray, shape (2, object), px
    ellipses : tuple of ndarray
        xx, yy, xy, shape (object,) each.
    """
    places, local = _local_maps(rows, wcs_from, wcs_to)
    return places, _transformed(local, *(rows[name] for name in names))


def _local_maps(rows, wcs_from, wcs_to):
    """Return positions on another WCS, shape (2, object), and the linear map between both there, (object, 2, 2)."""
    x, y = wcs_from.all_world2pix(rows["ra"], rows["dec"], 0)
    points = [
        _mapped(wcs_from, wcs_to, x + dx, y + dy) for dx, dy in ((0, 0), (0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5))
    ]
    along_x, along_y = points[1] - points[2], points[3] - points[4]
    return points[0], np.stack([along_x, along_y], axis=-1).transpose(1, 0, 2)


def _mapped(wcs_from, wcs_to, x, y):
    return np.array(wcs_to.all_world2pix(*wcs_from.all_pix2world(x, y, 0), 0, quiet=True))


def _transformed(local, xx, yy, xy):
    """Return the ellipses ``L M L^T`` of matrices M under local maps L, shape (object, 2, 2)."""
    matrix = np.stack([np.stack([xx, xy], axis=-1), np.stack([xy, yy], axis=-1)], axis=-2).astype(float)
    mapped = local @ matrix @ local.transpose(0, 2, 1)
    return mapped[:, 0, 0], mapped[:, 1, 1], mapped[:, 0, 1]


def _matrix(a, b, theta):
    cos, sin = np.cos(theta), np.sin(theta)
    return a**2 * cos**2 + b**2 * sin**2, a**2 * sin**2 + b**2 * cos**2, (a**2 - b**2) * sin * cos


def _axes(xx, yy, xy):
    mean, difference = 0.5 * (xx + yy), np.hypot(0.5 * (xx - yy), xy)
    return np.sqrt(mean + difference), np.sqrt(np.maximum(mean - difference, 0.0)), 0.5 * np.arctan2(2 * xy, xx - yy)


def force_frame(frame, wcs, merged, patch_wcs, *, zero_point_mag, options=None):
    """Measure a patch's objects on one frame, at their positions and with the shapes of the coadd.

    Parameters
    ----------
    frame : MaskedImage
        Background taken off.
    wcs : astropy.wcs.WCS
        Of the frame.
    merged : ndarray, shape (object,)
        From `merge_measurements`.
    patch_wcs : astropy.wcs.WCS
        Of the pixels in which `merged` has its ellipses.
    zero_point_mag : float
        AB magnitude of one count of the frame.
    options : MultibandOptions, optional

    Returns
    -------
    ndarray, shape (object on the frame,)
        Structured, `frame_dtype`, in the order of `merged`; `exposure`, `detector`, `band` and `mjd` are left to fill.
        Objects without pixels are left out.
    """
    options = options or MultibandOptions()
    n_apertures = len(options.aperture_radii_arcsec)
    near = merged[_is_near(wcs, merged, frame.shape)]
    placed = on_grid(near, patch_wcs, wcs)
    rows, cols = frame.shape
    inside = (placed["x"] > -0.5) & (placed["x"] < cols - 0.5) & (placed["y"] > -0.5) & (placed["y"] < rows - 0.5)
    placed = placed[inside]
    if placed.size == 0:
        return empty(frame_dtype(n_apertures), 0)
    box = tuple(
        slice(max(int(placed[axis].min()) - _MARGIN_PX, 0), min(int(placed[axis].max()) + _MARGIN_PX, size))
        for axis, size in (("y", rows), ("x", cols))
    )
    scale = 10.0 ** (-0.4 * (zero_point_mag - NJY_ZERO_POINT_MAG))
    image = MaskedImage(frame.image[box] * scale, frame.variance[box] * scale**2, frame.mask[box])
    forced = force(image, wcs.slice(box), placed, options=options)
    forced = forced[forced["flags"] & int(ObjectFlag.NO_DATA) == 0]
    table = empty(frame_dtype(n_apertures), forced.size)
    for name in forced.dtype.names:
        table[name] = forced[name]
    table["x"] += box[1].start
    table["y"] += box[0].start
    return table


def _is_near(wcs, merged, shape):
    if merged.size == 0:
        return np.zeros(0, dtype=bool)
    x, y = wcs.wcs_world2pix(merged["ra"], merged["dec"], 0)
    with np.errstate(invalid="ignore"):
        return (x > -_FAR_PX) & (x < shape[1] + _FAR_PX) & (y > -_FAR_PX) & (y < shape[0] + _FAR_PX)
