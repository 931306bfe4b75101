"""How well repeated measurements of stars agree, in position and in magnitude."""

import numpy as np

from mpidriver.report._figure import CATEGORY_COLOURS, INK, finite_limits, picture, say
from mpidriver.report._repeatability import robust_rms, scatter_of_stars

__all__ = ["draw_astrometry"]

#: Cells along a side of the map of residuals at most, and measurements that make one worth showing.
MOST_CELLS = 14
MEASUREMENTS_PER_CELL = 12


def draw_astrometry(path, matches, *, title=""):
    """Draw residuals of matched stars: their map, their distribution, and repeatability against magnitude.

    Parameters
    ----------
    path : str or Path
        The PNG file to write.
    matches : ndarray of MATCH_DTYPE, shape (measurement,)
        As `match_stars` returns it; may be empty.
    title : str
    """
    with picture(path, title, width_in=10.5, height_in=8.8) as figure:
        axes = figure.subplots(2, 2)
        _residual_map(axes[0, 0], matches)
        _residual_cloud(figure, axes[0, 1], matches)
        mag, astrometric, photometric = scatter_of_stars(matches)
        _against_magnitude(axes[1, 0], mag, photometric, "photometric repeatability", "rms of a star (mmag)")
        _against_magnitude(
            axes[1, 1], mag, astrometric, "astrometric repeatability", "rms of a star a coordinate (mas)"
        )


def _residual_map(axes, matches):
    """Show the median residual of the brighter half in cells of the focal plane: what the distortion model leaves."""
    axes.set_title("residual over the focal plane")
    axes.set_xlabel("east of the middle of the exposure (arcmin)")
    axes.set_ylabel("north (arcmin)")
    if matches.size == 0:
        say(axes)
        return
    bright = matches[~(matches["mag"] > np.nanmedian(_or_zero(matches["mag"])))]
    east, north = bright["east_arcmin"], bright["north_arcmin"]
    cells = _cell_medians(east, north, bright["dra_mas"], bright["ddec_mas"])
    span = max(np.ptp(east), np.ptp(north), 1e-6)
    typical = max(float(np.median(np.hypot(cells[2], cells[3]))), 1e-3)
    if typical < 0.01 * robust_rms(bright["dra_mas"]):
        say(axes, "frames without dithers")  # a star always falls on the same place: its residuals average to 0
        return
    key = float(f"{2.0 * typical:.1g}")
    arrows = axes.quiver(
        *cells, color=CATEGORY_COLOURS[0], angles="xy", scale_units="xy", scale=key / (0.09 * span), width=0.004
    )
    axes.quiverkey(arrows, 0.86, 1.035, key, f"{key:g} mas", labelpos="E", labelsep=0.05)
    middle = 0.5 * (east.min() + east.max()), 0.5 * (north.min() + north.max())
    axes.set_xlim(middle[0] + 0.58 * span, middle[0] - 0.58 * span)
    axes.set_ylim(middle[1] - 0.58 * span, middle[1] + 0.58 * span)
    axes.set_aspect("equal")
    axes.grid(True)


def _cell_medians(east, north, dra_mas, ddec_mas):
    """Return median places and residuals of the cells that are not almost empty, four arrays."""
    cells = int(np.clip(np.sqrt(east.size / MEASUREMENTS_PER_CELL), 3, MOST_CELLS))
    low = np.array([east.min(), north.min()])
    step = max(np.ptp(east), np.ptp(north), 1e-6) / cells * (1.0 + 1e-9)
    col, row = ((np.stack([east, north]) - low[:, None]) / step).astype(int)
    _, cell, count = np.unique(row * (cells + 1) + col, return_inverse=True, return_counts=True)
    members = [cell == number for number in np.flatnonzero(count >= 0.3 * np.median(count))]
    return tuple(np.array([np.median(values[own]) for own in members]) for values in (east, north, dra_mas, ddec_mas))


def _or_zero(values):
    """Return the values, or one zero where none is finite, for a median without a warning."""
    return values if np.isfinite(values).any() else np.zeros(1)


def _residual_cloud(figure, axes, matches):
    """Show the distribution of the residuals of single measurements."""
    axes.set_title("residual of a measurement")
    axes.set_xlabel("Δα cos δ (mas)")
    axes.set_ylabel("Δδ (mas)")
    x, y = matches["dra_mas"], matches["ddec_mas"]
    if matches.size == 0:
        say(axes)
        return
    limit = max(4.0 * max(robust_rms(x), robust_rms(y)), 1e-3)
    axes.grid(True)
    if matches.size > 3000:
        drawn = axes.hexbin(x, y, gridsize=60, extent=(-limit, limit) * 2, cmap="cividis", bins="log", mincnt=1)
        figure.colorbar(drawn, ax=axes, label="measurements", shrink=0.9, pad=0.03)
    else:
        axes.scatter(x, y, s=7.0, color=CATEGORY_COLOURS[0], alpha=0.5, linewidths=0)
    angle = np.linspace(0.0, 2.0 * np.pi, 200)
    axes.plot(robust_rms(x) * np.cos(angle), robust_rms(y) * np.sin(angle), color=CATEGORY_COLOURS[5], lw=1.8)
    axes.set_xlim(limit, -limit)
    axes.set_ylim(-limit, limit)
    axes.set_aspect("equal")
    text = f"robust rms: {robust_rms(x):.1f} × {robust_rms(y):.1f} mas\n{matches.size:,} measurements"
    _note(axes, text, "left")


def _note(axes, text, side):
    x = 0.02 if side == "left" else 0.98
    box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 2.0}
    axes.text(x, 0.98, text, transform=axes.transAxes, ha=side, va="top", fontsize=8.5, bbox=box)


def _against_magnitude(axes, mag, scatter, title, label):
    """Show the scatter of every star with the running median, logarithmically."""
    axes.set_title(title)
    axes.set_xlabel("AB magnitude")
    axes.set_ylabel(label)
    shown = np.isfinite(mag) & np.isfinite(scatter) & (scatter > 0)
    mag, scatter = mag[shown], scatter[shown]
    if mag.size == 0:
        say(axes)
        return
    axes.grid(True, which="major")
    axes.set_yscale("log")
    size = float(np.clip(8000.0 / mag.size, 1.5, 14.0))
    axes.scatter(mag, scatter, s=size, color=CATEGORY_COLOURS[4], alpha=0.6, linewidths=0, rasterized=True)
    places, medians = _running_median(mag, scatter)
    axes.plot(places, medians, "o-", color=INK, ms=4.0, lw=1.5)
    low, high = finite_limits(scatter, 0.5, 99.5)
    axes.set_ylim(low / 1.5, high * 1.5)
    bright = scatter[mag <= np.percentile(mag, 25.0)]
    unit = label.split("(")[-1].rstrip(")")
    text = f"brightest quarter: median {np.median(bright):.2g} {unit}\n{mag.size:,} stars × bands"
    _note(axes, text, "left")
    if 0.05 < low / 1.5 < high * 1.5 < 2e4:
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _running_median(mag, scatter):
    """Return medians of magnitude and scatter in bins of half a magnitude, wider where stars are few."""
    order = np.argsort(mag, kind="stable")
    bins = max(1, min(int(np.ceil(np.ptp(mag) / 0.5)), mag.size // 8, 40))
    parts = np.array_split(order, bins)
    return [np.median(mag[part]) for part in parts], [np.median(scatter[part]) for part in parts]
