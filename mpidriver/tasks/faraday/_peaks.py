"""The maximum of every Faraday spectrum of a cube."""

from typing import NamedTuple

import numpy as np

from mpidriver.errors import DataError
from mpidriver.tasks.faraday._grids import check_phi
from mpidriver.tasks.faraday._kernels import find_largest

__all__ = ["Peaks", "find_peaks"]


class Peaks(NamedTuple):
    """Maxima of Faraday spectra, each of the shape of the pixels."""

    amplitude: np.ndarray
    """float32, largest |F|, by a parabola through three samples; NaN for a blank spectrum."""
    phi_radm2: np.ndarray
    """float32, its Faraday depth; NaN for a blank spectrum."""
    index: np.ndarray
    """Sample next to it; -1 for a blank spectrum."""


def find_peaks(fdf, phi_radm2):
    """Return the maximum of |F| of every spectrum, refined by the parabola through it and its neighbours.

    Parameters
    ----------
    fdf : complex (phi, ...)
    phi_radm2 : (phi,) rad/m²
        Ascending; steps may differ.

    Returns
    -------
    Peaks
        At the ends of the range the sample itself is returned.
    """
    fdf, phi_radm2 = np.asarray(fdf), check_phi(phi_radm2)
    if fdf.shape[:1] != phi_radm2.shape or fdf.dtype.kind != "c":
        raise DataError(
            f"fdf: expected complex numbers with {phi_radm2.size} Faraday depths along the first axis, got {fdf.dtype} "
            f"of shape {fdf.shape}"
        )
    if np.any(np.diff(phi_radm2) <= 0):
        raise DataError("phi_radm2: expected ascending Faraday depths to look for peaks between")
    spectra = fdf.reshape(phi_radm2.size, -1)
    index = _largest(spectra)
    amplitude, depth = _parabola(spectra, phi_radm2, index)
    blank = index < 0
    amplitude[blank] = depth[blank] = np.nan
    shape = fdf.shape[1:]
    return Peaks(
        amplitude.astype(np.float32).reshape(shape), depth.astype(np.float32).reshape(shape), index.reshape(shape)
    )


def _largest(spectra):
    """Return the index of the largest |F| along the first axis, -1 where there is none."""
    spectra = np.ascontiguousarray(spectra)
    best = np.full(spectra.shape[1], -1.0, spectra.real.dtype)
    index = np.full(spectra.shape[1], -1, np.int32)
    find_largest(spectra.view(best.dtype), best, index)
    return index.astype(np.intp)


def _parabola(spectra, phi_radm2, index):
    """Return height and place of the vertex through the samples around `index`."""
    inner = np.clip(index, 1, max(phi_radm2.size - 2, 0))
    pixel = np.arange(index.size)
    at = np.clip(index, 0, None)
    amplitude, depth = np.abs(spectra[at, pixel]).astype(np.float64), phi_radm2[at]
    use = (index == inner) & (phi_radm2.size > 2)
    k, pixel = index[use], pixel[use]
    before, middle, after = (np.abs(spectra[k + step, pixel]).astype(np.float64) for step in (-1, 0, 1))
    left, right = phi_radm2[k] - phi_radm2[k - 1], phi_radm2[k + 1] - phi_radm2[k]
    rise, fall = (middle - before) / left, (after - middle) / right
    curvature = (fall - rise) / (left + right)
    slope = (rise * right + fall * left) / (left + right)
    shift = np.where(curvature < 0, -slope / np.where(curvature < 0, 2.0 * curvature, 1.0), 0.0)
    amplitude[use] = middle + 0.5 * slope * shift
    depth[use] += shift
    return amplitude, depth
