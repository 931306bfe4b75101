"""QU fitting: models of Q and U against λ² fitted to the spectra of one source, and which of them the data prefer.

Models of fractional polarisation or of flux, as in O'Sullivan et al. (2012, MNRAS 421, 3300):

    thin    p exp(2i(χ + φ λ²))
    two     the sum of two thin components
    slab    p exp(2i(χ + φ λ² + ½ R λ²)) sin(R λ²)/(R λ²): a uniform slab (Burn 1966) of depth R > 0 behind a depth φ

Fits begin at depths that the Faraday spectrum suggests, with phases counted from the mean λ², where angle and depth do
not depend on each other.
"""

from typing import NamedTuple

import numpy as np

from mpidriver.errors import DataError
from mpidriver.tasks.faraday._checks import real_values
from mpidriver.tasks.faraday._grids import check_frequencies, lambda_sq, phi_grid, rmtf_fwhm
from mpidriver.tasks.faraday._qu_kernels import evaluate, fit_all, profile_depth
from mpidriver.tasks.faraday._synthesis import rm_synthesis

__all__ = ["QU_MODELS", "QuFit", "fit_qu"]

_COMPONENT = ("amplitude", "angle0_deg", "rm_radm2")
QU_MODELS = {
    "thin": _COMPONENT,
    "two": (*_COMPONENT, *(f"{name}_2" for name in _COMPONENT)),
    "slab": (*_COMPONENT, "depth_radm2"),
}
"""Parameters of each model. What is fitted are the parts of a complex amplitude in place of amplitude and angle."""
SEPARATIONS = (0.5, 1.0, 2.0, 4.0)
"""Separations, in FWHM of the RMTF, from which a model of two components is begun."""
SLAB_STARTS = 4
SLAB_STEP = 0.3
"""Step in Rλ² of the depths R that are tried, at the largest λ²."""
NODES = 33
"""Depths of a slab over which its evidence is summed."""
UNLIKELY = 30.0
"""χ² above the least, beyond which depths do not count."""


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


class _Spectrum(NamedTuple):
    """Spectra of a source; Q, U and 1/σ are 0 where they are flagged, so that all sources share their tables."""

    freq_hz: np.ndarray
    lambda_sq_m2: np.ndarray
    """(chan,)"""
    p: np.ndarray
    """Q and U (2, chan)."""
    scale: np.ndarray
    """1 over their errors."""
    data: int
    """Number of values that are not flagged."""
    origin_m2: float
    """λ² from which phases are counted in fits: the weighted mean."""

    @property
    def channels(self):
        """What the kernels take: λ² from the origin and from 0, Q and U, and 1/σ."""
        return self.lambda_sq_m2 - self.origin_m2, self.lambda_sq_m2, self.p, self.scale

    @property
    def weights(self):
        """Weights of the channels (chan,), at most 1."""
        weights = (self.scale**2).sum(axis=0)
        return weights / weights.max()

    def fit(self, starts, bounds):
        """Return the numbers of least χ² from several first guesses (start, n)."""
        starts = np.clip(np.array(starts), *bounds)
        chi_sq = np.empty(len(starts))
        fit_all(starts, bounds, *self.channels, chi_sq)
        return starts[np.argmin(chi_sq)]

    def highest(self, p, phi, shapes=1.0):
        """Return the highest peaks of the Faraday spectra of Q and U times real functions of λ².

        Parameters
        ----------
        p : float64 (2, chan)
        phi : float64 (phi,)
        shapes : float64 (chan, shape)

        Returns
        -------
        float64 (3, shape)
            Real and imaginary part, and depth, of each.
        """
        q, u = (part[:, None] * shapes for part in p)
        weights = np.broadcast_to(self.weights[:, None], q.shape)
        fdf = rm_synthesis(q, u, self.freq_hz, phi, weights=weights, lambda0_sq_m2=self.origin_m2)
        at = np.argmax(np.abs(fdf), axis=0)
        peak = np.take_along_axis(fdf, at[None], axis=0)[0]
        return np.stack([peak.real, peak.imag, phi[at]]).astype(np.float64)

    def without(self, thin):
        """Return Q and U less a thin component."""
        model = (thin[0] + 1j * thin[1]) * np.exp(2j * thin[2] * (self.lambda_sq_m2 - self.origin_m2))
        return self.p - np.stack([model.real, model.imag])


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
    spectrum = _check(freq_hz, q, u, dq, du)
    for model in models:
        if model not in QU_MODELS:
            raise DataError(f"models: expected some of {', '.join(QU_MODELS)}, got {model!r}")
    phi = phi_grid(freq_hz, phi_max_radm2=phi_max_radm2)
    phi_max, fwhm = float(phi[-1]), rmtf_fwhm(freq_hz)
    fits = {}
    for model in models:
        if spectrum.data > len(QU_MODELS[model]):
            starts = _STARTS[model](spectrum, phi, fwhm)
            fits[model] = _describe(model, spectrum.fit(starts, _bounds(model, phi_max)), spectrum, phi_max)
    return fits


def _check(freq_hz, q, u, dq, du):
    """Return the usable channels."""
    parts = [real_values(name, part) for name, part in (("q", q), ("u", u), ("dq", dq), ("du", du))]
    try:
        q, u, dq, du = (np.broadcast_to(part, freq_hz.shape) for part in parts)
    except ValueError:
        shapes = ", ".join(str(part.shape) for part in parts)
        raise DataError(f"q, u, dq and du: expected ({freq_hz.size},) as freq_hz, got {shapes}") from None
    good = np.all(np.isfinite([q, u, dq, du]), axis=0) & (dq > 0) & (du > 0)
    if good.sum() < 2:
        raise DataError(f"q and u: expected at least two usable channels, got {good.sum()} of {freq_hz.size}")
    p, scale = np.where(good, [q, u], 0.0), np.where(good, 1.0 / np.where(good, [dq, du], 1.0), 0.0)
    origin = np.average(lambda_sq(freq_hz), weights=(scale**2).sum(axis=0))
    return _Spectrum(freq_hz, lambda_sq(freq_hz), p, scale, 2 * int(good.sum()), float(origin))


def _bounds(model, phi_max):
    """Return the least and the largest value of each number of a model, (2, n)."""
    largest = np.array([phi_max if "radm2" in name else np.inf for name in QU_MODELS[model]])
    return np.stack([-largest, largest])


def _thin_starts(spectrum, phi, fwhm):
    """Return the peak of the Faraday spectrum."""
    return [spectrum.highest(spectrum.p, phi)[:, 0]]


def _two_starts(spectrum, phi, fwhm):
    """Return the best thin component with the next peak, and with second ones beside it."""
    thin = spectrum.fit(_thin_starts(spectrum, phi, fwhm), _bounds("thin", phi[-1]))
    half = 0.5 * thin[:2]
    steps = [sign * share * fwhm for share in SEPARATIONS for sign in (1, -1)]
    beside = [[*half, thin[2], *half, thin[2] + step] for step in steps]
    return [[*thin, *spectrum.highest(spectrum.without(thin), phi)[:, 0]], *beside]


def _slab_starts(spectrum, phi, fwhm):
    """Return the likeliest of all slabs: of each depth R the best middle follows from a Faraday spectrum."""
    step = SLAB_STEP / spectrum.lambda_sq_m2.max()
    depths = step * np.arange(1, max(int(phi[-1] / step), 1) + 1)
    shapes = np.sinc(np.outer(spectrum.lambda_sq_m2, depths / np.pi))
    real, imag, middle = spectrum.highest(spectrum.p, phi, shapes)
    squares = spectrum.weights @ shapes**2 / spectrum.weights.sum()
    gain = (real**2 + imag**2) / squares
    padded = np.concatenate([[0.0], gain, [0.0]])
    tops = np.flatnonzero((gain >= padded[:-2]) & (gain >= padded[2:]))
    best = tops[np.argsort(-gain[tops], kind="stable")[:SLAB_STARTS]]
    return np.stack([real / squares, imag / squares, middle - 0.5 * depths, depths], axis=1)[best]


_STARTS = {"thin": _thin_starts, "two": _two_starts, "slab": _slab_starts}


def _describe(model, values, spectrum, phi_max):
    """Return a fit by amplitude, angle and depths, with errors and criteria."""
    reported = _as_reported(model, values, spectrum.origin_m2)
    count, data = len(values), spectrum.data
    information, lambda_sq_m2 = np.empty((count, count)), spectrum.lambda_sq_m2
    chi_sq = evaluate(reported, lambda_sq_m2, lambda_sq_m2, spectrum.p, spectrum.scale, information, np.empty(count))
    information = np.tril(information) + np.tril(information, -1).T
    numbers, slopes = _polar(reported)
    covariance = np.linalg.pinv(information)
    log_volume = 0.5 * (count * np.log(2.0 * np.pi) - np.linalg.slogdet(information)[1])
    if model == "slab":
        log_volume, depth_variance = _slab_volume(values, chi_sq, spectrum, phi_max)
        added = max(depth_variance - covariance[3, 3], 0.0)
        covariance[2:, 2:] += added * np.array([[0.25, -0.5], [-0.5, 1.0]])
    errors = np.sqrt(np.diag(slopes @ covariance @ slopes.T))
    log_likelihood = np.log(spectrum.scale[spectrum.scale > 0]).sum() - 0.5 * (chi_sq + data * np.log(2.0 * np.pi))
    return QuFit(
        model,
        dict(zip(QU_MODELS[model], numbers.tolist(), strict=True)),
        dict(zip(QU_MODELS[model], errors.tolist(), strict=True)),
        float(chi_sq),
        data - count,
        float(2 * count - 2 * log_likelihood),
        float(count * np.log(data) - 2 * log_likelihood),
        float(log_likelihood + _log_prior(model, spectrum, phi_max) + log_volume),
    )


def _slab_volume(values, chi_sq, spectrum, phi_max):
    """Return the logarithm of ∫ exp(-½(χ² - least χ²)) over the numbers of a slab, and the mean square of R - best R.

    Laplace's approximation holds for all numbers but the depth: χ² is even in it, so that at 0, where sources that are
    no slabs end, it has no curvature to tell a width from.
    """
    values, bounds = _as_reported("slab", values, 0.0), _bounds("slab", phi_max)
    depth, chi, volume = values[3], np.empty(NODES), np.empty(NODES)
    step = 0.01 / spectrum.lambda_sq_m2.max()
    steps = np.append(step * 2.0 ** np.arange(min(max(np.log2(phi_max / step), 0.0), NODES - 1.0)), phi_max)
    ends = []
    for tried in (np.maximum(depth - steps, 0.0), np.minimum(depth + steps, phi_max)):
        profile_depth(values.copy(), tried, bounds, *spectrum.channels, chi, volume)
        beyond = np.flatnonzero(chi[: tried.size] > chi_sq + UNLIKELY)
        ends.append(tried[beyond[0] if beyond.size else -1])
    nodes = np.linspace(*ends, NODES)
    values[2:] = values[2] + 0.5 * (depth - nodes[0]), nodes[0]
    profile_depth(values, nodes, bounds, *spectrum.channels, chi, volume)
    density = np.exp(-0.5 * (chi - chi_sq) - 0.5 * (volume - np.nanmin(volume)))
    density = np.where(np.isfinite(density), density, 0.0)
    total = np.trapezoid(density, nodes)
    variance = np.trapezoid(density * (nodes - depth) ** 2, nodes) / total
    return 1.5 * np.log(2.0 * np.pi) - 0.5 * np.nanmin(volume) + np.log(total), variance


def _as_reported(model, values, origin):
    """Return the numbers of the same model with phases from λ² = 0, in the order in which they are reported.

    Of two components the brighter comes first. A slab's depth is positive: behind a foreground φ, depth R looks like
    depth -R behind φ + R.
    """
    values = values.copy()
    for first in range(0, len(values) - 2, 3):
        middle = values[first + 2] + (0.5 * values[3] if model == "slab" else 0.0)
        amplitude = (values[first] + 1j * values[first + 1]) * np.exp(-2j * middle * origin)
        values[first : first + 2] = amplitude.real, amplitude.imag
    if model == "two" and np.hypot(*values[3:5]) > np.hypot(*values[:2]):
        values = np.roll(values, 3)
    elif model == "slab" and values[3] < 0:
        values[2:] = values[2] + values[3], -values[3]
    return values


def _polar(values):
    """Return amplitudes, angles in degrees and depths, and their derivatives by the numbers that were fitted."""
    numbers, slopes, tiny = values.copy(), np.eye(len(values)), np.finfo(float).tiny
    for first in range(0, len(values) - 2, 3):
        a, b = values[first : first + 2]
        amplitude, angle = max(np.hypot(a, b), tiny), np.rad2deg(0.5 * np.arctan2(b, a)) % 180.0
        numbers[first : first + 2] = amplitude, angle
        own = np.array([[a, b], np.rad2deg(0.5) * np.array([-b, a]) / amplitude]) / amplitude
        slopes[first : first + 2, first : first + 2] = own
    return numbers, slopes


def _log_prior(model, spectrum, phi_max):
    """Return the logarithm of the prior density: depths within ± `phi_max`, amplitudes within the brightest channel."""
    depths = np.isfinite(_bounds(model, phi_max)[1]).sum()
    components = (len(QU_MODELS[model]) - depths) // 2
    brightest = np.hypot(*spectrum.p).max()
    return -depths * np.log(2.0 * phi_max) - components * np.log(np.pi * brightest**2)
