"""Fluxes at given positions of one band: PSF, apertures, Kron ellipse, models."""

import numpy as np
import sep

from mpidriver.tasks.gaussian_windows import mask_bits
from mpidriver.tasks.multiband._flags import ObjectFlag, flags_from_mask
from mpidriver.tasks.multiband._models import template_fluxes
from mpidriver.tasks.multiband._psf import aperture_fluxes, widths

__all__ = ["FLUX_COLUMNS", "fill_fluxes", "fill_model_fluxes", "kron_ellipses", "nearest_px", "pixel_flags"]

FLUX_COLUMNS = ("flux_psf", "flux_psf_err", "flux_aper", "flux_aper_err", "flux_auto", "flux_auto_err", "snr")
#: Kron's radius is taken within this many sigmas, multiplied by the factor, and never below the least (in sigmas).
_KRON_REACH, _KRON_FACTOR, _KRON_LEAST = 6.0, 2.5, 3.5
#: Least share of the PSF's weight on usable pixels for a flux to be given.
_LEAST_SHARE = 0.5
#: An object is blended if this share of the light that its model sees is others'.
_BLENDED_SHARE = 0.05


def fill_fluxes(table, tiles, ellipses, psf, noise, radii_px):
    """Fill the columns `FLUX_COLUMNS` of a band's table for the sources on tiles.

    Fluxes are corrected to the whole light of a point source; errors hold the noise factors. NaN where the band has no
    pixels.

    Parameters
    ----------
    table : ndarray, shape (tile,), changed in place
        Rows of the sources on the tiles.
    tiles : Tiles
    ellipses : tuple of ndarray
        Semi-axes in px and angle in rad of the Kron apertures.
    psf : Psf
    noise : NoiseFactors
    radii_px : ndarray of float, px
    """
    scene, x, y = tiles.scene, tiles.x, tiles.y
    flux, error, share = template_fluxes(scene, tiles.models.points(x, y)).T
    width = widths(tiles.models.psf_matrices)
    table["flux_psf"] = flux * psf.factor
    table["flux_psf_err"] = error * psf.factor * noise.matched
    for k, radius in enumerate(radii_px):
        flux, error = aperture_fluxes(scene, x, y, min(radius, tiles.half_px))
        correction = 1.0 / psf.enclosed_within(radius, width)
        table["flux_aper"][:, k] = flux * correction
        table["flux_aper_err"][:, k] = error * correction * noise.for_radius(radius)
    table["flux_auto"], table["flux_auto_err"] = _kron_fluxes(scene, x, y, ellipses, width, psf, noise)
    missing = ~(share >= _LEAST_SHARE) | ~_on_usable_pixel(scene, x, y)
    for name in FLUX_COLUMNS[:-1]:
        table[name][missing] = np.nan
    with np.errstate(invalid="ignore", divide="ignore"):
        table["snr"] = table["flux_psf"] / table["flux_psf_err"]
    table["flags"][missing] |= int(ObjectFlag.NO_DATA)


def fill_model_fluxes(table, models, joint, shape_errors, psf, noise):
    """Fill the model fluxes of a band's table, and what its sources share with others.

    Parameters
    ----------
    table : ndarray, shape (source,), changed in place
        `flux_psf_err` and its like grow by what the neighbours' own errors add.
    models : Models
    joint : JointFluxes
    shape_errors : ndarray, shape (source,)
        Relative errors of the flux from the shape.
    psf : Psf
    noise : NoiseFactors
    """
    radius_px = np.maximum(models.sources[:, 2] * models.sources[:, 3] - models.sources[:, 4] ** 2, 0.0) ** 0.25
    width = noise.for_radius(np.hypot(psf.fwhm_px, 2.0 * radius_px)) / noise.for_radius(psf.fwhm_px)
    flux = joint.flux * psf.factor
    table["flux_model"] = flux
    table["flux_model_err"] = np.hypot(joint.flux_err * psf.factor * noise.matched * width, shape_errors * flux)
    table["blendedness"] = joint.overlap
    table["flags"] |= (joint.overlap > _BLENDED_SHARE) * int(ObjectFlag.BLENDED)
    for name in ("flux_psf_err", "flux_auto_err"):
        table[name] *= joint.inflation
    table["flux_aper_err"] *= joint.inflation[:, None]
    missing = table["flags"] & int(ObjectFlag.NO_DATA) != 0
    for name in ("flux_model", "flux_model_err", "blendedness"):
        table[name][missing] = np.nan
    with np.errstate(invalid="ignore", divide="ignore"):
        table["snr"] = table["flux_psf"] / table["flux_psf_err"]


def _kron_fluxes(scene, x, y, ellipses, width, psf, noise):
    a, b, theta = ellipses
    flux, error, _ = sep.sum_ellipse(
        scene.image, x, y, a, b, theta, 1.0, var=scene.variance, mask=scene.unusable, subpix=5
    )
    radius = np.sqrt(a * b)
    correction = 1.0 / psf.enclosed_within(radius, width)
    return np.asarray(flux) * correction, np.asarray(error) * correction * noise.for_radius(radius)


def kron_ellipses(scene, x, y, xx, yy, xy, *, least_px, most_px):
    """Return the Kron apertures of objects with given second moments (Kron 1980; SExtractor's FLUX_AUTO).

    Parameters
    ----------
    scene : Scene
    x, y : ndarray of float64, shape (object,), px
    xx, yy, xy : ndarray of float64, shape (object,), px^2
    least_px, most_px : float
        Bounds of the semi-axes.

    Returns
    -------
    tuple of ndarray, shape (object,)
        Semi-axes a >= b in px and position angle in rad, from +x to +y.
    """
    mean, difference = 0.5 * (xx + yy), np.hypot(0.5 * (xx - yy), xy)
    a, b = np.sqrt(mean + difference), np.sqrt(np.maximum(mean - difference, 1e-4))
    theta = np.clip(0.5 * np.arctan2(2.0 * xy, xx - yy), -0.5 * np.pi, 0.5 * np.pi)
    kron, _ = sep.kron_radius(scene.image, x, y, a, b, theta, _KRON_REACH, mask=scene.unusable)
    kron = np.asarray(kron)
    kron = np.where(np.isfinite(kron), np.clip(kron, 0.0, _KRON_REACH), 0.0)
    factor = np.maximum(_KRON_FACTOR * kron, _KRON_LEAST)
    b_px = np.clip(factor * b, least_px, most_px)
    return np.clip(factor * a, b_px, most_px), b_px, theta


def pixel_flags(scene, x, y, fwhm_px):
    """Return the flags that the pixels under objects give, int32 of shape (object,)."""
    flags = flags_from_mask(mask_bits(scene.mask, x, y, fwhm_px))
    holes = mask_bits(scene.unusable.astype(np.int32), x, y, 2.0 * fwhm_px) != 0
    rows, cols = scene.image.shape
    outside = (np.minimum(x, cols - 1 - x) < 2.0 * fwhm_px) | (np.minimum(y, rows - 1 - y) < 2.0 * fwhm_px)
    flags |= (holes | outside) * int(ObjectFlag.EDGE)
    return flags | (nearest_px(x, y) < 2.0 * fwhm_px) * int(ObjectFlag.NEIGHBOUR)


def nearest_px(x, y):
    """Return each object's distance to the nearest other, px; infinite for a single one."""
    from scipy.spatial import cKDTree

    if x.size < 2:
        return np.full(x.size, np.inf)
    points = np.column_stack([x, y])
    return cKDTree(points).query(points, k=2)[0][:, 1]


def _on_usable_pixel(scene, x, y):
    rows, cols = scene.image.shape
    row, col = np.rint(y).astype(int), np.rint(x).astype(int)
    inside = (row >= 0) & (row < rows) & (col >= 0) & (col < cols)
    return inside & scene.usable[np.clip(row, 0, rows - 1), np.clip(col, 0, cols - 1)]
