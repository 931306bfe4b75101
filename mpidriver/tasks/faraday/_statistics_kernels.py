"""Statistics that RM-Tools gives of a spectrum and that need sorting or long sums, spectrum by spectrum."""

import numpy as np

from mpidriver.tasks._jit import kernel

__all__ = ["added_scatter", "mad_noise"]

MAD_PER_SIGMA = 0.6745
TOO_LITTLE = 0.3
"""Share of a Faraday spectrum that must be left outside the peak for the noise to be told from it alone."""
SAMPLES = 1000
PERCENTILES = np.array([0.5, 0.1572, 0.8427])


@kernel
def _select(values, count, rank):
    """Return the value of a rank among the first `count`, which are moved so that lower ones come before it."""
    low, high = 0, count - 1
    while low < high:
        pivot = values[(low + high) // 2]
        left, right = low, high
        while left <= right:
            while values[left] < pivot:
                left += 1
            while values[right] > pivot:
                right -= 1
            if left <= right:
                values[left], values[right] = values[right], values[left]
                left += 1
                right -= 1
        if rank <= right:
            high = right
        elif rank >= left:
            low = left
        else:
            break
    return values[rank]


@kernel
def _median(values, count):
    upper = _select(values, count, count // 2)
    if count % 2 == 1:
        return upper
    lower = values[0]
    for k in range(count // 2):
        lower = max(lower, values[k])
    return 0.5 * (lower + upper)


@kernel
def mad_noise(spectra, first, last, noise):
    """Return the noise of Faraday spectra from the median absolute deviation of their parts away from the peak.

    Parameters
    ----------
    spectra : complex (source, phi)
    first, last : int64 (source,)
        Depths `first` to `last` - 1 are left out, unless less than 0.3 of all remained.
    noise : float64 (source,)
        Result, σ of the real and of the imaginary part; NaN for a blank spectrum.
    """
    depths = spectra.shape[1]
    values = np.empty(2 * depths)
    for k in range(spectra.shape[0]):
        begin, end = first[k], last[k]
        if depths - (end - begin) < TOO_LITTLE * depths:
            begin, end = 0, 0
        count = 0
        for depth in range(depths):
            value = spectra[k, depth]
            if (depth < begin or depth >= end) and np.isfinite(value.real) and np.isfinite(value.imag):
                values[count], values[count + 1] = value.real, value.imag
                count += 2
        if count == 0:
            noise[k] = np.nan
            continue
        middle = _median(values, count)
        for at in range(count):
            values[at] = abs(values[at] - middle)
        noise[k] = _median(values, count) / MAD_PER_SIGMA


@kernel
def added_scatter(sum_of_squares, count, reach, scatter):
    """Return the scatter beyond the noise that residuals in units of the noise tell.

    Each residual is normal with variance 1 + s²; the prior of s is 1/s, on 1000 points up to the range of the data.

    Parameters
    ----------
    sum_of_squares, count, reach : float64 (source,)
        Σ residual², number of residuals, and largest s: their range and 2.
    scatter : float64 (source, 3)
        Result: median of s, and how far percentiles 15.72 and 84.27 lie below and above it; NaN without residuals.
    """
    density, quantile = np.empty(SAMPLES), np.empty(3)
    for k in range(sum_of_squares.size):
        scatter[k] = np.nan
        if not (count[k] > 0 and reach[k] > 0):
            continue
        step = reach[k] / SAMPLES
        largest = -np.inf
        for j in range(SAMPLES):
            s = (j + 1) * step
            variance = 1.0 + s * s
            density[j] = -np.log(s) - 0.5 * count[k] * np.log(variance) - 0.5 * sum_of_squares[k] / variance
            largest = max(largest, density[j])
        for j in range(SAMPLES):
            density[j] = np.exp(density[j] - largest)
        total = density.sum()
        for j in range(3):
            quantile[j] = _quantile(density, PERCENTILES[j] * total, step)
        scatter[k, 0] = quantile[0]
        scatter[k, 1] = quantile[0] - quantile[1]
        scatter[k, 2] = quantile[2] - quantile[0]


@kernel
def _quantile(density, wanted, step):
    """Return where the running sum of a density on points step, 2 step ... passes a value, between points linearly."""
    total = 0.0
    for j in range(density.size):
        if total + density[j] > wanted:
            return (j + 1) * step if j == 0 else (j + (wanted - total) / density[j]) * step
        total += density[j]
    return density.size * step
