"""A power law through Stokes I spectra, all sources at once."""

from typing import NamedTuple

import numpy as np

__all__ = ["PowerLaw", "fit_power_law"]

STEEPEST = 6.0
"""A spectral index beyond this means that the fit has run away in noise."""
ITERATIONS = 12
REPEATED = 3
"""Steps of Gauss and Newton from nothing, and from a fit about another frequency."""


class PowerLaw(NamedTuple):
    """I(ν) = amplitude (ν/ν_0)^α for each source, float64 (source,); NaN where no fit was possible."""

    amplitude: np.ndarray
    amplitude_err: np.ndarray
    alpha: np.ndarray
    alpha_err: np.ndarray

    def shape(self, ratio):
        """Return (ν/ν_0)^α for frequency ratios (..., chan), 1 where there is no fit."""
        alpha = np.where(np.isfinite(self.alpha), self.alpha, 0.0)
        return ratio ** alpha[:, None]


def fit_power_law(stokes_i, ratio, sigma, *, start=None):
    """Fit by least squares in the flux, not its logarithm, so that faint sources are not biased.

    Parameters
    ----------
    stokes_i : float (source, chan)
        Voxels that are not finite are left out.
    ratio : float (source, chan)
        ν/ν_0.
    sigma : float (source, chan)
        Errors of `stokes_i`; where not positive and finite the voxel is left out.
    start : PowerLaw, optional
        A fit to the same spectra about other ν_0.

    Returns
    -------
    PowerLaw
        With fewer than three channels, or a fit that does not converge to a positive amplitude: α is NaN, and the
        amplitude is the weighted mean.
    """
    good = np.isfinite(stokes_i) & np.isfinite(sigma) & (sigma > 0)
    weight = np.where(good, 1.0 / np.where(good, sigma, 1.0) ** 2, 0.0)
    flux = np.where(good, stokes_i, 0.0)
    total = weight.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean, mean_err = (weight * flux).sum(axis=1) / total, np.sqrt(1.0 / total)
    mean[total == 0] = mean_err[total == 0] = np.nan

    amplitude, alpha = np.nan_to_num(mean), np.zeros(len(mean)) if start is None else np.nan_to_num(start.alpha)
    log_ratio = np.log(ratio)
    for _ in range(ITERATIONS if start is None else REPEATED):
        amplitude, alpha, variances = _step(flux, weight, log_ratio, amplitude, alpha)
    amplitude_err, alpha_err = np.sqrt(variances)
    fitted = (good.sum(axis=1) >= 3) & (amplitude > 0) & (np.abs(alpha) < STEEPEST) & np.isfinite(alpha_err)
    return PowerLaw(
        np.where(fitted, amplitude, mean),
        np.where(fitted, amplitude_err, mean_err),
        np.where(fitted, alpha, np.nan),
        np.where(fitted, alpha_err, np.nan),
    )


def _step(flux, weight, log_ratio, amplitude, alpha):
    """Return amplitude and index after one Gauss-Newton step, and their variances; two parameters, solved by hand."""
    unit = np.exp(alpha[:, None] * log_ratio)
    model = amplitude[:, None] * unit
    tilt = model * log_ratio
    residual = flux - model
    aa, ab, bb = ((weight * x * y).sum(axis=1) for x, y in ((unit, unit), (unit, tilt), (tilt, tilt)))
    ra, rb = ((weight * x * residual).sum(axis=1) for x in (unit, tilt))
    determinant = aa * bb - ab**2
    solvable = determinant > 1e-12 * aa * bb
    with np.errstate(invalid="ignore", divide="ignore"):
        inverse = np.where(solvable, 1.0 / determinant, np.nan)
        variances = np.stack([bb * inverse, aa * inverse])
    inverse = np.where(solvable, inverse, 0.0)
    amplitude = amplitude + (bb * ra - ab * rb) * inverse
    alpha = np.clip(alpha + (aa * rb - ab * ra) * inverse, -STEEPEST, STEEPEST)
    return amplitude, alpha, variances
