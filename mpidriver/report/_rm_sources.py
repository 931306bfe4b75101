"""Pictures of the RM table: rotation measures on the sky, polarised fractions, and RMs against published ones."""

import numpy as np

from mpidriver.errors import DataError
from mpidriver.report._figure import CATEGORY_COLOURS, INK, finite_limits, picture, say
from mpidriver.sphere import unit_vectors
from mpidriver.store import read_table

__all__ = ["draw_rm_comparison", "draw_rm_table", "match_published", "published_rms"]

BLUE, ORANGE = CATEGORY_COLOURS[0], CATEGORY_COLOURS[5]


def draw_rm_table(path, rows, *, title=""):
    """Draw the sources of an RM table on the sky, their polarised against total intensity, and leakage by distance.

    Parameters
    ----------
    path : str or Path
        The PNG file to write.
    rows : structured ndarray (source,)
        Columns of the RM table.
    title : str
    """
    with picture(path, title, width_in=13.0, height_in=4.6) as figure:
        sky, intensity, leakage = figure.subplots(1, 3, width_ratios=(1.25, 1.0, 1.0))
        _draw_sky(figure, sky, rows)
        _draw_intensity(intensity, rows)
        _draw_leakage(leakage, rows)


def _draw_sky(figure, axes, rows):
    axes.set_title("rotation measure on the sky")
    axes.set_xlabel("right ascension (deg)")
    axes.set_ylabel("declination (deg)")
    good = np.isfinite(rows["rm"]) & ~rows["snr_flag"]
    rows = rows[good]
    if not len(rows):
        say(axes, "no source is bright enough")
        return
    ra = _unwrapped(rows["ra"])
    limits = dict(zip(("vmin", "vmax"), finite_limits(rows["rm"], 2, 98, symmetric=True), strict=True))
    size = np.clip(3000.0 / len(rows), 6.0, 60.0)
    drawn = axes.scatter(ra, rows["dec"], c=rows["rm"], cmap="RdBu_r", s=size, edgecolors=INK, linewidths=0.5, **limits)
    figure.colorbar(drawn, ax=axes, label="rotation measure (rad m$^{-2}$)", shrink=0.9, pad=0.03)
    axes.set_aspect(1.0 / max(np.cos(np.radians(np.median(rows["dec"]))), 0.05), adjustable="datalim")
    axes.invert_xaxis()
    axes.locator_params(axis="x", nbins=5)
    axes.grid(True)


def _unwrapped(ra_deg):
    """Return right ascensions without a jump where the field crosses 0."""
    centre = np.degrees(np.angle(np.exp(1j * np.radians(ra_deg)).mean()))
    return centre + (ra_deg - centre + 180.0) % 360.0 - 180.0


def _draw_intensity(axes, rows):
    axes.set_title("polarised intensity")
    axes.set_xlabel("Stokes I (Jy/beam)")
    axes.set_ylabel("polarised intensity (Jy/beam)")
    good = (rows["stokesI"] > 0) & (rows["polint"] > 0)
    if not good.any():
        say(axes)
        return
    bright = good & ~rows["snr_flag"]
    for chosen, colour, label in ((good & ~bright, "#BBBBBB", "S/N is low"), (bright, BLUE, "polarised")):
        axes.plot(rows["stokesI"][chosen], rows["polint"][chosen], "o", ms=3.5, mew=0, color=colour, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    low, high = axes.get_xlim()
    for percent in (100.0, 10.0, 1.0):
        axes.plot([low, high], [low * percent / 100, high * percent / 100], color="#DDDDDD", lw=0.8, zorder=0)
        axes.text(high, high * percent / 100, f" {percent:g} %", color="#999999", fontsize=7.5, va="center")
    axes.set_xlim(low, high)
    axes.legend(loc="upper left")


def _draw_leakage(axes, rows):
    axes.set_title("polarised fraction of bright sources")
    axes.set_xlabel("distance from the nearest beam's axis (deg)")
    axes.set_ylabel("polarised fraction (%)")
    with np.errstate(invalid="ignore", divide="ignore"):
        bright = np.isfinite(rows["beamdist"] * rows["fracpol"]) & (rows["stokesI"] / rows["stokesI_err"] > 30.0)
    if not bright.any():
        say(axes, "no source is bright enough")
        return
    rows = rows[bright][np.argsort(rows["beamdist"][bright], kind="stable")]
    axes.plot(rows["beamdist"], 100.0 * rows["fracpol"], "o", ms=3.5, mew=0, color=BLUE)
    if np.isfinite(rows["leakage"]).any():
        axes.plot(rows["beamdist"], 100.0 * rows["leakage"], color=ORANGE, lw=1.5, label="leakage")
        axes.legend(loc="upper right")
    axes.set_ylim(0.0, None)
    axes.grid(True)


def match_published(rows, published, *, radius_arcsec=15.0):
    """Return the numbers of sources and of their nearest published ones within a radius.

    Parameters
    ----------
    rows, published : structured ndarray
        With ``ra`` and ``dec`` in deg.
    radius_arcsec : float

    Returns
    -------
    own, theirs : ndarray of int, (match,)
    """
    from scipy.spatial import cKDTree

    if not len(rows) or not len(published):
        return np.zeros(0, int), np.zeros(0, int)
    reach = 2.0 * np.sin(np.radians(radius_arcsec / 3600.0) / 2)
    distance, theirs = cKDTree(unit_vectors(published["ra"], published["dec"])).query(
        unit_vectors(rows["ra"], rows["dec"])
    )
    own = np.flatnonzero(distance <= reach)
    return own, theirs[own]


def draw_rm_comparison(path, rows, published, *, title=""):
    """Draw rotation measures against published ones of the same sources, and how they differ.

    Parameters
    ----------
    path : str or Path
        The PNG file to write.
    rows : structured ndarray (source,)
        Columns of the RM table.
    published : structured ndarray
        With ``ra``, ``dec`` (deg), ``rm`` and ``rm_err`` (rad/m²).
    title : str
    """
    rows = rows[np.isfinite(rows["rm"]) & ~rows["snr_flag"]]
    published = published[np.isfinite(published["ra"]) & np.isfinite(published["dec"]) & np.isfinite(published["rm"])]
    own, theirs = match_published(rows, published)
    with picture(path, title, width_in=11.0, height_in=4.8) as figure:
        against, difference = figure.subplots(1, 2)
        against.set_title(f"{len(own):,} sources in common")
        if not len(own):
            say(against, "no published source within 15 arcsec")
            say(difference)
            return
        _draw_against(against, rows[own], published[theirs])
        _draw_difference(difference, rows[own], published[theirs])


def _draw_against(axes, rows, published):
    axes.set_xlabel("published rotation measure (rad m$^{-2}$)")
    axes.set_ylabel("rotation measure here (rad m$^{-2}$)")
    style = {"fmt": "o", "ms": 3.5, "mew": 0, "lw": 0.8, "color": BLUE, "ecolor": "#BBBBBB"}
    axes.errorbar(published["rm"], rows["rm"], yerr=rows["rm_err"], xerr=published["rm_err"], **style)
    ends = finite_limits(np.concatenate([rows["rm"], published["rm"]]), 0, 100)
    axes.plot(ends, ends, color=INK, lw=0.8, ls="--")
    axes.set_aspect("equal", adjustable="datalim")
    axes.grid(True)


def _draw_difference(axes, rows, published):
    axes.set_xlabel("difference over its error")
    axes.set_ylabel("sources")
    with np.errstate(invalid="ignore", divide="ignore"):
        pulls = (rows["rm"] - published["rm"]) / np.hypot(rows["rm_err"], published["rm_err"])
    pulls = pulls[np.isfinite(pulls)]
    if not len(pulls):
        say(axes, "no errors are known")
        return
    middle, spread = np.median(pulls), 1.4826 * np.median(np.abs(pulls - np.median(pulls)))
    axes.set_title(f"median {middle:.2f}, scatter {spread:.2f} standard errors")
    axes.hist(np.clip(pulls, -10.0, 10.0), bins=np.arange(-10.0, 10.5, 0.5), color=BLUE)
    axes.axvline(0.0, color=INK, lw=0.8, ls="--")


def published_rms(path):
    """Read published RMs from a FITS table in the RMTable standard; ``rm_err`` may be missing.

    Raises
    ------
    DataError
        If the file cannot be read or lacks a column.
    """
    table = read_table(path)
    missing = [name for name in ("ra", "dec", "rm") if name not in (table.dtype.names or ())]
    if missing:
        raise DataError(f"{path}: no column {missing[0]!r}; it has {', '.join(table.dtype.names or ())}")
    rows = np.full(len(table), np.nan, dtype=[(name, "f8") for name in ("ra", "dec", "rm", "rm_err")])
    for name in rows.dtype.names:
        if name in table.dtype.names:
            rows[name] = table[name]
    return rows
