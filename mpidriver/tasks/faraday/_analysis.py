"""The complete analysis of polarised spectra that RM-Tools does of one source, of all sources at once."""

from typing import NamedTuple

import numpy as np

from mpidriver.errors import DataError
from mpidriver.tasks.faraday._analysis_columns import (
    fill_clean,
    fill_complexity,
    fill_observation,
    fill_spectra,
    fill_stokes_i,
    fill_thin,
)
from mpidriver.tasks.faraday._analysis_table import ANALYSIS_DTYPE
from mpidriver.tasks.faraday._clean import CleanResult, rm_clean
from mpidriver.tasks.faraday._fdf_parameters import measure_fdf
from mpidriver.tasks.faraday._fractions import divide
from mpidriver.tasks.faraday._grids import (
    check_frequencies,
    check_phi,
    double_phi_grid,
    lambda_sq,
    phi_grid,
    uniform_step,
)
from mpidriver.tasks.faraday._options import AnalysisOptions
from mpidriver.tasks.faraday._stokes import Stokes, check_stokes
from mpidriver.tasks.faraday._stokes_i_models import fit_stokes_i
from mpidriver.tasks.faraday._synthesis import rm_synthesis
from mpidriver.tasks.faraday._thin import fit_thin
from mpidriver.tasks.faraday._transfer import rmtf

__all__ = ["SpectraAnalysis", "analyse_spectra"]

SOURCES_AT_ONCE = 512
"""So that what is computed of them stays in the cache."""


class SpectraAnalysis(NamedTuple):
    """Results of `analyse_spectra`; intensities in the unit of the input."""

    table: np.ndarray
    """Structured (source,), columns `ANALYSIS_DTYPE`, units `ANALYSIS_UNITS`."""
    phi_radm2: np.ndarray
    """float64 (phi,)"""
    fdf: np.ndarray
    """complex64 (phi, source), dirty Faraday spectra about each source's own λ²_0."""
    rmtf: np.ndarray
    """complex64 (2 phi + 1, source), on `double_phi_grid`."""
    clean: CleanResult
    """Of (phi, source)."""
    stokes_i_model: np.ndarray
    """float64 (source, chan), by which Q and U are divided; 1 where there is none."""


def analyse_spectra(freq_hz, i, q, u, di, dq, du, *, phi_radm2=None, options=None, threads=None):
    """Analyse the spectra of polarised sources: Stokes I model, RM synthesis, RM-CLEAN, parameters, complexity.

    Each source has its own λ²_0, the weighted mean of its unflagged channels, and its own RMTF. What is reported, and
    how it is defined, is that of RM-Tools; docs/faraday.md names the differences. Columns `thin_` are those of the
    best Faraday-thin model, whose errors are the Cramér-Rao limits.

    Parameters
    ----------
    freq_hz : (chan,) Hz
        In any order.
    i : float (source, chan) or None
        Stokes I; None if q and u are fractions already.
    q, u : float (source, chan)
        Stokes Q and U; a voxel that is not finite in both is flagged.
    di, dq, du : float, (chan,) or (source, chan)
        Errors; a voxel without positive finite errors of Q and U is flagged, one without that of I is not used for
        the model. `di` may be None if `i` is.
    phi_radm2 : (phi,) rad/m², optional
        At least three ascending, uniform depths. Default: `phi_grid` by the options.
    options : AnalysisOptions, optional
    threads : int, optional
        Threads that share the sources; the result does not depend on it. Default: one.

    Returns
    -------
    SpectraAnalysis
        NaN for a source that is all flagged. Without a Stokes I model (`stokes_i_flag` 9) Q and U are not divided, and
        everything of Stokes I is NaN; nor are they by a model that is not positive in every channel.

    Raises
    ------
    DataError
        If shapes do not fit, or frequencies are not in Hz.
    """
    options = options or AnalysisOptions()
    freq_hz = check_frequencies(freq_hz)
    phi_radm2 = _depths(freq_hz, phi_radm2, options)
    stokes = check_stokes(freq_hz.size, i, q, u, di, dq, du)
    count = len(stokes.q)
    table = np.zeros(count, ANALYSIS_DTYPE)
    fdf = np.empty((phi_radm2.size, count), np.complex64)
    transfer = np.empty((2 * phi_radm2.size + 1, count), np.complex64)
    clean = CleanResult(*(np.empty_like(fdf) for _ in range(3)), np.empty(count, np.int64), np.empty(count, bool))
    model = np.empty((count, freq_hz.size))
    for start in range(0, count, SOURCES_AT_ONCE):
        some = slice(start, start + SOURCES_AT_ONCE)
        part = _analyse(Stokes(*(values[some] for values in stokes)), freq_hz, phi_radm2, options, threads)
        table[some], model[some] = part.table, part.stokes_i_model
        fdf[:, some], transfer[:, some] = part.fdf, part.rmtf
        for whole, own in zip(clean, part.clean, strict=True):
            whole[..., some] = own
    return SpectraAnalysis(table, phi_radm2, fdf, transfer, clean, model)


def _analyse(stokes, freq_hz, phi_radm2, options, threads):
    """Analyse some sources; arguments checked."""
    models = fit_stokes_i(
        stokes.i,
        stokes.di,
        freq_hz,
        degree=options.stokes_i_degree,
        choose=options.stokes_i_choose,
        logarithmic=options.stokes_i_model == "log",
    )
    model = models(freq_hz)
    divides = options.fractional & (models.degree >= 0) & ~(model < 0).any(axis=1)
    divisor = np.where(divides[:, None], model, 1.0)
    fractions = divide(stokes, divisor, lambda_sq(freq_hz), options.weighting)
    models = models.about(fractions.freq0_hz)
    flux = models(fractions.freq0_hz[:, None])[:, 0]
    scale = np.where(divides, flux, 1.0)

    weights = np.where(fractions.good, fractions.weight, np.nan).T
    transform = {"weights": weights, "lambda0_sq_m2": fractions.lambda0_sq_m2, "threads": threads}
    fdf = rm_synthesis(fractions.q.T, fractions.u.T, freq_hz, phi_radm2, **transform) * scale.astype(np.float32)
    transfer = rmtf(freq_hz, double_phi_grid(phi_radm2), **transform)
    noise = scale * fractions.noise
    clean = rm_clean(fdf, transfer, phi_radm2, fractions.fwhm_radm2, noise=noise, threads=threads, **options.cleaning())
    spectra = {"dirty_": fdf, "clean_": clean.cleaned}
    parameters = {
        prefix: measure_fdf(np.ascontiguousarray(planes.T), phi_radm2, noise, fractions, debias_snr=options.debias_snr)
        for prefix, planes in spectra.items()
    }
    table = np.zeros(len(divisor), ANALYSIS_DTYPE)
    fill_observation(table, stokes, fractions, freq_hz)
    fill_stokes_i(table, models, flux, model, stokes.di)
    fill_spectra(table, parameters, noise)
    fill_clean(table, clean, phi_radm2, options.clean_cutoff)
    fill_complexity(table, fractions, scale)
    highest = np.where(fractions.channels > 0, phi_radm2[np.argmax(np.nan_to_num(np.abs(fdf)), axis=0)], np.nan)
    thin = fit_thin(fractions, highest, phi_radm2[1] - phi_radm2[0])
    fill_thin(table, thin, scale, fractions.lambda0_sq_m2, options.debias_snr)
    return SpectraAnalysis(table, phi_radm2, fdf, transfer, clean, divisor)


def _depths(freq_hz, phi_radm2, options):
    if phi_radm2 is None:
        return phi_grid(
            freq_hz, phi_max_radm2=options.phi_max_radm2, dphi_radm2=options.phi_step_radm2, samples=options.samples
        )
    phi_radm2 = check_phi(phi_radm2)
    uniform_step(phi_radm2)
    if phi_radm2.size < 3:
        raise DataError(f"phi_radm2: expected at least three Faraday depths, got {phi_radm2.size}")
    return phi_radm2
