"""Polynomial and power-law models of Stokes I spectra, as RM-Tools has them, all sources at once."""

from dataclasses import dataclass
from math import comb

import numpy as np

from mpidriver.tasks.faraday._stokes_i_kernels import COEFFICIENTS, fit_models

__all__ = ["BELOW_NOISE", "NEGATIVE", "NOT_FITTED", "StokesIModels", "fit_stokes_i"]

BELOW_NOISE, NEGATIVE, NOT_FITTED = 64, 128, 9
"""Flags of RM-Tools: the model is below the noise in a channel, or negative; there is none."""
STEEPEST = 6.0
"""A power law whose index is beyond this somewhere in the band has run away in noise."""
LN10 = np.log(10.0)


@dataclass(frozen=True)
class StokesIModels:
    """A model of each source: I = Σ c_k x^k or I = c_0 x^(c_1 + c_2 log10 x + ...), x = ν/ν_0."""

    coefficients: np.ndarray
    """float64 (source, 6), c_0 first, 0 beyond the degree; NaN where there is no model."""
    covariance: np.ndarray
    """float64 (source, 6, 6)"""
    reference_hz: np.ndarray
    """float64 (source,), ν_0"""
    logarithmic: bool
    degree: np.ndarray
    """int (source,), -1 where there is no model."""
    chi_sq: np.ndarray
    channels: np.ndarray
    """int (source,), channels that were fitted."""

    def __call__(self, freq_hz):
        """Return the models at frequencies (source, 1 or chan) in Hz; 1 where there is none."""
        x = freq_hz / self.reference_hz[:, None]
        variable = np.log10(x) if self.logarithmic else x
        c = self.coefficients[:, :, None]
        highest = int(self.degree.max(initial=0))
        value = np.zeros(np.broadcast_shapes(variable.shape, (len(c), 1)))
        for k in range(highest, 0, -1):
            value = (value + c[:, k]) * variable
        value = c[:, 0] * np.exp(LN10 * value) if self.logarithmic else value + c[:, 0]
        return np.where((self.degree < 0)[:, None], 1.0, value)

    def about(self, reference_hz):
        """Return the same models with other ν_0 (source,), their covariance carried over."""
        ratio = reference_hz / self.reference_hz
        shifted, jacobian = (_shift_log if self.logarithmic else _scale)(self.coefficients, ratio)
        covariance = jacobian @ self.covariance @ jacobian.transpose(0, 2, 1)
        return StokesIModels(
            shifted, covariance, reference_hz, self.logarithmic, self.degree, self.chi_sq, self.channels
        )

    def amplitude_error(self):
        """Return the error of the model at ν_0, (source,)."""
        c0 = slice(0, 1) if self.logarithmic else slice(None)
        return np.sqrt(self.covariance[:, c0, c0].sum(axis=(1, 2)))


def fit_stokes_i(stokes_i, sigma, freq_hz, *, degree=2, choose=False, logarithmic=True):
    """Fit models to Stokes I spectra by weighted least squares in the flux.

    Parameters
    ----------
    stokes_i, sigma : float64 (source, chan)
        Channels without a finite flux and a positive finite error are left out.
    freq_hz : float64 (chan,) Hz
    degree : int
        Of the polynomial, 0 to 5.
    choose : bool
        Take the lowest degree up to `degree` after which Akaike's information criterion does not fall any more.
    logarithmic : bool
        A power law whose index is a polynomial in log10 ν; else a polynomial in ν. Where the index goes beyond
        `STEEPEST` in the band, a model of the next lower degree takes its place.

    Returns
    -------
    StokesIModels
        About the frequency of each source's mean 1/ν².
    """
    good = np.isfinite(stokes_i) & np.isfinite(sigma) & (sigma > 0)
    weight = np.where(good, 1.0 / np.where(good, sigma, 1.0) ** 2, 0.0)
    channels = good.sum(axis=1)
    used = good | (channels == 0)[:, None]
    reference_hz = 1.0 / np.sqrt(np.where(used, freq_hz**-2.0, 0.0).sum(axis=1) / used.sum(axis=1))
    x = freq_hz / reference_hz[:, None]
    z, centre = (np.log10(x), 0.0) if logarithmic else (x, 1.0)
    reach = np.maximum(np.abs(z - centre).max(axis=1), 1e-9)
    flux, t = np.where(good, stokes_i, 0.0), (z - centre) / reach[:, None]
    a, covariance, chi_sq, best = _fit(flux, weight, t, reach, int(degree), bool(choose), bool(logarithmic))
    to_z = _monomials(reach, centre)
    return StokesIModels(
        (to_z @ a[:, :, None])[:, :, 0],
        to_z @ covariance @ to_z.transpose(0, 2, 1),
        reference_hz,
        logarithmic,
        best,
        chi_sq,
        channels,
    )


def _fit(flux, weight, t, reach, degree, choose, logarithmic):
    """Return coefficients in t = (z - centre)/reach, their covariance, χ² and degree of each source."""
    count = len(flux)
    a, covariance = np.zeros((count, COEFFICIENTS)), np.zeros((count, COEFFICIENTS, COEFFICIENTS))
    chi_sq, best = np.full(count, np.nan), np.full(count, -1)
    fit_models(flux, weight, t, degree, choose, logarithmic, a, covariance, chi_sq, best)
    steep = np.flatnonzero(_steepest_index(a, t, reach) > STEEPEST) if logarithmic and degree > 0 else []
    if len(steep):
        lower = _fit(flux[steep], weight[steep], t[steep], reach[steep], degree - 1, choose, logarithmic)
        for whole, part in zip((a, covariance, chi_sq, best), lower, strict=True):
            whole[steep] = part
    a[best < 0] = covariance[best < 0] = np.nan
    return a, covariance, chi_sq, best


def _steepest_index(a, t, reach):
    """Return the largest |d ln I/d ln ν| of power laws in the band, (source,)."""
    index = np.zeros(t.shape)
    for k in range(COEFFICIENTS - 1, 0, -1):
        index = index * t + k * a[:, k, None]
    return np.abs(index).max(axis=1, initial=0.0) / reach


def _monomials(reach, centre):
    """Return the matrices (source, 6, 6) from coefficients of ((z - centre)/reach)^k to those of z^k."""
    matrix = np.zeros((len(reach), COEFFICIENTS, COEFFICIENTS))
    for k in range(COEFFICIENTS):
        for j in range(k + 1):
            matrix[:, j, k] = comb(k, j) * (-centre) ** (k - j) / reach**k
    return matrix


def _scale(c, ratio):
    """Return coefficients of x^k for x measured from `ratio` times the old unit, and the Jacobian."""
    powers = ratio[:, None] ** np.arange(COEFFICIENTS)
    return c * powers, powers[:, :, None] * np.eye(COEFFICIENTS)


def _shift_log(c, ratio):
    """Return amplitude and coefficients of (log10 x)^k, k ≥ 1, about `ratio` times the old frequency; the Jacobian."""
    shift = np.log10(ratio)
    jacobian = np.zeros((len(c), COEFFICIENTS, COEFFICIENTS))
    for k in range(1, COEFFICIENTS):
        for j in range(1, k + 1):
            jacobian[:, j, k] = comb(k, j) * shift ** (k - j)
    shifted = (jacobian @ c[:, :, None])[:, :, 0]
    powers = shift[:, None] ** np.arange(1, COEFFICIENTS)
    growth = np.exp(LN10 * (c[:, 1:] * powers).sum(axis=1))
    shifted[:, 0] = c[:, 0] * growth
    jacobian[:, 0, 0] = growth
    jacobian[:, 0, 1:] = (LN10 * shifted[:, 0])[:, None] * powers
    return shifted, jacobian
