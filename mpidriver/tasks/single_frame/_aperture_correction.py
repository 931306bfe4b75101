"""The curve of growth that turns an aperture flux into a total one, and how it changes over the frame."""

import dataclasses
import functools
import itertools

import numpy as np
import sep
from scipy import ndimage

from mpidriver.tasks.growth import growth_step
from mpidriver.tasks.single_frame._aperture_map import ApertureMap, fit_aperture_map
from mpidriver.tasks.windows import windows

__all__ = ["ApertureCorrection", "aperture_correction"]

#: The curve of growth is followed in steps of this many FWHM, by so many stars of such a signal.
_GROWTH_STEP_FWHM = 0.5
_GROWTH_STARS_MAX = 30
_GROWTH_SNR_MIN = 50.0
#: The first steps, whose change over the frame is measured.
_MAP_STEPS = 2
#: Small change of the stars' width, to see what it does.
_WIDER = 1.02
#: The correction is within this factor of the typical one.
_RANGE = 1.3
#: A star's neighbours that matter are further than this outside the circle, and footprints are grown by so much.
_CLEAR_FWHM = 1.5
_NEIGHBOUR_GROW_FWHM = 1.0
#: Largest share of the flux that is believed to lie beyond the last aperture.
_BEYOND_MAX = 0.02


@dataclasses.dataclass(frozen=True)
class ApertureCorrection:
    """Total flux over flux in the measuring aperture."""

    typical: float
    """That of the frame's bright stars."""
    near: ApertureMap
    """What stars show around the aperture, beside the typical growth there; constant: the correction is, too."""
    gain: float = 1.0
    """Change of the whole correction's logarithm for one of `near`."""
    middle: float = 0.0
    """`near` of the stars that showed the growth further out."""

    def at(self, x, y):
        """Return the correction at positions in px, shape (n,)."""
        if self.near.constant:
            return np.full(np.shape(x), self.typical)
        near = self.near.at(x, y)
        change = near + (self.gain - 1) * (near - self.middle)
        return self.typical * np.exp(np.clip(change, -np.log(_RANGE), np.log(_RANGE)))


def aperture_correction(image, variance, stars, neighbour_px, segments, profile, options):
    """Return total flux over flux in the measuring aperture.

    The curve of growth is followed ring by ring, each by the bright stars whose neighbours that matter are out of its
    reach; footprints of other sources are left out with their surroundings. The first steps, which hold nearly all the
    light, are measured again as a polynomial of the position; what lies further out changes as if the stars'
    profile became wider.

    Parameters
    ----------
    image, variance : ndarray of float32, shape (row, col)
    stars : ndarray of `SOURCE_DTYPE`
        Isolated stars, brightest first, with fluxes in the measuring aperture.
    neighbour_px : ndarray, shape (n,)
        Distance to the nearest source that matters.
    segments : tuple of ndarray
        The segmentation, shape (row, col), and the number of each star in it, shape (n,).
    profile : MoffatProfile
    options : SingleFrameOptions

    Returns
    -------
    ApertureCorrection
    """
    radii = _growth_radii(options) * profile.fwhm_px
    steps = []
    for inner_px, outer_px in itertools.pairwise(radii):
        inside = stars["flux_aper"] * np.prod(steps)
        chosen = _clear(stars, neighbour_px, image.shape, outer_px, profile.fwhm_px)[:_GROWTH_STARS_MAX]
        hidden = functools.partial(_neighbours, segments[0], segments[1][chosen], profile.fwhm_px)
        places = stars["x"][chosen], stars["y"][chosen], inside[chosen]
        steps.append(growth_step(image, variance, places, (inner_px, outer_px), profile, hidden))
    beyond = 1 - float(profile.enclosed(radii[-1]))
    typical = float(np.prod(steps)) / (1 - min(beyond, _BEYOND_MAX))
    reach = min(_MAP_STEPS, len(steps))
    clear = stars[_clear(stars, neighbour_px, image.shape, radii[reach], profile.fwhm_px)]
    return _varying(image, variance, clear, (radii[0], radii[reach]), (typical, np.prod(steps[:reach])), profile)


def _varying(image, variance, stars, radii_px, growth, profile):
    """Return the correction with its change over the frame; `growth` is the typical one, in all and in `radii_px`."""
    if stars.size == 0:
        return ApertureCorrection(growth[0], ApertureMap(image.shape, np.zeros(1)))
    x, y, inside = (stars[name] for name in ("x", "y", "flux_aper"))
    ring, error, _ = sep.sum_circann(image, x, y, *radii_px, var=variance, subpix=5)
    step = 1 + ring / inside
    lit = step > 0
    near = fit_aperture_map(x[lit], y[lit], step[lit] / growth[1], (error / inside / step)[lit], image.shape)
    middle = float(np.median(near.at(x[:_GROWTH_STARS_MAX], y[:_GROWTH_STARS_MAX])))
    return ApertureCorrection(growth[0], near, _gain(profile, radii_px), middle)


def _gain(profile, radii_px):
    """Return how the total over the inner flux grows with the outer over the inner one when stars become wider."""
    (inner, outer), (inner_wider, outer_wider) = (
        profile.enclosed(np.array(radii_px) / width) for width in (1.0, _WIDER)
    )
    return float(np.log(inner / inner_wider) / np.log(inner * outer_wider / (inner_wider * outer)))


def _growth_radii(options):
    """Return the radii of the curve of growth, FWHM."""
    count = max(1, round((options.aperture_total_fwhm - options.aperture_radius_fwhm) / _GROWTH_STEP_FWHM))
    return np.linspace(options.aperture_radius_fwhm, options.aperture_total_fwhm, count + 1)


def _clear(stars, neighbour_px, shape, radius_px, fwhm_px):
    """Return the bright stars around which a circle is within the frame and free of neighbours that matter."""
    rows, cols = shape
    x, y = stars["x"], stars["y"]
    within = (x >= radius_px) & (y >= radius_px) & (x <= cols - 1 - radius_px) & (y <= rows - 1 - radius_px)
    free = neighbour_px > radius_px + _CLEAR_FWHM * fwhm_px
    return np.flatnonzero((stars["snr"] >= _GROWTH_SNR_MIN) & within & free)


def _neighbours(segmentation, numbers, fwhm_px, rows, cols, half):
    """Return windows around stars, True in the footprints of other sources and 1 FWHM around them."""
    segments = windows(segmentation, rows, cols, half)
    others = (segments > 0) & (segments != numbers[:, None, None])
    side = 2 * int(np.ceil(_NEIGHBOUR_GROW_FWHM * fwhm_px)) + 1
    return ndimage.maximum_filter(others, size=(1, side, side))
