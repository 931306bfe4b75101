"""Galaxies convolved with the PSF on pixels, their derivatives, and the fit of one to its window.

A source is a row of eight numbers (see `_models`): x, y, the matrix of its half-light ellipse, the share of the de
Vaucouleurs profile, flux, and the half width of its window. A matrix of zeros is a point source.
"""

import numpy as np

from mpidriver.tasks._jit import kernel

__all__ = ["add_models", "fill_templates", "fit_sources", "pair_products", "window"]

#: Gaussians end at this many sigmas.
_REACH = 4.5
_DAMPING_MOST = 1e8
#: Axis ratios of galaxies are above exp(-2).
_LARGEST_STRETCH = 2.0
#: A galaxy must fit better than a point source by this much in chi squared, for its three numbers of shape.
_LEAST_GAIN = 9.0
#: What is assumed of faint galaxies: spread of the logarithm of the radius, of the stretch, share of the de
#: Vaucouleurs profile and its spread.
_RADIUS_SPREAD, _STRETCH_SPREAD, _SHARE, _SHARE_SPREAD = 0.7, 0.6, 0.3, 0.3


@kernel
def window(x, y, half, n_rows, n_cols):
    """Return first row, last row + 1, first column, last column + 1 of a source's window; empty outside the image."""
    row, col = int(np.rint(y)), int(np.rint(x))
    return (
        min(max(row - half, 0), n_rows),
        max(min(row + half + 1, n_rows), 0),
        min(max(col - half, 0), n_cols),
        max(min(col + half + 1, n_cols), 0),
    )


@kernel
def _gaussian_row(line, first, last, middle, height, inverse):
    """Fill ``line[first:last]`` with ``height exp(-inverse (col - middle)^2 / 2)``, by products from the top down."""
    top = min(max(int(np.rint(middle)), first), last - 1)
    offset = top - middle
    peak = height * np.exp(-0.5 * inverse * offset * offset)
    square = np.exp(-inverse)
    value, step = peak, np.exp(-inverse * (offset + 0.5))
    for col in range(top, last):
        line[col] = value
        value *= step
        step *= square
    value, step = peak, np.exp(inverse * (offset - 0.5))
    for col in range(top, first - 1, -1):
        line[col] = value
        value *= step
        step *= square


@kernel
def _add_gaussian(out, line, shape, centre, matrix, weights, spread, derive):
    """Add one Gaussian to the planes of `out`: both profiles, and the derivatives of their mixture.

    `weights` are its shares in the exponential, the de Vaucouleurs profile and the mixture; `spread` is the derivative
    of its matrix by the ellipse's.
    """
    n_rows, n_cols = shape
    x, y = centre
    xx, yy, xy = matrix
    share_exp, share_dev, share = weights
    determinant = xx * yy - xy * xy
    ia, ib, ic = yy / determinant, -xy / determinant, xx / determinant
    height = 1.0 / (2.0 * np.pi * np.sqrt(determinant))
    reach_y = _REACH * np.sqrt(yy)
    for row in range(max(int(np.ceil(y - reach_y)), 0), min(int(np.floor(y + reach_y)) + 1, n_rows)):
        dy = row - y
        middle = x - ib * dy / ia
        reach_x = np.sqrt(max(_REACH * _REACH - dy * dy / yy, 0.0) / ia)
        first, last = max(int(np.ceil(middle - reach_x)), 0), min(int(np.floor(middle + reach_x)) + 1, n_cols)
        if last <= first:
            continue
        _gaussian_row(line, first, last, middle, height * np.exp(-0.5 * dy * dy / yy), ia)
        for col in range(first, last):
            out[0, row, col] += share_exp * line[col]
            out[1, row, col] += share_dev * line[col]
        if derive:
            for col in range(first, last):
                dx = col - x
                light = share * line[col]
                u, v = ia * dx + ib * dy, ib * dx + ic * dy
                out[2, row, col] += light * u
                out[3, row, col] += light * v
                light *= spread
                out[4, row, col] += 0.5 * light * (u * u - ia)
                out[5, row, col] += 0.5 * light * (v * v - ic)
                out[6, row, col] += light * (u * v - ib)


@kernel
def fill_templates(out, line, shape, source, psf_matrix, psf, profiles, derive):
    """Fill planes with a source's exponential and de Vaucouleurs profile of flux 1, and the mixture's derivatives.

    Parameters
    ----------
    out : ndarray of float64, shape (7, row, col), changed in place
        Planes: both profiles, derivatives by x, y, and xx, yy, xy of the ellipse.
    line : ndarray of float64, shape (col,)
        Workspace.
    shape : tuple of int
        Rows and columns to fill.
    source : ndarray of float64
        Its position counts from the first pixel of `out`.
    psf_matrix : ndarray, shape (3,)
        xx, yy, xy that a component of variance 1 has here.
    psf : ndarray, shape (2, component)
        Variances and shares.
    profiles : ndarray, shape (3, component)
        Variances, and shares of both profiles.
    derive : bool
    """
    n_rows, n_cols = shape
    out[:, :n_rows, :n_cols] = 0.0
    pxx, pyy, pxy = psf_matrix[0], psf_matrix[1], psf_matrix[2]
    exx, eyy, exy, dev = source[2], source[3], source[4], source[5]
    centre = (source[0], source[1])
    if exx + eyy <= 0.0:
        for k in range(psf.shape[1]):
            matrix = (psf[0, k] * pxx, psf[0, k] * pyy, psf[0, k] * pxy)
            _add_gaussian(out, line, shape, centre, matrix, (psf[1, k], psf[1, k], psf[1, k]), 0.0, derive)
        return
    for j in range(profiles.shape[1]):
        in_exp, in_dev = profiles[1, j], profiles[2, j]
        mixed = (1.0 - dev) * in_exp + dev * in_dev
        for k in range(psf.shape[1]):
            s, t = psf[0, k], profiles[0, j]
            matrix = (s * pxx + t * exx, s * pyy + t * eyy, s * pxy + t * exy)
            weights = (in_exp * psf[1, k], in_dev * psf[1, k], mixed * psf[1, k])
            _add_gaussian(out, line, shape, centre, matrix, weights, t, derive)


@kernel
def add_models(image, sources, psf_matrices, psf, profiles, factor):
    """Add all sources times a factor to an image in place."""
    size = 2 * int(sources[:, 7].max()) + 1 if sources.shape[0] else 1
    planes, line = np.empty((7, size, size)), np.empty(size)
    for i in range(sources.shape[0]):
        _add_model(image, sources[i], psf_matrices[i], psf, profiles, factor, planes, line)


@kernel
def _add_model(image, source, psf_matrix, psf, profiles, factor, planes, line):
    row0, row1, col0, col1 = window(source[0], source[1], int(source[7]), image.shape[0], image.shape[1])
    shape = (row1 - row0, col1 - col0)
    if shape[0] <= 0 or shape[1] <= 0:
        return
    local = source.copy()
    local[0] -= col0
    local[1] -= row0
    fill_templates(planes, line, shape, local, psf_matrix, psf, profiles, False)
    exp, dev = factor * source[6] * (1.0 - source[5]), factor * source[6] * source[5]
    for row in range(shape[0]):
        for col in range(shape[1]):
            image[row0 + row, col0 + col] += exp * planes[0, row, col] + dev * planes[1, row, col]


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
def _solved(matrix, vector):
    """Solve a small symmetric positive definite system in place by Cholesky; the solution replaces `vector`."""
    n = vector.size
    for j in range(n):
        for k in range(j):
            matrix[j, j] -= matrix[j, k] * matrix[j, k]
        if not matrix[j, j] > 0.0:
            return False
        matrix[j, j] = np.sqrt(matrix[j, j])
        for i in range(j + 1, n):
            for k in range(j):
                matrix[i, j] -= matrix[i, k] * matrix[j, k]
            matrix[i, j] /= matrix[j, j]
    for i in range(n):
        for k in range(i):
            vector[i] -= matrix[i, k] * vector[k]
        vector[i] /= matrix[i, i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            vector[i] -= matrix[k, i] * vector[k]
        vector[i] /= matrix[i, i]
    return True


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
            if _solved(damped, step):
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
        if not _solved(matrix, side):
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
    if not _solved(matrix, side) or not squares > 0.0 or not total > 0.0:
        return 0.0
    return np.sqrt(max((side[5] + side[6]) / (total * total) - 1.0 / (weight * squares), 0.0))


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
        Relative error of the flux that comes from a galaxy's shape; 0 for point sources.
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
        _add_model(residual, source, psf_matrices[i], psf, profiles, 1.0, planes, line)
        data, good = residual[row0:row1, col0:col1], usable[row0:row1, col0:col1]
        prior = np.array([begins[i, 0] - col0, begins[i, 1] - row0, np.log(typical_px), spread_px**-2])
        point = np.zeros(8)
        point[0], point[1], point[6], point[7] = source[0] - col0, source[1] - row0, max(source[6], 0.0), half
        flat = _fit_point(data, good, weights[i], point, prior, psf_matrices[i], psf, profiles, planes, line)
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
        _bounded(q, bounds[0], bounds[1])
        psf_matrix = psf_matrices[i]
        curved = _fit_galaxy(
            data, good, weights[i], q, prior, half, bounds, psf_matrix, psf, profiles, planes, line, steps
        )
        extended = curved < flat - _LEAST_GAIN
        source[:] = _source_of(q, half) if extended else point
        shape_errors[i] = 0.0
        if extended:
            fill_templates(planes, line, data.shape, source, psf_matrix, psf, profiles, True)
            shape_errors[i] = _shape_error(data, good, weights[i], planes, q, prior)
        source[0] += col0
        source[1] += row0
        _add_model(residual, source, psf_matrices[i], psf, profiles, -1.0, planes, line)


@kernel
def pair_products(stamps, starts, windows, usable, variance, first, second):
    """Return the sums of the products of two templates over usable pixels, plain and times the variance.

    Parameters
    ----------
    stamps : ndarray of float32, shape (pixel,)
        Templates of all sources one after another.
    starts : ndarray of int, shape (source,)
        Where each begins.
    windows : ndarray of int, shape (source, 4)
        First row, last row + 1, first column, last column + 1.
    usable, variance : ndarray, shape (row, col)
    first, second : ndarray of int, shape (pair,)

    Returns
    -------
    ndarray of float64, shape (pair, 2)
    """
    out = np.zeros((first.size, 2))
    for p in range(first.size):
        a, b = first[p], second[p]
        row0, row1 = max(windows[a, 0], windows[b, 0]), min(windows[a, 1], windows[b, 1])
        col0, col1 = max(windows[a, 2], windows[b, 2]), min(windows[a, 3], windows[b, 3])
        wide_a, wide_b = windows[a, 3] - windows[a, 2], windows[b, 3] - windows[b, 2]
        plain, noisy = 0.0, 0.0
        for row in range(row0, row1):
            at_a = starts[a] + (row - windows[a, 0]) * wide_a - windows[a, 2]
            at_b = starts[b] + (row - windows[b, 0]) * wide_b - windows[b, 2]
            for col in range(col0, col1):
                if usable[row, col]:
                    light = stamps[at_a + col] * stamps[at_b + col]
                    plain += light
                    noisy += light * variance[row, col]
        out[p, 0], out[p, 1] = plain, noisy
    return out


@kernel
def render_stamps(stamps, starts, windows, sources, psf_matrices, psf, profiles):
    """Fill `stamps` with the templates of all sources, each of flux 1; arguments as for `pair_products`."""
    size = 2 * int(sources[:, 7].max()) + 1 if sources.shape[0] else 1
    planes, line = np.empty((7, size, size)), np.empty(size)
    for i in range(sources.shape[0]):
        n_rows, n_cols = windows[i, 1] - windows[i, 0], windows[i, 3] - windows[i, 2]
        if n_rows <= 0 or n_cols <= 0:
            continue
        local = sources[i].copy()
        local[0] -= windows[i, 2]
        local[1] -= windows[i, 0]
        fill_templates(planes, line, (n_rows, n_cols), local, psf_matrices[i], psf, profiles, False)
        dev, at = local[5], starts[i]
        for row in range(n_rows):
            for col in range(n_cols):
                stamps[at] = (1.0 - dev) * planes[0, row, col] + dev * planes[1, row, col]
                at += 1


@kernel
def image_products(stamps, starts, windows, image, usable):
    """Return the sum of each template times an image over usable pixels, shape (source,)."""
    out = np.zeros(starts.size)
    for i in range(starts.size):
        at = starts[i]
        for row in range(windows[i, 0], windows[i, 1]):
            for col in range(windows[i, 2], windows[i, 3]):
                if usable[row, col]:
                    out[i] += stamps[at] * image[row, col]
                at += 1
    return out


@kernel
def overlapping_pairs(windows, order):
    """Return the pairs of sources whose windows share pixels, each with itself too.

    Parameters
    ----------
    windows : ndarray of int, shape (source, 4)
    order : ndarray of int
        Sources by first column.

    Returns
    -------
    ndarray of int64, shape (pair, 2)
    """
    out = np.empty((max(16, 8 * order.size), 2), np.int64)
    n = 0
    for k in range(order.size):
        a = order[k]
        for m in range(k, order.size):
            b = order[m]
            if windows[b, 2] >= windows[a, 3] and m > k:
                break
            if m == k or (windows[b, 0] < windows[a, 1] and windows[a, 0] < windows[b, 1]):
                if n == out.shape[0]:
                    larger = np.empty((2 * n, 2), np.int64)
                    larger[:n] = out
                    out = larger
                out[n, 0], out[n, 1] = a, b
                n += 1
    return out[:n]


@kernel
def cut_tiles(residual, variance, usable, sources, psf_matrices, psf, profiles, half, tiles):
    """Fill tiles with the image around sources without the others: what is left plus the source's own model.

    Parameters
    ----------
    residual, variance, usable : ndarray, shape (row, col)
    sources, psf_matrices, psf, profiles : ndarray
    half : int
        Half width of a tile without its margin of one pixel.
    tiles : tuple of ndarray, shape (row, col), changed in place
        Image, variance and usable pixels, zeros at first: tiles side by side, `columns` in a row.
    """
    out_image, out_variance, out_usable = tiles
    size = 2 * half + 3
    columns = out_image.shape[1] // size
    widest = 2 * int(sources[:, 7].max()) + 1 if sources.shape[0] else 1
    planes, line = np.empty((7, widest, widest)), np.empty(widest)
    for i in range(sources.shape[0]):
        left, bottom = (i % columns) * size, (i // columns) * size
        row_first, col_first = int(np.rint(sources[i, 1])) - half - 1, int(np.rint(sources[i, 0])) - half - 1
        for row in range(1, size - 1):
            for col in range(1, size - 1):
                y, x = row_first + row, col_first + col
                if 0 <= y < residual.shape[0] and 0 <= x < residual.shape[1] and usable[y, x]:
                    out_image[bottom + row, left + col] = residual[y, x]
                    out_variance[bottom + row, left + col] = variance[y, x]
                    out_usable[bottom + row, left + col] = True
        local = sources[i].copy()
        reach = min(int(local[7]), half)
        local[0] -= np.rint(sources[i, 0]) - reach
        local[1] -= np.rint(sources[i, 1]) - reach
        shape = (2 * reach + 1, 2 * reach + 1)
        fill_templates(planes, line, shape, local, psf_matrices[i], psf, profiles, False)
        exp, dev = local[6] * (1.0 - local[5]), local[6] * local[5]
        for row in range(shape[0]):
            for col in range(shape[1]):
                r, c = bottom + 1 + half - reach + row, left + 1 + half - reach + col
                if out_usable[r, c]:
                    out_image[r, c] += exp * planes[0, row, col] + dev * planes[1, row, col]


@kernel
def template_fluxes(image, variance, usable, sources, psf_matrices, psf, profiles):
    """Return flux, its error from the variance, and the share of the template on usable pixels, shape (source, 3)."""
    size = 2 * int(sources[:, 7].max()) + 1 if sources.shape[0] else 1
    planes, line = np.empty((7, size, size)), np.empty(size)
    out = np.full((sources.shape[0], 3), np.nan)
    for i in range(sources.shape[0]):
        half = int(sources[i, 7])
        row0, col0 = int(np.rint(sources[i, 1])) - half, int(np.rint(sources[i, 0])) - half
        local = sources[i].copy()
        local[0] -= col0
        local[1] -= row0
        shape = (2 * half + 1, 2 * half + 1)
        fill_templates(planes, line, shape, local, psf_matrices[i], psf, profiles, False)
        light, noise, squares, everything = 0.0, 0.0, 0.0, 0.0
        for row in range(shape[0]):
            y = row0 + row
            for col in range(shape[1]):
                x = col0 + col
                weight = (1.0 - local[5]) * planes[0, row, col] + local[5] * planes[1, row, col]
                everything += weight * weight
                if 0 <= y < image.shape[0] and 0 <= x < image.shape[1] and usable[y, x]:
                    light += weight * image[y, x]
                    noise += weight * weight * variance[y, x]
                    squares += weight * weight
        if squares > 0.0:
            out[i, 0], out[i, 1] = light / squares, np.sqrt(noise) / squares
        out[i, 2] = squares / everything if everything > 0.0 else 0.0
    return out
