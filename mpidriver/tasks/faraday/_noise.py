"""The noise of every spectrum of a cube, told from the spectrum itself."""

import numpy as np

from mpidriver.tasks.faraday._measure import mad_noise
from mpidriver.tasks.faraday._peaks import find_peaks

__all__ = ["spectrum_noise"]


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
    noise = mad_noise(spectra, np.asarray(phi_radm2), peaks.phi_radm2.ravel(), fwhm.ravel())
    return noise.reshape(peaks.phi_radm2.shape)
