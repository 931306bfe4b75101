"""Polarised spectra divided by a model of Stokes I, and what follows from their weights alone."""

from dataclasses import dataclass

import numpy as np

from mpidriver.frequencies import SPEED_OF_LIGHT_M_S

__all__ = ["Fractions", "divide"]


@dataclass(frozen=True)
class Fractions:
    """Fractional spectra, float64 (source, chan), 0 where flagged; figures (source,) are NaN without a channel."""

    q: np.ndarray
    u: np.ndarray
    dq: np.ndarray
    du: np.ndarray
    weight: np.ndarray
    """At most 1."""
    good: np.ndarray
    """bool, False where flagged."""
    lambda_sq_m2: np.ndarray
    """(chan,)"""

    @property
    def channels(self):
        """Number of unflagged channels."""
        return self.good.sum(axis=1)

    @property
    def lambda0_sq_m2(self):
        """λ²_0, the weighted mean of λ²."""
        with np.errstate(invalid="ignore"):
            return self.weight @ self.lambda_sq_m2 / self.weight.sum(axis=1)

    @property
    def freq0_hz(self):
        """Frequency of λ²_0; where there is no channel, of the mean of all."""
        lambda0 = self.lambda0_sq_m2
        return SPEED_OF_LIGHT_M_S / np.sqrt(np.where(np.isfinite(lambda0), lambda0, self.lambda_sq_m2.mean()))

    @property
    def fwhm_radm2(self):
        """3.8/Δλ² of the unflagged channels; NaN for a single one."""
        highest = np.where(self.good, self.lambda_sq_m2, -np.inf).max(axis=1)
        lowest = np.where(self.good, self.lambda_sq_m2, np.inf).min(axis=1)
        span = highest - lowest
        return 3.8 / np.where(np.isfinite(span) & (span > 0), span, np.nan)

    @property
    def lambda_sq_variance(self):
        """Sample variance of λ²; NaN for a single channel."""
        centred = self.lambda_sq_m2 - self.lambda_sq_m2.mean()
        count = self.channels
        with np.errstate(invalid="ignore", divide="ignore"):
            squares = self.good @ centred**2 - (self.good @ centred) ** 2 / count
            return squares / np.where(count > 1, count - 1.0, np.nan)

    @property
    def noise(self):
        """σ of the real and of the imaginary part of F."""
        with np.errstate(invalid="ignore"):
            sigma = 0.5 * (self.dq + self.du)
            return np.sqrt((self.weight**2 * sigma**2).sum(axis=1)) / self.weight.sum(axis=1)


def divide(stokes, model, lambda_sq_m2, weighting):
    """Return fractional spectra, with weights 1/σ² ("variance") or equal ones ("uniform").

    Parameters
    ----------
    stokes : Stokes
    model : float64 (source, chan)
        Of Stokes I; where it is 0 or not finite, voxels are flagged.
    lambda_sq_m2 : float64 (chan,)
    weighting : str
    """
    usable = np.isfinite(model) & (model != 0)
    good = stokes.good & usable
    inverse = np.where(usable, 1.0 / np.where(usable, model, 1.0), 0.0)
    q, u, dq, du = (np.where(good, part * inverse, 0.0) for part in (stokes.q, stokes.u, stokes.dq, stokes.du))
    dq, du = np.abs(dq), np.abs(du)
    weight = good.astype(np.float64)
    if weighting == "variance":
        sigma = np.where(good, 0.5 * (dq + du), np.inf)
        smallest = sigma.min(axis=1, initial=np.finfo(np.float64).max)
        weight = (smallest[:, None] / sigma) ** 2
    return Fractions(q, u, dq, du, weight, good, lambda_sq_m2)
