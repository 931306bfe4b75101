"""Parameters of polarised sources from their Stokes spectra, all sources at once."""

import numpy as np

from mpidriver.tasks.faraday._catalogue import MEASUREMENT_DTYPE
from mpidriver.tasks.faraday._grids import SPEED_OF_LIGHT_M_S, check_frequencies, check_phi, lambda_sq, phi_grid
from mpidriver.tasks.faraday._options import FaradayOptions
from mpidriver.tasks.faraday._peaks import find_peaks
from mpidriver.tasks.faraday._stokes import Stokes, check_stokes, median
from mpidriver.tasks.faraday._stokes_i import fit_power_law
from mpidriver.tasks.faraday._synthesis import rm_synthesis
from mpidriver.tasks.faraday._thin import Spectra, fit_thin

__all__ = ["measure_faraday"]

SOURCES_AT_ONCE = 1000
"""So that memory does not grow with the catalogue."""
SAMPLES = 10.0
"""Samples across the FWHM where no grid is given; the fit then starts within a twentieth of it."""
GEORGE = 2.3
"""p_eff² = p² - 2.3 σ² (George, Stil & Keller 2012, PASA 29, 214)."""
MAD_TO_SIGMA = 1.4826


def measure_faraday(q, u, i, freq_hz, sigma_q, sigma_u, *, sigma_i=None, phi_radm2=None, options=None):
    """Measure the rotation measure and polarisation of sources.

    The spectra, divided by the shape of a power law through Stokes I where `options.fractional`, are transformed; the
    peak of |F| is found on the grid and then exactly, as the best Faraday-thin model. Values hold at the source's own
    λ²_0, the weighted mean over its unflagged channels.

    Parameters
    ----------
    q, u : float (source, chan)
        Stokes Q and U, Jy/beam; voxels not finite in both are flagged.
    i : float (source, chan) or None
        Stokes I, Jy/beam; None leaves everything that needs it blank.
    freq_hz : (chan,) Hz
    sigma_q, sigma_u : float, (chan,) or (source, chan)
        Errors of Q and U; a voxel without a positive finite error is flagged.
    sigma_i : float, (chan,) or (source, chan), optional
        Errors of I. Default: the mean of those of Q and U.
    phi_radm2 : (phi,) rad/m², optional
        Ascending depths among which the peak is sought. Default: `phi_grid` by the options, at ten samples a FWHM.
    options : FaradayOptions, optional

    Returns
    -------
    structured ndarray (source,)
        Columns `MEASUREMENT_DTYPE`, units `MEASUREMENT_UNITS`; NaN for a source that is all flagged.
    """
    options = options or FaradayOptions()
    freq_hz = check_frequencies(freq_hz)
    phi_radm2 = _default_grid(freq_hz, options) if phi_radm2 is None else check_phi(phi_radm2)
    stokes = check_stokes(freq_hz.size, i, q, u, sigma_i, sigma_q, sigma_u)
    table = np.zeros(len(stokes.q), MEASUREMENT_DTYPE)
    for start in range(0, len(table), SOURCES_AT_ONCE):
        some = slice(start, start + SOURCES_AT_ONCE)
        table[some] = _measure(Stokes(*(part[some] for part in stokes)), freq_hz, phi_radm2, options)
    return table


def _measure(stokes, freq_hz, phi_radm2, options):
    """Return the table of some sources from checked input."""
    law, reference_hz = _stokes_i_law(stokes, freq_hz, options)
    spectra = _divide(stokes, law, freq_hz / reference_hz[:, None], freq_hz, options)

    fdf = rm_synthesis(
        spectra.p.real.T,
        spectra.p.imag.T,
        freq_hz,
        phi_radm2,
        weights=spectra.weight.T,
        lambda0_sq_m2=float(lambda_sq(freq_hz).mean()),
        threads=options.threads,
    )
    first_guess = find_peaks(fdf, phi_radm2).phi_radm2.astype(np.float64)
    thin = fit_thin(spectra, first_guess, float(np.diff(phi_radm2).max(initial=0.0)))

    table = np.zeros(len(stokes.q), MEASUREMENT_DTYPE)
    table["rmsf_fwhm"] = _own_fwhm(spectra)
    _fill_stokes_i(table, law, reference_hz)
    _fill_polarisation(table, thin, law, options)
    _fill_observation(table, stokes, freq_hz)
    _fill_complexity(table, thin, options)
    table["fdf_noise_mad"] = mad_noise(fdf, phi_radm2, table["rm"], table["rmsf_fwhm"])
    return table


def _default_grid(freq_hz, options):
    return phi_grid(freq_hz, phi_max_radm2=options.phi_max_radm2, dphi_radm2=options.phi_step_radm2, samples=SAMPLES)


def _stokes_i_law(stokes, freq_hz, options):
    """Return the power law through Stokes I and the frequency (source,) of λ²_0, to which it refers.

    Dividing by Stokes I changes the weights of the channels and so λ²_0: the index is found first, about any frequency.
    """
    guess_hz = _frequency_of_mean(freq_hz, stokes.good.astype(np.float64))
    first = fit_power_law(stokes.i, freq_hz / guess_hz[:, None], stokes.di)
    weight = _divide(stokes, first, freq_hz / guess_hz[:, None], freq_hz, options).weight
    reference_hz = _frequency_of_mean(freq_hz, weight)
    return fit_power_law(stokes.i, freq_hz / reference_hz[:, None], stokes.di, start=first), reference_hz


def _frequency_of_mean(freq_hz, weight):
    """Return the frequency of each source's weighted mean λ², (source,) Hz; where all is flagged, of all channels."""
    total, lambda_sq_m2 = weight.sum(axis=1), lambda_sq(freq_hz)
    mean = np.where(total > 0, weight @ lambda_sq_m2 / np.where(total > 0, total, 1.0), lambda_sq_m2.mean())
    return SPEED_OF_LIGHT_M_S / np.sqrt(mean)


def _divide(stokes, law, ratio, freq_hz, options):
    """Return the spectra divided by the shape of Stokes I, 1 at the reference frequency, and their weights."""
    shape = law.shape(ratio) if options.fractional else 1.0
    p = np.where(stokes.good, stokes.q + 1j * stokes.u, 0.0) / shape
    variance_q, variance_u = (np.where(stokes.good, s / shape, 0.0) ** 2 for s in (stokes.dq, stokes.du))
    if options.weighting == "uniform":
        weight = stokes.good.astype(np.float64)
    else:
        weight = np.where(stokes.good, 2.0 / np.where(stokes.good, variance_q + variance_u, 1.0), 0.0)
    return Spectra(p, weight, variance_q, variance_u, lambda_sq(freq_hz))


def _own_fwhm(spectra):
    """Return 3.8/Δλ² over each source's own channels, inf where there is only one."""
    used = spectra.weight > 0
    span = np.where(used, spectra.lambda_sq_m2, -np.inf).max(axis=1, initial=-np.inf)
    span = span - np.where(used, spectra.lambda_sq_m2, np.inf).min(axis=1, initial=np.inf)
    return 3.8 / np.where(span > 0, span, np.nan)


def _fill_stokes_i(table, law, reference_hz):
    table["stokesI"], table["stokesI_err"] = law.amplitude, law.amplitude_err
    table["spectral_index"], table["spectral_index_err"] = law.alpha, law.alpha_err
    table["reffreq_I"] = table["reffreq_pol"] = reference_hz


def _fill_polarisation(table, thin, law, options):
    """Write RM, polarised intensity and angles."""
    divided = np.isfinite(law.alpha) & options.fractional
    table["rm_method"] = np.where(divided, "RM Synthesis - Fractional polarization", "RM Synthesis - Pol. Int")
    table["pol_bias"] = "2012PASA...29..214G"
    table["Ncomp"] = 1
    amplitude = np.abs(thin.peak)
    with np.errstate(invalid="ignore", divide="ignore"):
        snr = amplitude / thin.noise
        unbiased = np.sqrt(np.maximum(amplitude**2 - GEORGE * thin.noise**2, 0.0))
        polint = np.where(snr >= options.debias_snr, unbiased, amplitude)
        table["fracpol"] = polint / law.amplitude
        table["fracpol_err"] = np.hypot(thin.noise, polint * law.amplitude_err / law.amplitude) / law.amplitude
    table["rm"] = thin.rm_radm2
    table["rm_err"] = table["rmsf_fwhm"] / (2.0 * snr) if options.rm_error == "fwhm" else thin.rm_err_radm2
    table["polint"], table["polint_err"], table["snr_polint"] = polint, thin.noise, snr
    angle = 0.5 * np.angle(thin.peak)
    table["polangle"] = np.rad2deg(angle) % 180.0
    table["polangle_err"] = np.rad2deg(thin.angle_err_rad)
    table["derot_polangle"] = np.rad2deg(angle - thin.rm_radm2 * thin.lambda0_sq_m2) % 180.0
    table["derot_polangle_err"] = np.rad2deg(thin.angle0_err_rad)
    table["stokesQ"], table["stokesU"] = thin.peak.real, thin.peak.imag
    table["stokesQ_err"] = table["stokesU_err"] = table["fdf_noise_th"] = thin.noise


def _fill_observation(table, stokes, freq_hz):
    """Write what the source's own channels were."""
    good = stokes.good
    table["minfreq"] = _blank_if_none(np.where(good, freq_hz, np.inf).min(axis=1, initial=np.inf))
    table["maxfreq"] = _blank_if_none(np.where(good, freq_hz, -np.inf).max(axis=1, initial=-np.inf))
    table["channelwidth"] = np.median(np.diff(np.sort(freq_hz))) if freq_hz.size > 1 else np.nan
    table["Nchan"] = good.sum(axis=1)
    sigma = np.where(good, np.sqrt(0.5 * (stokes.dq**2 + stokes.du**2)), np.nan)
    table["noise_chan"] = median(sigma.T)


def _blank_if_none(values):
    return np.where(np.isfinite(values), values, np.nan)


def _fill_complexity(table, thin, options):
    """Write the scatter about the thin model beyond the noise, in units of the noise, and whether it is significant.

    χ² per degree of freedom is 1 + σ_add²; its own scatter for a thin source is √(2/ν).
    """
    freedom = np.where(thin.degrees_of_freedom > 0, thin.degrees_of_freedom, np.nan)
    excess = thin.chi_sq / freedom - 1.0
    table["sigma_add"] = np.sqrt(np.maximum(excess, 0.0))
    table["complex_excess"] = excess / np.sqrt(2.0 / freedom)
    flag = np.where(table["complex_excess"] > options.complexity_sigma, "Y", "N")
    table["complex_flag"] = np.where(np.isfinite(table["complex_excess"]) & np.isfinite(table["rm"]), flag, "U")
    table["complex_test"] = "Sigma_add"


def mad_noise(fdf, phi_radm2, rm_radm2, fwhm):
    """Return σ of F from the median absolute deviation of its parts more than two FWHM from the peak, (source,)."""
    away = (np.abs(phi_radm2[:, None] - rm_radm2) > 2.0 * fwhm) & np.isfinite(fdf)
    parts = np.concatenate([np.where(away, part, np.nan) for part in (fdf.real, fdf.imag)])
    return MAD_TO_SIGMA * median(np.abs(parts - median(parts)))
