"""Profiles of stars and galaxies as sums of Gaussians, whose convolution with each other is another sum of Gaussians.

Hogg & Lang (2013, PASP 125, 719) describe the idea. The exponential and the de Vaucouleurs profile share one set of
widths here, so that a mixture of both costs no more than one of them.
"""

import dataclasses

import numpy as np
from scipy import optimize

__all__ = ["DE_VAUCOULEURS", "EXPONENTIAL", "VARIANCES", "PsfMixture", "psf_mixture"]

#: Variances of the components in units of the half-light radius squared.
VARIANCES = np.array([0.0012135, 0.017856, 0.140425, 0.618036, 1.967607, 12.326553])
#: Share of the light in each, by least squares over the profile, which is cut softly at 6 (exponential) and 12
#: half-light radii (de Vaucouleurs). Half of the light lies within 1.00 and 0.94 half-light radii.
EXPONENTIAL = np.array([0.000227, 0.010715, 0.140821, 0.490937, 0.353669, 0.003631])
DE_VAUCOULEURS = np.array([0.033709, 0.120219, 0.213233, 0.175962, 0.232269, 0.224608])

#: Sigmas of the Gaussians that a PSF may have, in units of its FWHM, and how far its profile is looked at.
_SIGMAS_FWHM = np.geomspace(0.3, 1.8, 5)
_REACH_FWHM = 8.0
#: Components of less light than this are left out.
_LEAST_SHARE = 1e-3


@dataclasses.dataclass(frozen=True)
class PsfMixture:
    """A round PSF as a sum of Gaussians; shares sum to 1."""

    variances_px2: np.ndarray
    """Shape (component,), px^2."""
    shares: np.ndarray
    """Shape (component,)."""


def psf_mixture(profile):
    """Return the sum of Gaussians that comes closest to a PSF's profile.

    Parameters
    ----------
    profile : MoffatProfile
        As pixels see it.

    Returns
    -------
    PsfMixture
        By non-negative least squares, each ring with the weight of its light: right to 0.3 % of the light.
    """
    fwhm_px = profile.fwhm_px
    radius = np.linspace(0.0, _REACH_FWHM * fwhm_px, 400)
    density = profile.density(radius**2)
    variances = (_SIGMAS_FWHM * fwhm_px) ** 2
    gaussians = np.exp(-0.5 * radius[:, None] ** 2 / variances) / (2.0 * np.pi * variances)
    weight = np.sqrt((radius + 0.2 * fwhm_px) / (np.abs(density) + 1e-3 * density[0]))
    shares, _ = optimize.nnls(gaussians * weight[:, None], density * weight)
    kept = shares > _LEAST_SHARE
    return PsfMixture(variances[kept], shares[kept] / shares[kept].sum())
