"""The PSF of one frame as its stars show it: second moments that change over the frame, and a radial profile."""

import dataclasses

import numpy as np
from scipy.spatial import cKDTree

from mpidriver.tasks.gaussian_windows import adaptive_moments
from mpidriver.tasks.image import BAD_PLANES
from mpidriver.tasks.moffat import fit_profile

__all__ = ["FramePsf", "frame_psf", "moments_of_frame", "position_terms"]

#: Fewest stars that show a PSF, and that show how it changes over the frame; most that are looked at.
_STARS_LEAST, _LINEAR_STARS, _STARS_MOST = 3, 12, 200
#: Stars that show the radial profile, which costs more.
_PROFILE_STARS = 40
_SNR_LEAST = 20.0
_LARGEST_SIGMA_PX = 25.0
_FWHM_PER_SIGMA = 2.3548
#: Exponent that the atmosphere gives about, where stars do not show it.
_BETA = 3.0
#: Pixels of a unit of position.
_UNIT_PX = 1000.0


@dataclasses.dataclass(frozen=True)
class FramePsf:
    """What a frame's stars show of its PSF."""

    moments: np.ndarray
    """xx, yy, xy of the Gaussian that matches a star, px^2, as polynomials of the position: shape (3, 3)."""
    fwhm_per_sigma: float
    """Full width at half maximum over the sigma of that Gaussian."""
    beta: float
    """Exponent of the Moffat profile."""
    n_stars: int
    """Stars that were used; 0 if there were too few, and `moments` are NaN."""


def position_terms(x, y):
    """Return 1, x, y in units of 1,000 px at positions in px, shape (position, 3)."""
    return np.column_stack([np.ones(np.size(x)), np.ravel(x) / _UNIT_PX, np.ravel(y) / _UNIT_PX])


def moments_of_frame(psf, x, y):
    """Return a frame's moments at positions in px, shape (position, 3)."""
    return position_terms(x, y) @ psf.moments


def frame_psf(frame, catalogue):
    """Return what the stars of a frame show of its PSF.

    Parameters
    ----------
    frame : MaskedImage
        Sky subtracted.
    catalogue : ndarray
        Structured, columns x, y, fwhm_px, snr, flags, star; brightest first.

    Returns
    -------
    FramePsf
    """
    stars = np.flatnonzero(catalogue["star"] & (catalogue["flags"] == 0) & (catalogue["snr"] > _SNR_LEAST))
    stars = stars[:_STARS_MOST]
    unknown = FramePsf(np.full((3, 3), np.nan), _FWHM_PER_SIGMA, _BETA, 0)
    if stars.size < _STARS_LEAST:
        return unknown
    x, y = (np.ascontiguousarray(catalogue[axis][stars], float) for axis in ("x", "y"))
    sigma_px = float(np.median(catalogue["fwhm_px"][stars])) / _FWHM_PER_SIGMA
    if not sigma_px > 0:
        return unknown
    image = np.ascontiguousarray(frame.image, np.float32)
    usable = np.isfinite(image) & (frame.mask & int(BAD_PLANES) == 0)
    found = adaptive_moments(image, usable, x, y, sigma_px, _LARGEST_SIGMA_PX)
    settled = found[:, 3] > 0
    if settled.sum() < _STARS_LEAST:
        return unknown
    stars, x, y, found = stars[settled], x[settled], y[settled], found[settled, :3]
    moments, kept = _fitted(found, x, y)
    profile = _profile(frame, catalogue, stars[kept][:_PROFILE_STARS], sigma_px)
    matched_px = float(np.median(_size_px(found[kept])))
    ratio = profile.fwhm_px / matched_px if profile else _FWHM_PER_SIGMA
    return FramePsf(moments, ratio, profile.beta if profile else _BETA, int(kept.sum()))


def _size_px(moments):
    return np.maximum(moments[:, 0] * moments[:, 1] - moments[:, 2] ** 2, 1e-10) ** 0.25


def _fitted(moments, x, y):
    """Return the polynomials of moments without outliers, shape (3, 3), and which stars were kept."""
    terms = position_terms(x, y)
    terms = terms if x.size >= _LINEAR_STARS else terms[:, :1]
    kept = np.ones(x.size, bool)
    for _ in range(4):
        solution = np.linalg.lstsq(terms[kept], moments[kept], rcond=None)[0]
        off = np.abs(moments - terms @ solution)
        near = (off <= 3.5 * 1.4826 * np.median(off[kept], axis=0) + 1e-6).all(axis=1)
        if near.sum() < max(_STARS_LEAST, terms.shape[1]) or (near == kept).all():
            break
        kept = near
    polynomials = np.zeros((3, 3))
    polynomials[: terms.shape[1]] = solution
    return polynomials, kept


def _profile(frame, catalogue, stars, sigma_px):
    """Return the Moffat profile of stars, or None."""
    places = np.column_stack([catalogue["x"], catalogue["y"]])
    distances, _ = cKDTree(places).query(places[stars], k=2)
    fwhm_px = _FWHM_PER_SIGMA * sigma_px
    neighbour_px = np.atleast_2d(distances)[:, 1]
    return fit_profile(frame.image, frame.variance, *places[stars].T, neighbour_px, fwhm_px=fwhm_px)
