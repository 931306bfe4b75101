"""Sky objects: whether fluxes of empty places scatter about zero as their errors say."""

import numpy as np

from mpidriver.report._figure import CATEGORY_COLOURS, INK, picture, say, sort_bands

__all__ = ["draw_noise"]

#: Kinds of fluxes that are shown, and the bins of pulls.
_FLUXES = (("psf", "PSF"), ("aper", "aperture"), ("auto", "Kron"))
_EDGES = np.linspace(-5.0, 5.0, 41)


def draw_noise(path, sky, bands, *, title=""):
    """Draw the distribution of fluxes over their errors at empty places, a panel a band, beside a unit Gaussian.

    Parameters
    ----------
    path : str or Path
        The PNG file to write.
    sky : ndarray, shape (place,)
        Rows of the object table that are flagged SKY.
    bands : sequence of str
    title : str
    """
    bands = sort_bands(bands)
    across = max(len(bands), 1)
    with picture(path, title, width_in=4.1 * across + 0.3, height_in=4.0) as figure:
        for number, band in enumerate(bands):
            _panel(figure.add_subplot(1, across, number + 1), sky, band)


def _panel(axes, sky, band):
    axes.set_title(f"{band}: {sky.size:,} empty places")
    axes.set_xlabel("flux / error")
    axes.set_ylabel("share a unit")
    axes.grid(True)
    x = np.linspace(-5.0, 5.0, 201)
    axes.plot(x, np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi), color=INK, lw=1.0, ls="--", label="unit Gaussian")
    for colour, (kind, name) in zip(CATEGORY_COLOURS, _FLUXES, strict=False):
        pulls = _pulls(sky, kind, band)
        if pulls.size:
            middle, width = np.median(pulls), 1.4826 * np.median(np.abs(pulls - np.median(pulls)))
            axes.hist(
                pulls,
                _EDGES,
                density=True,
                histtype="step",
                color=colour,
                lw=1.4,
                label=f"{name}: {middle:+.2f} ± {width:.2f}",
            )
    if len(axes.patches) == 0:
        say(axes)
    axes.set_ylim(0.0, 0.85)
    axes.legend(loc="upper right")


def _pulls(sky, kind, band):
    with np.errstate(invalid="ignore", divide="ignore"):
        pulls = np.asarray(sky[f"flux_{kind}_{band}"] / sky[f"flux_{kind}_{band}_err"], dtype=float)
    pulls = pulls[:, -1] if pulls.ndim == 2 else pulls
    return pulls[np.isfinite(pulls)]
