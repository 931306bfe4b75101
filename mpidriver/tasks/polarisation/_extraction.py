"""Spectra: the value on a source, and background and noise in the annulus around it."""

from typing import NamedTuple

import numpy as np

from mpidriver.errors import DataError

__all__ = ["Extracted", "annulus_mask", "extract_sources", "flag_channels"]

MAD_TO_SIGMA = 1.4826
CLIP_SIGMA, CLIPS = 4.0, 3
#: Pixels of an annulus below which neither background nor noise can be told.
FEWEST_PIXELS = 30
#: The noise of one annulus is uncertain by about this share: some sixty beams.
LEAST_SCATTER = 0.1


class Extracted(NamedTuple):
    """What was read of each source in one channel, float32 (target, stokes); NaN where there are no data."""

    value: np.ndarray
    """Peak less the background, Jy/beam."""
    background: np.ndarray
    """Median of the annulus."""
    noise: np.ndarray
    """Standard deviation of what is left of the annulus."""


def annulus_mask(grid, beam_deg, radii_beams):
    """Return the pixels of a cut-out between two radii, given in FWHM of the beam's major axis; bool (row, col)."""
    steps = (np.arange(grid.size_px) - grid.size_px // 2) * grid.pixel_deg
    radius = np.hypot(*np.meshgrid(steps, steps)) / beam_deg[0]
    mask = (radius >= radii_beams[0]) & (radius <= radii_beams[1])
    if np.count_nonzero(mask) < FEWEST_PIXELS:
        raise DataError(
            f"annulus_beams {radii_beams[0]:g} .. {radii_beams[1]:g} holds {np.count_nonzero(mask)} pixels of "
            f"{3600 * grid.pixel_deg:g} arcsec, at least {FEWEST_PIXELS} are needed to tell the noise"
        )
    return mask


def extract_sources(cutouts, annulus):
    """Read the middle pixel of each cut-out, where its source lies, against its annulus.

    Other sources in the annulus are clipped, three times at four σ, by the median absolute deviation, about the median.
    The noise is the standard deviation of the rest: of some sixty beams the median absolute deviation tells it only to
    15 %, and weights that scatter so cost rotation measures 5 % of their accuracy.

    Parameters
    ----------
    cutouts : float32 (target, stokes, row, col)
    annulus : bool (row, col)

    Returns
    -------
    Extracted
        Where fewer than `FEWEST_PIXELS` of the annulus have data there is no noise, and no value without noise.
    """
    middle = cutouts.shape[-1] // 2
    around = np.sort(cutouts[..., annulus].astype(np.float64), axis=-1)  # NaN comes last
    first, last = np.zeros(around.shape[:-1], int), np.isfinite(around).sum(axis=-1)
    enough = last >= FEWEST_PIXELS
    for _ in range(CLIPS):
        centre = _median(around, first, last)
        sigma = MAD_TO_SIGMA * _spread(around, first, last, centre)
        first, last = _within(around, last, centre, CLIP_SIGMA * sigma)
    centre, sigma = _moments(around, first, last)
    known = enough & (sigma > 0.0)
    centre, sigma = np.where(known, centre, np.nan), np.where(known, sigma, np.nan)
    value = cutouts[..., middle, middle] - centre
    return Extracted(*(part.astype(np.float32) for part in (value, centre, sigma)))


def _median(ordered, first, last):
    """Return the median of ordered values between two places of the last axis, NaN where there are none."""
    count = last - first
    low = np.clip(first + (count - 1) // 2, 0, ordered.shape[-1] - 1)[..., None]
    high = np.clip(first + count // 2, 0, ordered.shape[-1] - 1)[..., None]
    middle = np.take_along_axis(ordered, low, -1) + np.take_along_axis(ordered, high, -1)
    return np.where(count > 0, 0.5 * middle[..., 0], np.nan)


def _spread(ordered, first, last, centre):
    """Return the median distance from a centre."""
    distance = np.sort(np.where(_between(ordered, first, last), np.abs(ordered - centre[..., None]), np.nan), axis=-1)
    return _median(distance, np.zeros_like(first), last - first)


def _moments(ordered, first, last):
    """Return median and standard deviation of ordered values between two places, NaN where there are none."""
    centre, kept = _median(ordered, first, last), _between(ordered, first, last)
    squares = np.where(kept, ordered - centre[..., None], 0.0) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return centre, np.sqrt(squares.sum(axis=-1) / (last - first))


def _between(ordered, first, last):
    """Return which values lie between two places of the last axis."""
    place = np.arange(ordered.shape[-1])
    return (place >= first[..., None]) & (place < last[..., None])


def _within(ordered, last, centre, distance):
    """Return the places between which ordered values lie within a distance of a centre."""
    with np.errstate(invalid="ignore"):
        near = np.abs(ordered - centre[..., None]) <= distance[..., None]
    first = np.argmax(near, axis=-1)
    return first, np.where(near.any(axis=-1), first + near.sum(axis=-1), last)


def flag_channels(noise, *, clip):
    """Return the channels whose noise is far above the others', bool (target, chan).

    Parameters
    ----------
    noise : float (target, chan, stokes)
    clip : float
        Standard deviations, by the median absolute deviation over the channels and at least a tenth, above their
        median.
    """
    with np.errstate(invalid="ignore"):
        level = np.nanmax(np.where(np.isfinite(noise), noise, -np.inf), axis=-1)
        level = np.where(np.isfinite(level), level, np.nan)
        ordered = np.sort(level, axis=-1)
        count = np.isfinite(level).sum(axis=-1)
        centre = _median(ordered, np.zeros_like(count), count)
        sigma = MAD_TO_SIGMA * _spread(ordered, np.zeros_like(count), count, centre)
        return level > (centre + clip * np.maximum(sigma, LEAST_SCATTER * centre))[:, None]
