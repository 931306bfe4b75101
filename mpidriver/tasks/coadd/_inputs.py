"""What a coadd knows of each of its inputs: a row of its table of inputs."""

import numpy as np

from mpidriver.tasks.coadd._star_moments import frame_psf, moments_of_frame, position_terms
from mpidriver.tasks.warp._pixel_map import project

__all__ = ["INPUT_DTYPE", "INPUT_UNITS", "input_row"]

#: Points of a footprint: the corners, and so many in all along the border.
_FOOTPRINT = 8
#: Places of a frame at which its PSF is carried over to the patch, along each axis.
_PLACES = 5

#: A row of the table of inputs.
INPUT_DTYPE = np.dtype(
    [
        ("exposure", "i8"),
        ("detector", "i4"),
        ("weight", "f8"),
        ("zero_point", "f8"),
        ("sky_sigma", "f4"),
        ("seeing_px", "f4"),
        ("psf_stars", "i4"),
        ("psf_beta", "f4"),
        ("psf_fwhm_per_sigma", "f4"),
        ("psf_moments", "f8", (3, 3)),
        ("footprint", "f8", (_FOOTPRINT, 2)),
    ]
)

#: Unit of each column of `INPUT_DTYPE`.
INPUT_UNITS = {
    "weight": "nJy-2",
    "zero_point": "mag",
    "sky_sigma": "nJy",
    "seeing_px": "pix",
    "psf_moments": "pix2",
    "footprint": "pix",
}


def input_row(frame, catalogue, wcs_in, wcs_out, *, exposure, detector, zero_point_mag, weight):
    """Return what a coadd's table of inputs says of one frame, shape (1,), `INPUT_DTYPE`.

    Parameters
    ----------
    frame : MaskedImage
    catalogue : ndarray
        Its sources, for `frame_psf`.
    wcs_in, wcs_out : astropy.wcs.WCS
        Of the frame and of the coadd.
    exposure, detector : int
    zero_point_mag : float
        Magnitude of 1 of the frame's unit.
    weight : float
        nJy^-2: the inverse of the variance of a pixel of sky.
    """
    psf = frame_psf(frame, catalogue)
    row = np.zeros(1, INPUT_DTYPE)
    row["exposure"], row["detector"], row["zero_point"], row["weight"] = exposure, detector, zero_point_mag, weight
    row["sky_sigma"] = weight**-0.5
    row["psf_stars"], row["psf_beta"], row["psf_fwhm_per_sigma"] = psf.n_stars, psf.beta, psf.fwhm_per_sigma
    row["psf_moments"], sigma_px = _carried_over(psf, frame.shape, wcs_in, wcs_out)
    row["seeing_px"] = psf.fwhm_per_sigma * sigma_px
    row["footprint"] = _footprint(frame.shape, wcs_in, wcs_out)
    return row


def _footprint(shape, wcs_in, wcs_out):
    """Return the frame's outline on the coadd, px, counter-clockwise or clockwise, shape (point, 2)."""
    low, (bottom, right) = -0.5, np.array(shape) - 0.5
    middle_x, middle_y = 0.5 * (low + right), 0.5 * (low + bottom)
    x = np.array([low, middle_x, right, right, right, middle_x, low, low])
    y = np.array([low, low, low, middle_y, bottom, bottom, bottom, middle_y])
    return np.column_stack(project(wcs_in, wcs_out, x, y))


def _carried_over(psf, shape, wcs_in, wcs_out):
    """Return a frame's moments as polynomials of the position on the coadd, and the sigma in its middle, px.

    With A the change of the position on the coadd with that on the frame, moments M become A M A'.
    """
    rows, cols = (np.linspace(0, size - 1, _PLACES) for size in shape)
    x, y = (axis.ravel() for axis in np.meshgrid(cols, rows))
    here, right, up = (np.array(project(wcs_in, wcs_out, x + dx, y + dy)) for dx, dy in ((0, 0), (1, 0), (0, 1)))
    change = np.stack([right - here, up - here], axis=-1).transpose(1, 0, 2)  # (place, coadd axis, frame axis)
    matrices = _matrices(moments_of_frame(psf, x, y))
    carried = change @ matrices @ change.transpose(0, 2, 1)
    values = np.column_stack([carried[:, 0, 0], carried[:, 1, 1], carried[:, 0, 1]])
    reached = np.isfinite(values).all(axis=1) & np.isfinite(here).all(axis=0)
    if reached.sum() < _PLACES:
        return np.full((3, 3), np.nan), np.nan
    polynomials = np.linalg.lstsq(position_terms(*here[:, reached]), values[reached], rcond=None)[0]
    middle = np.median(np.linalg.det(carried[reached])) ** 0.25
    return polynomials, float(middle)


def _matrices(moments):
    """Return xx, yy, xy as symmetric matrices, shape (place, 2, 2)."""
    xx, yy, xy = moments.T
    return np.stack([np.stack([xx, xy], axis=-1), np.stack([xy, yy], axis=-1)], axis=-2)
