"""The warp: prepare the input, map the pixels, interpolate."""

import numpy as np

from mpidriver.errors import DataError
from mpidriver.tasks.image import MaskedImage, MaskPlane
from mpidriver.tasks.warp._options import WarpOptions
from mpidriver.tasks.warp._pixel_map import make_pixel_map, output_box
from mpidriver.tasks.warp._prepare import (
    fill_unusable,
    make_coefficients,
    mark_windows,
    mirror_padding,
    padded_copies,
)
from mpidriver.tasks.warp._resample import resample_by_cubic_spline, resample_by_table
from mpidriver.tasks.warp._taps import taps_of

__all__ = ["overlap", "warp"]

#: Weights below this are none.
_LEAST_WEIGHT = 1e-6
#: Columns of the output that are done together: many, so that memory is read in long lines where rows of the output run
#: along rows of the input, and not all, so that the lines stay cached where they run across.
_TILE_COLS = 512
#: Planes whose values are replaced by their surroundings before interpolation, so that they do not ring.
_UNUSABLE = MaskPlane.BAD | MaskPlane.COSMIC_RAY | MaskPlane.NO_DATA


def overlap(shape_in, wcs_in, wcs_out, shape_out):
    """Return the rows and columns of the output that an input can reach.

    Parameters
    ----------
    shape_in, shape_out : tuple of int, (rows, cols)
    wcs_in, wcs_out : astropy.wcs.WCS

    Returns
    -------
    tuple of slice, or None
        Row and column slice into the output, a little generous; None where input and output are apart.
    """
    box = output_box(shape_in, wcs_in, wcs_out, shape_out)
    return None if box is None else (slice(box[0], box[1]), slice(box[2], box[3]))


def warp(
    image, wcs_in, wcs_out, shape_out, *, variance=None, mask=None, kernel=None, scale=1.0, options=None
):  # fmt: skip
    """Interpolate an image onto the pixels of another WCS, with variance and mask.

    Values are flux per pixel: the interpolated value is multiplied by the area that the output pixel has on the
    input, so that the flux of a source is conserved. The kernel is not stretched: an output much coarser than the
    input samples it, it does not average it.

    Parameters
    ----------
    image : ndarray, shape (..., row, col)
        NaN or infinite pixels count as NO_DATA. Planes of one stack share everything else: the pixel map, the variance
        and the mask.
    wcs_in, wcs_out : astropy.wcs.WCS
    shape_out : tuple of int, (rows, cols)
    variance : ndarray, shape (row, col), optional
        Without it the variance is 1 everywhere, and the result says by how much interpolation lowers it. Pixels with
        a variance that is negative or not finite count as NO_DATA.
    mask : ndarray of int, shape (row, col), optional
        Bits of `MaskPlane`. Pixels that are BAD, COSMIC_RAY or NO_DATA and not INTERPOLATED are replaced by the mean
        of their neighbours first; their bits travel on.
    kernel : {"bspline3", "bspline5", "lanczos3", "bilinear"}, optional
        Overrides the options' kernel. The cubic B-spline shifts stars of FWHM 4 px by 5e-4 px at most and costs half
        of Lanczos-3, which shifts them by 1e-3 px; the quintic is for narrower stars; bilinear interpolation never
        rings, and smooths.
    scale : float, optional
        Factor from the image's unit to the result's, as from electrons to nJy.
    options : WarpOptions, optional

    Returns
    -------
    MaskedImage
        Planes of shape `shape_out`, as many of each kind as of the image: what is missing may differ between them.
        Image and variance are NaN, and the mask has NO_DATA, where no input reaches or where a pixel without data has
        a weight of at least ``options.mask_weight``; other bits travel by the same rule. A pixel's weight is what it
        contributes to the value itself, which for splines is not the tap of a coefficient; pixels beyond the third
        neighbour are not looked at. The variance is the sum of squared weights times variances, for splines with the
        variance between the four nearest pixels for all; the covariance of neighbouring pixels is not kept.

    References
    ----------
    Unser, Aldroubi & Eden (1993), IEEE Trans. Signal Process. 41, 821 (splines); Duchon (1979), J. Appl. Meteorol.
    18, 1016 (Lanczos); Bertin et al. (2002), ASP Conf. 281, 228 (SWarp).
    """
    options = options or WarpOptions()
    kernel = kernel or options.kernel
    taps = taps_of(kernel)
    image = np.asarray(image)
    _check(image, variance, mask, scale)
    shape_in = image.shape[-2:]
    box = output_box(shape_in, wcs_in, wcs_out, shape_out)
    result = _blank_outside(box or (0, 0, 0, 0), (*image.shape[:-2], *shape_out))
    if box is None:
        return result
    pixel_map = make_pixel_map(
        shape_in, wcs_in, wcs_out, box, step=options.grid_step_px, max_error_px=options.max_map_error_px
    )
    mask_weight = np.float32(max(options.mask_weight, _LEAST_WEIGHT))
    part = np.s_[box[0] : box[1], box[2] : box[3]]
    for at in np.ndindex(image.shape[:-2]):
        planes = _prepared(image[at], variance, mask, taps.poles)
        out = result.image[at][part], result.variance[at][part], result.mask[at][part]
        for nodes, tile in _tiles(pixel_map, out):
            how = float(scale), mask_weight, np.int32(MaskPlane.NO_DATA), tile
            if kernel == "bspline3":
                resample_by_cubic_spline(planes, nodes, pixel_map.step, taps.pixels, *how)
            else:
                resample_by_table(planes, nodes, pixel_map.step, (taps.values, taps.variances, taps.pixels), *how)
    return result


def _tiles(pixel_map, out):
    """Yield the nodes and the output planes of a few columns after the other."""
    cells = max(1, _TILE_COLS // pixel_map.step)
    for first in range(0, pixel_map.x.shape[1] - 3, cells):
        nodes = tuple(grid[:, first : first + cells + 3] for grid in (pixel_map.x, pixel_map.y, pixel_map.area))
        yield nodes, tuple(plane[:, first * pixel_map.step : (first + cells) * pixel_map.step] for plane in out)


def _check(image, variance, mask, scale):
    if image.ndim < 2 or image.size == 0:
        raise DataError(f"warp: image must have shape (..., row, col) and pixels, got shape {image.shape}")
    for name, plane in (("variance", variance), ("mask", mask)):
        if plane is not None and np.shape(plane) != image.shape[-2:]:
            raise DataError(f"warp: {name} has shape {np.shape(plane)}, image has {image.shape}; (row, col) must agree")
    if not np.isfinite(scale):
        raise DataError(f"warp: scale must be finite, got {scale!r}; has the frame a zero point?")


def _blank_outside(box, shape):
    """Return planes that hold nothing outside the box, and inside it what is to be overwritten."""
    row0, row1, col0, col1 = box
    blank = np.float32(np.nan), np.float32(np.nan), np.int32(MaskPlane.NO_DATA)
    planes = [np.empty(shape, value.dtype) for value in blank]
    for plane, value in zip(planes, blank, strict=True):
        plane[..., :row0, :] = plane[..., row1:, :] = value
        plane[..., row0:row1, :col0] = plane[..., row0:row1, col1:] = value
    return MaskedImage(*planes)


def _prepared(image, variance, mask, poles):
    """Return padded copies of image (or its spline's coefficients), variance, mask, and the windows with mask bits."""
    no_data, interpolated, unusable = np.int32(MaskPlane.NO_DATA), np.int32(MaskPlane.INTERPOLATED), np.int32(_UNUSABLE)
    shape = image.shape
    *planes, holes = padded_copies(
        np.ascontiguousarray(image, np.float32),
        np.ones(shape, np.float32) if variance is None else np.ascontiguousarray(variance, np.float32),
        np.zeros(shape, np.int32) if mask is None else np.ascontiguousarray(mask, np.int32),
        no_data, interpolated, unusable,
    )  # fmt: skip
    if holes:
        fill_unusable(*planes, unusable, interpolated)
    if poles:
        make_coefficients(planes[0], np.array(poles, np.float32))
    else:
        mirror_padding(planes[0])
    mirror_padding(planes[1])
    return *planes, mark_windows(planes[2])
