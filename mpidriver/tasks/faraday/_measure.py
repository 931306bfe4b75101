"""Parameters of polarised sources from their Stokes spectra, as the RM catalogue has them."""

import numpy as np

from mpidriver.tasks.faraday._analysis import analyse_spectra
from mpidriver.tasks.faraday._catalogue import MEASUREMENT_DTYPE
from mpidriver.tasks.faraday._options import FaradayOptions

__all__ = ["measure_faraday", "rm_measurements"]

SAME = {
    "rm": "thin_rm_radm2",
    "stokesI": "stokes_i",
    "stokesI_err": "stokes_i_err",
    "reffreq_I": "freq0_hz",
    "reffreq_pol": "freq0_hz",
    "polint": "thin_polint_debiased",
    "polint_err": "thin_polint_err",
    "polangle": "thin_polangle_deg",
    "polangle_err": "thin_polangle_err_deg",
    "derot_polangle": "thin_polangle0_deg",
    "derot_polangle_err": "thin_polangle0_err_deg",
    "stokesQ": "thin_q",
    "stokesU": "thin_u",
    "stokesQ_err": "thin_polint_err",
    "stokesU_err": "thin_polint_err",
    "minfreq": "min_freq_hz",
    "maxfreq": "max_freq_hz",
    "channelwidth": "channel_width_hz",
    "Nchan": "channels",
    "rmsf_fwhm": "fwhm_radm2",
    "noise_chan": "noise_chan",
    "fdf_noise_th": "noise_theory",
    "fdf_noise_mad": "dirty_noise_mad",
    "sigma_add": "sigma_add",
    "rm_width": "clean_second_moment_radm2",
}
"""Columns of the RM catalogue and those of an analysis that they are."""


def measure_faraday(q, u, i, freq_hz, sigma_q, sigma_u, *, sigma_i=None, phi_radm2=None, options=None):
    """Measure the rotation measure and polarisation of sources: `rm_measurements` of their `analyse_spectra`.

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
        At least three ascending, uniform depths. Default: `phi_grid` by the options, at ten samples a FWHM.
    options : FaradayOptions, optional

    Returns
    -------
    structured ndarray (source,)
        Columns `MEASUREMENT_DTYPE`, units `MEASUREMENT_UNITS`; NaN for a source that is all flagged.
    """
    options = options or FaradayOptions()
    analysis = analyse_spectra(
        freq_hz, i, q, u, sigma_i, sigma_q, sigma_u,
        phi_radm2=phi_radm2, options=options.of_spectra(), threads=options.threads,
    )  # fmt: skip
    return rm_measurements(analysis.table, options)


def rm_measurements(table, options):
    """Return what the RM catalogue says of analysed sources.

    The RM is that of the best Faraday-thin model: the exact maximum of |F|. Values hold at the source's own λ²_0, the
    weighted mean over its unflagged channels.

    Parameters
    ----------
    table : structured ndarray (source,)
        Of `analyse_spectra` with `options.of_spectra()`, in Jy.
    options : FaradayOptions

    Returns
    -------
    structured ndarray (source,)
        Columns `MEASUREMENT_DTYPE`, units `MEASUREMENT_UNITS`.
    """
    found = np.zeros(len(table), MEASUREMENT_DTYPE)
    for name, source in SAME.items():
        found[name] = table[source]
    with np.errstate(invalid="ignore", divide="ignore"):
        found["snr_polint"] = table["thin_polint"] / table["thin_polint_err"]
        flux = np.where(table["stokes_i"] > 0, table["stokes_i"], np.nan)
        found["fracpol"] = table["thin_polint_debiased"] / flux
        found["fracpol_err"] = np.hypot(table["thin_polint_err"], found["fracpol"] * table["stokes_i_err"]) / flux
        by_width = table["fwhm_radm2"] / (2.0 * found["snr_polint"])
    found["rm_err"] = by_width if options.rm_error == "fwhm" else table["thin_rm_err_radm2"]
    _fill_spectral_index(found, table, options)
    _fill_complexity(found, table, options)
    found["pol_bias"] = "2012PASA...29..214G"
    found["Ncomp"] = 1
    return found


def _fill_spectral_index(found, table, options):
    """Write the slope of Stokes I at λ²_0 where its model is a power law with one, and how the spectra were divided."""
    sloped = (table["stokes_i_degree"] >= 1) & (options.stokes_i_model == "log")
    found["spectral_index"] = np.where(sloped, table["stokes_i_coefficients"][:, -2], np.nan)
    found["spectral_index_err"] = np.where(sloped, table["stokes_i_coefficient_errs"][:, -2], np.nan)
    divided = table["stokes_i_good"] & options.fractional
    found["rm_method"] = np.where(divided, "RM Synthesis - Fractional polarization", "RM Synthesis - Pol. Int")


def _fill_complexity(found, table, options):
    """Write whether χ² about the thin model, 1 + σ_add² a degree of freedom, is too large for its scatter √(2/ν)."""
    freedom = np.where(table["thin_degrees_of_freedom"] > 0, table["thin_degrees_of_freedom"], np.nan)
    excess = (table["thin_chi_sq"] / freedom - 1.0) / np.sqrt(2.0 / freedom)
    found["complex_excess"] = excess
    flag = np.where(excess > options.complexity_sigma, "Y", "N")
    found["complex_flag"] = np.where(np.isfinite(excess) & np.isfinite(found["rm"]), flag, "U")
    found["complex_test"] = "Sigma_add"
