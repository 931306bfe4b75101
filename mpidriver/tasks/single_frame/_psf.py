"""First guess of the stars' width, and the narrow range of sizes that they have."""

import numpy as np

from mpidriver.tasks.windows import windows

__all__ = ["DEFAULT_FWHM_PX", "half_light_locus", "seeing_guess"]

#: Width that is assumed where no source shows it.
DEFAULT_FWHM_PX = 3.0
_FWHM_RANGE_PX = (1.2, 40.0)
_GUESS_SOURCES = 300
_GUESS_SOURCES_MIN = 3
_GUESS_SIGNAL = 20.0

_LOCUS_SMOOTHING = 0.04


def seeing_guess(frame, rows, cols, sky):
    """Return a first FWHM from the area above half the peak of the brightest unsaturated sources.

    Neither the sources' fluxes nor their footprints enter, which crowding spoils.

    Parameters
    ----------
    frame : MaskedImage
        Sky still in it. Sources whose peak is masked are left out.
    rows, cols : ndarray of int, shape (n,)
        Peaks of the sources.
    sky : tuple of ndarray, shape (n,)
        Level and noise at the sources; where sources of clear signal are wanting, the few brightest are taken.

    Returns
    -------
    float
        px; 3 for no sources.
    """
    clean = frame.mask[rows, cols] == 0
    rows, cols, level, noise = (values[clean] for values in (rows, cols, *sky))
    signal = (frame.image[rows, cols] - level) / noise
    count = min(max(np.count_nonzero(signal > _GUESS_SIGNAL), _GUESS_SOURCES_MIN), _GUESS_SOURCES)
    brightest = np.argsort(-signal, kind="stable")[:count]
    if brightest.size == 0:
        return DEFAULT_FWHM_PX
    rows, cols, level = rows[brightest], cols[brightest], level[brightest, None, None]
    for half in (12, 40):
        around = windows(frame.image, rows, cols, half) - level
        area = np.sum(around > 0.5 * around[:, half, half][:, None, None], axis=(1, 2))
        guess_px, _ = half_light_locus(2 * np.sqrt(area / np.pi))
        if guess_px < 0.7 * half:
            break
    return float(np.clip(guess_px, *_FWHM_RANGE_PX))


def half_light_locus(radius_px):
    """Return centre and half width of the narrow peak of half-light radii that the stars make.

    The centre is the highest point of the density of log radius, smoothed by a Gaussian of 4 %; the width is three
    times the scatter of the radii on the smaller side of it, where there are no galaxies.

    Parameters
    ----------
    radius_px : ndarray, shape (n,)
        Half-light radii of well detected sources, positive.

    Returns
    -------
    centre, half_width : float
        Half width between 8 and 25 % of the centre; NaN for no sources.
    """
    if radius_px.size == 0:
        return float("nan"), float("nan")
    logs = np.log(radius_px)
    grid = np.arange(logs.min(), logs.max() + 0.01, 0.01)
    density = np.exp(-0.5 * ((grid[:, None] - logs) / _LOCUS_SMOOTHING) ** 2).sum(axis=1)
    centre = float(np.exp(grid[np.argmax(density)]))
    near = radius_px[(radius_px <= centre) & (radius_px > 0.75 * centre)]
    scatter = 1.4826 * float(np.median(centre - near)) if near.size else 0.0
    return centre, min(max(3 * scatter, 0.08 * centre), 0.25 * centre)
