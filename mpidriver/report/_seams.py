"""Seams between overlapping frames: how their backgrounds differ before and after matching."""

import numpy as np
from matplotlib.ticker import LogLocator, NullFormatter

from mpidriver.report._figure import CATEGORY_COLOURS, INK, band_colours, picture, say, sort_bands
from mpidriver.report._words import plural

__all__ = ["draw_seams"]


def draw_seams(path, seams, *, title=""):
    """Draw the differences of overlapping frames before and after matching, and what is left by exposure.

    Parameters
    ----------
    path : str or Path
        The PNG file to write.
    seams : structured ndarray, shape (seam,)
        With ``band``, ``exposure1``, ``exposure2``, ``n_cells``, and ``before`` and ``after`` in nJy/arcsec².
    title : str
    """
    bands = sort_bands(set(seams["band"]))
    with picture(path, title, width_in=11.0, height_in=7.0) as figure:
        grid = figure.add_gridspec(2, max(len(bands), 1), height_ratios=(1.2, 1.0))
        if not bands:
            say(figure.add_subplot(grid[:, :]), "no frames overlap")
            return
        for number, band in enumerate(bands):
            _histogram(figure.add_subplot(grid[0, number]), seams[seams["band"] == band], band)
        _by_exposure(figure.add_subplot(grid[1, :]), seams, bands)


def _rms(values, n_cells):
    """Return the rms of seams, each as often as it has cells."""
    return float(np.sqrt(np.average(np.square(values), weights=n_cells)))


def _histogram(axes, seams, band):
    axes.set_title(f"{band}: {plural(len(seams), 'seam')}")
    axes.set_xlabel("difference (nJy/arcsec²)")
    axes.set_ylabel("cells")
    axes.grid(True)
    reach = 3.0 * max(_rms(seams[name], seams["n_cells"]) for name in ("before", "after")) or 1.0
    edges = np.linspace(-reach, reach, 32)
    for name, colour in (("before", CATEGORY_COLOURS[7]), ("after", CATEGORY_COLOURS[0])):
        label = f"{name}: rms {_rms(seams[name], seams['n_cells']):.3g}"
        inside = np.clip(seams[name], -reach, reach)
        axes.hist(inside, edges, weights=seams["n_cells"], histtype="step", color=colour, lw=1.6, label=label)
    axes.margins(y=0.25)
    axes.legend(loc="upper right")


def _by_exposure(axes, seams, bands):
    """Show the rms of each exposure's seams before and after, so that one whose background does not fit stands out."""
    exposures, places = np.unique([seams["exposure1"], seams["exposure2"]], return_inverse=True)
    places = places.reshape(2, -1)
    colours = band_colours(bands)
    axes.grid(True)
    axes.set_xlabel("exposure (in order of number)")
    axes.set_ylabel("rms of its seams (nJy/arcsec²)")
    if seams["before"].any() or seams["after"].any():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    for band in bands:
        own = seams["band"] == band
        members = np.concatenate(places[:, own])
        weight = np.tile(seams["n_cells"][own], 2)
        for name, face in (("before", "none"), ("after", colours[band])):
            square = np.bincount(members, weight * np.tile(seams[name][own], 2) ** 2, minlength=len(exposures))
            cells = np.bincount(members, weight, minlength=len(exposures))
            seen = np.flatnonzero(cells)
            rms = np.sqrt(square[seen] / cells[seen])
            axes.scatter(seen, rms, s=22, edgecolors=colours[band], facecolors=face, label=f"{band} {name}")
    axes.set_xlim(-0.5, len(exposures) - 0.5)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(loc="upper right", ncols=len(bands), labelcolor=INK)
    axes.margins(y=0.35)
