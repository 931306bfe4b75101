"""The timeline of a run: what each rank did when, how many ranks were at work, and their memory."""

from collections.abc import Iterable
from typing import Protocol

import numpy as np

from mpidriver.report._figure import CATEGORY_COLOURS, INK, picture, say
from mpidriver.report._words import duration, plural

__all__ = ["TimedQuantum", "draw_timeline"]

#: Ranks whose bars are separated by white lines; more look like a texture.
FEW_RANKS = 64
#: More stages than colours repeat them in a paler tone.
PALER = 0.55


class TimedQuantum(Protocol):
    """What the timeline needs of a quantum's record."""

    task: str
    """Stage."""
    rank: int
    """Rank that ran it."""
    started: float
    """Unix time, seconds."""
    seconds: float
    """How long it took."""
    status: str
    """``done`` or ``failed``."""
    peak_rss_bytes: int | None
    """The most memory that the rank had taken by its end."""


def draw_timeline(path, quanta: Iterable[TimedQuantum], *, ranks=None, efficiency=None, title=""):
    """Draw a bar for each quantum, rank against time, coloured by stage, over the busy ranks and memory.

    Parameters
    ----------
    path : str or Path
        The PNG file to write.
    quanta : iterable of TimedQuantum
        Those without a start or rank (never run) are left out.
    ranks : int, optional
        Ranks of the run; the highest rank plus 1 if None.
    efficiency : float, optional
        Work over ranks times wall time, if it was measured; from the first start to the last end if None.
    title : str
    """
    ran = sorted((quantum for quantum in quanta if _ran(quantum)), key=lambda quantum: (quantum.started, quantum.rank))
    ranks = max([ranks or 1, *(quantum.rank + 1 for quantum in ran)])
    rows_in = float(np.clip(0.16 * ranks, 1.0, 6.0))
    with picture(path, title, width_in=11.5, height_in=4.4 + rows_in) as figure:
        if not ran:
            say(figure.subplots(), "nothing has run")
            return
        first = ran[0].started
        spans_s = np.array([[quantum.started - first, quantum.started - first + quantum.seconds] for quantum in ran])
        whole_s = max(float(spans_s.max()), 1e-6)
        if efficiency is None:
            efficiency = float(np.diff(spans_s).sum()) / (ranks * whole_s)
        unit_s, unit = (1.0, "s") if whole_s < 180 else (60.0, "min") if whole_s < 3 * 3600 else (3600.0, "h")
        colours = _stage_colours(ran)
        top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=(rows_in + 0.3, 1.5, 1.0))
        top.set_title(_heading(len(ran), ranks, whole_s, efficiency), fontweight="normal")
        _bars(top, ran, spans_s / unit_s, ranks, colours)
        _busy_ranks(middle, ran, spans_s / unit_s, ranks, colours)
        _memory(bottom, ran, spans_s[:, 1] / unit_s)
        bottom.set_xlabel(f"time since the first quantum started ({unit})")
        bottom.set_xlim(0.0, whole_s / unit_s)
        _legend(figure, ran, colours)


def _ran(quantum):
    times = (quantum.started, quantum.seconds, quantum.rank)
    return all(value is not None and np.isfinite(value) for value in times) and quantum.rank >= 0


def _heading(n, ranks, whole_s, efficiency):
    quanta = "1 quantum" if n == 1 else f"{n:,} quanta"
    return f"{quanta} on {plural(ranks, 'rank')} in {duration(whole_s)}, {100.0 * efficiency:.0f} % efficient"


def _stage_colours(ran):
    """Return a colour for each stage in the order of first starts; beyond eight stages the colours get paler."""
    from matplotlib.colors import to_rgb

    colours = {}
    for stage in dict.fromkeys(quantum.task for quantum in ran):
        lap, place = divmod(len(colours), len(CATEGORY_COLOURS))
        rgb = np.array(to_rgb(CATEGORY_COLOURS[place]))
        colours[stage] = tuple(1.0 - (1.0 - rgb) * PALER**lap)
    return colours


def _bars(axes, ran, spans, ranks, colours):
    from matplotlib.collections import PolyCollection

    bottoms = np.array([quantum.rank for quantum in ran], dtype=float) - 0.42
    left, right = spans.T
    corners = np.stack([left, left, right, right, bottoms, bottoms + 0.84, bottoms + 0.84, bottoms], axis=-1)
    polygons = corners.reshape(-1, 2, 4).transpose(0, 2, 1)
    # White edges separate wide bars; narrow ones would drown in them.
    width = np.where((right - left > 0.004 * spans.max()) & (ranks <= FEW_RANKS), 0.4, 0.0)
    failed = np.array([quantum.status == "failed" for quantum in ran])
    face = np.array([colours[quantum.task] for quantum in ran])
    axes.add_collection(PolyCollection(polygons, facecolors=face, edgecolors="white", linewidths=width))
    if failed.any():
        crossed = {"facecolors": "none", "edgecolors": "black", "hatch": "xxxx", "linewidths": 0.8}
        axes.add_collection(PolyCollection(polygons[failed], **crossed))
    axes.set_ylim(ranks - 0.4, -0.6)
    axes.yaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axes.set_ylabel("rank")
    axes.tick_params(labelbottom=False)
    axes.set_facecolor("#F2F2F2")


def _busy_ranks(axes, ran, spans, ranks, colours):
    """Stack the mean number of ranks at work on each stage in 240 steps of time."""
    edges = np.linspace(0.0, max(float(spans.max()), 1e-9), 241)
    stages = np.array([quantum.task for quantum in ran])
    layers = [_mean_busy(spans[stages == stage], edges) for stage in colours]
    layers = [np.append(layer, layer[-1]) for layer in layers]
    axes.stackplot(edges, *layers, colors=list(colours.values()), step="post", linewidth=0)
    axes.axhline(ranks, color=INK, lw=0.8, ls="--")
    axes.set_ylim(0.0, 1.08 * ranks)
    axes.yaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axes.set_ylabel("ranks at work")
    axes.tick_params(labelbottom=False)


def _memory(axes, ran, ends):
    """Show the most memory that ranks had taken by each time: all together, and the rank with the most."""
    axes.set_ylabel("memory (GiB)")
    axes.grid(True)
    order = [i for i in np.argsort(ends, kind="stable") if ran[i].peak_rss_bytes is not None]
    if not order:
        say(axes, "not measured")
        return
    peaks: dict[int, int] = {}
    totals, largest = [], []
    for i in order:
        peaks[ran[i].rank] = max(peaks.get(ran[i].rank, 0), ran[i].peak_rss_bytes)
        totals.append(sum(peaks.values()) / 2**30)
        largest.append(max(peaks.values()) / 2**30)
    for values, colour, name in ((totals, CATEGORY_COLOURS[7], "all ranks"), (largest, INK, "the largest")):
        axes.step(ends[order], values, where="post", color=colour, lw=1.4, label=f"{name}: {values[-1]:.2f}")
    axes.set_ylim(0.0, 1.15 * totals[-1])
    axes.legend(loc="lower right", ncols=2)


def _mean_busy(spans, edges):
    """Return the mean number of `spans` under way in each step between `edges`."""

    def total_before(times):
        """Return the time that the spans have run, summed over them, before each edge."""
        ordered = np.sort(times)
        sums = np.concatenate([[0.0], np.cumsum(ordered)])
        below = np.searchsorted(ordered, edges)
        return below * edges - sums[below]

    return np.diff(total_before(spans[:, 0]) - total_before(spans[:, 1])) / np.diff(edges)


def _legend(figure, ran, colours):
    from matplotlib.patches import Patch

    handles = []
    for stage, colour in colours.items():
        own = [quantum for quantum in ran if quantum.task == stage]
        label = f"{stage}: {len(own):,}, {duration(sum(quantum.seconds for quantum in own))}"
        handles.append(Patch(facecolor=colour, label=label))
    failed = sum(quantum.status == "failed" for quantum in ran)
    if failed:
        handles.append(Patch(facecolor="none", edgecolor="black", hatch="xxxx", label=f"failed: {failed:,}"))
    figure.legend(handles=handles, loc="outside lower left", ncols=4)
