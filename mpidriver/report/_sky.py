"""Axes on the sky: coordinates, compass, scale bar, and images binned to what a screen can show."""

import numpy as np

__all__ = ["Box", "add_compass", "add_scale_bar", "binned", "data_box", "show_image", "sky_axes", "wcs_of"]

#: First and last column, first and last row of what is shown, in unbinned pixels with their outer edges.
Box = tuple[float, float, float, float]

#: Longest side of an image in a picture, pixels.
SHOWN_PX = 1100

_BAR_LENGTHS_ARCSEC = tuple(
    unit * factor
    for unit, factors in ((1, (1, 2, 5, 10, 20, 30)), (60, (1, 2, 5, 10, 20, 30)), (3600, (1, 2, 5, 10)))
    for factor in factors
)


def wcs_of(header_or_wcs):
    """Return a celestial WCS from a WCS, a FITS header, its text or None; None if it has no celestial axes."""
    if header_or_wcs is None:
        return None
    from astropy.io import fits
    from astropy.wcs import WCS

    if isinstance(header_or_wcs, str):
        header_or_wcs = fits.Header.fromstring(header_or_wcs)
    wcs = header_or_wcs if isinstance(header_or_wcs, WCS) else WCS(header_or_wcs)
    return wcs.celestial if wcs.has_celestial else None


def binned(image, factor):
    """Return the mean of the finite pixels in blocks of `factor` by `factor`.

    Parameters
    ----------
    image : ndarray, shape (row, col)
    factor : int
        An incomplete last row or column of blocks is averaged over what it has.

    Returns
    -------
    ndarray of float32, shape (ceil(row / factor), ceil(col / factor))
        NaN where a block has no finite pixel.
    """
    image = np.asarray(image, dtype=np.float32)
    if factor <= 1:
        return np.where(np.isfinite(image), image, np.float32(np.nan))
    finite = np.isfinite(image)
    total = _block_sums(np.where(finite, image, np.float32(0.0)), factor)
    count = _block_sums(finite.astype(np.float32), factor)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count > 0, total / count, np.nan).astype(np.float32)


def _block_sums(values, factor):
    starts = [np.arange(0, n, factor) for n in values.shape]
    if values.size == 0:
        return np.zeros([len(start) for start in starts], dtype=np.float32)
    return np.add.reduceat(np.add.reduceat(values, starts[0], axis=0), starts[1], axis=1)


def shown_factor(shape):
    """Return the binning by which an image of `shape` fits into a picture."""
    return max(1, -(-max(shape) // SHOWN_PX)) if min(shape) > 0 else 1


def show_image(axes, image, *, factor=1, **kwargs):
    """Show an image that was binned by `factor` in pixel coordinates of the unbinned one; rgb images too."""
    rows, cols = image.shape[:2]
    extent = (-0.5, cols * factor - 0.5, -0.5, rows * factor - 0.5)
    return axes.imshow(image, origin="lower", extent=extent, **kwargs)


def data_box(known, *, factor=1) -> Box:
    """Return the part of an image that holds data, with a margin of a hundredth, inside the image.

    Parameters
    ----------
    known : ndarray of bool, shape (row, col)
        Where there are data; the whole image if nowhere.
    factor : int
        By which the image was binned.
    """
    limits = []
    for axis in (0, 1):
        size = known.shape[1 - axis]
        places = np.flatnonzero(known.any(axis=axis)) if known.any() else np.array([0, size - 1])
        margin = 0.01 * size
        first, last = max(places[0] - margin, 0.0), min(places[-1] + margin, size - 1.0)
        limits += [first * factor - 0.5, (last + 1.0) * factor - 0.5]
    return tuple(limits)


def show_box(axes, box):
    """Limit axes to a box."""
    axes.set_xlim(box[0], box[1])
    axes.set_ylim(box[2], box[3])


def sky_axes(figure, place, wcs, *, sharing_labels=False):
    """Add axes with right ascension and declination, or with pixel coordinates if `wcs` is None.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    place : SubplotSpec or tuple of int
        Where `Figure.add_subplot` puts the axes.
    wcs : astropy.wcs.WCS or None
    sharing_labels : bool
        Leave out the declinations, for a panel right of one with the same field.
    """
    place = place if isinstance(place, tuple) else (place,)
    if wcs is None:
        axes = figure.add_subplot(*place)
        axes.set_xlabel("column (pixel)")
        axes.set_ylabel("" if sharing_labels else "row (pixel)")
        return axes
    import astropy.visualization.wcsaxes  # noqa: F401 (registers the projection)

    axes = figure.add_subplot(*place, projection=wcs)
    lon, lat = axes.coords[0], axes.coords[1]
    lon.set_axislabel("right ascension", minpad=0.7)
    lat.set_axislabel("" if sharing_labels else "declination", minpad=0.4)
    lon.set_ticks(number=5)
    lat.set_ticks(number=5)
    lon.set_ticklabel(exclude_overlapping=True)
    lat.set_ticklabel(exclude_overlapping=True)
    if sharing_labels:
        lat.set_ticklabel_visible(False)
    return axes


def pixel_scale_arcsec(wcs):
    """Return the mean side of a pixel in arcsec."""
    from astropy.wcs.utils import proj_plane_pixel_scales

    return 3600.0 * float(np.sqrt(np.prod(proj_plane_pixel_scales(wcs))))


def add_scale_bar(axes, wcs, box, *, colour="white"):
    """Draw a bar of a round angle, about a fifth of the box wide, in the box's lower left corner."""
    if wcs is None:
        return
    scale = pixel_scale_arcsec(wcs)
    width, height = box[1] - box[0], box[3] - box[2]
    length = min(_BAR_LENGTHS_ARCSEC, key=lambda candidate: abs(np.log(candidate / (0.2 * width * scale))))
    x, y = box[0] + 0.04 * width, box[2] + 0.04 * height
    axes.plot([x, x + length / scale], [y, y], color=colour, lw=2.0, solid_capstyle="butt")
    place = (x + 0.5 * length / scale, y + 0.012 * height)
    axes.text(*place, _angle_words(length), color=colour, ha="center", va="bottom")


def _angle_words(arcsec):
    if arcsec >= 3600:
        return f"{arcsec // 3600}°"
    return f"{arcsec // 60}′" if arcsec >= 60 else f"{arcsec}″"


def add_compass(axes, wcs, box, *, colour="white"):
    """Draw arrows to north and east in the lower right corner of a box."""
    if wcs is None:
        return
    width, height = box[1] - box[0], box[3] - box[2]
    origin = np.array([box[0] + 0.93 * width, box[2] + 0.05 * height])
    length = 0.075 * min(width, height)
    for name, direction in zip("NE", _north_and_east(wcs, origin), strict=True):
        arrow = {"arrowstyle": "-|>", "color": colour, "lw": 1.2, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", origin + length * direction, origin, arrowprops=arrow)
        axes.text(*(origin + 1.35 * length * direction), name, color=colour, ha="center", va="center")


def _north_and_east(wcs, pixel):
    """Return the unit vectors to north and east in pixels, shape (2, 2)."""
    ra, dec = wcs.wcs_pix2world([pixel], 0)[0]
    step = 1e-6 if dec < 89.9 else -1e-6
    ends = wcs.wcs_world2pix([[ra, dec + step], [ra + step / max(np.cos(np.radians(dec)), 1e-6), dec]], 0)
    vectors = (ends - pixel) * np.sign(step)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
