"""From the spectra of components to Faraday spectra, clean components and what they tell, all at once."""

from typing import NamedTuple

import numpy as np

from mpidriver.tasks.faraday import double_phi_grid, lambda_sq, measure_faraday, phi_grid, rm_clean, rm_synthesis, rmtf

__all__ = ["FaradaySpectra", "analyse_spectra", "component_width", "faraday_spectra"]

#: Samples across the FWHM of the RMTF.
SAMPLES = 10.0
#: A component must stand out by so many σ of the Faraday spectrum: at 3 every fifth spectrum has one of noise, far from
#: the source, which makes it seem wide. Around components cleaning goes on to the second figure.
CLEAN_CUTOFF, WINDOW_CUTOFF = 5.0, 2.0


class FaradaySpectra(NamedTuple):
    """Faraday spectra of components, (source, phi) complex64, Jy/beam/RMTF; NaN where all channels are flagged."""

    phi_radm2: np.ndarray
    """(phi,)"""
    dirty: np.ndarray
    cleaned: np.ndarray
    components: np.ndarray
    transfer: np.ndarray
    """The RMTF on `double_phi_grid`, (source, lag)."""
    noise: np.ndarray
    """σ of the real and of the imaginary part by the errors of the channels, (source,)."""


def analyse_spectra(spectra, options):
    """Measure components from their spectra.

    Parameters
    ----------
    spectra : structured ndarray (source,)
        Columns ``freq``, ``stokesI``, ``stokesI_error`` … of shape (source, chan), the same channels in each row.
    options : FaradayOptions

    Returns
    -------
    measurements : structured ndarray (source,)
        As from `measure_faraday`, with the width of the clean components in Faraday depth.
    faraday : FaradaySpectra
    """
    freq_hz = np.asarray(spectra["freq"][0], float)
    q_error, u_error = (spectra[f"stokes{letter}_error"].astype(float) for letter in "QU")
    measured = measure_faraday(
        spectra["stokesQ"],
        spectra["stokesU"],
        spectra["stokesI"],
        freq_hz,
        q_error,
        u_error,
        sigma_i=spectra["stokesI_error"].astype(float),
        options=options,
    )
    phi = phi_grid(freq_hz, phi_max_radm2=options.phi_max_radm2, dphi_radm2=options.phi_step_radm2, samples=SAMPLES)
    weights = 1.0 if options.weighting == "uniform" else 2.0 / (q_error**2 + u_error**2)
    return measured, faraday_spectra(spectra, freq_hz, phi, np.broadcast_to(weights, q_error.shape), measured)


def faraday_spectra(spectra, freq_hz, phi_radm2, weights, measured):
    """Return dirty and cleaned Faraday spectra of Q and U as they are, each with its own RMTF.

    Parameters
    ----------
    spectra : structured ndarray (source,)
    freq_hz : (chan,) Hz
    phi_radm2 : (phi,) rad/m²
    weights : float (source, chan)
    measured : structured ndarray (source,)
        For the FWHM.
    """
    q, u = spectra["stokesQ"].astype(float), spectra["stokesU"].astype(float)
    good = np.isfinite(q) & np.isfinite(u) & np.isfinite(weights) & (weights > 0)
    weights = np.where(good, weights, 0.0)
    lambda0 = float(lambda_sq(freq_hz).mean())
    dirty = rm_synthesis(q.T, u.T, freq_hz, phi_radm2, weights=weights.T, lambda0_sq_m2=lambda0)
    transfer = rmtf(freq_hz, double_phi_grid(phi_radm2), weights=weights.T, flags=~good.T, lambda0_sq_m2=lambda0)
    variance = 0.5 * (spectra["stokesQ_error"].astype(float) ** 2 + spectra["stokesU_error"].astype(float) ** 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.where(good, weights**2 * np.where(good, variance, 0.0), 0.0).sum(axis=1)
        noise = np.sqrt(spread) / weights.sum(axis=1)
    fwhm = measured["rmsf_fwhm"].astype(float)
    clean = rm_clean(dirty, transfer, phi_radm2, fwhm, cutoff=CLEAN_CUTOFF, window_cutoff=WINDOW_CUTOFF, noise=noise)
    return FaradaySpectra(phi_radm2, dirty.T, clean.cleaned.T, clean.components.T, transfer.T, noise)


def component_width(faraday):
    """Return the second moment of the clean components in Faraday depth, float64 (source,) rad/m²; NaN without any."""
    strength = np.abs(np.nan_to_num(faraday.components)).astype(float)
    total = strength.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = strength @ faraday.phi_radm2 / total
        spread = (strength * (faraday.phi_radm2 - mean[:, None]) ** 2).sum(axis=1) / total
    return np.where(total > 0, np.sqrt(spread), np.nan)
