"""Deblending: models of all sources of one band, each fitted to what the others leave, until nothing moves."""

import dataclasses

import numpy as np
from scipy import ndimage

from mpidriver.tasks.multiband._fit_kernels import fit_sources
from mpidriver.tasks.multiband._models import (
    PROFILES,
    JointFluxes,
    Models,
    joint_fluxes,
    sources_at,
    without_sources,
)

__all__ = ["Deblended", "deblend", "sky_sigma"]

#: Rounds over all sources, then over blended ones, at most; steps of each fit in the first and in later rounds.
_ROUNDS, _STEPS, _LATER_STEPS = 12, 12, 4
#: A flux that changes by less than this in a round, in sigmas, has settled.
_SETTLED = 0.1
#: A position keeps within this of where it was found, in sigmas of the PSF.
_POSITION_SPREAD = 0.5
#: Half-light radius that is assumed of faint galaxies, the least and the most, in sigmas of the PSF.
_TYPICAL_SIGMA, _LEAST_SIGMA, _MOST_SIGMA = 1.0, 0.05, 30.0
#: Sources of less than this share of light from others are done after the first round.
_BLENDED = 0.003
#: Boxes in which the noise of the sky is looked up, px, and the percentile of the variance that is the sky's.
_SKY_BOX_PX, _SKY_PERCENTILE = 64, 20.0


@dataclasses.dataclass(frozen=True)
class Deblended:
    """Models of a band's sources and what is known of their fluxes."""

    models: Models
    joint: JointFluxes
    shape_errors: np.ndarray
    """Relative error of the flux of a galaxy that comes from its shape and position being fitted, shape (source,)."""


def deblend(scene, x, y, psf, *, noise_factor=1.0, fixed=None):
    """Fit models to all sources of a band at once.

    Each source in turn, the brightest first, is fitted to what the others leave: as a point source and as a galaxy
    between the exponential and the de Vaucouleurs profile, which must be better by so much. Then all fluxes are solved
    for together. This is repeated for sources that share light, as long as their own
    fluxes change: what neighbours do to them is in the common solution.

    Parameters
    ----------
    scene : Scene
    x, y : ndarray of float64, shape (source,), px
        Where the sources are, nearly.
    psf : Psf
    noise_factor : float
        Noise over what the variance says.
    fixed : ndarray of bool, shape (source,), optional
        Sources that stay points where they are.

    Returns
    -------
    Deblended
    """
    sigma = sky_sigma(scene, x, y)
    first = np.nan_to_num(psf.point_fluxes(scene, x, y, sigma)[:, 0])
    models = Models(sources_at(x, y, first, sigma, psf), psf.matrices(x, y), psf.planes)
    models, joint = _with_joint_fluxes(scene, models, sigma, psf)
    weights = np.divide(1.0, (sigma * noise_factor) ** 2, out=np.zeros(x.size), where=sigma > 0)
    begins, shape_errors = np.column_stack([x, y]), np.zeros(x.size)
    limits = tuple(psf.sigma_px * value for value in (_POSITION_SPREAD, _TYPICAL_SIGMA, _LEAST_SIGMA, _MOST_SIGMA))
    free = np.ones(x.size, dtype=bool) if fixed is None else ~fixed
    active, steps = np.flatnonzero(free), _STEPS
    for _ in range(_ROUNDS):
        if active.size == 0:
            break
        order = active[np.argsort(-models.sources[active, 6], kind="stable")]
        before = models.sources.copy()
        fit_sources(
            without_sources(scene, models),
            scene.usable,
            models.sources,
            shape_errors,
            begins,
            weights,
            order,
            models.psf_matrices,
            models.psf,
            PROFILES,
            limits,
            steps,
        )
        models, joint = _with_joint_fluxes(scene, models, sigma, psf)
        changed = np.abs(models.sources[:, 6] - before[:, 6]) > _SETTLED * joint.flux_err
        active, steps = np.flatnonzero(free & (joint.overlap > _BLENDED) & changed), _LATER_STEPS
    return Deblended(models, joint, shape_errors)


def _with_joint_fluxes(scene, models, sigma, psf):
    """Return models with windows that suit their sizes, and fluxes that fit together."""
    s = models.sources
    sized = sources_at(s[:, 0], s[:, 1], s[:, 6], sigma, psf, ellipses=s[:, 2:5], dev_share=s[:, 5])
    models = Models(sized, models.psf_matrices, models.psf)
    joint = joint_fluxes(scene, models)
    sized[:, 6] = np.nan_to_num(joint.flux)
    return models, joint


def sky_sigma(scene, x, y):
    """Return the noise of the sky at positions, shape (source,): that of the quieter pixels of a box."""
    rows, cols = scene.image.shape
    boxes = np.full((-(-rows // _SKY_BOX_PX), -(-cols // _SKY_BOX_PX)), np.nan)
    for i, j in np.ndindex(boxes.shape):
        box = np.s_[i * _SKY_BOX_PX : (i + 1) * _SKY_BOX_PX, j * _SKY_BOX_PX : (j + 1) * _SKY_BOX_PX]
        usable = scene.usable[box]
        if usable.any():
            boxes[i, j] = np.percentile(scene.variance[box][usable], _SKY_PERCENTILE)
    if not np.isfinite(boxes).any():
        return np.zeros(x.size)
    nearest = ndimage.distance_transform_edt(~np.isfinite(boxes), return_distances=False, return_indices=True)
    filled = boxes[tuple(nearest)]
    at = np.clip((np.rint(y) // _SKY_BOX_PX).astype(int), 0, boxes.shape[0] - 1)
    at_x = np.clip((np.rint(x) // _SKY_BOX_PX).astype(int), 0, boxes.shape[1] - 1)
    return np.sqrt(filled[at, at_x])
