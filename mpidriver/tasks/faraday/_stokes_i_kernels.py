"""Models of Stokes I, spectrum by spectrum: weighted least squares by the method of Levenberg and Marquardt.

Two families, both polynomials of degree at most 5 in a variable t that runs over -1 ... 1, so that the normal equations
are well conditioned: *linear*, I = Σ a_k t^k, and *log*, I = a_0 10^(Σ a_k t^k), k ≥ 1: a power law with curvature.
"""

import numpy as np

from mpidriver.tasks._jit import kernel

__all__ = ["COEFFICIENTS", "fit_models"]

COEFFICIENTS = 6
ITERATIONS = 60
CONVERGED = 1e-13
"""Relative gain in χ² below which a fit has ended."""
SINGULAR = 1e-12
"""Pivot over the diagonal below which the normal equations have no solution."""
LN10 = np.log(10.0)


@kernel
def _evaluate(flux, weight, t, a, count, logarithmic, normal, gradient):
    """Fill the normal equations of the first `count` coefficients; return χ²."""
    normal[:] = 0
    gradient[:] = 0
    chi_sq = 0.0
    basis = np.empty(COEFFICIENTS)
    for chan in range(flux.size):
        if weight[chan] <= 0:
            continue
        power, exponent = 1.0, 0.0
        for k in range(count):
            basis[k] = power
            exponent += a[k] * power
            power *= t[chan]
        if logarithmic:
            unit = np.exp(LN10 * (exponent - a[0]))
            model = a[0] * unit
            for k in range(1, count):
                basis[k] *= LN10 * model
            basis[0] = unit
        else:
            model = exponent
        residual = flux[chan] - model
        chi_sq += weight[chan] * residual * residual
        for k in range(count):
            scaled = weight[chan] * basis[k]
            gradient[k] += scaled * residual
            for j in range(k + 1):
                normal[k, j] += scaled * basis[j]
    return chi_sq


@kernel
def _invert(normal, damping, count, inverse):
    """Invert a symmetric positive matrix, of which the lower half is given, with its diagonal times 1 + damping."""
    work = np.zeros((count, 2 * count))
    for k in range(count):
        for j in range(count):
            work[k, j] = normal[max(k, j), min(k, j)]
        work[k, k] *= 1.0 + damping
        work[k, count + k] = 1.0
    for k in range(count):
        pivot = work[k, k]
        if not pivot > SINGULAR * normal[k, k]:
            return False
        work[k] /= pivot
        for j in range(count):
            if j != k:
                work[j] -= work[j, k] * work[k]
    for k in range(count):
        for j in range(count):
            inverse[k, j] = work[k, count + j]
    return True


@kernel
def _fit(flux, weight, t, a, count, logarithmic, covariance):
    """Improve the first `count` coefficients until χ² ends falling; return χ², inf if there is no solution."""
    normal, inverse = np.zeros((COEFFICIENTS, COEFFICIENTS)), np.zeros((COEFFICIENTS, COEFFICIENTS))
    gradient, trial = np.zeros(COEFFICIENTS), np.zeros(COEFFICIENTS)
    chi_sq = _evaluate(flux, weight, t, a, count, logarithmic, normal, gradient)
    damping = 0.0
    for _ in range(ITERATIONS):
        if not _invert(normal, damping, count, inverse):
            return np.inf
        trial[:] = a
        for k in range(count):
            for j in range(count):
                trial[k] += inverse[k, j] * gradient[j]
        new_chi_sq = _evaluate(flux, weight, t, trial, count, logarithmic, normal, gradient)
        gain = chi_sq - new_chi_sq
        if gain >= 0:
            a[:] = trial
            chi_sq = new_chi_sq
            damping *= 0.1
            if gain <= CONVERGED * chi_sq:
                break
        else:
            _evaluate(flux, weight, t, a, count, logarithmic, normal, gradient)
            if -gain <= CONVERGED * chi_sq:
                break
            damping = max(10.0 * damping, 1e-3)
    covariance[:] = 0
    if not _invert(normal, 0.0, count, covariance):
        return np.inf
    return chi_sq


@kernel
def _fit_best(flux, weight, t, degree, choose, logarithmic, coefficients, covariance):
    """Fit a model of a degree, or of the first degree from 0 on after which AIC rises; return χ² and the degree."""
    a, own_covariance = np.zeros(COEFFICIENTS), np.zeros((COEFFICIENTS, COEFFICIENTS))
    a[0] = (weight * flux).sum() / weight.sum()
    best_chi_sq, best_degree = np.inf, -1
    for k in range(0 if choose else degree, degree + 1):
        chi_sq = _fit(flux, weight, t, a, k + 1, logarithmic, own_covariance)
        if not chi_sq < np.inf or (best_degree >= 0 and chi_sq + 2.0 >= best_chi_sq):
            break
        best_chi_sq, best_degree = chi_sq, k
        coefficients[:] = a
        covariance[:] = own_covariance
    return best_chi_sq, best_degree


@kernel
def fit_models(flux, weight, t, degree, choose, logarithmic, coefficients, covariance, chi_sq, best_degree):
    """Fit a model to every spectrum.

    Parameters
    ----------
    flux, weight : float64 (source, chan)
        Channels of weight 0 are left out.
    t : float64 (source, chan)
        The variable, within -1 ... 1.
    degree : int
        At most 5; at most one less than a source has channels is used.
    choose : bool
        Take the lowest degree after which Akaike's criterion does not fall any more.
    logarithmic : bool
    coefficients, covariance : float64 (source, 6), (source, 6, 6)
        Results, 0 beyond the degree.
    chi_sq, best_degree : float64, int64 (source,)
        Results; degree -1 where there is no model.
    """
    for k in range(flux.shape[0]):
        channels = np.count_nonzero(weight[k] > 0)
        own, best_degree[k] = min(degree, channels - 1), -1
        while own >= 0 and best_degree[k] < 0:
            chi_sq[k], best_degree[k] = _fit_best(
                flux[k], weight[k], t[k], own, choose, logarithmic, coefficients[k], covariance[k]
            )
            own -= 1
