"""What came of fakes: completeness and biases of fluxes against magnitude."""

import numpy as np

from mpidriver.report._figure import INK, band_colours, picture, say, sort_bands

__all__ = ["draw_fakes", "fakes_notes"]

#: Shares of recovered fakes whose magnitudes are told.
_SHARES = (0.9, 0.5)
_KINDS = ((False, "point sources", "o-"), (True, "galaxies", "s--"))


def fakes_notes(summary):
    """Return lines that tell what came of fakes, one a band and kind.

    Parameters
    ----------
    summary : ndarray, shape (row,)
        From `mpidriver.tasks.multiband.summary_of_fakes`, as read from the repository.

    Returns
    -------
    list of str
    """
    return [
        _note(band, name, rows)
        for band in sort_bands(set(_bands(summary)))
        for extended, name, _ in _KINDS
        if (rows := _rows(summary, band, extended)).size
    ]


def _note(band, name, rows):
    limits = [f"{100 * share:.0f} % recovered {_until(rows, share)}" for share in _SHARES]
    deep = faintest_mag(rows, 0.5)
    bright = rows[rows["mag"] < deep] if np.isfinite(deep) else rows
    total = max(int(bright["n_measured"].sum()), 1)
    bias, pull = (
        float(np.nansum(bright[column] * bright["n_measured"]) / total) for column in ("bias_model", "pull_model")
    )
    where = "brighter than that" if np.isfinite(deep) else "at all magnitudes"
    return f"fakes, {band}, {name}: {', '.join(limits)}; fluxes {100 * bias:+.1f} %, pulls {pull:.2f} {where}"


def _until(rows, share):
    mag = faintest_mag(rows, share)
    return f"to {mag:.1f} mag" if np.isfinite(mag) else "nowhere"


def faintest_mag(rows, share):
    """Return the magnitude at which completeness falls below a share, interpolated; NaN if it never reaches it."""
    mag, complete = rows["mag"], rows["completeness"]
    reached = np.flatnonzero(complete >= share)
    if reached.size == 0:
        return float("nan")
    last = reached[-1]
    if last == len(rows) - 1:
        return float(mag[last])
    return float(np.interp(share, complete[[last + 1, last]], mag[[last + 1, last]]))


def _bands(summary):
    return [band.decode() if isinstance(band, bytes) else str(band) for band in summary["band"]]


def _rows(summary, band, extended):
    rows = summary[(np.array(_bands(summary)) == band) & (summary["extended"] == extended)]
    return rows[np.argsort(rows["mag"], kind="stable")]


def draw_fakes(path, summary, *, title=""):
    """Draw completeness, bias and pulls of fakes against magnitude, point sources and galaxies in each band.

    Parameters
    ----------
    path : str or Path
        The PNG file to write.
    summary : ndarray, shape (row,)
        As for `fakes_notes`.
    title : str
    """
    bands = sort_bands(set(_bands(summary)))
    colours = band_colours(bands)
    with picture(path, title, width_in=11.0, height_in=7.6) as figure:
        panels = figure.subplots(2, 2)
        _completeness(panels[0, 0], summary, bands)
        for axes, (extended, name, _) in zip((panels[0, 1], panels[1, 0]), _KINDS, strict=True):
            _bias(axes, [(band, _rows(summary, band, extended)) for band in bands], colours, name)
        _pulls(panels[1, 1], summary, bands, colours)


def _completeness(axes, summary, bands):
    axes.set_title("completeness, all bands together")
    axes.set_xlabel("AB magnitude, the same in all bands")
    axes.set_ylabel("share that was found")
    axes.set_ylim(-0.03, 1.05)
    axes.grid(True)
    if not bands:
        return say(axes)
    # Objects are found over all bands: each band's rows tell the same.
    for extended, name, style in _KINDS:
        rows = _rows(summary, bands[0], extended)
        error = np.sqrt(rows["completeness"] * (1 - rows["completeness"]) / np.maximum(rows["n"], 1))
        axes.errorbar(rows["mag"], rows["completeness"], error, fmt=style, color=INK, ms=4, lw=1.3, label=name)
    for share in _SHARES:
        axes.axhline(share, color="#AAAAAA", lw=0.8, ls=":")
    axes.legend(loc="lower left")
    return None


def _bias(axes, tables, colours, name):
    axes.set_title(f"model flux of {name}")
    axes.set_xlabel("AB magnitude")
    axes.set_ylabel("measured / true − 1, median and scatter")
    axes.axhline(0.0, color="#AAAAAA", lw=0.8)
    axes.grid(True)
    for number, (band, rows) in enumerate(tables):
        rows = rows[np.isfinite(rows["bias_model"])]
        if rows.size:
            shift = 0.05 * (number - 0.5 * (len(tables) - 1))
            axes.errorbar(
                rows["mag"] + shift,
                rows["bias_model"],
                rows["scatter_model"],
                fmt="o-",
                color=colours[band],
                ms=3.5,
                lw=1.2,
                elinewidth=0.8,
                label=band,
            )
    axes.set_ylim(-0.4, 0.4)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", ncols=3)
    else:
        say(axes)


def _pulls(axes, summary, bands, colours):
    axes.set_title("width of the errors in units of the standard error")
    axes.set_xlabel("AB magnitude")
    axes.set_ylabel("robust width of (measured − true) / error")
    axes.axhline(1.0, color="#AAAAAA", lw=0.8)
    axes.grid(True)
    for band in bands:
        for extended, name, style in _KINDS:
            rows = _rows(summary, band, extended)
            known = np.isfinite(rows["pull_model"])
            if known.any():
                axes.plot(
                    rows["mag"][known],
                    rows["pull_model"][known],
                    style,
                    color=colours[band],
                    ms=3.5,
                    lw=1.2,
                    label=f"{band}, {name}",
                )
    axes.set_ylim(0.0, 4.0)
    if axes.lines[1:]:
        axes.legend(loc="upper right", ncols=2)
    else:
        say(axes)
