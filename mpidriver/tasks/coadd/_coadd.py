"""The coadd of arrays, and of whatever can be read by blocks of rows."""

import dataclasses

import numpy as np

from mpidriver.errors import ConfigError, DataError
from mpidriver.tasks.coadd._epochs import find_artefacts
from mpidriver.tasks.coadd._kernels import CLIPPED, MEAN, MEDIAN, combine
from mpidriver.tasks.coadd._network import median_network, sorting_network
from mpidriver.tasks.coadd._options import CoaddOptions
from mpidriver.tasks.image import MaskedImage, MaskPlane

__all__ = ["Coadd", "coadd", "coadd_blocks"]

#: Statistics by name.
_STATISTICS = {"clipped": CLIPPED, "epochs": CLIPPED, "mean": MEAN, "median": MEDIAN}
#: Bytes of the stack a pixel and input: image, variance and mask.
_PIXEL_BYTES = 12
#: A normal distribution's standard deviation in units of its median absolute deviation.
_SIGMA_PER_MAD = 1.4826


@dataclasses.dataclass(frozen=True)
class Coadd(MaskedImage):
    """A combined image with its variance, mask and number of inputs."""

    n_image: np.ndarray
    """int16, shape (row, col): how many inputs were averaged."""


def coadd(images, weights=None, *, masks=None, variances=None, statistic=None, options=None):
    """Average aligned images.

    Parameters
    ----------
    images : iterable of ndarray, shape (row, col), or of MaskedImage
        NaN, infinite and NO_DATA pixels are left out.
    weights : array_like, shape (image,), optional
        One weight an exposure, as its inverse sky variance; equal if not given. Weights of pixels, such as the inverse
        of a variance with the source's own photon noise, would bias the flux of stars. 0 leaves an image out.
    masks : sequence of ndarray of int, shape (row, col), optional
        Bits of `MaskPlane`; not with MaskedImage.
    variances : sequence of ndarray, shape (row, col), optional
        Not with MaskedImage. Without them each image's variance is one number, from the median absolute deviation
        of its pixels.
    statistic : {"clipped", "epochs", "mean", "median"}, optional
        Overrides the options'.
    options : CoaddOptions, optional

    Returns
    -------
    Coadd
        See `coadd_blocks`.
    """
    planes = _gathered(list(images), masks, variances)
    if not planes:
        raise DataError("coadd: got no image; at least one is needed to know the shape")
    for i, plane in enumerate(planes):
        if plane.shape != planes[0].shape:
            raise DataError(
                f"coadd: image {i} has shape {plane.shape}, the first has {planes[0].shape}; all must agree"
            )
    if weights is None:
        weights = np.ones(len(planes))
    if len(weights) != len(planes):
        raise DataError(f"coadd: got {len(weights)} weights for {len(planes)} images")

    def fill(i, rows, block):
        for name in ("image", "variance", "mask"):
            getattr(block, name)[...] = getattr(planes[i], name)[rows]
        return True

    return coadd_blocks(fill, weights, planes[0].shape, statistic=statistic, options=options)


def coadd_blocks(fill, weights, shape, *, statistic=None, byte_order="=", options=None):
    """Average aligned images of which blocks of rows are put where they are needed.

    Parameters
    ----------
    fill : callable
        ``fill(i, rows, block)`` with the number of an image, a slice of rows and a MaskedImage of them puts the image's
        rows into its planes, or returns False where the image has nothing. It is called by rows first, then by images;
        for "epochs" so twice, and in between for all rows of each image.
    weights : array_like, shape (image,)
        One weight an exposure; 0 leaves an image out.
    shape : tuple of int, (rows, cols)
    byte_order : {"=", ">"}, optional
        Of the planes that `fill` gets: ">" is that of FITS files, whose bytes may then be read into them as they are.
    statistic : {"clipped", "epochs", "mean", "median"}, optional
        Overrides the options'. "median" gives all images the same weight. "clipped" leaves out values with
        ``|x - median| > clip_sigma * sigma + clip_fraction * |median|``, where sigma is the value's own standard
        deviation (Gruen, Seitz & Bernstein 2014, PASP 126, 158, eq. 6; their fraction is 0.3, which clips the cores of
        stars in exposures whose seeing is 15 % better than the others': 1 % of the stars' flux is lost so, and 3 % with
        a fraction of 0.6 and a seeing 28 % better); of two values that disagree by that much the brighter.
        "epochs" does the same after it has left out what stands in the sky of a few images alone, see `find_artefacts`;
        it holds seven planes of the whole beside the block.
    options : CoaddOptions, optional

    Returns
    -------
    Coadd
        Weighted mean; variance of that mean; mask bits of the inputs that were averaged, CLIPPED where one was left
        out by clipping; number of inputs averaged. Where all inputs have one of the bad planes, those with a value are
        averaged all the same and their bits tell; where none has a value, image and variance are NaN, n_image is 0 and
        the mask has NO_DATA and the inputs' bits.
    """
    options = options or CoaddOptions()
    statistic = statistic or options.statistic
    if statistic not in _STATISTICS:
        raise ConfigError(f"coadd: statistic must be one of {', '.join(_STATISTICS)}, got {statistic!r}")
    weights = _checked_weights(weights)
    if statistic == "median":
        weights = (weights > 0).astype(np.float32)
    bad_planes = _bits(options.bad_planes)
    artefacts = None
    if statistic == "epochs":
        artefacts = _artefacts(fill, weights, shape, byte_order, options)
        bad_planes |= int(MaskPlane.CLIPPED)
        fill = _leaving_out(fill, artefacts)
    result = _empty(shape)
    block_rows = _rows_of_block(options.block_mib, len(weights), shape)
    stack = _Stack(len(weights), block_rows, shape[1], byte_order)
    for first in range(0, shape[0], block_rows):
        rows = slice(first, min(first + block_rows, shape[0]))
        used = stack.fill(fill, weights, rows)
        if used:
            _combine(stack, weights[used], rows, result, _STATISTICS[statistic], bad_planes, options)
            if artefacts is not None:
                _mark(result.mask[rows], [artefacts.of_rows(i, rows) for i in used])
    return result


def _artefacts(fill, weights, shape, byte_order, options):
    """Return what is not static: the median of all images is compared with each of them, read as a whole."""
    template = coadd_blocks(fill, weights, shape, statistic="median", byte_order=byte_order, options=options).image
    one = _Stack(1, *shape, byte_order)
    whole = slice(0, shape[0])

    def images():
        for i in np.flatnonzero(weights > 0):
            if one.fill(lambda _, rows, block, i=int(i): fill(i, rows, block), np.ones(1), whole):
                yield int(i), (*(plane[0] for plane in one.words), one.swapped)

    return find_artefacts(
        template,
        images(),
        bad_planes=np.int32(_bits(options.bad_planes)),
        n_sigma=options.epoch_sigma,
        fraction=options.clip_fraction,
        share=options.epoch_share,
    )


def _leaving_out(fill, artefacts):
    """Return a `fill` that marks artefacts as CLIPPED."""

    def fill_without(i, rows, block):
        filled = fill(i, rows, block)
        found = artefacts.of_rows(i, rows) if filled else None
        if found is not None:
            block.mask[found] |= int(MaskPlane.CLIPPED)
        return filled

    return fill_without


def _mark(mask, found):
    """Set CLIPPED where an image with a value was left out."""
    for where in found:
        if where is not None:
            mask[where & (mask & int(MaskPlane.NO_DATA) == 0)] |= int(MaskPlane.CLIPPED)


def _combine(stack, weights, rows, result, statistic, bad_planes, options):
    combine(
        (*stack.words[:, : weights.size], stack.swapped), weights, rows.stop - rows.start,
        (sorting_network(weights.size), median_network(weights.size)), statistic, median_factors(weights.size),
        np.float32(options.clip_sigma), np.float32(options.clip_fraction),
        np.int32(bad_planes), np.int32(MaskPlane.NO_DATA), np.int32(MaskPlane.CLIPPED),
        result.image[rows], result.variance[rows], result.mask[rows], result.n_image[rows],
    )  # fmt: skip


def median_factors(most):
    """Return the variance of the median of 0 … `most` normal values over that of their mean, within 1 %.

    float32, shape (most + 1,); it nears pi / 2, from below, where the mean of two values stands in for the middle one.
    """
    n = np.arange(1.0, most + 1)
    odd = np.pi * n / (2 * n + 0.91 + 0.27 / n)
    even = np.pi * n / (2 * n + 2.77 - 0.97 / n)
    factors = np.where(n % 2 == 1, odd, even)
    factors[:2] = 1.0  # of one value, and of two, whose median is their mean
    return np.concatenate([[1.0], factors]).astype(np.float32)


class _Stack:
    """The blocks of rows of all inputs that have some."""

    def __init__(self, n_images, rows, cols, byte_order):
        self.words = np.empty((3, n_images, rows, cols), np.uint32)
        self.swapped = not np.dtype(byte_order + "u4").isnative
        kinds = ("f4", "f4", "i4")
        self._filled = [plane.view(byte_order + kind) for plane, kind in zip(self.words, kinds, strict=True)]

    def fill(self, fill, weights, rows):
        """Have rows of every image of positive weight put here; return the numbers of those that have some."""
        n_rows = rows.stop - rows.start
        used = []
        for i in np.flatnonzero(weights > 0):
            block = MaskedImage(*(plane[len(used), :n_rows] for plane in self._filled))
            if fill(int(i), rows, block):
                used.append(int(i))
        return used


def _rows_of_block(block_mib, n_images, shape):
    fitting = block_mib * 2**20 // max(1, _PIXEL_BYTES * n_images * shape[1])
    return max(1, min(fitting, shape[0]))


def _empty(shape):
    return Coadd(
        np.full(shape, np.nan, np.float32),
        np.full(shape, np.nan, np.float32),
        np.full(shape, int(MaskPlane.NO_DATA), np.int32),
        np.zeros(shape, np.int16),
    )


def _checked_weights(weights):
    weights = np.asarray(weights, dtype=np.float64)
    if weights.ndim != 1 or not np.all(np.isfinite(weights) & (weights >= 0)):
        raise DataError(f"coadd: weights must be one finite number >= 0 an image, got {weights!r}")
    largest = weights.max(initial=0.0)
    return (weights / largest if largest > 0 else weights).astype(np.float32)


def _bits(names):
    bits = MaskPlane(0)
    for name in names:
        if name not in MaskPlane.__members__:
            raise ConfigError(f"coadd: bad_planes: unknown plane {name!r}; known: {', '.join(MaskPlane.__members__)}")
        bits |= MaskPlane[name]
    return int(bits)


def _gathered(images, masks, variances):
    """Return a MaskedImage an input, from MaskedImages or from separate planes."""
    if masks is not None and len(masks) != len(images):
        raise DataError(f"coadd: got {len(masks)} masks for {len(images)} images")
    if variances is not None and len(variances) != len(images):
        raise DataError(f"coadd: got {len(variances)} variances for {len(images)} images")
    gathered = []
    for i, image in enumerate(images):
        if isinstance(image, MaskedImage):
            gathered.append(image)
            continue
        image = np.asarray(image)
        variance = _own_variance(image) if variances is None else np.asarray(variances[i])
        mask = np.broadcast_to(np.int32(0), image.shape) if masks is None else np.asarray(masks[i])
        gathered.append(MaskedImage(image, variance, mask))
    return gathered


def _own_variance(image):
    """Return the variance of an image's noise, from the median absolute deviation, as a plane of its shape."""
    values = image[np.isfinite(image)]
    variance = 0.0 if values.size == 0 else (_SIGMA_PER_MAD * np.median(np.abs(values - np.median(values)))) ** 2
    return np.broadcast_to(np.float32(variance), image.shape)
