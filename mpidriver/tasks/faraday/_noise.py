"""The noise of every spectrum of a cube, told from the spectrum itself."""

import numpy as np

from mpidriver.tasks.faraday._peaks import find_peaks
from mpidriver.tasks.faraday._stokes import median

__all__ = ["spectrum_noise"]

MAD_TO_SIGMA = 1.4826


def spectrum_noise(fdf, phi_radm2, fwhm_radm2):
    """Return the standard deviation of the real and imaginary parts of each spectrum, away from its peak.

    Parameters
    ----------
    fdf : complex (phi, ...)
    phi_radm2 : (phi,) rad/m²
        Ascending.
    fwhm_radm2 : float or (...), rad/m²
        Samples within two of it from the peak do not count.

    Returns
    -------
    float64 (...)
        1.4826 times the median absolute deviation; NaN for a blank spectrum, and where the grid ends within two FWHM.
    """
    peaks = find_peaks(fdf, phi_radm2)
    fwhm = np.broadcast_to(fwhm_radm2, peaks.phi_radm2.shape)
    spectra = fdf.reshape(len(fdf), -1)
    away = np.abs(np.asarray(phi_radm2)[:, None] - peaks.phi_radm2.ravel()) > 2.0 * fwhm.ravel()
    away &= np.isfinite(spectra)
    parts = np.concatenate([np.where(away, part, np.nan) for part in (spectra.real, spectra.imag)])
    return (MAD_TO_SIGMA * median(np.abs(parts - median(parts)))).reshape(peaks.phi_radm2.shape)
