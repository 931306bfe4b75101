"""The warp: prepare the input, map the pixels, interpolate."""

import numpy as np

from mpidriver.errors import ConfigError, DataError
from mpidriver.tasks.image import MaskedImage, MaskPlane
from mpidriver.tasks.warp._kernels import PAD, fill_unusable, flag_unusable, mark_windows, resample
from mpidriver.tasks.warp._lanczos import lanczos3_table
from mpidriver.tasks.warp._options import WarpOptions
from mpidriver.tasks.warp._pixel_map import make_pixel_map, output_box

__all__ = ["overlap", "warp"]

_TABLES = {"lanczos3": lanczos3_table}
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
    kernel : str, optional
        Overrides the options' kernel.
    scale : float, optional
        Factor from the image's unit to the result's, as from electrons to nJy.
    options : WarpOptions, optional

    Returns
    -------
    MaskedImage
        Planes of shape `shape_out`, as many of each kind as of the image: what is missing may differ between them.
        Image and variance are NaN, and the mask has NO_DATA, where no input reaches or where a pixel without data has
        a weight of at least ``options.mask_weight``; other bits travel by the same rule. The variance is the sum of
        squared taps times variances; the covariance that interpolation makes between pixels is not kept.

    References
    ----------
    Duchon (1979), J. Appl. Meteorol. 18, 1016 (the kernel); Bertin et al. (2002), ASP Conf. 281, 228 (SWarp).
    """
    options = options or WarpOptions()
    table = _table(kernel or options.kernel)
    image = np.asarray(image)
    _check(image, variance, mask, scale)
    shape_in, result = image.shape[-2:], _empty((*image.shape[:-2], *shape_out))
    box = output_box(shape_in, wcs_in, wcs_out, shape_out)
    if box is None:
        return result
    pixel_map = make_pixel_map(
        shape_in, wcs_in, wcs_out, box, step=options.grid_step_px, max_error_px=options.max_map_error_px
    )
    part = np.s_[box[0] : box[1], box[2] : box[3]]
    for at in np.ndindex(image.shape[:-2]):
        planes = _prepared(image[at], variance, mask)
        resample(
            *planes, mark_windows(planes[2]), pixel_map.x, pixel_map.y, pixel_map.area, pixel_map.step, table,
            float(scale), float(options.mask_weight), int(MaskPlane.NO_DATA),
            result.image[at][part], result.variance[at][part], result.mask[at][part],
        )  # fmt: skip
    return result


def _table(kernel):
    if kernel not in _TABLES:
        raise ConfigError(f"warp: kernel must be one of {', '.join(_TABLES)}, got {kernel!r}")
    return _TABLES[kernel]()


def _check(image, variance, mask, scale):
    if image.ndim < 2 or image.size == 0:
        raise DataError(f"warp: image must have shape (..., row, col) and pixels, got shape {image.shape}")
    for name, plane in (("variance", variance), ("mask", mask)):
        if plane is not None and np.shape(plane) != image.shape[-2:]:
            raise DataError(f"warp: {name} has shape {np.shape(plane)}, image has {image.shape}; (row, col) must agree")
    if not np.isfinite(scale):
        raise DataError(f"warp: scale must be finite, got {scale!r}; has the frame a zero point?")


def _empty(shape):
    return MaskedImage(
        np.full(shape, np.nan, np.float32),
        np.full(shape, np.nan, np.float32),
        np.full(shape, int(MaskPlane.NO_DATA), np.int32),
    )


def _prepared(image, variance, mask):
    """Return padded copies of image, variance and mask: finite everywhere, NO_DATA in the padding."""
    no_data, interpolated = int(MaskPlane.NO_DATA), int(MaskPlane.INTERPOLATED)
    planes = (
        _padded(image, image.shape, 0.0, np.float32),
        _padded(1.0 if variance is None else variance, image.shape, 0.0, np.float32),
        _padded(0 if mask is None else mask, image.shape, no_data, np.int32),
    )
    flag_unusable(*planes, no_data, interpolated)
    fill_unusable(*planes, int(_UNUSABLE), interpolated)
    return planes


def _padded(plane, shape, fill, dtype):
    padded = np.empty((shape[0] + 2 * PAD, shape[1] + 2 * PAD), dtype)
    padded[PAD:-PAD, PAD:-PAD] = plane
    for edge in (np.s_[:PAD], np.s_[-PAD:], np.s_[:, :PAD], np.s_[:, -PAD:]):
        padded[edge] = fill
    return padded
