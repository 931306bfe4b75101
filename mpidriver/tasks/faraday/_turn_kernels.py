"""Faraday spectra about another λ²_0 of each pixel, vectorised along the pixels."""

import numpy as np

from mpidriver.tasks._jit import kernel
from mpidriver.tasks.faraday._rows import LANES

__all__ = ["turn_tiles"]

RENEWED_AFTER = 64
"""Products of exponentials after which the exponential itself is computed, so that rounding does not add up."""


@kernel
def _exponentials(angle, real, imag):
    for lane in range(angle.size):
        real[lane], imag[lane] = np.cos(angle[lane]), np.sin(angle[lane])


@kernel
def _multiply_complex(real, imag, by_real, by_imag):
    for lane in range(real.size):
        a, b = real[lane], imag[lane]
        real[lane] = a * by_real[lane] - b * by_imag[lane]
        imag[lane] = a * by_imag[lane] + b * by_real[lane]


@kernel
def turn_tiles(out, phi, shift, first_tile, last_tile):
    """Turn Faraday spectra by exp(2i φ shift), each pixel by its own shift of λ²_0.

    Parameters
    ----------
    out : float (phi, 2 * pixel)
        Real and imaginary parts by turns, changed in place.
    phi : float64 (phi,) rad/m²
    shift : float64 (pixel,) m²
    first_tile, last_tile : int
        Tiles of `LANES` pixels to do.
    """
    tolerance = 4.0 * np.finfo(np.float64).eps * np.abs(phi).max()
    step_real, step_imag = np.zeros(LANES), np.zeros(LANES)
    real, imag = np.zeros(LANES), np.zeros(LANES)
    for tile in range(first_tile, last_tile):
        start, stop = tile * LANES, min((tile + 1) * LANES, shift.size)
        own = shift[start:stop]
        known_step = np.inf
        for k in range(phi.size):
            step = phi[k] - phi[k - 1] if k > 0 else np.inf
            if k % RENEWED_AFTER == 0:
                _exponentials(2.0 * phi[k] * own, real, imag)
            else:
                if abs(step - known_step) > tolerance:
                    _exponentials(2.0 * step * own, step_real, step_imag)
                    known_step = step
                _multiply_complex(real, imag, step_real, step_imag)
            row = out[k, 2 * start : 2 * stop]
            for lane in range(stop - start):
                a, b = row[2 * lane], row[2 * lane + 1]
                row[2 * lane] = a * real[lane] - b * imag[lane]
                row[2 * lane + 1] = a * imag[lane] + b * real[lane]
