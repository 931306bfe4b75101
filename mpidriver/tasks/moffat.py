"""Point spread function of an image: a circular Moffat profile through the pixels of many stars."""

import dataclasses
import functools

import numpy as np
from scipy import optimize

from mpidriver.tasks.windows import windows

__all__ = ["MoffatProfile", "fit_profile", "pixel_average"]

#: Pixels of a star that are fitted, number of stars, and of pixels of all stars.
_FIT_REACH_FWHM = 2.0
_MAX_STARS = 200
_MAX_PIXELS = 100_000
#: Spread of a star's pixels about the common profile, of the local value and of the peak.
_STAR_SPREAD = 0.02
_SKY_SPREAD = 0.0005
#: Residuals beyond this many sigma count less.
_OUTLIER = 2.0
#: Exponent that the atmosphere gives about; fewer stars than so many do not show their own.
_BETA = 3.0
_BETA_STARS_MIN = 3
_BETA_RANGE = (1.8, 50.0)


@dataclasses.dataclass(frozen=True)
class MoffatProfile:
    """Circular Moffat (1969) profile ``(1 + r^2 / alpha^2)^-beta`` and how pixels see it.

    The average over a pixel is ``f + laplacian(f) / 24``, right to third order in the pixel's size. Left out, it passes
    for a steeper profile: beta is 3.9 instead of 3.5 at FWHM 3.5 px, and half of the light beyond 4 FWHM is missed.
    """

    alpha_px: float
    beta: float

    @classmethod
    def of_width(cls, fwhm_px, beta=3.0):
        """Return the profile of the given full width at half maximum before the pixels."""
        return cls(fwhm_px / 2 / float(np.sqrt(2 ** (1 / beta) - 1)), beta)

    @functools.cached_property
    def fwhm_px(self) -> float:
        """Full width at half maximum of what the pixels hold, px."""
        narrow = 2 * self.alpha_px * float(np.sqrt(2 ** (1 / self.beta) - 1))
        peak = pixel_average(0.0, self.alpha_px, self.beta)
        return 2 * optimize.brentq(
            lambda r: pixel_average(r * r, self.alpha_px, self.beta) - 0.5 * peak, 0.4 * narrow, narrow + 1
        )

    def density(self, radius2):
        """Return the share of the flux in a pixel whose middle is at `radius2` (array), px^2."""
        peak = (self.beta - 1) / (np.pi * self.alpha_px**2)
        return peak * pixel_average(radius2, self.alpha_px, self.beta)

    def enclosed(self, radius_px):
        """Return the share of the flux within a radius (array or number), px.

        The light is spread over a pixel twice: when it is collected, and when an aperture cuts through the pixel.
        """
        r = np.asarray(radius_px, dtype=float)
        q = 1 + r**2 / self.alpha_px**2
        slope = -2 * self.beta * (self.beta - 1) / (np.pi * self.alpha_px**4) * r * q ** (-self.beta - 1)
        return 1 - q ** (1 - self.beta) + 2 * (2 * np.pi * r * slope) / 24


def pixel_average(radius2, alpha_px, beta):
    """Return a Moffat profile of peak 1 averaged over pixels whose middles are at `radius2`, px^2, from its own."""
    alpha2 = alpha_px**2
    inverse = 1 / (1 + radius2 / alpha2)
    laplacian = 4 * beta / alpha2 * inverse * ((beta + 1) * radius2 / alpha2 * inverse - 1)
    return inverse**beta * (1 + laplacian / 24)


def fit_profile(image, variance, x, y, neighbour_px, *, fwhm_px):
    """Return the profile that the given stars share.

    Pixels within 2 FWHM of each star, fewer if it has a neighbour, are divided by the star's flux within 1 FWHM; one
    Moffat profile and one constant are fitted to all of them by robust least squares, each weighted by its noise and
    by what stars differ by.

    Parameters
    ----------
    image, variance : ndarray, shape (row, col)
        Sky subtracted.
    x, y : ndarray, shape (n,), px
        Centres of isolated stars, brightest first; at most 200 are used.
    neighbour_px : ndarray, shape (n,), px
        Distance to the next source; no pixel within 1 FWHM of that is fitted.
    fwhm_px : float
        First guess.

    Returns
    -------
    MoffatProfile or None
        None if no star lies within the frame or the fit fails. The wings of fewer than three stars are not fitted.
    """
    half = int(np.ceil(_FIT_REACH_FWHM * fwhm_px)) + 1
    rows, cols = np.rint(y).astype(int), np.rint(x).astype(int)
    inside = (rows >= half) & (cols >= half) & (rows < image.shape[0] - half) & (cols < image.shape[1] - half)
    chosen = np.flatnonzero(inside)[: min(_MAX_STARS, max(_BETA_STARS_MIN, _MAX_PIXELS // (2 * half + 1) ** 2))]
    if chosen.size == 0:
        return None
    offsets = np.arange(-half, half + 1)
    rows, cols = rows[chosen], cols[chosen]
    dy, dx = (rows - y[chosen])[:, None, None] + offsets[:, None], (cols - x[chosen])[:, None, None] + offsets
    radius2 = dx**2 + dy**2
    values, noise = (windows(plane, rows, cols, half).astype(float) for plane in (image, variance))
    reach_px = np.clip(neighbour_px[chosen] - fwhm_px, fwhm_px, _FIT_REACH_FWHM * fwhm_px)
    flux = np.sum(values * (radius2 <= fwhm_px**2), axis=(1, 2), keepdims=True)
    within = (radius2 <= reach_px[:, None, None] ** 2) & (flux > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled, error = (values / flux)[within], (np.sqrt(noise) / flux)[within]
    beta_range = _BETA_RANGE if chosen.size >= _BETA_STARS_MIN else (_BETA - 1e-3, _BETA + 1e-3)
    return _fit(radius2[within], scaled, error, fwhm_px, beta_range)


def _fit(radius2, values, errors, fwhm_px, beta_range):
    """Fit peak, ln alpha, ln beta and a constant."""
    if values.size < 20:
        return None
    alpha = fwhm_px / 2 / np.sqrt(2 ** (1 / _BETA) - 1)
    peak = np.percentile(values, 99)
    spread = peak * (_STAR_SPREAD * pixel_average(radius2, alpha, _BETA) + _SKY_SPREAD)
    errors = np.hypot(errors, spread)

    def residual(p):
        return (p[0] * pixel_average(radius2, np.exp(p[1]), np.exp(p[2])) + p[3] - values) / errors

    low = [0.0, np.log(0.2), np.log(beta_range[0]), -0.1 * peak]
    high = [10 * peak, np.log(200.0), np.log(beta_range[1]), 0.1 * peak]
    start = np.clip([peak, np.log(alpha), np.log(_BETA), 0.0], np.add(low, 1e-9), np.subtract(high, 1e-9))
    fit = optimize.least_squares(residual, start, bounds=(low, high), loss="soft_l1", f_scale=_OUTLIER, x_scale="jac")
    profile = MoffatProfile(float(np.exp(fit.x[1])), float(np.exp(fit.x[2])))
    return profile if fit.x[0] > 0 and np.isfinite(profile.fwhm_px) else None
