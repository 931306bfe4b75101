"""Coverage and depth of coadds: how many frames lie under a pixel and how faint one can see there."""

from collections.abc import Mapping

import numpy as np

from mpidriver.report._figure import band_colours, finite_limits, picture, say, sort_bands
from mpidriver.report._sky import (
    binned,
    data_box,
    pixel_scale_arcsec,
    show_box,
    show_image,
    shown_factor,
    sky_axes,
    wcs_of,
)

__all__ = ["draw_coverage", "point_source_depth_mag"]

#: Bands that find room beside each other.
MOST_BANDS = 6


def point_source_depth_mag(variance, fwhm_px=4.0, *, n_sigma=5.0):
    """Return the AB magnitude of a point source at `n_sigma` over the noise of its pixels.

    The effective area of a Gaussian PSF is 4 pi s**2 = 2.266 FWHM**2 pixels (King 1983, PASP 95, 163).

    Parameters
    ----------
    variance : ndarray, nJy**2
        Variance of a coadd's pixels; NaN or 0 where there is no data.
    fwhm_px : float
        Full width at half maximum of the PSF, pixels.
    n_sigma : float

    Returns
    -------
    ndarray of float32, mag
        NaN where the variance is not positive.
    """
    variance = np.asarray(variance, dtype=np.float32)
    good = np.isfinite(variance) & (variance > 0)
    flux = n_sigma * np.sqrt(np.where(good, variance, 1.0) * (2.266 * fwhm_px**2))
    return np.where(good, 31.4 - 2.5 * np.log10(flux), np.nan).astype(np.float32)


def draw_coverage(
    path,
    n_image: Mapping[str, np.ndarray],
    wcs=None,
    *,
    depth_mag: Mapping[str, np.ndarray] | None = None,
    title="",
):
    """Draw the number of frames and the depth over a field, a column a band, and the area that reaches a depth.

    Parameters
    ----------
    path : str or Path
        The PNG file to write.
    n_image : mapping of band to ndarray, shape (row, col)
        Frames that went into each pixel; empty if they were not kept.
    wcs : WCS, header or None
        Of the pixels.
    depth_mag : mapping of band to ndarray, shape (row, col), AB mag
        Faintest point source seen, as `point_source_depth_mag` gives it; NaN where there is no data.
    title : str
    """
    depth_mag = depth_mag or {}
    wcs = wcs_of(wcs)
    bands = sort_bands({*n_image, *depth_mag})[:MOST_BANDS] or [""]
    maps = [(values, draw) for values, draw in ((n_image, _frames_map), (depth_mag, _depth_map)) if values]
    maps = maps or [({}, _frames_map)]
    panels = [(values, draw, band) for values, draw in maps for band in bands]
    box = _common_box([*n_image.values(), *depth_mag.values()])
    across = len(bands) if len(bands) > 1 else len(maps)
    down = len(panels) // across
    width_in = max(3.5 * across + 0.6, 6.0)
    with picture(path, title, width_in=width_in, height_in=3.1 * down + (2.9 if depth_mag else 0.5)) as figure:
        grid = figure.add_gridspec(down + bool(depth_mag), across)
        for i, (values, draw, band) in enumerate(panels):
            image = np.asarray(values.get(band, np.empty((0, 0))))
            place = grid[i // across, i % across]
            axes = sky_axes(figure, place, wcs if image.size else None, sharing_labels=i % across > 0)
            draw(figure, axes, image, band)
            if image.size:
                show_box(axes, box)
        if depth_mag:
            _area_by_depth(figure.add_subplot(grid[-1, :]), depth_mag, wcs)


def _common_box(images):
    """Return the box that holds the data of all images, which have one shape."""
    known = [np.isfinite(image) & (np.asarray(image) > 0) for image in images if np.size(image)]
    return data_box(np.any(known, axis=0)) if known else data_box(np.zeros((1, 1), dtype=bool))


def _frames_map(figure, axes, image, band):
    axes.set_title(f"{band}  frames".strip())
    shown, factor = _shown(image)
    shown = np.where(shown > 0, shown, np.nan)
    if not np.isfinite(shown).any():
        say(axes)
        return
    most = int(np.ceil(np.nanmax(shown)))
    levels = _frame_levels(most)
    from matplotlib.colors import BoundaryNorm

    drawn = show_image(axes, shown, factor=factor, cmap="cividis", norm=BoundaryNorm(levels, 256))
    ticks = [n for n in range(1, most + 1) if n % max(1, -(-most // 8)) == 0]
    figure.colorbar(drawn, ax=axes, label="frames", ticks=ticks, shrink=0.9, pad=0.03)


def _frame_levels(most):
    """Return edges of steps of whole frames, at most 60 of them."""
    step = max(1, -(-most // 60))
    return np.arange(0.5, most + step + 0.5, step)


def _depth_map(figure, axes, image, band):
    axes.set_title(f"{band}  5σ depth".strip())
    shown, factor = _shown(image)
    if not np.isfinite(shown).any():
        say(axes)
        return
    low, high = finite_limits(shown, 1.0, 99.5)
    drawn = show_image(axes, shown, factor=factor, cmap="viridis", vmin=low, vmax=high)
    figure.colorbar(drawn, ax=axes, label="AB mag", shrink=0.9, pad=0.03)


def _shown(image):
    factor = shown_factor(image.shape)
    return binned(image, factor), factor


def _area_by_depth(axes, depth_mag, wcs):
    axes.set_title("area that is at least so deep")
    axes.grid(True)
    pixel = 1.0 if wcs is None else pixel_scale_arcsec(wcs) ** 2 / 3600.0
    colours = band_colours(depth_mag)
    shallowest = np.inf
    for band in sort_bands(depth_mag)[:MOST_BANDS]:
        image = np.asarray(depth_mag[band])
        depths = np.sort(image[np.isfinite(image)])
        if depths.size == 0:
            continue
        shallowest = min(shallowest, depths[depths.size // 100])
        keep = np.unique(np.linspace(0, depths.size - 1, 500).astype(int))
        label = f"{band}, median {np.median(depths):.2f}"
        axes.plot(depths[keep], (depths.size - keep) * pixel, color=colours[band], lw=1.8, label=label)
    axes.set_xlabel("5σ depth of point sources (AB mag)")
    axes.set_ylabel("area (pixel)" if wcs is None else "area (arcmin²)")
    if axes.lines:
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=shallowest - 0.1)  # a few pixels on bright stars are much shallower
        axes.legend(loc="lower left")
    else:
        say(axes)
