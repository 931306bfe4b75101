"""The fit of one source after the other to its window: a galaxy where that is better than a point source."""

import numpy as np

from mpidriver.tasks._jit import kernel
from mpidriver.tasks.cholesky import solve_positive
from mpidriver.tasks.multiband._model_kernels import add_model, fill_templates, window

__all__ = ["fit_sources"]

_DAMPING_MOST = 1e8
#: Axis ratios of galaxies are above exp(-2).
_LARGEST_STRETCH = 2.0
#: A galaxy must fit better than a point source by this much in chi squared, for its three numbers of shape.
_LEAST_GAIN = 4.0
#: What is assumed of faint galaxies: spread of the logarithm of the radius, of the stretch, share of the de
#: Vaucouleurs profile and its spread.
_RADIUS_SPREAD, _STRETCH_SPREAD, _SHARE, _SHARE_SPREAD = 0.7, 0.6, 0.3, 0.3


@kernel
def _ellipse(log_radius, stretch_1, stretch_2):
    """Return the matrix xx, yy, xy of an ellipse from the logarithm of its radius and its two stretches."""
    h = np.sqrt(stretch_1 * stretch_1 + stretch_2 * stretch_2)
    area = np.exp(2.0 * log_radius)
    ratio = np.sinh(h) / h if h > 1e-6 else 1.0
    return (
        area * (np.cosh(h) + ratio * stretch_1),
        area * (np.cosh(h) - ratio * stretch_1),
        area * ratio * stretch_2,
    )


@kernel
def _source_of(q, half):
    """Return the source that seven fitted numbers mean: x, y, log radius, two stretches, both profiles' fluxes."""
    source = np.zeros(8)
    source[0], source[1], source[7] = q[0], q[1], half
    source[2], source[3], source[4] = _ellipse(q[2], q[3], q[4])
    source[6] = q[5] + q[6]
    source[5] = q[6] / source[6] if source[6] > 0.0 else 0.0
    return source


@kernel
def _assumptions(q, prior):
    """Return the offset of each number from what is assumed of it, and the weight of that, shape (7,) each."""
    total = max(q[5] + q[6], 1e-30)
    offset, weight = np.zeros(7), np.zeros(7)
    offset[0], offset[1], weight[0], weight[1] = q[0] - prior[0], q[1] - prior[1], prior[3], prior[3]
    offset[2], weight[2] = q[2] - prior[2], _RADIUS_SPREAD**-2
    offset[3], offset[4], weight[3], weight[4] = q[3], q[4], _STRETCH_SPREAD**-2, _STRETCH_SPREAD**-2
    offset[6], weight[6] = q[6] - _SHARE * total, (_SHARE_SPREAD * total) ** -2
    return offset, weight


@kernel
def _cost(data, usable, weight, planes, q, prior):
    cost = 0.0
    for row in range(data.shape[0]):
        for col in range(data.shape[1]):
            if usable[row, col]:
                left = data[row, col] - q[5] * planes[0, row, col] - q[6] * planes[1, row, col]
                cost += left * left
    offset, strength = _assumptions(q, prior)
    return weight * cost + np.sum(strength * offset * offset)


@kernel
def _normal_equations(data, usable, weight, planes, q, prior):
    """Return matrix and right side of the least-squares problem about `q`, in the seven fitted numbers."""
    matrix, side, slopes = np.zeros((7, 7)), np.zeros(7), np.empty(7)
    total = q[5] + q[6]
    for row in range(data.shape[0]):
        for col in range(data.shape[1]):
            if usable[row, col]:
                left = data[row, col] - q[5] * planes[0, row, col] - q[6] * planes[1, row, col]
                for k in range(5):
                    slopes[k] = total * planes[2 + k, row, col]
                slopes[5], slopes[6] = planes[0, row, col], planes[1, row, col]
                for i in range(7):
                    side[i] += slopes[i] * left
                    for j in range(i + 1):
                        matrix[i, j] += slopes[i] * slopes[j]
    for i in range(7):
        for j in range(i):
            matrix[j, i] = matrix[i, j]
    chain = np.eye(7)
    for k in range(3):
        high, low = q[2:5].copy(), q[2:5].copy()
        high[k] += 1e-4
        low[k] -= 1e-4
        plus, minus = _ellipse(high[0], high[1], high[2]), _ellipse(low[0], low[1], low[2])
        for i in range(3):
            chain[2 + i, 2 + k] = (plus[i] - minus[i]) / 2e-4
    offset, strength = _assumptions(q, prior)
    # np.dot would need BLAS, whose threads are not ours to use.
    half, out, right = np.zeros((7, 7)), np.zeros((7, 7)), np.zeros(7)
    for i in range(7):
        for j in range(7):
            for k in range(7):
                half[i, j] += matrix[i, k] * chain[k, j]
    for i in range(7):
        for k in range(7):
            right[i] += weight * chain[k, i] * side[k]
            for j in range(7):
                out[i, j] += weight * chain[k, i] * half[k, j]
    for i in range(7):
        out[i, i] += strength[i]
        right[i] -= strength[i] * offset[i]
    return out, right


@kernel
def _bounded(q, least_log, most_log):
    q[2] = min(max(q[2], least_log), most_log)
    h = np.sqrt(q[3] * q[3] + q[4] * q[4])
    if h > _LARGEST_STRETCH:
        q[3] *= _LARGEST_STRETCH / h
        q[4] *= _LARGEST_STRETCH / h
    q[5], q[6] = max(q[5], 0.0), max(q[6], 0.0)


@kernel
def _fit_galaxy(data, usable, weight, q, prior, half, bounds, psf_matrix, psf, profiles, planes, line, steps):
    """Improve the seven numbers of a galaxy in place by Levenberg's and Marquardt's method; return the cost."""
    shape = data.shape
    fill_templates(planes, line, shape, _source_of(q, half), psf_matrix, psf, profiles, True)
    cost, damping = _cost(data, usable, weight, planes, q, prior), 1e-3
    for _ in range(steps):
        matrix, side = _normal_equations(data, usable, weight, planes, q, prior)
        better = False
        while damping < _DAMPING_MOST:
            damped, step = matrix.copy(), side.copy()
            for i in range(7):
                damped[i, i] += damping * matrix[i, i] + 1e-300
            if solve_positive(damped, step):
                trial = q + step
                _bounded(trial, bounds[0], bounds[1])
                fill_templates(planes, line, shape, _source_of(trial, half), psf_matrix, psf, profiles, True)
                new = _cost(data, usable, weight, planes, trial, prior)
                if new < cost:
                    better = True
                    break
            damping *= 10.0
        if not better:
            break
        gain = cost - new
        q[:] = trial
        cost, damping = new, damping * 0.1
        if gain < 1e-3 + 1e-6 * cost:
            break
    return cost


@kernel
def _fit_point(data, usable, weight, source, prior, psf_matrix, psf, profiles, planes, line):
    """Fit position and flux of a point source in place; return the cost."""
    cost = np.inf
    for _ in range(5):
        fill_templates(planes, line, data.shape, source, psf_matrix, psf, profiles, True)
        matrix, side, cost = np.zeros((3, 3)), np.zeros(3), 0.0
        for row in range(data.shape[0]):
            for col in range(data.shape[1]):
                if usable[row, col]:
                    light = planes[0, row, col]
                    sx, sy = source[6] * planes[2, row, col], source[6] * planes[3, row, col]
                    left = data[row, col] - source[6] * light
                    cost += weight * left * left
                    matrix[0, 0] += weight * sx * sx
                    matrix[1, 0] += weight * sx * sy
                    matrix[1, 1] += weight * sy * sy
                    matrix[2, 0] += weight * sx * light
                    matrix[2, 1] += weight * sy * light
                    matrix[2, 2] += weight * light * light
                    side[0] += weight * sx * left
                    side[1] += weight * sy * left
                    side[2] += weight * light * left
        for i in range(2):
            offset = source[i] - prior[i]
            cost += prior[3] * offset * offset
            matrix[i, i] += prior[3]
            side[i] -= prior[3] * offset
        if not solve_positive(matrix, side):
            break
        source[0] += min(max(side[0], -1.0), 1.0)
        source[1] += min(max(side[1], -1.0), 1.0)
        source[6] += side[2]
        if side[0] * side[0] + side[1] * side[1] < 1e-8:
            break
    return cost


@kernel
def _shape_error(data, usable, weight, planes, q, prior):
    """Return the relative error of a galaxy's flux that comes from its shape and position being fitted."""
    matrix, side = _normal_equations(data, usable, weight, planes, q, prior)
    total = q[5] + q[6]
    squares = 0.0
    for row in range(data.shape[0]):
        for col in range(data.shape[1]):
            if usable[row, col]:
                light = q[5] * planes[0, row, col] + q[6] * planes[1, row, col]
                squares += light * light
    side[:] = 0.0
    side[5], side[6] = 1.0, 1.0
    if not solve_positive(matrix, side) or not squares > 0.0 or not total > 0.0:
        return 0.0
    return np.sqrt(max((side[5] + side[6]) / (total * total) - 1.0 / (weight * squares), 0.0))


@kernel
def _galaxy_guess(source, point, typical_px):
    """Return the seven numbers of a galaxy from which its fit begins, where the point source was fitted."""
    q = np.empty(7)
    q[0], q[1] = point[0], point[1]
    area = source[2] * source[3] - source[4] * source[4]
    q[2] = 0.25 * np.log(area) if area > 0.0 else np.log(typical_px)
    q[3], q[4] = 0.0, 0.0
    if area > 0.0:
        root = np.sqrt(area)
        h = np.arccosh(max(0.5 * (source[2] + source[3]) / root, 1.0))
        ratio = np.sinh(h) / h if h > 1e-6 else 1.0
        q[3], q[4] = 0.5 * (source[2] - source[3]) / root / ratio, source[4] / root / ratio
        q[5], q[6] = source[6] * (1.0 - source[5]), source[6] * source[5]
    else:
        q[5], q[6] = 0.7 * max(point[6], 0.0), 0.3 * max(point[6], 0.0)
    return q


@kernel
def _doubt(gain, point_flux, galaxy_flux):
    """Return the relative error of a point source's flux from the chance that it is a galaxy."""
    if not point_flux > 0.0:
        return 0.0
    chance = 1.0 / (1.0 + np.exp(0.5 * (_LEAST_GAIN - min(gain, _LEAST_GAIN))))
    return np.sqrt(chance) * abs(galaxy_flux / point_flux - 1.0)


@kernel
def fit_sources(
    residual, usable, sources, shape_errors, begins, weights, order, psf_matrices, psf, profiles, limits, steps
):
    """Fit sources one after another, each to what the others leave, in place.

    Parameters
    ----------
    residual : ndarray of float64, shape (row, col), changed in place
        The image without any source.
    usable : ndarray of bool, shape (row, col)
    sources : ndarray of float64, shape (source, 8), changed in place
    shape_errors : ndarray of float64, shape (source,), changed in place
        Relative error of the flux that comes from a galaxy's shape, or from what a point source would have as one.
    begins : ndarray of float64, shape (source, 2), px
        Positions that sources keep close to.
    weights : ndarray of float64, shape (source,)
        Inverse variance of the sky there.
    order : ndarray of int
        Which sources to fit, and in what order.
    psf_matrices : ndarray, shape (source, 3)
    psf, profiles : ndarray
        As for `fill_templates`.
    limits : tuple of float
        Spread of a position about where it begins, px; assumed, least and largest half-light radius, px.
    steps : int
        Of the fit, at most.
    """
    spread_px, typical_px, least_px, most_px = limits
    size = 2 * int(sources[:, 7].max()) + 1 if sources.shape[0] else 1
    planes, line = np.empty((7, size, size)), np.empty(size)
    bounds = (np.log(least_px), np.log(most_px))
    for i in order:
        source = sources[i]
        half = int(source[7])
        row0, row1, col0, col1 = window(source[0], source[1], half, residual.shape[0], residual.shape[1])
        if row1 <= row0 or col1 <= col0:
            continue
        add_model(residual, source, psf_matrices[i], psf, profiles, 1.0, planes, line)
        data, good = residual[row0:row1, col0:col1], usable[row0:row1, col0:col1]
        prior = np.array([begins[i, 0] - col0, begins[i, 1] - row0, np.log(typical_px), spread_px**-2])
        point = np.zeros(8)
        point[0], point[1], point[6], point[7] = source[0] - col0, source[1] - row0, max(source[6], 0.0), half
        flat = _fit_point(data, good, weights[i], point, prior, psf_matrices[i], psf, profiles, planes, line)
        q = _galaxy_guess(source, point, typical_px)
        _bounded(q, bounds[0], bounds[1])
        psf_matrix = psf_matrices[i]
        curved = _fit_galaxy(
            data, good, weights[i], q, prior, half, bounds, psf_matrix, psf, profiles, planes, line, steps
        )
        extended = curved < flat - _LEAST_GAIN
        source[:] = _source_of(q, half) if extended else point
        shape_errors[i] = _doubt(flat - curved, point[6], q[5] + q[6])
        if extended:
            fill_templates(planes, line, data.shape, source, psf_matrix, psf, profiles, True)
            shape_errors[i] = _shape_error(data, good, weights[i], planes, q, prior)
        source[0] += col0
        source[1] += row0
        add_model(residual, source, psf_matrices[i], psf, profiles, -1.0, planes, line)
