"""Models of a band's sources: point sources and galaxies through the PSF, all fitted to the image at once.

A source is a row of eight numbers: x, y (px), xx, yy, xy of its half-light ellipse (px^2, zeros for a point source),
share of the de Vaucouleurs profile in its light (the rest is exponential), flux, half width of its window (px).
"""

import dataclasses

import numpy as np
from scipy import sparse
from scipy.sparse import linalg

from mpidriver.tasks.multiband import _stamp_kernels as stamp_kernels
from mpidriver.tasks.multiband._mixtures import DE_VAUCOULEURS, EXPONENTIAL, VARIANCES
from mpidriver.tasks.multiband._model_kernels import add_models

__all__ = [
    "JointFluxes",
    "Models",
    "joint_fluxes",
    "psf_planes",
    "sources_at",
    "template_fluxes",
    "without_sources",
]

#: Widths, and shares of both profiles, as the kernels take them.
PROFILES = np.stack([VARIANCES, EXPONENTIAL, DE_VAUCOULEURS])
#: Half width of a window in FWHM of the PSF, least and most, and for galaxies in half-light radii; most in px.
_HALF_LEAST_FWHM, _HALF_MOST_FWHM, _HALF_RADII, _HALF_MOST_PX = 2.0, 12.0, 4.5, 150
#: A window ends where a source's light falls below this share of the noise of a pixel.
_FAINT = 0.2
#: Sources whose templates share less than this are no neighbours of each other; a system with more has no inverse.
_LEAST_OVERLAP, _RIDGE = 1e-3, 1e-6


@dataclasses.dataclass(frozen=True)
class Models:
    """The sources of one band and what its PSF makes of them."""

    sources: np.ndarray
    """Shape (source, 8)."""
    psf_matrices: np.ndarray
    """xx, yy, xy of a component of variance 1 where each source is, shape (source, 3)."""
    psf: np.ndarray
    """Variances (px^2) and shares of the PSF's components, shape (2, component)."""

    def image(self, shape):
        """Return the light of all sources, float64, shape (row, col)."""
        out = np.zeros(shape)
        add_models(out, self.sources, self.psf_matrices, self.psf, PROFILES, 1.0)
        return out

    def points(self, x, y):
        """Return the sources as point sources at other positions."""
        points = np.zeros_like(self.sources)
        points[:, 0], points[:, 1], points[:, 6], points[:, 7] = x, y, 1.0, self.sources[:, 7]
        return Models(points, self.psf_matrices, self.psf)


def psf_planes(mixture):
    """Return a `PsfMixture` as the kernels take it, shape (2, component)."""
    return np.stack([mixture.variances_px2, mixture.shares])


def sources_at(x, y, flux, sigma, psf, *, ellipses=None, dev_share=None):
    """Return sources with windows that hold what can be seen of them.

    Parameters
    ----------
    x, y : ndarray, shape (source,), px
    flux : ndarray, shape (source,)
    sigma : ndarray, shape (source,)
        Noise of a pixel there.
    psf : Psf
    ellipses : ndarray, shape (source, 3), optional
        Half-light ellipses, px^2.
    dev_share : ndarray, shape (source,), optional

    Returns
    -------
    ndarray, shape (source, 8)
    """
    sources = np.zeros((x.size, 8))
    sources[:, 0], sources[:, 1], sources[:, 6] = x, y, flux
    major = np.zeros(x.size)
    if ellipses is not None:
        sources[:, 2:5], sources[:, 5] = ellipses, dev_share
        mean, difference = 0.5 * (ellipses[:, 0] + ellipses[:, 1]), 0.5 * (ellipses[:, 0] - ellipses[:, 1])
        major = np.sqrt(np.maximum(mean + np.hypot(difference, ellipses[:, 2]), 0.0))
    # The wing of a Moffat profile of exponent 3.5 falls as r^-7.
    with np.errstate(invalid="ignore", divide="ignore"):
        bright = np.nan_to_num(np.maximum(flux, 0.0) / (sigma * psf.fwhm_px**2), posinf=0.0)
    reach = np.clip((bright / _FAINT) ** (1.0 / 7.0) * 1.2, _HALF_LEAST_FWHM, _HALF_MOST_FWHM)
    half = np.hypot(reach * psf.fwhm_px, _HALF_RADII * major)
    sources[:, 7] = np.ceil(np.minimum(half, _HALF_MOST_PX))
    return sources


def without_sources(scene, models):
    """Return the image of a scene without its sources, float64."""
    return np.where(scene.usable, scene.image - models.image(scene.image.shape), 0.0)


def template_fluxes(scene, models):
    """Return flux, its error from the variance, and the share of the template on usable pixels, shape (source, 3).

    Each source is taken to be alone; NaN where no pixel is usable.
    """
    return stamp_kernels.template_fluxes(
        scene.image, scene.variance, scene.usable, models.sources, models.psf_matrices, models.psf, PROFILES
    )


@dataclasses.dataclass(frozen=True)
class JointFluxes:
    """Fluxes of all sources at once, with their errors and what they share."""

    flux: np.ndarray
    """Shape (source,)."""
    flux_err: np.ndarray
    """From the variance of the pixels, neighbours' uncertainty included; shape (source,)."""
    inflation: np.ndarray
    """Error over that of the same source alone, shape (source,)."""
    overlap: np.ndarray
    """Share of the light under a source's template that is others', 0 to 1 (blendedness), shape (source,)."""


def joint_fluxes(scene, models):
    """Return the fluxes with which all templates together fit the image best, positions and shapes as they are.

    Every usable pixel has the same weight: with weights that follow the light, fluxes of bright sources come out low.

    Parameters
    ----------
    scene : Scene
    models : Models

    Returns
    -------
    JointFluxes
        NaN for a source without usable pixels.
    """
    n = models.sources.shape[0]
    if n == 0:
        return JointFluxes(*(np.zeros(0) for _ in range(4)))
    templates = _rendered(scene, models)
    pairs = stamp_kernels.overlapping_pairs(templates.windows, np.argsort(templates.windows[:, 2], kind="stable"))
    first, second = pairs[:, 0], pairs[:, 1]
    products = stamp_kernels.pair_products(*templates.arrays, scene.usable, scene.variance, first, second)
    own = first == second
    squares, noise = np.zeros(n), np.zeros(n)
    squares[first[own]], noise[first[own]] = products[own].T
    scale = np.sqrt(np.where(squares > 0, squares, 1.0))
    strong = own | (np.abs(products[:, 0]) > _LEAST_OVERLAP * scale[first] * scale[second])
    first, second, products = first[strong], second[strong], products[strong]
    plain, noisy = (_symmetric(first, second, values, n) for values in products.T)
    normal = plain + sparse.diags_array(np.where(squares > 0, _RIDGE * squares, 1.0))
    flux = linalg.spsolve(normal.tocsc(), stamp_kernels.image_products(*templates.arrays, scene.image, scene.usable))
    flux = np.where(squares > 0, np.atleast_1d(flux), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        alone = np.sqrt(noise) / squares
    errors = _errors(normal.tocsr(), noisy.tocsr(), alone)
    inflation = np.divide(errors, alone, out=np.ones(n), where=alone > 0)
    return JointFluxes(flux, errors, inflation, _overlap(plain, squares, flux))


@dataclasses.dataclass(frozen=True)
class _Templates:
    stamps: np.ndarray
    starts: np.ndarray
    windows: np.ndarray

    @property
    def arrays(self):
        return self.stamps, self.starts, self.windows


def _rendered(scene, models):
    rows, cols = scene.image.shape
    x, y, half = (np.rint(models.sources[:, k]).astype(np.int64) for k in (0, 1, 7))
    row0, row1 = np.clip(y - half, 0, rows), np.clip(y + half + 1, 0, rows)
    col0, col1 = np.clip(x - half, 0, cols), np.clip(x + half + 1, 0, cols)
    windows = np.ascontiguousarray(np.stack([row0, row1, col0, col1], axis=1))
    sizes = (row1 - row0) * (col1 - col0)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    stamps = np.empty(int(sizes.sum()), np.float32)
    stamp_kernels.render_stamps(stamps, starts, windows, models.sources, models.psf_matrices, models.psf, PROFILES)
    return _Templates(stamps, starts, windows)


def _symmetric(first, second, values, n):
    upper = sparse.coo_array((values, (first, second)), shape=(n, n)).tocsr()
    return upper + upper.T - sparse.diags_array(upper.diagonal())


def _errors(normal, noisy, alone):
    """Return errors by the inverse of each source's own part of the system: itself and its neighbours."""
    errors = alone.copy()
    starts = normal.indptr
    for i in np.flatnonzero(np.diff(starts) > 1):
        near = np.sort(normal.indices[starts[i] : starts[i + 1]])
        at = int(np.searchsorted(near, i))
        side = np.zeros(near.size)
        side[at] = 1.0
        row = np.linalg.solve(normal[near][:, near].toarray(), side)
        errors[i] = np.sqrt(max(row @ (noisy[near][:, near] @ row), 0.0))
    return errors


def _overlap(plain, squares, flux):
    """Return which share of the light that each template sees is its neighbours' (Bosch et al. 2018, sect. 4.9.11)."""
    positive = np.maximum(np.nan_to_num(flux), 0.0)
    seen = plain @ positive
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(seen > 0, 1.0 - squares * positive / seen, np.where(squares > 0, 0.0, np.nan))
