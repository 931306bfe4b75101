"""RM-CLEAN of spectra, one after the other.

A spectrum is worked on as rows of real parts, imaginary parts, and where components are allowed (1 or 0). A step of the
search is one pass over them: subtract the shifted transfer function, and keep in each place of a vector register the
largest |residual|² that came by and its depth.
"""

import numpy as np

from mpidriver.tasks._jit import kernel
from mpidriver.tasks.faraday._scratch_kernels import aligned_zeros
from mpidriver.tasks.faraday._vectors import instructions

__all__ = ["CONVERGED", "DEPTHS", "DIVERGED", "STOPPED", "clean_spectra"]

DEPTHS = 16
"""A spectrum's rows are filled up to a multiple of it: two vectors of float64 in the widest registers."""

CONVERGED, STOPPED, DIVERGED = 0, 1, 2
"""How the search of a spectrum ended: below its limit, by the number of iterations, or ever farther from it."""

GAUSSIAN = 4.0 * np.log(2.0)
REACH_FWHM = 4.0
"""Half width to which the restoring Gaussian is drawn: 5e-20 of its peak is left there."""
ROUNDING = 1e-6
"""Of a sample: a depth at the very edge of a window is in it."""
GROWTH = 4.0
"""|residual|² over the dirty one's that a spectrum does not reach whose transfer function is its own."""


def _subtract_in_numpy(work, sixteens, response, start, length, a, b, found):
    size = DEPTHS * sixteens
    x, y = response[0, start : start + size], response[1, start : start + size]
    work[0] -= a * x - b * y
    work[1] -= a * y + b * x
    power = work[2] * (work[0] ** 2 + work[1] ** 2)
    found[1, 0] = np.argmax(power)
    found[0, 0] = power.max()


@instructions(_subtract_in_numpy)
def _subtract(code, work, sixteens, response, start, length, a, b, found):
    """Take a + ib times a response from the residual, and find the first of the largest |residual|².

    Parameters
    ----------
    work : float64 (3, DEPTHS * sixteens)
        Real parts, imaginary parts, where components are allowed.
    response : float64 (2, length)
    start : int
        Where the response of the first depth lies.
    a, b : float
    found : float64 (2, DEPTHS)
        Receives |residual|² in the first row and the depth in the second, repeated; -1 where all is NaN.
    """
    a, b = code.repeat(a), code.repeat(b)
    step, size = 2 * code.width, code.index((sixteens, DEPTHS))
    counts = [code.count_from(k * code.width) for k in range(2)]
    state = [*counts, *counts, code.constant(-1.0), code.constant(-1.0)]
    with code.summing(code.index((sixteens, DEPTHS // step)), state) as number:
        for k in range(2):
            here = code.index((number, step), k * code.width)
            x, y = (code.read(response, code.index(start, here, row)) for row in (0, length))
            real = code.read(work, here) - (a * x - b * y)
            imag = code.read(work, code.index(here, size)) - (a * y + b * x)
            code.write(work, here, real)
            code.write(work, code.index(here, size), imag)
            power = code.read(work, code.index(here, (size, 2))) * (real * real + imag * imag)
            larger = code.greater(power, state[4 + k])
            state[2 + k] = code.choose(larger, state[k], state[2 + k])
            state[4 + k] = code.choose(larger, power, state[4 + k])
            state[k] = state[k] + float(step)
    best = _larger(code, (state[4], state[2]), (state[5], state[3]))
    for distance in (code.width // 2**k for k in range(1, code.width.bit_length())):
        best = _larger(code, best, [code.rotate(vector, distance) for vector in best])
    for row, vector in enumerate(best):
        code.write(found, code.index(row * DEPTHS), vector)


def _larger(code, one, other):
    """Return the larger values of two and their depths; the smaller depths of equal ones."""
    equal_and_before = code.both(code.equal(other[0], one[0]), code.greater(one[1], other[1]))
    use_other = code.either(code.greater(other[0], one[0]), equal_and_before)
    return [code.choose(use_other, *pair) for pair in zip(other, one, strict=True)]


@kernel
def _step(work, response, depth, a, b, found):
    """Take a + ib times the response at a depth from the residual; return the largest |residual|² and its depth."""
    size, length = work.shape[1], response.shape[1]
    _subtract(work, size // DEPTHS, response, length - size - depth, length, a, b, found)
    return found[0, 0], int(found[1, 0])


@kernel
def _search(work, response, limit, gain, max_iterations, found, components, iterations):
    """Move flux from the residual to the components until |residual|² is below a limit; return iterations and end."""
    power, depth = _step(work, response, 0, 0.0, 0.0, found)
    bound = GROWTH * power
    while power >= limit:
        if iterations == max_iterations:
            return iterations, STOPPED
        a, b = gain * work[0, depth], gain * work[1, depth]
        components[depth, 0] += a
        components[depth, 1] += b
        power, depth = _step(work, response, depth, a, b, found)
        iterations += 1
        if not 0 <= power <= bound:
            return iterations, DIVERGED
    return iterations, CONVERGED


@kernel
def _narrow(work, components, half_width):
    """Allow components only within windows around those that there are."""
    depths = components.shape[0]
    near = np.zeros(depths, np.bool_)
    for depth in range(depths):
        if components[depth, 0] != 0 or components[depth, 1] != 0:
            for other in range(max(0, depth - half_width), min(depths, depth + half_width + 1)):
                near[other] = True
    for depth in range(depths):
        if not near[depth]:
            work[2, depth] = 0


@kernel
def _restore(components, fwhm, spectrum):
    """Add to a spectrum its components times a Gaussian whose FWHM is given in samples."""
    depths = components.shape[0]
    reach = int(np.ceil(REACH_FWHM * fwhm))
    height = np.empty(reach + 1)
    for distance in range(reach + 1):
        height[distance] = np.exp(-GAUSSIAN * (distance / fwhm) ** 2)
    for depth in range(depths):
        a, b = components[depth, 0], components[depth, 1]
        if a != 0 or b != 0:
            for other in range(max(0, depth - reach), min(depths, depth + reach + 1)):
                spectrum[other, 0] += a * height[abs(other - depth)]
                spectrum[other, 1] += b * height[abs(other - depth)]


@kernel
def _load(spectrum, allowed, work):
    """Copy a spectrum into rows; return whether all of it is finite."""
    nothing = 0.0
    for depth in range(spectrum.shape[0]):
        work[0, depth], work[1, depth], work[2, depth] = spectrum[depth, 0], spectrum[depth, 1], allowed[depth]
        nothing += 0.0 * spectrum[depth, 0] + 0.0 * spectrum[depth, 1]
    return nothing == 0


@kernel
def _is_finite(response):
    nothing = 0.0
    for k in range(response.shape[1]):
        nothing += 0.0 * response[0, k] + 0.0 * response[1, k]
    return nothing == 0


@kernel
def _copy(spectrum, other):
    for depth in range(spectrum.shape[0]):
        other[depth, 0], other[depth, 1] = spectrum[depth, 0], spectrum[depth, 1]


@kernel
def _store(work, spectrum):
    """Copy rows into a spectrum."""
    for depth in range(spectrum.shape[0]):
        spectrum[depth, 0], spectrum[depth, 1] = work[0, depth], work[1, depth]


@kernel
def clean_spectra(
    fdf, response, allowed, limit, window_limit, fwhm, gain, max_iterations, components, residual, cleaned
):
    """RM-CLEAN spectra. Those that are not finite, or whose response is not, come back as they are.

    Parameters
    ----------
    fdf : float64 (spectrum, phi, 2)
        Real and imaginary parts.
    response : float64 (spectrum or 1, 2, k)
        Transfer functions with the peak as many places before the end as there are depths, filled up to a multiple of
        `DEPTHS`.
    allowed : bool (spectrum or 1, phi)
        Where components may be placed.
    limit, window_limit : float64 (spectrum,)
        |residual|² at which the search ends, and at which the second one ends that is confined to windows around the
        components of the first; inf leaves a search out.
    fwhm : float64 (spectrum or 1,)
        Of the restoring Gaussian, and width of the windows, in samples.
    gain : float
    max_iterations : int
        Of both searches together.
    components, residual, cleaned : float64 (spectrum, phi, 2)
        Results, the first of zeros.

    Returns
    -------
    iterations, end : int64, int8 (spectrum,)
    """
    iterations, end = np.zeros(fdf.shape[0], np.int64), np.full(fdf.shape[0], CONVERGED, np.int8)
    work = aligned_zeros(3 * (fdf.shape[1] + -fdf.shape[1] % DEPTHS), np.float64).reshape(3, -1)
    found = np.zeros((2, DEPTHS))
    has_response = np.zeros(response.shape[0], np.bool_)
    for k in range(response.shape[0]):
        has_response[k] = _is_finite(response[k])
    for k in range(fdf.shape[0]):
        own_response = response[k % response.shape[0]]
        if not (_load(fdf[k], allowed[k % allowed.shape[0]], work) and has_response[k % response.shape[0]]):
            _copy(fdf[k], residual[k])
            _copy(fdf[k], cleaned[k])
            end[k] = STOPPED
            continue
        own_fwhm = fwhm[k % fwhm.size]
        count, how = _search(work, own_response, limit[k], gain, max_iterations, found, components[k], 0)
        if window_limit[k] < np.inf and how == CONVERGED:
            _narrow(work, components[k], int(0.5 * own_fwhm + ROUNDING))
            count, how = _search(work, own_response, window_limit[k], gain, max_iterations, found, components[k], count)
        iterations[k], end[k] = count, how
        if how == DIVERGED:
            components[k].fill(0)
        if how == DIVERGED or count == 0:
            _copy(fdf[k], residual[k])
            _copy(fdf[k], cleaned[k])
        else:
            _store(work, residual[k])
            _store(work, cleaned[k])
            _restore(components[k], own_fwhm, cleaned[k])
    return iterations, end
