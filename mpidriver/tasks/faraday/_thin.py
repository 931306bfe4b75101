"""The best Faraday-thin model of spectra: the exact maximum of |F|, its errors and what the model leaves over.

The maximum of |F(φ)| with weights 1/σ² is the least-squares fit of p exp(2i(χ + φ λ²)); an error of F then carries
over to φ, angle and p by the curvature of |F| there, which gives the Cramér-Rao limit.
"""

from typing import NamedTuple

import numpy as np

__all__ = ["ThinModel", "fit_thin"]

ITERATIONS = 3
"""Steps of Newton: from the highest of ten samples a FWHM the third changes nothing that float32 could show."""


class ThinModel(NamedTuple):
    """A Faraday-thin model of each source, float64 (source,); NaN where all is flagged."""

    rm_radm2: np.ndarray
    rm_err_radm2: np.ndarray
    peak: np.ndarray
    """complex128 F at the RM, referred to the source's own λ²_0."""
    noise: np.ndarray
    """σ of the real and of the imaginary part of F, from the errors of the channels."""
    angle_err_rad: np.ndarray
    angle0_err_rad: np.ndarray
    """Error of the angle at λ²_0, and of the angle taken back to λ² = 0."""
    chi_sq: np.ndarray
    degrees_of_freedom: np.ndarray
    """χ² of Q and U about the model; three parameters a source."""


def fit_thin(fractions, rm_radm2, max_step_radm2):
    """Return the thin model of each source that is best near a first guess.

    Parameters
    ----------
    fractions : Fractions
    rm_radm2 : float64 (source,)
        First guess: the highest sample of a spectrum.
    max_step_radm2 : float
        How far the result may lie from the guess: the sampling.
    """
    lambda0 = fractions.lambda0_sq_m2
    x = fractions.lambda_sq_m2 - lambda0[:, None]
    p = fractions.q + 1j * fractions.u
    with np.errstate(invalid="ignore", divide="ignore"):
        k = 1.0 / fractions.weight.sum(axis=1)
        k[np.isinf(k)] = np.nan
        weighted = fractions.weight * p * k[:, None]
        rm = _climb(weighted, x, rm_radm2, max_step_radm2)
        turn = np.exp(-2j * rm[:, None] * x)
        peak = (weighted * turn).sum(axis=1)
        noise, rm_err, angle_err, angle0_err = _errors(fractions, x, k, np.abs(peak), lambda0)
    chi_sq, degrees = _excess(fractions, p - peak[:, None] * turn.conj())
    return ThinModel(rm, rm_err, peak, noise, angle_err, angle0_err, chi_sq, degrees)


def _climb(weighted, x, first, max_step):
    """Maximise |F|² by Newton's method from `first`, never further than `max_step`."""
    rm = first.copy()
    for _ in range(ITERATIONS):
        terms = weighted * np.exp(-2j * rm[:, None] * x)
        value = terms.sum(axis=1)
        terms *= x
        slope = -2j * terms.sum(axis=1)
        bend = -4.0 * (terms * x).sum(axis=1)
        gradient = 2.0 * (value.conj() * slope).real
        curvature = 2.0 * ((value.conj() * bend).real + np.abs(slope) ** 2)
        step = np.where(curvature < 0, -gradient / np.where(curvature < 0, curvature, 1.0), 0.0)
        rm = np.clip(rm + step, first - max_step, first + max_step)
    return rm


def _errors(fractions, x, k, amplitude, lambda0):
    """Return σ_F and the errors of RM, angle and derotated angle, for any weights.

    With g = w σ²: σ_F² = K² Σ w g, var χ = σ_F²/4p², var RM = Σ w g x² / (4p² (Σ w x²)²) and their covariance is
    K Σ w g x / (4p² Σ w x²). For w = 1/σ² these are the Cramér-Rao limits, and the covariance is 0.
    """
    wg = fractions.weight**2 * 0.5 * (fractions.dq**2 + fractions.du**2)
    lever = (fractions.weight * x**2).sum(axis=1)
    lever[lever == 0] = np.nan
    scale = 1.0 / (4.0 * amplitude**2)
    noise = k * np.sqrt(wg.sum(axis=1))
    angle_variance = noise**2 * scale
    rm_variance = scale * (wg * x**2).sum(axis=1) / lever**2
    covariance = scale * k * (wg * x).sum(axis=1) / lever
    angle0_variance = angle_variance + lambda0**2 * rm_variance - 2.0 * lambda0 * covariance
    return noise, np.sqrt(rm_variance), np.sqrt(angle_variance), np.sqrt(angle0_variance)


def _excess(fractions, residual):
    """Return χ² of Q and U about the thin model, and its degrees of freedom."""
    good, channels = fractions.good, np.where(fractions.channels > 0, fractions.channels, np.nan)
    chi_sq = 0.0 * channels
    for part, sigma in ((residual.real, fractions.dq), (residual.imag, fractions.du)):
        chi_sq += ((np.where(good, part, 0.0) / np.where(good, sigma, 1.0)) ** 2).sum(axis=1)
    return chi_sq, 2.0 * channels - 3.0
