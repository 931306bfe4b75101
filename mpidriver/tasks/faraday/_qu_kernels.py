"""Models of Q and U of one source, fitted by the method of Levenberg and Marquardt with analytic derivatives.

A component of three numbers (a, b, φ) is (a + ib) exp(2iφy), y being λ² from any origin; a fourth number R makes a slab
of it, times exp(iRy) sin(Rλ²)/(Rλ²). Six numbers are two components.
"""

import numpy as np

from mpidriver.tasks._jit import ANY_ORDER, kernel
from mpidriver.tasks.cholesky import solve_positive

__all__ = ["evaluate", "fit_all", "profile_depth"]

STEPS = 200
SETTLED = 1e-9
"""Expected gain in χ² at which a fit has ended: numbers within 1e-4 of their errors."""
DAMPING, DAMPING_MOST = 1e-3, 1e10


@kernel
def _slab(depth, lambda_sq):
    """Return sin(Rλ²)/(Rλ²) and its derivative by R."""
    z = depth * lambda_sq
    if abs(z) < 1e-3:
        return 1.0 - z * z / 6.0, -z / 3.0 * lambda_sq
    ratio = np.sin(z) / z
    return ratio, (np.cos(z) - ratio) / z * lambda_sq


@kernel
def _fill(values, y, lambda_sq, p, scale, slopes, left):
    """Write the derivatives of a model and what it leaves of Q and U, both over the errors."""
    left[:] = p * scale
    slab = values.size == 4
    for chan in range(y.size):
        shape, shape_slope = _slab(values[3], lambda_sq[chan]) if slab else (1.0, 0.0)
        scale_q, scale_u = scale[0, chan], scale[1, chan]
        for first in range(0, values.size - 2, 3):
            angle = (2.0 * values[first + 2] + (values[3] if slab else 0.0)) * y[chan]
            c, s = np.cos(angle), np.sin(angle)
            turned_re = values[first] * c - values[first + 1] * s
            turned_im = values[first] * s + values[first + 1] * c
            p_re, p_im = turned_re * shape, turned_im * shape
            left[0, chan] -= p_re * scale_q
            left[1, chan] -= p_im * scale_u
            slopes[first, 0, chan], slopes[first, 1, chan] = c * shape * scale_q, s * shape * scale_u
            slopes[first + 1, 0, chan], slopes[first + 1, 1, chan] = -s * shape * scale_q, c * shape * scale_u
            slopes[first + 2, 0, chan] = -2.0 * y[chan] * p_im * scale_q
            slopes[first + 2, 1, chan] = 2.0 * y[chan] * p_re * scale_u
            if slab:
                slopes[3, 0, chan] = (turned_re * shape_slope - y[chan] * p_im) * scale_q
                slopes[3, 1, chan] = (turned_im * shape_slope + y[chan] * p_re) * scale_u


@kernel(fastmath=ANY_ORDER)
def _product(a, b):
    total = 0.0
    for k in range(a.size):
        total += a[k] * b[k]
    return total


@kernel
def evaluate(values, y, lambda_sq, p, scale, information, gradient):
    """Fill the normal equations of a model; return χ².

    Parameters
    ----------
    values : float64 (n,)
        3: thin, 4: slab, 6: two components.
    y, lambda_sq : float64 (chan,) m²
        λ² from the origin of phases, and from 0.
    p, scale : float64 (2, chan)
        Q and U, and 1 over their errors, 0 where flagged.
    information : float64 (n, n)
        Receives the lower half of Σ ∂p/∂v_j ∂p/∂v_k / σ².
    gradient : float64 (n,)
        Receives Σ (data - p) ∂p/∂v_j / σ².
    """
    slopes, left = np.empty((values.size, 2, y.size)), np.empty((2, y.size))
    _fill(values, y, lambda_sq, p, scale, slopes, left)
    flat = left.ravel()
    for j in range(values.size):
        own = slopes[j].ravel()
        gradient[j] = _product(own, flat)
        for k in range(j + 1):
            information[j, k] = _product(own, slopes[k].ravel())
    return _product(flat, flat)


@kernel
def _step(values, bounds, information, gradient, damping, step):
    """Write a damped step of the numbers that no bound holds back; return the gain in χ² expected of it, -1 if none."""
    matrix = information.copy()
    for j in range(values.size):
        low, high = bounds[0, j], bounds[1, j]
        held = (values[j] <= low and gradient[j] <= 0) or (values[j] >= high and gradient[j] >= 0) or low == high
        step[j] = 0.0 if held else gradient[j]
        matrix[j, j] *= 1.0 + damping
        if held or not matrix[j, j] > 0.0:
            matrix[j, :] = 0.0
            matrix[:, j] = 0.0
            matrix[j, j], step[j] = 1.0, 0.0
    if not solve_positive(matrix, step):
        return -1.0
    return np.sum(step * gradient)


@kernel
def _fit(values, bounds, y, lambda_sq, p, scale):
    """Improve the numbers of a model in place until χ² ends falling; return it."""
    count = values.size
    information, gradient = np.zeros((count, count)), np.zeros(count)
    new_information, new_gradient = np.zeros((count, count)), np.zeros(count)
    step, trial = np.zeros(count), np.zeros(count)
    chi_sq, damping = evaluate(values, y, lambda_sq, p, scale, information, gradient), DAMPING
    for _ in range(STEPS):
        expected = _step(values, bounds, information, gradient, damping, step)
        if 0.0 <= expected <= SETTLED + 1e-14 * chi_sq or damping > DAMPING_MOST:
            break
        for j in range(count):
            trial[j] = min(max(values[j] + step[j], bounds[0, j]), bounds[1, j])
        new = evaluate(trial, y, lambda_sq, p, scale, new_information, new_gradient) if expected > 0.0 else np.inf
        if new < chi_sq:
            values[:], information[:], gradient[:] = trial, new_information, new_gradient
            chi_sq, damping = new, 0.1 * damping
        else:
            damping *= 10.0
    return chi_sq


@kernel
def fit_all(starts, bounds, y, lambda_sq, p, scale, chi_sq):
    """Fit a model from several first guesses.

    Parameters
    ----------
    starts : float64 (start, n)
        Improved in place.
    bounds : float64 (2, n)
        Least and largest value of each number.
    y, lambda_sq, p, scale
        As for `evaluate`.
    chi_sq : float64 (start,)
        Receives χ² of each.
    """
    for k in range(len(starts)):
        chi_sq[k] = _fit(starts[k], bounds, y, lambda_sq, p, scale)


@kernel
def profile_depth(values, depths, bounds, y, lambda_sq, p, scale, chi_sq, log_determinant):
    """Fit a slab of each of several depths, one after the other, from the last one's other numbers on.

    Parameters
    ----------
    values : float64 (4,)
        First guess, overwritten.
    depths : float64 (depth,)
    bounds, y, lambda_sq, p, scale
        As for `fit_all`.
    chi_sq, log_determinant : float64 (depth,)
        Receive χ², and the logarithm of the determinant of the information about the other three numbers.
    """
    information, gradient, own_bounds = np.zeros((4, 4)), np.zeros(4), bounds.copy()
    for k in range(depths.size):
        values[2] -= 0.5 * (depths[k] - values[3])
        values[3] = depths[k]
        own_bounds[:, 3] = depths[k]
        chi_sq[k] = _fit(values, own_bounds, y, lambda_sq, p, scale)
        evaluate(values, y, lambda_sq, p, scale, information, gradient)
        log_determinant[k] = np.nan
        if solve_positive(information[:3, :3], gradient[:3]):
            log_determinant[k] = 2.0 * np.log(np.diag(information)[:3]).sum()
