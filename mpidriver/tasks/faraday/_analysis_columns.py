"""The columns of an analysis, filled group by group."""

import numpy as np

from mpidriver.tasks.faraday._fdf_parameters import debias, second_moment
from mpidriver.tasks.faraday._statistics_kernels import added_scatter
from mpidriver.tasks.faraday._stokes import median
from mpidriver.tasks.faraday._stokes_i_models import BELOW_NOISE, NEGATIVE, NOT_FITTED

__all__ = ["fill_clean", "fill_complexity", "fill_observation", "fill_spectra", "fill_stokes_i", "fill_thin"]


def fill_observation(table, stokes, fractions, freq_hz):
    """Write what the source's own channels were."""
    good = fractions.good
    some = good.any(axis=1)
    table["channels"] = fractions.channels
    table["channel_width_hz"] = np.median(np.diff(np.sort(freq_hz))) if freq_hz.size > 1 else np.nan
    table["min_freq_hz"] = np.where(some, np.where(good, freq_hz, np.inf).min(axis=1), np.nan)
    table["max_freq_hz"] = np.where(some, np.where(good, freq_hz, -np.inf).max(axis=1), np.nan)
    table["lambda0_sq_m2"] = fractions.lambda0_sq_m2
    table["freq0_hz"] = np.where(some, fractions.freq0_hz, np.nan)
    table["fwhm_radm2"] = fractions.fwhm_radm2
    table["noise_chan"] = median(np.where(good, 0.5 * (stokes.dq + stokes.du), np.nan).T)


def fill_stokes_i(table, models, flux, model, di):
    """Write the Stokes I models: coefficients the highest power first, as RM-Tools has them."""
    fitted = models.degree >= 0
    freedom = models.channels - models.degree - 1
    with np.errstate(invalid="ignore"):
        table["stokes_i"] = np.where(fitted, flux, np.nan)
        table["stokes_i_err"] = models.amplitude_error()
        table["stokes_i_coefficients"] = models.coefficients[:, ::-1]
        table["stokes_i_coefficient_errs"] = np.sqrt(np.diagonal(models.covariance, axis1=1, axis2=2))[:, ::-1]
        table["stokes_i_degree"] = models.degree
        table["stokes_i_chi_sq_reduced"] = models.chi_sq / np.where(freedom > 0, freedom, np.nan)
        table["stokes_i_aic"] = models.chi_sq + 2.0 * (models.degree + 1)
        faint, negative = (model < di).any(axis=1), (model < 0).any(axis=1)
    table["stokes_i_flag"] = np.where(fitted, BELOW_NOISE * faint + NEGATIVE * negative, NOT_FITTED)
    table["stokes_i_good"] = fitted & ~negative


def fill_spectra(table, parameters, noise):
    """Write the parameters of dirty and cleaned Faraday spectra, by the prefix of their columns."""
    table["noise_theory"] = noise
    for prefix, values in parameters.items():
        for name, column in values._asdict().items():
            table[prefix + name] = column
    with np.errstate(invalid="ignore", divide="ignore"):
        fracpol = table["dirty_polint_debiased"] / table["stokes_i"]
    fitted = table["stokes_i_flag"] != NOT_FITTED
    table["fracpol"] = np.where(
        fitted, np.where(table["stokes_i"] > 0, fracpol, np.nan), table["dirty_polint_debiased"]
    )


def fill_thin(table, thin, scale, lambda0_sq_m2, debias_snr):
    """Write the Faraday-thin model of fractional spectra, intensities times `scale`."""
    noise, polint = thin.noise * scale, np.abs(thin.peak) * scale
    angle = 0.5 * np.angle(thin.peak)
    columns = {
        "rm_radm2": thin.rm_radm2,
        "rm_err_radm2": thin.rm_err_radm2,
        "polint": polint,
        "polint_debiased": debias(polint, noise, debias_snr),
        "polint_err": noise,
        "q": thin.peak.real * scale,
        "u": thin.peak.imag * scale,
        "polangle_deg": np.rad2deg(angle) % 180.0,
        "polangle_err_deg": np.rad2deg(thin.angle_err_rad),
        "polangle0_deg": np.rad2deg(angle - thin.rm_radm2 * lambda0_sq_m2) % 180.0,
        "polangle0_err_deg": np.rad2deg(thin.angle0_err_rad),
        "chi_sq": thin.chi_sq,
        "degrees_of_freedom": thin.degrees_of_freedom,
    }
    for name, column in columns.items():
        table["thin_" + name] = column


def fill_clean(table, clean, phi_radm2, cutoff):
    """Write what only RM-CLEAN tells: components, and errors by the noise that is left."""
    table["clean_cutoff"] = cutoff * table["noise_theory"]
    table["clean_iterations"], table["clean_converged"] = clean.iterations, clean.converged
    table["clean_second_moment_radm2"] = second_moment(clean.components.T, phi_radm2)
    table["clean_polint_err_observed"] = table["clean_noise_mad"]
    with np.errstate(invalid="ignore", divide="ignore"):
        observed = table["clean_noise_mad"] / table["noise_theory"]
    table["clean_rm_err_observed_radm2"] = table["clean_rm_err_radm2"] * observed
    table["clean_polangle_err_observed_deg"] = table["clean_polangle_err_deg"] * observed
    table["clean_polangle0_err_observed_deg"] = table["clean_polangle0_err_deg"] * observed


def fill_complexity(table, fractions, scale):
    """Write the scatter of Q, U and both about the thin model of the dirty spectrum's peak, in units of the noise."""
    angle = np.deg2rad(table["dirty_polangle0_deg"])[:, None]
    angle = angle + table["dirty_rm_radm2"][:, None] * fractions.lambda_sq_m2
    model = (table["dirty_polint_debiased"] / scale)[:, None] * np.exp(2j * angle)
    residuals = [
        np.where(fractions.good, (values - part) / np.where(fractions.good, sigma, 1.0), np.nan)
        for values, part, sigma in (
            (fractions.q, model.real, fractions.dq),
            (fractions.u, model.imag, fractions.du),
        )
    ]
    for suffix, parts in (("_q", residuals[:1]), ("_u", residuals[1:]), ("", residuals)):
        scatter = _added_scatter(parts)
        table["sigma_add" + suffix] = scatter[:, 0]
        table[f"sigma_add{suffix}_err_minus"], table[f"sigma_add{suffix}_err_plus"] = scatter[:, 1], scatter[:, 2]


def _added_scatter(parts):
    """Return `added_scatter` of residuals (source, chan) in units of the noise, those of all parts together."""
    count = np.sum([np.isfinite(part).sum(axis=1) for part in parts], axis=0).astype(np.float64)
    squares = np.sum([np.nansum(part**2, axis=1) for part in parts], axis=0)
    highest = np.max([np.where(np.isfinite(part), part, -np.inf).max(axis=1) for part in parts], axis=0)
    lowest = np.min([np.where(np.isfinite(part), part, np.inf).min(axis=1) for part in parts], axis=0)
    scatter = np.empty((len(count), 3))
    added_scatter(squares, count, np.where(count > 0, highest - lowest + 2.0, 0.0), scatter)
    return scatter
