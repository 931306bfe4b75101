"""What a catalogue of objects holds: number counts, colours and sizes."""

from collections.abc import Mapping

import numpy as np

from mpidriver.report._figure import CATEGORY_COLOURS, band_colours, finite_limits, picture, say, sort_bands

__all__ = ["draw_catalogue"]

#: Width of a bin of the number counts, mag.
BIN_MAG = 0.5
#: Above this number of points a density takes the place of dots.
MANY_POINTS = 20_000


def draw_catalogue(
    path, magnitudes: Mapping[str, np.ndarray], *, fwhm_arcsec=None, star=None, area_deg2=None, title=""
):
    """Draw number counts a band, colour against magnitude, colour against colour, and size against magnitude.

    Panels that need more bands or columns than there are are left out.

    Parameters
    ----------
    path : str or Path
        The PNG file to write.
    magnitudes : mapping of band to ndarray, shape (object,), AB mag
        NaN where an object has no positive flux.
    fwhm_arcsec : ndarray, shape (object,), optional
        Size of the objects.
    star : ndarray of bool, shape (object,), optional
        Point-like objects, drawn in another colour.
    area_deg2 : float, optional
        Area of the survey; without it the counts are for the whole of it.
    title : str
    """
    bands = sort_bands(magnitudes)
    magnitudes = {band: np.asarray(magnitudes[band], dtype=float) for band in bands}
    n = len(magnitudes[bands[0]]) if bands else 0
    star = np.zeros(n, dtype=bool) if star is None else np.asarray(star, dtype=bool)
    triple = _triple(bands)
    panels = [lambda axes: _counts(axes, magnitudes, area_deg2)]
    if len(bands) >= 2:
        panels.append(lambda axes: _colour_magnitude(axes, magnitudes, triple, star))
    if len(bands) >= 3:
        panels.append(lambda axes: _colour_colour(axes, magnitudes, triple, star))
    if fwhm_arcsec is not None and bands:
        panels.append(lambda axes: _size_magnitude(axes, magnitudes, triple[1], np.asarray(fwhm_arcsec), star))
    across = 2 if len(panels) == 4 else len(panels)
    down = -(-len(panels) // across)
    with picture(path, title, width_in=5.2 * across + 0.3, height_in=4.0 * down + 0.5) as figure:
        for i, draw in enumerate(panels):
            draw(figure.add_subplot(down, across, i + 1))


def _triple(bands):
    """Return three bands for colours, blue to red: g, r, i where they exist; fewer if there are fewer."""
    if {"g", "r", "i"} <= set(bands):
        return ["g", "r", "i"]
    return list(bands[:3]) if len(bands) >= 2 else list(bands) * 2


def _counts(axes, magnitudes, area_deg2):
    axes.set_title("number counts")
    axes.set_xlabel("AB magnitude")
    per_area = "" if area_deg2 is None else " per square degree"
    axes.set_ylabel(f"objects per {BIN_MAG} mag{per_area}")
    known = {band: values[np.isfinite(values)] for band, values in magnitudes.items()}
    known = {band: values for band, values in known.items() if values.size}
    if not known:
        say(axes)
        return
    low = np.floor(min(np.percentile(values, 0.1) for values in known.values()) / BIN_MAG) * BIN_MAG
    high = max(np.percentile(values, 99.9) for values in known.values())
    edges = np.arange(low, high + 1.5 * BIN_MAG, BIN_MAG)
    axes.grid(True)
    axes.set_yscale("log")
    colours = band_colours(magnitudes)
    for band, values in known.items():
        counts = np.histogram(values, edges)[0] / (area_deg2 or 1.0)
        counts = np.where(counts > 0, counts, np.nan)
        label = f"{band}, {values.size:,}"
        axes.plot(0.5 * (edges[1:] + edges[:-1]), counts, "o-", ms=3.5, lw=1.5, color=colours[band], label=label)
    axes.legend(loc="upper left", title="band, objects")


def _colour_magnitude(axes, magnitudes, triple, star):
    blue, red = triple[0], triple[1]
    axes.set_title("colour and magnitude")
    x, y = magnitudes[red], magnitudes[blue] - magnitudes[red]
    _cloud(axes, x, y, star, (f"{red} (AB mag)", f"{blue} − {red} (mag)"))


def _colour_colour(axes, magnitudes, triple, star):
    blue, middle, red = triple
    axes.set_title("colours")
    x, y = magnitudes[blue] - magnitudes[middle], magnitudes[middle] - magnitudes[red]
    _cloud(axes, x, y, star, (f"{blue} − {middle} (mag)", f"{middle} − {red} (mag)"))


def _size_magnitude(axes, magnitudes, band, fwhm_arcsec, star):
    axes.set_title("size and magnitude")
    _cloud(axes, magnitudes[band], fwhm_arcsec, star, (f"{band} (AB mag)", "FWHM (arcsec)"))
    if axes.collections:
        axes.set_ylim(bottom=0.0)


def _cloud(axes, x, y, star, labels):
    """Show objects as dots, or as a density where they are many; stars in their own colour."""
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    known = np.isfinite(x) & np.isfinite(y)
    if not known.any():
        say(axes)
        return
    axes.grid(True)
    x_limits, y_limits = (_padded(finite_limits(values[known], 0.3, 99.7)) for values in (x, y))
    if known.sum() > MANY_POINTS:
        extent = (*x_limits, *y_limits)
        axes.hexbin(x[known], y[known], gridsize=70, extent=extent, bins="log", cmap="cividis", mincnt=1)
    else:
        size = float(np.clip(4000.0 / known.sum(), 2.0, 14.0))
        kinds = (
            (known & ~star, CATEGORY_COLOURS[0], "extended" if star.any() else ""),
            (known & star, CATEGORY_COLOURS[5], "point-like"),
        )
        for chosen, colour, name in kinds:
            if chosen.any():
                label = f"{name}, {chosen.sum():,}" if name else None
                axes.scatter(x[chosen], y[chosen], s=size, color=colour, alpha=0.6, linewidths=0, label=label)
        if star.any():
            axes.legend(loc="upper left", markerscale=1.6, handletextpad=0.1)
    axes.set_xlim(*x_limits)
    axes.set_ylim(*y_limits)


def _padded(limits):
    margin = 0.06 * (limits[1] - limits[0])
    return limits[0] - margin, limits[1] + margin
