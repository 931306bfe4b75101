"""How much noisier fluxes are than their pixels' variances say.

Warping correlates neighbouring pixels, and a variance plane cannot tell. The same sums are taken at places without
objects, and their scatter is compared with the errors (empty apertures: Labbe et al. 2003, AJ 125, 1107). Undetected
sources add to it, as they do to the fluxes.
"""

import dataclasses

import numpy as np
from scipy.spatial import cKDTree

from mpidriver.tasks.multiband._psf import aperture_fluxes
from mpidriver.tasks.multiband._scene import robust_sigma

__all__ = ["NoiseFactors", "noise_factors"]

_MOST_PLACES, _LEAST_PLACES = 3000, 30
_CLEARANCE_FWHM = 2.5
#: Factors are not believed outside this range.
_RANGE = (0.5, 5.0)


@dataclasses.dataclass(frozen=True)
class NoiseFactors:
    """Factors on the errors that follow from the variance plane."""

    matched: float
    """For fluxes by the PSF."""
    radii_px: np.ndarray
    """Radii of the apertures, shape (aperture,), ascending."""
    apertures: np.ndarray
    """For apertures of these radii."""

    def for_radius(self, radius_px):
        """Return the factor for apertures of other radii, interpolated."""
        return np.interp(radius_px, self.radii_px, self.apertures)


def noise_factors(scene, x, y, psf, radii_px):
    """Return the factors on the errors of one band's fluxes.

    Parameters
    ----------
    scene : Scene
    x, y : ndarray of float64, shape (object,), px
        The objects to keep away from.
    psf : Psf
    radii_px : ndarray of float, px
        Radii of the apertures.

    Returns
    -------
    NoiseFactors
        1 everywhere if fewer than 30 places are free.
    """
    radii = np.unique(np.asarray(radii_px, float))
    at_x, at_y = _free_places(scene, x, y, psf.fwhm_px, float(radii.max(initial=1.0)))
    if at_x.size < _LEAST_PLACES:
        return NoiseFactors(1.0, radii, np.ones(radii.size))
    flux, error, _ = psf.point_fluxes(scene, at_x, at_y, np.full(at_x.size, np.inf)).T
    apertures = [_factor(*aperture_fluxes(scene, at_x, at_y, radius)) for radius in radii]
    return NoiseFactors(_factor(flux, error), radii, np.array(apertures))


def _factor(flux, error):
    ratio = flux[error > 0] / error[error > 0]
    return float(np.clip(robust_sigma(ratio), *_RANGE)) if ratio.size >= _LEAST_PLACES else 1.0


def _free_places(scene, x, y, fwhm_px, radius_px):
    """Return the nodes of a grid that lie on usable pixels and away from objects."""
    rows, cols = scene.image.shape
    spacing = max(1.0, 2.0 * fwhm_px, np.sqrt(rows * cols / (2.0 * _MOST_PLACES)))
    margin = radius_px + 1.0
    grid_x, grid_y = np.meshgrid(
        np.arange(margin, cols - 1 - margin, spacing), np.arange(margin, rows - 1 - margin, spacing)
    )
    at_x, at_y = grid_x.ravel(), grid_y.ravel()
    if at_x.size == 0:
        return at_x, at_y
    steps = np.array([-1.0, 0.0, 1.0]) * radius_px
    free = np.ones(at_x.size, dtype=bool)
    for dx in steps:
        for dy in steps:
            free &= scene.usable[np.rint(at_y + dy).astype(int), np.rint(at_x + dx).astype(int)]
    if x.size:
        distance, _ = cKDTree(np.column_stack([x, y])).query(np.column_stack([at_x, at_y]))
        free &= distance > _CLEARANCE_FWHM * fwhm_px + min(radius_px, fwhm_px)
    return at_x[free], at_y[free]
