"""The response of a dish over the sky."""

import numpy as np

from mpidriver.frequencies import SPEED_OF_LIGHT_M_S

__all__ = ["primary_beam"]


def primary_beam(kind, offset_deg, freq_hz, *, dish_m, fwhm_factor):
    """Return the power response of a dish, 1 on its axis.

    Parameters
    ----------
    kind : str
        ``none`` (1 everywhere), ``gaussian`` (FWHM `fwhm_factor` λ/D) or ``airy`` (a filled, evenly lit aperture).
    offset_deg : float (...)
        Angle from the axis.
    freq_hz : float
    dish_m, fwhm_factor : float

    Returns
    -------
    float64 (...)
    """
    offset = np.deg2rad(np.asarray(offset_deg, float))
    wavelengths = SPEED_OF_LIGHT_M_S / freq_hz / dish_m
    if kind == "gaussian":
        return np.exp(-4.0 * np.log(2.0) * (offset / (fwhm_factor * wavelengths)) ** 2)
    if kind == "airy":
        from scipy.special import j1

        x = np.pi * np.sin(offset) / wavelengths
        return np.where(x == 0.0, 1.0, (2.0 * j1(x) / np.where(x == 0.0, 1.0, x)) ** 2)
    return np.ones(offset.shape)
