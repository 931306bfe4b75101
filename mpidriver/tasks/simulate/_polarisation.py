"""Polarised spectra: Faraday-thin sources, two components, and Burn slabs."""

import numpy as np

from mpidriver.frequencies import SPEED_OF_LIGHT_M_S
from mpidriver.tasks.simulate._options import SimulationOptions
from mpidriver.tasks.simulate._radio import reference_frequency

__all__ = ["polarised_fraction", "stokes_spectra"]


def polarised_fraction(sources: np.ndarray, freq_hz) -> np.ndarray:
    """Return the complex fractional polarisation (Q + iU) / I of radio sources.

    Each component has p exp 2i(ψ + RM λ²) sinc(Δφ λ²), where sinc(x) = sin(x)/x is the depolarisation within a slab
    of uniform Faraday depth Δφ centred on RM (Burn 1966, MNRAS 133, 67) and 1 for a thin one.

    Parameters
    ----------
    sources : ndarray, shape (source,)
        Rows of `Truth.radio_sources`.
    freq_hz : array_like, shape (chan,), Hz

    Returns
    -------
    ndarray of complex128, shape (source, chan)
    """
    lambda_sq = (SPEED_OF_LIGHT_M_S / np.atleast_1d(np.asarray(freq_hz, dtype=float))) ** 2
    slab = np.sinc(sources["slab_radm2"][:, None] * lambda_sq / np.pi)
    first = _thin(sources, "1", lambda_sq) * slab
    return first + _thin(sources, "2", lambda_sq)


def _thin(sources: np.ndarray, component: str, lambda_sq: np.ndarray) -> np.ndarray:
    angle = np.radians(sources[f"angle_{component}_deg"])[:, None]
    phase = 2.0 * (angle + sources[f"rm_{component}_radm2"][:, None] * lambda_sq)
    return sources[f"fraction_{component}"][:, None] * np.exp(1j * phase)


def stokes_spectra(sources: np.ndarray, options: SimulationOptions, freq_hz) -> np.ndarray:
    """Return the noiseless Stokes I, Q, U of radio sources; Q + iU = I times `polarised_fraction`.

    Channels are taken as monochromatic: there is no depolarisation within a channel.

    Parameters
    ----------
    sources : ndarray, shape (source,)
        Rows of `Truth.radio_sources`.
    options
        For the frequency at which `i_jy` holds, the middle of the band.
    freq_hz : array_like, shape (chan,), Hz

    Returns
    -------
    ndarray of float64, shape (stokes = 3, source, chan), Jy
    """
    freq_hz = np.atleast_1d(np.asarray(freq_hz, dtype=float))
    ratio = freq_hz / reference_frequency(options)
    total = sources["i_jy"][:, None] * ratio ** sources["spectral_index"][:, None]
    polarised = total * polarised_fraction(sources, freq_hz)
    return np.stack([total, polarised.real, polarised.imag])
