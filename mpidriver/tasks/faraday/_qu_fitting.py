"""QU fitting: models of Q and U against λ² fitted to the spectra of one source, and which of them the data prefer.

Models of fractional polarisation or of flux, as in O'Sullivan et al. (2012, MNRAS 421, 3300):

    thin    p exp(2i(χ + φ λ²))
    two     the sum of two thin components
    slab    p exp(2i(χ + ½ R λ²)) sin(R λ²)/(R λ²) behind a foreground φ: a uniform slab (Burn 1966), R > 0 its depth
"""

from typing import NamedTuple

import numpy as np

from mpidriver.errors import DataError
from mpidriver.tasks.faraday._checks import real_values
from mpidriver.tasks.faraday._grids import check_frequencies, lambda_sq, phi_grid, rmtf_fwhm
from mpidriver.tasks.faraday._synthesis import rm_synthesis

__all__ = ["QU_MODELS", "QuFit", "fit_qu"]

_COMPONENT = ("amplitude", "angle0_deg", "rm_radm2")
QU_MODELS = {
    "thin": _COMPONENT,
    "two": (*_COMPONENT, *(f"{name}_2" for name in _COMPONENT)),
    "slab": (*_COMPONENT, "depth_radm2"),
}
"""Parameters of each model."""
STARTS = 4
"""Depths or separations, in FWHM of the RMTF 0.5, 1, 2 and 4, from which a model of two depths is begun."""


class QuFit(NamedTuple):
    """The best fit of one model to one source."""

    model: str
    parameters: dict
    """By the names of `QU_MODELS`; amplitudes are positive, angles from 0 to 180° at λ² = 0."""
    errors: dict
    """Standard errors, from the curvature of χ² at the minimum."""
    chi_sq: float
    degrees_of_freedom: int
    aic: float
    bic: float
    log_evidence: float
    """Of the data under the model, by Laplace's approximation, with priors uniform in angle, depth and amplitude."""


def fit_qu(freq_hz, q, u, dq, du, *, models=("thin", "two", "slab"), phi_max_radm2=None):
    """Fit models to the spectra of one source by least squares.

    Parameters
    ----------
    freq_hz : (chan,) Hz
    q, u : float (chan,)
        Fractions or fluxes; channels that are not finite, or without positive finite errors, are left out.
    dq, du : float or (chan,)
        Errors.
    models : sequence of str
        Names in `QU_MODELS`.
    phi_max_radm2 : float, optional
        Largest |depth| that is allowed. Default: that of `phi_grid`.

    Returns
    -------
    dict of str to QuFit
        Without a model that has as many parameters as there are data, or more.

    Raises
    ------
    DataError
        If a shape does not fit, a model has no such name, or fewer than two channels are left.
    """
    freq_hz = check_frequencies(freq_hz)
    lambda_sq_m2, p, sigma = _check(freq_hz, q, u, dq, du)
    for model in models:
        if model not in QU_MODELS:
            raise DataError(f"models: expected some of {', '.join(QU_MODELS)}, got {model!r}")
    phi = phi_grid(freq_hz, phi_max_radm2=phi_max_radm2)
    fits = {}
    for model in models:
        if 2 * lambda_sq_m2.size > len(QU_MODELS[model]):
            starts = _starts(model, lambda_sq_m2, p, sigma, phi, rmtf_fwhm(freq_hz))
            fits[model] = _best_fit(model, starts, lambda_sq_m2, p, sigma, float(phi[-1]))
    return fits


def _check(freq_hz, q, u, dq, du):
    """Return λ², complex Q + iU and σ_Q + iσ_U of the usable channels."""
    parts = [real_values(name, part) for name, part in (("q", q), ("u", u), ("dq", dq), ("du", du))]
    try:
        parts = [np.broadcast_to(part, freq_hz.shape) for part in parts]
    except ValueError:
        shapes = ", ".join(str(part.shape) for part in parts)
        raise DataError(f"q, u, dq and du: expected ({freq_hz.size},) as freq_hz, got {shapes}") from None
    q, u, dq, du = parts
    good = np.all(np.isfinite(parts), axis=0) & (dq > 0) & (du > 0)
    if good.sum() < 2:
        raise DataError(f"q and u: expected at least two usable channels, got {good.sum()} of {freq_hz.size}")
    return lambda_sq(freq_hz)[good], (q + 1j * u)[good], (dq + 1j * du)[good]


def _model(model, values, lambda_sq_m2):
    """Return P of a model; amplitude and angle of a component come as a complex number in two values."""
    p = (values[0] + 1j * values[1]) * np.exp(2j * values[2] * lambda_sq_m2)
    if model == "two":
        p = p + (values[3] + 1j * values[4]) * np.exp(2j * values[5] * lambda_sq_m2)
    elif model == "slab":
        p = p * np.exp(1j * values[3] * lambda_sq_m2) * np.sinc(values[3] * lambda_sq_m2 / np.pi)
    return p


def _starts(model, lambda_sq_m2, p, sigma, phi, fwhm):
    """Return first guesses: the peak of the Faraday spectrum, and a second depth beside it."""
    weights = 2.0 / (sigma.real**2 + sigma.imag**2)
    freq_hz = 299792458.0 / np.sqrt(lambda_sq_m2)
    options = {"weights": weights, "lambda0_sq_m2": 0.0, "dtype": np.complex128}
    thin = _peak(rm_synthesis(p.real, p.imag, freq_hz, phi, **options), phi)
    if model == "thin":
        return [thin]
    separations = fwhm * 2.0 ** np.arange(-1, STARTS - 1)
    if model == "slab":
        return [[*thin[:2], thin[2] - 0.5 * depth, depth] for depth in (*separations, *-separations)]
    left = p - _model("thin", thin, lambda_sq_m2)
    second = _peak(rm_synthesis(left.real, left.imag, freq_hz, phi, **options), phi)
    beside = [[0.5 * thin[0], 0.5 * thin[1], thin[2] + step] for step in (*separations, *-separations)]
    return [[*thin, *second], *([0.5 * thin[0], 0.5 * thin[1], thin[2], *other] for other in beside)]


def _peak(fdf, phi):
    at = int(np.argmax(np.abs(fdf)))
    return [fdf[at].real, fdf[at].imag, phi[at]]


def _best_fit(model, starts, lambda_sq_m2, p, sigma, phi_max):
    """Return the fit of least χ² from several first guesses."""
    from scipy.optimize import least_squares

    def residuals(values):
        difference = p - _model(model, values, lambda_sq_m2)
        return np.concatenate([difference.real / sigma.real, difference.imag / sigma.imag])

    scale = np.abs(starts[0][0] + 1j * starts[0][1]) or 1.0
    depth = 1.0 / np.ptp(lambda_sq_m2)
    scales = [scale, scale, depth, scale, scale, depth] if model == "two" else [scale, scale, depth, depth]
    bounds = np.where(np.array(scales) == depth, phi_max, np.inf)[: len(starts[0])]
    fits = [
        least_squares(
            residuals,
            np.clip(start, -0.999 * bounds, 0.999 * bounds),
            bounds=(-bounds, bounds),
            x_scale=scales[: len(start)],
            ftol=1e-12,
            xtol=1e-12,
        )
        for start in starts
    ]
    best = min(fits, key=lambda fit: fit.cost)
    return _describe(model, best.x, best.jac, 2.0 * best.cost, sigma, phi_max, np.abs(p).max())


def _describe(model, values, jacobian, chi_sq, sigma, phi_max, amplitude_max):
    """Return a fit by amplitude, angle and depths, with errors and criteria."""
    values, turn = _in_order(model, np.array(values))
    information = jacobian.T @ jacobian
    covariance = turn @ np.linalg.pinv(information) @ turn.T
    parameters, errors, log_prior = {}, {}, 0.0
    names = iter(QU_MODELS[model])
    for start in range(0, len(values), 3):
        if len(values) - start < 3:
            name = next(names)
            parameters[name], errors[name] = values[start], np.sqrt(covariance[start, start])
            log_prior -= np.log(2.0 * phi_max)
            continue
        a, b, rm = values[start : start + 3]
        amplitude, amplitude_name, angle_name, rm_name = np.hypot(a, b), next(names), next(names), next(names)
        polar = np.array([[a, b], [-b, a]]) / max(amplitude, np.finfo(float).tiny)
        own = polar @ covariance[start : start + 2, start : start + 2] @ polar.T
        parameters |= {amplitude_name: amplitude, angle_name: np.rad2deg(0.5 * np.arctan2(b, a)) % 180.0, rm_name: rm}
        errors[amplitude_name] = np.sqrt(own[0, 0])
        errors[angle_name] = np.rad2deg(0.5 * np.sqrt(own[1, 1]) / max(amplitude, np.finfo(float).tiny))
        errors[rm_name] = np.sqrt(covariance[start + 2, start + 2])
        log_prior -= np.log(2.0 * phi_max) + np.log(np.pi * amplitude_max**2)
    data, count = 2 * sigma.size, len(values)
    log_likelihood = (
        -0.5 * chi_sq - np.log(sigma.real).sum() - np.log(sigma.imag).sum() - 0.5 * data * np.log(2 * np.pi)
    )
    _, log_determinant = np.linalg.slogdet(information)
    log_evidence = log_likelihood + log_prior + 0.5 * count * np.log(2 * np.pi) - 0.5 * log_determinant
    return QuFit(
        model,
        {name: float(value) for name, value in parameters.items()},
        {name: float(value) for name, value in errors.items()},
        float(chi_sq),
        data - count,
        float(2 * count - 2 * log_likelihood),
        float(count * np.log(data) - 2 * log_likelihood),
        float(log_evidence),
    )


def _in_order(model, values):
    """Return values of the same model in the form that is reported, and the matrix that takes their covariance there.

    Of two components the brighter comes first. A slab's depth is positive: behind a foreground φ, depth R looks like
    depth -R behind φ + R.
    """
    turn = np.eye(len(values))
    if model == "two" and np.hypot(*values[3:5]) > np.hypot(*values[:2]):
        turn = turn[[3, 4, 5, 0, 1, 2]]
    elif model == "slab" and values[3] < 0:
        turn[2, 3], turn[3, 3] = 1.0, -1.0
    return turn @ values, turn
