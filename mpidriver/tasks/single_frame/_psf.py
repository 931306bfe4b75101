"""Width of the point spread function: a circular Moffat profile through the pixels of many stars."""

import dataclasses

import numpy as np
from scipy import optimize

__all__ = ["MoffatProfile", "fit_profile", "half_light_locus"]

_MAX_STARS = 200
_BETA_RANGE = (1.5, 50.0)


@dataclasses.dataclass(frozen=True)
class MoffatProfile:
    """Circular Moffat (1969) profile ``(1 + r^2 / alpha^2)^-beta``."""

    alpha_px: float
    beta: float

    @property
    def fwhm_px(self) -> float:
        """Return the full width at half maximum, px."""
        return 2 * self.alpha_px * float(np.sqrt(2 ** (1 / self.beta) - 1))

    def enclosed(self, radius_px):
        """Return the share of the flux within a radius (array or number), px."""
        return 1 - (1 + np.asarray(radius_px) ** 2 / self.alpha_px**2) ** (1 - self.beta)


def fit_profile(image, x, y, *, fwhm_px):
    """Return the profile that the given stars share.

    Pixels within 1.5 FWHM of each star are divided by the star's flux there; one Moffat profile and one constant are
    fitted to all of them by robust least squares.

    Parameters
    ----------
    image : ndarray, shape (row, col)
        Sky subtracted.
    x, y : ndarray, shape (n,), px
        Centres of isolated stars, brightest first; at most 200 are used.
    fwhm_px : float
        First guess.

    Returns
    -------
    MoffatProfile or None
        None if fewer than one star lies within the frame or the fit fails.
    """
    half = int(np.ceil(1.5 * fwhm_px)) + 1
    rows, cols = np.rint(y).astype(int), np.rint(x).astype(int)
    inside = (rows >= half) & (cols >= half) & (rows < image.shape[0] - half) & (cols < image.shape[1] - half)
    chosen = np.flatnonzero(inside)[:_MAX_STARS]
    if chosen.size == 0:
        return None
    offsets = np.arange(-half, half + 1)
    at_row = rows[chosen, None, None] + offsets[:, None]
    at_col = cols[chosen, None, None] + offsets
    radius2 = (at_row - y[chosen, None, None]) ** 2 + (at_col - x[chosen, None, None]) ** 2
    values = image[at_row, at_col].astype(float)
    within = radius2 <= (1.5 * fwhm_px) ** 2
    flux = np.sum(values * within, axis=(1, 2), keepdims=True)
    within &= flux > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = values / flux
    return _fit(radius2[within], scaled[within], fwhm_px)


def _fit(radius2, values, fwhm_px):
    """Fit peak, ln alpha, ln beta and a constant."""
    if values.size < 20:
        return None
    beta = 3.0
    alpha = fwhm_px / 2 / np.sqrt(2 ** (1 / beta) - 1)
    peak = np.percentile(values, 99)
    scale = 1.4826 * np.median(np.abs(values[radius2 < fwhm_px**2] - np.median(values))) / 10 + 1e-12

    def residual(p):
        return p[0] * (1 + radius2 * np.exp(-2 * p[1])) ** -np.exp(p[2]) + p[3] - values

    low = [0.0, np.log(0.2), np.log(_BETA_RANGE[0]), -0.1 * peak]
    high = [10 * peak, np.log(200.0), np.log(_BETA_RANGE[1]), 0.1 * peak]
    start = np.clip([peak, np.log(alpha), np.log(beta), 0.0], np.add(low, 1e-9), np.subtract(high, 1e-9))
    fit = optimize.least_squares(residual, start, bounds=(low, high), loss="soft_l1", f_scale=scale, x_scale="jac")
    profile = MoffatProfile(float(np.exp(fit.x[1])), float(np.exp(fit.x[2])))
    return profile if fit.x[0] > 0 and np.isfinite(profile.fwhm_px) else None


def half_light_locus(radius_px):
    """Return centre and half width of the narrow peak of half-light radii that the stars make.

    Half-sample mode (Bickel & Frühwirth 2006), then the scatter of those below the mode, where there are no galaxies.

    Parameters
    ----------
    radius_px : ndarray, shape (n,)
        Half-light radii of sources with good signal.

    Returns
    -------
    centre, half_width : float
        Half width of at least 8 % of the centre; NaN for no sources.
    """
    if radius_px.size == 0:
        return float("nan"), float("nan")
    values = np.sort(radius_px)
    while values.size > 3:
        width = (values.size + 1) // 2
        start = int(np.argmin(values[width - 1 :] - values[: values.size - width + 1]))
        values = values[start : start + width]
    centre = float(np.mean(values))
    near = radius_px[(radius_px <= centre) & (radius_px > 0.7 * centre)]
    scatter = 1.4826 * float(np.median(centre - near)) if near.size else 0.0
    return centre, min(max(3 * scatter, 0.08 * centre), 0.25 * centre)
