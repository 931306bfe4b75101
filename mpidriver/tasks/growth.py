"""Curve of growth of the stars of an image: how much light a larger circle holds than a smaller one.

Faint neighbours are everywhere, and sums over rings take up the light of all: 3 mmag out to 4 FWHM at 25 sources per
square arcmin. So the profile is subtracted first, known neighbours are left out, the median pixel of a star's ring
counts, and of the stars the median.
"""

import numpy as np

from mpidriver.tasks.windows import windows

__all__ = ["growth_step"]

#: Fewest stars that are asked, and the share of its pixels that a ring must keep.
_STARS_LEAST = 3
_RING_LEAST = 0.3
#: Spread of a ring's light from star to star, over the flux.
_STAR_SPREAD = 0.003
#: Spread of the fitted profile's step about the true one: this share of the light that it adds, and a little of all.
_PROFILE_SPREAD = 0.1
_PROFILE_FLOOR = 0.0005
#: Error of a median over that of a mean.
_MEDIAN_ERROR = 1.2533


def growth_step(image, variance, stars, radii_px, profile, hidden):
    """Return the flux within the outer of two radii over that within the inner one.

    It is the profile's, and what stars show beside it, each weighted by its accuracy.

    Parameters
    ----------
    image, variance : ndarray of float32, shape (row, col)
        Sky subtracted, finite.
    stars : tuple of ndarray, shape (n,)
        x, y in px, and flux within the inner radius; the outer circles lie within the image.
    radii_px : tuple of float
        Inner and outer radius.
    profile : MoffatProfile
    hidden : callable
        ``hidden(rows, cols, half)`` returns windows, bool of shape (n, 2 half + 1, 2 half + 1), True for pixels that
        are not usable or belong to neighbours.

    Returns
    -------
    float
        The profile's own for fewer than three stars.
    """
    inner_px, outer_px = radii_px
    expected = float(profile.enclosed(outer_px) / profile.enclosed(inner_px))
    if stars[0].size < _STARS_LEAST:
        return expected
    excess, error = _ring_excess(image, variance, stars, radii_px, profile, hidden)
    if excess.size < _STARS_LEAST:
        return expected
    median, median_error = _weighted_median(excess, np.hypot(error, _STAR_SPREAD))
    profile_weight = 1 / ((_PROFILE_SPREAD * (expected - 1)) ** 2 + _PROFILE_FLOOR**2)
    return expected + median / (1 + profile_weight * median_error**2)


def _ring_excess(image, variance, stars, radii_px, profile, hidden):
    """Return what stars' rings hold beside the profile, over the flux inside them, and its error; shape (n,) each."""
    inner_px, outer_px = radii_px
    half = int(np.ceil(outer_px)) + 1
    x, y, inside = (values[:, None, None] for values in stars)
    rows, cols = np.rint(stars[1]).astype(int), np.rint(stars[0]).astype(int)
    offsets = np.arange(-half, half + 1)
    radius2 = (rows[:, None, None] + offsets[:, None] - y) ** 2 + (cols[:, None, None] + offsets - x) ** 2
    ring = (radius2 >= inner_px**2) & (radius2 < outer_px**2) & ~hidden(rows, cols, half)
    with np.errstate(divide="ignore", invalid="ignore"):
        excess = windows(image, rows, cols, half) / inside - profile.density(radius2) / profile.enclosed(inner_px)
        noise = windows(variance, rows, cols, half) / inside**2
    area = np.pi * (outer_px**2 - inner_px**2)
    usable = (stars[2] > 0) & (np.count_nonzero(ring, axis=(1, 2)) > max(_RING_LEAST * area, 1))
    found = [
        (np.median(e[r]), np.sqrt(np.mean(v[r]) / np.count_nonzero(r)))
        for e, v, r in zip(excess[usable], noise[usable], ring[usable], strict=True)
    ]
    return area * np.array(found).reshape(-1, 2).T * np.array([[1.0], [_MEDIAN_ERROR]])


def _weighted_median(values, errors):
    """Return the median of values, each counting by its inverse variance, and its error."""
    order = np.argsort(values, kind="stable")
    weight = np.cumsum(1 / errors[order] ** 2)
    median = np.interp(0.5 * (weight[0] + weight[-1]), weight, values[order])
    return float(median), _MEDIAN_ERROR / float(np.sqrt(weight[-1]))
