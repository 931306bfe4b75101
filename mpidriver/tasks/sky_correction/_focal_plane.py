"""One sky over all detectors of an exposure: a polynomial in the tangent plane, and a constant a detector.

Meshes that stand out are left out, so that what is bright over some of them does not count. The first rounds weigh
residuals down as they grow (Huber 1964), which ends near the solution of least absolute residuals: from least squares,
a bright object would drag its detector's other meshes over the limit too.
"""

import dataclasses

import numpy as np

from mpidriver.sphere import lon_lat, unit_vectors
from mpidriver.tasks.polynomials import polynomial_through
from mpidriver.tasks.sky_correction._options import SkyCorrectionOptions
from mpidriver.tasks.skymap import TangentPlane

__all__ = ["FocalPlaneSky", "detector_model", "fit_focal_plane"]

_HUBER_ROUNDS = 30
_CLIP_ROUNDS = 10
_CLIP_SIGMA = 3.0
#: Meshes that each coefficient has to have; the degree is lowered until it does.
_MESHES_A_TERM = 3
#: The spread is never taken as smaller than this share of the level: float32 counts are no more exact.
_SPREAD_FLOOR = 1e-6


@dataclasses.dataclass(frozen=True)
class FocalPlaneSky:
    """The sky of an exposure."""

    plane: TangentPlane
    """Touches the sky in the middle of all detectors."""
    scale_arcsec: float
    """Distance from it that counts as 1."""
    degree: int
    """Degree of the polynomial."""
    coefficients: np.ndarray
    """Of the terms without the constant, e, shape (n,)."""
    offsets: np.ndarray
    """Constant of each detector, e, shape (detector,)."""
    used: np.ndarray
    """Meshes of each detector that gave it, shape (detector,)."""
    rms_e: float
    """Spread of the meshes that gave it, e."""


def fit_focal_plane(skies, options=None):
    """Fit one sky to the meshes of all detectors.

    Parameters
    ----------
    skies : sequence of DetectorSky
    options : SkyCorrectionOptions, optional

    Returns
    -------
    FocalPlaneSky or None
        None if there is no mesh. A detector without a mesh gets the median constant of the others.
    """
    options = options or SkyCorrectionOptions()
    if not any(sky.level.size for sky in skies):
        return None
    level = np.concatenate([sky.level for sky in skies])
    own = np.repeat(np.arange(len(skies)), [sky.level.size for sky in skies])
    plane, places, scale = _tangent_plane(skies)
    groups = own if options.detector_offsets else np.zeros_like(own)
    members = (groups == np.unique(groups)[:, None]).T.astype(float)
    degree = _affordable_degree(level.size - members.shape[1], options.degree)
    design = np.hstack([members, _terms(places / scale, degree)])
    solution, kept, rms = _robust_fit(design, level)
    return FocalPlaneSky(
        plane,
        scale,
        degree,
        coefficients=solution[members.shape[1] :],
        offsets=_offsets(solution[: members.shape[1]], np.unique(groups), len(skies), options.detector_offsets),
        used=np.bincount(own[kept], minlength=len(skies)),
        rms_e=rms,
    )


def detector_model(sky, model, number):
    """Return the model of one detector's sky over its pixels.

    Parameters
    ----------
    sky : DetectorSky
    model : FocalPlaneSky
    number : int
        Its place among the skies of the fit.

    Returns
    -------
    ndarray, shape (node, node), e
        As for `polynomial_plane`.
    """
    ra, dec = sky.nodes[..., 0].ravel(), sky.nodes[..., 1].ravel()
    places = model.plane.project_arcsec(ra, dec) / model.scale_arcsec
    values = _terms(places, model.degree) @ model.coefficients + model.offsets[number]
    return polynomial_through(values.reshape(sky.nodes.shape[:2]), sky.shape)


def _tangent_plane(skies):
    """Return the plane in the middle of all detectors, the meshes' places in it, and the farthest node's distance."""
    nodes = np.concatenate([sky.nodes.reshape(-1, 2) for sky in skies])
    plane = TangentPlane(*lon_lat(unit_vectors(*nodes.T).mean(axis=0)))
    ra, dec = (np.concatenate([getattr(sky, name) for sky in skies]) for name in ("ra", "dec"))
    scale = float(np.hypot(*plane.project_arcsec(*nodes.T).T).max())
    return plane, plane.project_arcsec(ra, dec), max(scale, 1e-3)


def _affordable_degree(n_meshes, degree):
    while degree and n_meshes < _MESHES_A_TERM * ((degree + 1) * (degree + 2) // 2 - 1):
        degree -= 1
    return degree


def _terms(places, degree):
    """Return the terms of degree 1 and higher, shape (n, term)."""
    x, y = places.T
    powers = [(total - j, j) for total in range(1, degree + 1) for j in range(total + 1)]
    return np.array([x**i * y**j for i, j in powers]).reshape(len(powers), x.size).T


def _robust_fit(design, level):
    """Return the solution, which meshes gave it, and their spread."""
    weight = np.ones(level.size)
    for turn in range(_HUBER_ROUNDS + _CLIP_ROUNDS):
        root = np.sqrt(weight)
        solution, *_ = np.linalg.lstsq(design * root[:, None], level * root, rcond=None)
        residual = np.abs(level - design @ solution)
        spread = max(1.4826 * float(np.median(residual)), _SPREAD_FLOOR * float(np.median(np.abs(level))), 1e-6)
        if turn < _HUBER_ROUNDS:
            weight = 1 / np.maximum(residual / spread, 1)
        else:
            weight = (residual <= _CLIP_SIGMA * spread).astype(float)
    kept = weight == 1
    return solution, kept, float(np.sqrt(np.mean(residual[kept] ** 2)))


def _offsets(found, detectors, count, own):
    """Return the constant of each detector; the median of those found where it has none of its own."""
    offsets = np.full(count, np.median(found))
    if own:
        offsets[detectors] = found
    return offsets
