"""RM-CLEAN of spectra, one after the other.

A spectrum is worked on in blocks of `BLOCK` Faraday depths that hold, one after the other, the real part, the
imaginary part, where components are allowed (1 or 0), and |residual|² there. Distances inside a block are compile-time
constants, so that the compiler needs no checks whether arrays overlap, and each step of the search is a few vector
instructions a block: subtract, square, and find the largest value of the block. Positive floats are ordered as the
integers of the same bits, whose maximum is found by vector instructions without a promise that nothing is NaN.
"""

import numpy as np

from mpidriver.tasks._jit import kernel

__all__ = ["BLOCK", "CONVERGED", "DIVERGED", "ROW", "STOPPED", "clean_spectra"]

BLOCK = 64
REAL, IMAG, ALLOWED, POWER = 0, BLOCK, 2 * BLOCK, 3 * BLOCK
ROW = 4 * BLOCK

CONVERGED, STOPPED, DIVERGED = 0, 1, 2
"""How the search of a spectrum ended: below its limit, by the number of iterations, or ever farther from it."""

GAUSSIAN = 4.0 * np.log(2.0)
REACH_FWHM = 4.0
"""Half width to which the restoring Gaussian is drawn: 5e-20 of its peak is left there."""
ROUNDING = 1e-6
"""Of a sample: a depth at the very edge of a window is in it."""
GROWTH = 4.0
"""|residual|² over the dirty one's that a spectrum does not reach whose transfer function is its own."""


@kernel(fastmath={"contract"})
def _subtract(work, bits, a, b, real, imag, largest):
    """Take a + ib times a response from the residual and note the largest |residual|² of every block."""
    for k in range(work.shape[0]):
        block, x, y = work[k], real[BLOCK * k : BLOCK * k + BLOCK], imag[BLOCK * k : BLOCK * k + BLOCK]
        for lane in range(BLOCK):
            re = block[REAL + lane] - (a * x[lane] - b * y[lane])
            im = block[IMAG + lane] - (a * y[lane] + b * x[lane])
            block[REAL + lane] = re
            block[IMAG + lane] = im
            block[POWER + lane] = block[ALLOWED + lane] * (re * re + im * im)
    for k in range(work.shape[0]):
        most = bits[k, POWER]
        for lane in range(BLOCK):
            most = max(most, bits[k, POWER + lane])
        largest[k] = most


@kernel
def _find_largest(bits, largest):
    """Return block and place in it of the first of the largest |residual|²."""
    at = 0
    for k in range(largest.size):
        if largest[k] > largest[at]:
            at = k
    ordered, most = bits[at], largest[at]
    for lane in range(BLOCK):
        if ordered[POWER + lane] == most:
            return at, lane
    return at, 0


@kernel
def _search(work, bits, response, limit, gain, max_iterations, largest, components, iterations):
    """Move flux from the residual to the components until |residual|² is below a limit; return iterations and end."""
    centre = response.shape[1] - work.shape[0] * BLOCK
    _subtract(work, bits, 0.0, 0.0, response[0], response[1], largest)
    k, lane = _find_largest(bits, largest)
    bound = GROWTH * work[k, POWER + lane]
    while work[k, POWER + lane] >= limit:
        if iterations == max_iterations:
            return iterations, STOPPED
        a, b = gain * work[k, REAL + lane], gain * work[k, IMAG + lane]
        depth = k * BLOCK + lane
        components[depth, 0] += a
        components[depth, 1] += b
        start = centre - depth
        _subtract(work, bits, a, b, response[0, start:], response[1, start:], largest)
        k, lane = _find_largest(bits, largest)
        iterations += 1
        if not work[k, POWER + lane] <= bound:
            return iterations, DIVERGED
    return iterations, CONVERGED


@kernel
def _narrow(work, components, half_width):
    """Allow components only within windows around those that there are."""
    depths = components.shape[0]
    near = np.zeros(depths, np.bool_)
    for depth in range(depths):
        if components[depth, 0] != 0 or components[depth, 1] != 0:
            near[max(0, depth - half_width) : depth + half_width + 1] = True
    for depth in range(depths):
        if not near[depth]:
            work[depth // BLOCK, ALLOWED + depth % BLOCK] = 0


@kernel
def _restore(components, fwhm, spectrum):
    """Add to a spectrum its components times a Gaussian whose FWHM is given in samples."""
    depths = components.shape[0]
    reach = int(np.ceil(REACH_FWHM * fwhm))
    height = np.exp(-GAUSSIAN * (np.arange(reach + 1) / fwhm) ** 2)
    for depth in range(depths):
        a, b = components[depth, 0], components[depth, 1]
        if a != 0 or b != 0:
            for other in range(max(0, depth - reach), min(depths, depth + reach + 1)):
                spectrum[other, 0] += a * height[abs(other - depth)]
                spectrum[other, 1] += b * height[abs(other - depth)]


@kernel
def _load(spectrum, allowed, work):
    """Copy a spectrum into blocks; return whether all of it is finite."""
    sum_of_nothing = 0.0
    for k in range(work.shape[0]):
        block, first = work[k], BLOCK * k
        count = min(BLOCK, spectrum.shape[0] - first)
        if count < BLOCK:
            block[:] = 0
        for lane in range(count):
            re, im = spectrum[first + lane, 0], spectrum[first + lane, 1]
            block[REAL + lane], block[IMAG + lane] = re, im
            block[ALLOWED + lane] = allowed[first + lane]
            block[POWER + lane] = 0.0 * re + 0.0 * im
        for lane in range(count):
            sum_of_nothing += block[POWER + lane]
    return sum_of_nothing == 0


@kernel
def _store(work, spectrum):
    """Copy blocks into a spectrum."""
    for k in range(work.shape[0]):
        block, first = work[k], BLOCK * k
        for lane in range(min(BLOCK, spectrum.shape[0] - first)):
            spectrum[first + lane, 0], spectrum[first + lane, 1] = block[REAL + lane], block[IMAG + lane]


@kernel
def clean_spectra(
    fdf, response, allowed, limit, window_limit, fwhm, gain, max_iterations, work, bits, components, residual, cleaned
):
    """RM-CLEAN spectra. Those that are not finite, or whose response is not, come back as they are.

    Parameters
    ----------
    fdf : float64 (spectrum, phi, 2)
        Real and imaginary parts.
    response : float64 (spectrum or 1, 2, k)
        Transfer functions with the peak at k - `BLOCK` * blocks and as many zeros behind them as make that so.
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
    work, bits : float64, int64 (blocks, ROW)
        Scratch on the same memory.
    components, residual, cleaned : float64 (spectrum, phi, 2)
        Results, the first of zeros.

    Returns
    -------
    iterations, end : int64, int8 (spectrum,)
    """
    iterations, end = np.zeros(fdf.shape[0], np.int64), np.full(fdf.shape[0], CONVERGED, np.int8)
    largest = np.zeros(work.shape[0], np.int64)
    has_response = np.zeros(response.shape[0], np.bool_)
    for k in range(response.shape[0]):
        has_response[k] = np.all(np.isfinite(response[k]))
    for k in range(fdf.shape[0]):
        own_response = response[k % response.shape[0]]
        if not (_load(fdf[k], allowed[k % allowed.shape[0]], work) and has_response[k % response.shape[0]]):
            residual[k], cleaned[k] = fdf[k], fdf[k]
            end[k] = STOPPED
            continue
        own_fwhm = fwhm[k % fwhm.size]
        count, how = _search(work, bits, own_response, limit[k], gain, max_iterations, largest, components[k], 0)
        if window_limit[k] < np.inf and how == CONVERGED:
            _narrow(work, components[k], int(0.5 * own_fwhm + ROUNDING))
            count, how = _search(
                work, bits, own_response, window_limit[k], gain, max_iterations, largest, components[k], count
            )
        iterations[k], end[k] = count, how
        if how == DIVERGED:
            components[k] = 0
        if how == DIVERGED or count == 0:
            residual[k], cleaned[k] = fdf[k], fdf[k]
        else:
            _store(work, residual[k])
            _store(work, cleaned[k])
            _restore(components[k], own_fwhm, cleaned[k])
    return iterations, end
