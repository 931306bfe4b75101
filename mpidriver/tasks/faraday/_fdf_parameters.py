"""What RM-Tools reports of a Faraday spectrum, all spectra at once."""

from typing import NamedTuple

import numpy as np

from mpidriver.tasks.faraday._statistics_kernels import mad_noise

__all__ = ["FdfParameters", "debias", "measure_fdf", "second_moment"]

GEORGE = 2.3
"""p_eff² = p² - 2.3 σ² (George, Stil & Keller 2012, PASA 29, 214)."""


class FdfParameters(NamedTuple):
    """Parameters of Faraday spectra, float64 (source,); NaN for a blank spectrum, intensities in its unit."""

    rm_radm2: np.ndarray
    """Depth of the maximum of |F|, by the parabola through the three samples around the largest."""
    rm_err_radm2: np.ndarray
    """FWHM σ/(2p)"""
    polint: np.ndarray
    """Height of the parabola."""
    polint_debiased: np.ndarray
    polint_err: np.ndarray
    snr: np.ndarray
    peak_index: np.ndarray
    """Place of the maximum between samples."""
    peak_q: np.ndarray
    peak_u: np.ndarray
    """F there, between samples linearly."""
    polangle_deg: np.ndarray
    polangle_err_deg: np.ndarray
    """At λ²_0."""
    polangle0_deg: np.ndarray
    polangle0_err_deg: np.ndarray
    """At λ² = 0."""
    noise_mad: np.ndarray
    """σ of real and imaginary part away from the peak, from the median absolute deviation."""


def measure_fdf(spectra, phi_radm2, noise, fractions, *, debias_snr=5.0):
    """Measure Faraday spectra.

    Parameters
    ----------
    spectra : complex (source, phi)
        At least three depths; the first and the last cannot be the maximum.
    phi_radm2 : float64 (phi,) rad/m²
        Ascending and uniform.
    noise : float64 (source,)
        Standard deviation of the real and of the imaginary part of F.
    fractions : Fractions
        The spectra whose transform `spectra` are: they tell λ²_0, the width of the RMTF, and with number and variance
        of the channels' λ² the error of the angle at λ² = 0 (Brentjens & de Bruyn 2005, eq. A.20).
    debias_snr : float
        S/N from which the intensity is debiased.

    Returns
    -------
    FdfParameters
    """
    fwhm_radm2, lambda0_sq_m2, channels = fractions.fwhm_radm2, fractions.lambda0_sq_m2, fractions.channels
    amplitude = np.abs(spectra)
    source = np.arange(len(spectra))
    index = np.argmax(np.nan_to_num(amplitude[:, 1:-1]), axis=1) + 1
    before, middle, after = (amplitude[source, index + step].astype(np.float64) for step in (-1, 0, 1))
    step = phi_radm2[1] - phi_radm2[0]
    with np.errstate(invalid="ignore", divide="ignore"):
        shift, polint = _vertex(before, middle, after)
        rm = phi_radm2[index] + shift * step
        snr = polint / noise
        outside = np.abs(rm) > np.abs(phi_radm2).max()
        rm[outside] = polint[outside] = np.nan
        peak = _between(spectra, index, shift)
        peak[~np.isfinite(rm)] = complex(np.nan, np.nan)
        angle = 0.5 * np.angle(peak)
        angle_err = noise / (2.0 * polint)
        angle0_err = angle_err * np.sqrt(
            channels
            / (channels - 2.0)
            * ((channels - 1.0) / channels + lambda0_sq_m2**2 / fractions.lambda_sq_variance)
        )
    return FdfParameters(
        rm_radm2=rm,
        rm_err_radm2=fwhm_radm2 * angle_err,
        polint=polint,
        polint_debiased=debias(polint, noise, debias_snr),
        polint_err=np.where(np.isfinite(middle), noise, np.nan),
        snr=snr,
        peak_index=np.where(np.isfinite(rm), index + shift, np.nan),
        peak_q=peak.real,
        peak_u=peak.imag,
        polangle_deg=np.rad2deg(angle) % 180.0,
        polangle_err_deg=np.rad2deg(angle_err),
        polangle0_deg=np.rad2deg(angle - rm * lambda0_sq_m2) % 180.0,
        polangle0_err_deg=np.rad2deg(angle0_err),
        noise_mad=_noise_away_from(spectra, index, np.ceil(fwhm_radm2 / np.diff(phi_radm2).min())),
    )


def debias(polint, noise, from_snr):
    """Return intensities (source,) without the excess that noise adds, those from a S/N on."""
    with np.errstate(invalid="ignore", divide="ignore"):
        true = np.sqrt(np.maximum(polint**2 - GEORGE * noise**2, 0.0))
        return np.where(polint / noise >= from_snr, true, polint)


def second_moment(components, phi_radm2):
    """Return √(Σ|c|(φ - φ_mean)²/Σ|c|) of components (source, phi), (source,) rad/m²; NaN where there are none."""
    amplitude = np.abs(components).astype(np.float64)
    total = amplitude.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = amplitude @ phi_radm2 / total
        return np.sqrt((amplitude * (phi_radm2 - mean[:, None]) ** 2).sum(axis=1) / total)


def _vertex(before, middle, after):
    """Return place in samples and height of the maximum of the parabola through three samples."""
    curvature = before - 2.0 * middle + after
    slope = 0.5 * (after - before)
    shift = np.where(curvature < 0, -slope / curvature, np.where(np.isfinite(curvature), 0.0, np.nan))
    return shift, middle + 0.5 * slope * shift


def _between(spectra, index, shift):
    """Return spectra at places between samples, linearly."""
    source = np.arange(len(spectra))
    left = np.clip(index + np.floor(np.nan_to_num(shift)).astype(np.intp), 0, spectra.shape[1] - 2)
    part = index + shift - left
    return spectra[source, left] * (1.0 - part) + spectra[source, left + 1] * part


def _noise_away_from(spectra, index, fwhm_samples):
    """Return the noise of what lies farther than two FWHM from the peak."""
    reach = np.where(np.isfinite(fwhm_samples), 2.0 * fwhm_samples, 0.0).astype(np.int64)
    first, last = np.maximum(index - reach, 0), np.minimum(index + reach, spectra.shape[1])
    noise = np.empty(len(spectra))
    mad_noise(np.ascontiguousarray(spectra), first, last, noise)
    return noise
