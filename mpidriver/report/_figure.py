"""What every picture shares: the look, the file, the limits of a colour scale, axes on the sky.

Pictures are drawn on `Figure` and `FigureCanvasAgg` directly and with matplotlib's own defaults, so that neither a
backend nor a user's matplotlibrc plays a part, and written without date and version: equal arrays, equal bytes.
"""

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = ["BAND_ORDER", "CATEGORY_COLOURS", "band_colours", "finite_limits", "picture", "say", "sort_bands"]

#: Okabe & Ito's eight colours that all colour visions tell apart, without black and pale yellow.
CATEGORY_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C6D31", "#7F7F7F")

#: Bands from blue to red.
BAND_ORDER = ("u", "U", "B", "g", "V", "r", "R", "i", "I", "z", "Z", "y", "Y", "J", "H", "K", "Ks")

_BAND_COLOURS = {"u": "#56B4E9", "g": "#009E73", "r": "#D55E00", "i": "#CC79A7", "z": "#0072B2", "y": "#E69F00"}

INK = "#333333"

_LOOK = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlepad": 7.0,
    "axes.labelsize": 9.0,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.direction": "out",
    "ytick.direction": "out",
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "image.interpolation": "nearest",
    "image.origin": "lower",
    "figure.facecolor": "white",
    "figure.dpi": 130.0,
    "savefig.dpi": 130.0,
}

#: rcParams belong to the process; one picture at a time may set them.
_ONE_PICTURE = threading.Lock()


@contextmanager
def picture(path: str | Path, title: str, *, width_in: float, height_in: float) -> Iterator[Figure]:
    """Yield a figure and write it as PNG when the block ends without an error.

    Parameters
    ----------
    path
        Where to write; its folder is made, the file appears whole or not at all.
    title
        Heading of the figure, empty for none.
    width_in, height_in
        Size of the figure in inches of 130 pixels.
    """
    with _ONE_PICTURE, matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_LOOK)
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        canvas = FigureCanvasAgg(figure)
        if title:
            figure.suptitle(title, x=0.012, ha="left", fontsize=12.0, fontweight="bold", color="black")
        yield figure
        content = io.BytesIO()
        with warnings.catch_warnings():
            # A tract much wider than high: the plain layout is good enough, and nobody can act on the warning.
            warnings.filterwarnings("ignore", message="constrained_layout not applied")
            canvas.print_png(content, metadata={"Software": None})
    _write(Path(path), content.getvalue())


def _write(path: Path, content: bytes) -> None:
    from mpidriver.store import atomic_path

    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as partial:
        Path(partial).write_bytes(content)


def finite_limits(values, low_percent=1.0, high_percent=99.0, *, symmetric=False):
    """Return limits of a colour scale or an axis that are finite and apart, whatever `values` holds.

    Parameters
    ----------
    values : array_like
        Any shape; NaN and infinity are left out.
    low_percent, high_percent : float
        Percentiles of the finite values.
    symmetric : bool
        Make the limits opposite numbers, for a diverging scale.

    Returns
    -------
    tuple of float
        ``(0, 1)``, or ``(-1, 1)`` if symmetric, where nothing is finite.
    """
    values = np.asarray(values, dtype=float)
    values = values[np.isfinite(values)]
    if values.size == 0:
        return (-1.0, 1.0) if symmetric else (0.0, 1.0)
    low, high = (float(v) for v in np.percentile(values, [low_percent, high_percent]))
    if symmetric:
        high = max(abs(low), abs(high))
        low = -high
    if not high - low > 1e-6 * max(abs(low), abs(high)):
        spread = 0.5 * abs(high) if high else 1.0
        low, high = low - spread, high + spread
    return low, high


def say(axes, text="no data"):
    """Write `text` in the middle of axes that have nothing to show."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="#999999", fontsize=11.0)


def sort_bands(bands):
    """Return bands from blue to red; names that are not known follow in alphabetical order."""
    known = {band: i for i, band in enumerate(BAND_ORDER)}
    return sorted(bands, key=lambda band: (known.get(band, len(known)), band))


def band_colours(bands):
    """Return a colour for each band: the same for the same name in every picture."""
    ordered = sort_bands(set(bands))
    free = [colour for colour in CATEGORY_COLOURS if colour not in {_BAND_COLOURS.get(band) for band in ordered}]
    colours = {}
    for band in ordered:
        if band in _BAND_COLOURS:
            colours[band] = _BAND_COLOURS[band]
        else:
            colours[band] = free.pop(0) if free else CATEGORY_COLOURS[len(colours) % len(CATEGORY_COLOURS)]
    return colours
