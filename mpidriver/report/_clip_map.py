"""Where a coadd left frames out as outliers: trails, ghosts, what moves, and stars if all is not well."""

from collections.abc import Mapping

import numpy as np

from mpidriver.report._figure import picture, say, sort_bands
from mpidriver.report._sky import data_box, show_box, show_image, sky_axes, wcs_of

__all__ = ["draw_clip_map"]

#: Bands that find room beside each other, and the least end of the scale, per cent.
_MOST_BANDS, _LEAST_PERCENT = 6, 1.0


def draw_clip_map(path, clipped: Mapping[str, np.ndarray], wcs=None, *, title=""):
    """Draw the share of pixels with a clipped frame over a field, a panel a band.

    Parameters
    ----------
    path : str or Path
        The PNG file to write.
    clipped : mapping of band to ndarray, shape (row, col)
        Share of clipped pixels within each pixel of the map, 0 to 1; NaN where there are no data.
    wcs : WCS, header or None
        Of the map's pixels.
    title : str
    """
    bands = sort_bands(clipped)[:_MOST_BANDS] or [""]
    across = min(len(bands), 3)
    down = -(-len(bands) // across)
    wcs = wcs_of(wcs)
    known_anywhere = [np.isfinite(share) for share in clipped.values()]
    box = data_box(np.any(known_anywhere, axis=0)) if known_anywhere else None
    with picture(path, title, width_in=max(3.9 * across + 0.6, 5.0), height_in=3.6 * down + 0.5) as figure:
        grid = figure.add_gridspec(down, across)
        for i, band in enumerate(bands):
            share = 100.0 * np.asarray(clipped.get(band, np.full((1, 1), np.nan)), dtype=float)
            known = np.isfinite(share)
            axes = sky_axes(figure, grid[i // across, i % across], wcs, sharing_labels=i % across > 0)
            if not known.any():
                axes.set_title(f"{band}  clipped".strip())
                say(axes)
                continue
            axes.set_title(f"{band}  clipped, {np.mean(share[known]):.2f} % of the area")
            highest = max(float(np.percentile(share[known], 99.5)), _LEAST_PERCENT)
            drawn = show_image(axes, share, cmap="magma_r", vmin=0.0, vmax=highest)
            show_box(axes, box)
            figure.colorbar(drawn, ax=axes, label="pixels with a clipped frame (%)", shrink=0.9, pad=0.03)
