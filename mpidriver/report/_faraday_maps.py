"""Maps of polarised intensity and rotation measure, with the catalogued sources."""

import numpy as np

from mpidriver.report._figure import INK, finite_limits, picture, say
from mpidriver.report._sky import add_scale_bar, data_box, show_box, show_image, shown_factor, sky_axes, wcs_of
from mpidriver.report._words import plural

__all__ = ["draw_faraday_maps"]

#: Signal-to-noise above which a rotation measure means something (George et al. 2012: false ones are rare).
TRUSTED_SNR = 8.0
#: Sources that are marked with a circle at most.
MOST_MARKS = 400


def draw_faraday_maps(path, peak_rm, peak_pi, wcs=None, *, sources=None, noise=None, unit="Jy/beam/RMTF", title=""):
    """Draw the peak polarised intensity, and the rotation measure where it is well above the noise.

    Parameters
    ----------
    path : str or Path
        The PNG file to write.
    peak_rm : ndarray, shape (row, col), rad/m**2
        Faraday depth of the peak.
    peak_pi : ndarray, shape (row, col), `unit`
        Height of the peak; NaN where there is no data.
    wcs : WCS, header or None
        Of the pixels.
    sources : structured ndarray, optional
        RM catalogue with columns ``ra``, ``dec`` in degrees and ``rm`` in rad/m**2.
    noise : float or ndarray, shape (row, col), optional
        Noise of Q and U in the Faraday spectrum, `unit`; measured from the map if None.
    unit : str
    title : str
    """
    peak_rm, peak_pi = np.asarray(peak_rm, dtype=float), np.asarray(peak_pi, dtype=float)
    wcs = wcs_of(wcs)
    known = np.isfinite(peak_pi)
    box = data_box(known) if known.size else (0.0, 1.0, 0.0, 1.0)
    height_in = float(np.clip(4.6 * (box[3] - box[2]) / (box[1] - box[0]), 2.5, 9.0)) + 1.7
    with picture(path, title, width_in=12.0, height_in=height_in) as figure:
        if not known.any():
            say(figure.subplots(), "no polarised intensity")
            return
        noise = _map_noise(peak_pi[known]) if noise is None else noise
        trusted = known & np.isfinite(peak_rm) & (peak_pi > TRUSTED_SNR * noise)
        left, right = sky_axes(figure, (1, 2, 1), wcs), sky_axes(figure, (1, 2, 2), wcs, sharing_labels=True)
        _intensity_map(figure, left, peak_pi, noise, unit)
        add_scale_bar(left, wcs, box)
        _rm_map(figure, right, peak_rm, peak_pi, trusted, sources, wcs)
        show_box(left, box)
        show_box(right, box)


def _map_noise(intensity):
    """Return the noise of Q and U from the map of peak intensity.

    The peak over m independent Faraday depths of pure noise is about sigma * sqrt(2 ln m); with the m of 20 to 200 of
    usual grids that is 2.4 to 3.3 sigma, and 2.8 is taken.
    """
    return max(float(np.median(intensity)) / 2.8, 1e-30)


def _intensity_map(figure, axes, peak_pi, noise, unit):
    from matplotlib.colors import AsinhNorm

    axes.set_title("polarised intensity")
    axes.set_facecolor("black")
    factor, scale = _unit_scale(peak_pi)
    shown, binning = _peaks_in_blocks(peak_pi)
    typical = float(np.median(np.broadcast_to(noise, peak_pi.shape)[np.isfinite(peak_pi)]))
    low, high = (factor * v for v in finite_limits(peak_pi, 5.0, 99.95))
    norm = AsinhNorm(linear_width=3.0 * max(typical, 1e-30) * factor, vmin=low, vmax=high)
    drawn = show_image(axes, factor * shown, factor=binning, cmap="inferno", norm=norm)
    bar = figure.colorbar(drawn, ax=axes, label=f"peak polarised intensity ({scale}{unit})", shrink=0.9, pad=0.03)
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _unit_scale(values):
    """Return the factor and the prefix by which the largest value is between 1 and 1000."""
    largest = float(np.nanmax(np.abs(values)))
    for factor, prefix in ((1.0, ""), (1e3, "m"), (1e6, "µ"), (1e9, "n")):
        if largest * factor >= 1.0:
            return factor, prefix
    return 1.0, ""


def _peaks_in_blocks(image):
    """Return the maximum of blocks that fit into a picture, so that binning hides no source, and the binning."""
    factor = shown_factor(image.shape)
    filled = np.where(np.isfinite(image), image, -np.inf)
    for axis in (0, 1):
        filled = np.maximum.reduceat(filled, np.arange(0, filled.shape[axis], factor), axis=axis)
    return np.where(np.isfinite(filled), filled, np.nan), factor


def _rm_map(figure, axes, peak_rm, peak_pi, trusted, sources, wcs):
    axes.set_title(f"rotation measure where S/N > {TRUSTED_SNR:g}")
    axes.set_facecolor("#C4C4C4")
    factor = shown_factor(peak_rm.shape)
    shown = _brightest_in_blocks(np.where(trusted, peak_rm, np.nan), np.where(trusted, peak_pi, -np.inf), factor)
    catalogued = _catalogue_pixels(sources, wcs)
    low, high = finite_limits(np.concatenate([shown[np.isfinite(shown)], catalogued[:, 2]]), 2, 98, symmetric=True)
    drawn = show_image(axes, shown, factor=factor, cmap="RdBu_r", vmin=low, vmax=high)
    figure.colorbar(drawn, ax=axes, label="rotation measure (rad m$^{-2}$)", shrink=0.9, pad=0.03)
    if len(catalogued):
        style = {"cmap": "RdBu_r", "vmin": low, "vmax": high, "edgecolors": INK, "linewidths": 0.9, "s": 42.0}
        axes.scatter(catalogued[:, 0], catalogued[:, 1], c=catalogued[:, 2], **style)
    if not trusted.any() and not len(catalogued):
        say(axes, "nothing is bright enough")
    elif len(catalogued):
        axes.text(0.03, 0.97, f"○ {plural(len(catalogued), 'catalogued source')}", transform=axes.transAxes, va="top")


def _brightest_in_blocks(values, weights, factor):
    """Return, for each block, the value where the weight is largest; NaN where no weight is finite."""
    if factor <= 1:
        return values
    rows, cols = (-(-n // factor) * factor for n in values.shape)
    padded = np.full((2, rows, cols), np.nan)
    padded[1] = -np.inf
    padded[0, : values.shape[0], : values.shape[1]] = values
    padded[1, : values.shape[0], : values.shape[1]] = weights
    blocks = padded.reshape(2, rows // factor, factor, cols // factor, factor).transpose(0, 1, 3, 2, 4)
    blocks = blocks.reshape(2, rows // factor, cols // factor, factor * factor)
    best = blocks[1].argmax(axis=-1)
    return np.take_along_axis(blocks[0], best[..., None], axis=-1)[..., 0]


def _catalogue_pixels(sources, wcs):
    """Return column, row and rotation measure of the catalogued sources with finite values, shape (source, 3)."""
    if sources is None or wcs is None or len(sources) == 0:
        return np.zeros((0, 3))
    places = np.column_stack([np.asarray(sources[name], dtype=float) for name in ("ra", "dec", "rm")])
    places = places[np.isfinite(places).all(axis=1)][:MOST_MARKS]
    if len(places):
        places[:, :2] = wcs.wcs_world2pix(places[:, :2], 0)
    return places
