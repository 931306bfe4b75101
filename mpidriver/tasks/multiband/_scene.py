"""A coadd made ready for measurement: finite pixels, background off, one plane that says what may be used."""

import dataclasses

import numpy as np
import sep
from astropy.wcs.utils import proj_plane_pixel_scales
from scipy import ndimage

from mpidriver.tasks.image import MaskPlane
from mpidriver.tasks.sky import mesh_sky

__all__ = ["FWHM_PER_SIGMA", "Scene", "make_scene", "noise_below", "pixel_scale_arcsec", "robust_sigma"]

#: FWHM of a Gaussian of sigma 1.
FWHM_PER_SIGMA = 2.3548200450309493
#: Smoothing, threshold and growth of the mask that keeps sources out of the background.
_SOURCE_SIGMA_PX = 1.5
_SOURCE_THRESHOLD = 3.0
_SOURCE_GROWTH_PX = 9
#: Side of the median filter over the boxes of the background.
_FILTER_MESHES = 3
#: Least share of the image that must be free of sources for the second round.
_LEAST_SKY = 0.05


@dataclasses.dataclass(frozen=True)
class Scene:
    """The planes that measurements read, all of shape (row, col)."""

    image: np.ndarray
    """float32, nJy: background off; 0 where not usable."""
    variance: np.ndarray
    """float32, nJy^2; 0 where not usable."""
    usable: np.ndarray
    """bool: there is a value and a variance."""
    mask: np.ndarray
    """int32, bits of `MaskPlane`."""

    @property
    def unusable(self):
        """Return the opposite of `usable`, as sep's masks want it."""
        return ~self.usable


def make_scene(coadd, *, background_box_px):
    """Return the scene of a coadd.

    Parameters
    ----------
    coadd : MaskedImage
    background_box_px : int, px
        Box in which the background is estimated with sources masked; 0 takes nothing off.

    Returns
    -------
    Scene
    """
    image = np.array(coadd.image, np.float32, order="C")
    variance = np.array(coadd.variance, np.float32, order="C")
    mask = np.ascontiguousarray(coadd.mask, np.int32)
    usable = np.isfinite(image) & np.isfinite(variance) & (variance > 0) & (mask & int(MaskPlane.NO_DATA) == 0)
    image[~usable], variance[~usable] = 0.0, 0.0
    if background_box_px > 0 and usable.any():
        image -= _background(image, variance, usable, background_box_px)
        image[~usable] = 0.0
    return Scene(image, variance, usable, mask)


def _background(image, variance, usable, box_px):
    """Return the background with sources masked in a second round, or of the first where they fill the image."""
    first = sep.Background(image, mask=~usable, bw=box_px, bh=box_px).back()
    significance = np.divide(image - first, np.sqrt(variance), out=np.zeros_like(image), where=usable)
    smooth = ndimage.gaussian_filter(significance, _SOURCE_SIGMA_PX)
    sources = smooth > _SOURCE_THRESHOLD * robust_sigma(smooth[usable])
    sky = usable & (ndimage.uniform_filter(sources.astype(np.float32), _SOURCE_GROWTH_PX) < 1e-3)
    if sky.sum() < _LEAST_SKY * usable.sum():
        return first
    level = mesh_sky(image, sky, box_px, _FILTER_MESHES)
    return first if level is None else level[0]


def robust_sigma(values):
    """Return the standard deviation by the median absolute deviation, NaN for no values."""
    if values.size == 0:
        return float("nan")
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def noise_below(values):
    """Return the standard deviation of noise from the side of the distribution that sources do not reach."""
    if values.size == 0:
        return float("nan")
    low, middle = np.percentile(values, [15.8655, 50.0])
    return min(float(middle - low), robust_sigma(values))


def pixel_scale_arcsec(wcs):
    """Return the side of a square pixel of the same area, arcsec."""
    return float(np.sqrt(np.prod(proj_plane_pixel_scales(wcs)))) * 3600.0
