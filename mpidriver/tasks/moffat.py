"""Point spread function of an image: a circular Moffat profile through the pixels of many stars."""

import dataclasses
import functools

import numpy as np
from scipy import optimize

from mpidriver.tasks._jit import kernel
from mpidriver.tasks.windows import windows

__all__ = ["MoffatProfile", "fit_profile", "normal_equations", "pixel_average"]

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
#: Most steps of the fit, damping of the first, and share of the cost that the last one gains.
_STEPS, _DAMPING, _SETTLED = 50, 1e-3, 1e-9


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
    pixels = radius2, values, np.hypot(errors, spread)
    low = np.array([0.0, np.log(0.2), np.log(beta_range[0]), -0.1 * peak])
    high = np.array([10 * peak, np.log(200.0), np.log(beta_range[1]), 0.1 * peak])
    found = _least_squares(pixels, np.clip([peak, np.log(alpha), np.log(_BETA), 0.0], low, high), low, high)
    profile = MoffatProfile(float(np.exp(found[1])), float(np.exp(found[2])))
    return profile if found[0] > 0 and np.isfinite(profile.fwhm_px) else None


def _least_squares(pixels, parameters, low, high):
    """Return the parameters within bounds of the least robust cost, by Levenberg-Marquardt."""
    cost, gradient, curvature = normal_equations(*pixels, parameters)
    damping = _DAMPING
    for _ in range(_STEPS):
        free = ~(((parameters <= low) & (gradient > 0)) | ((parameters >= high) & (gradient < 0)))
        matrix = curvature[np.ix_(free, free)]
        step = np.zeros(parameters.size)
        step[free] = np.linalg.lstsq(matrix + damping * np.diag(np.diag(matrix)), -gradient[free], rcond=None)[0]
        trial = np.clip(parameters + step, low, high)
        trial_cost, trial_gradient, trial_curvature = normal_equations(*pixels, trial)
        if not trial_cost < cost:
            damping *= 10
            if damping > 1 / _DAMPING:
                break
            continue
        settled = cost - trial_cost < _SETTLED * cost
        parameters, cost, gradient, curvature = trial, trial_cost, trial_gradient, trial_curvature
        damping *= 0.1
        if settled:
            break
    return parameters


@kernel
def normal_equations(radius2, values, errors, parameters):
    """Return cost, its gradient and curvature (Gauss-Newton); the cost of a residual grows linearly beyond 2 sigma.

    The profile is `pixel_average` of ln alpha and ln beta, times a peak, plus a constant.
    """
    peak, alpha2, beta, level = parameters[0], np.exp(2 * parameters[1]), np.exp(parameters[2]), parameters[3]
    cost, gradient, curvature = 0.0, np.zeros(4), np.zeros((4, 4))
    slopes = np.empty(4)
    slopes[3] = 1.0
    for i in range(values.size):
        u = radius2[i] / alpha2
        log_inverse = -np.log1p(u)
        inverse, power = 1 / (1 + u), np.exp(beta * log_inverse)
        bend, scale = (beta + 1) * u * inverse - 1, 4 * beta / alpha2
        average = 1 + scale * inverse * bend / 24
        slopes[0] = power * average
        bend_by_alpha = scale * inverse * (2 * (u * inverse - 1) * bend - 2 * (beta + 1) * u * inverse * inverse)
        slopes[1] = peak * power * (2 * beta * u * inverse * average + bend_by_alpha / 24)
        bend_by_beta = scale * inverse * (bend + beta * u * inverse)
        slopes[2] = peak * power * (beta * log_inverse * average + bend_by_beta / 24)
        residual = (peak * slopes[0] + level - values[i]) / errors[i]
        root = np.sqrt(1 + (residual / _OUTLIER) ** 2)
        cost += root - 1
        weight = 1 / (root * errors[i] * _OUTLIER * _OUTLIER)
        for j in range(4):
            gradient[j] += weight * residual * slopes[j]
            for k in range(j + 1):
                curvature[j, k] += weight / errors[i] * slopes[j] * slopes[k]
    for j in range(4):
        for k in range(j):
            curvature[k, j] = curvature[j, k]
    return cost, gradient, curvature
