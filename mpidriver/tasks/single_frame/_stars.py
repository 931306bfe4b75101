"""Which sources are stars fit for the astrometric and photometric solutions."""

import numpy as np
from scipy.spatial import cKDTree

from mpidriver.tasks.single_frame._records import SourceFlag

__all__ = ["UNFIT", "nearest_that_matters_px", "select_stars"]

#: A source with one of these is no star for a solution.
UNFIT = (
    SourceFlag.EDGE
    | SourceFlag.SATURATED
    | SourceFlag.INTERPOLATED
    | SourceFlag.COSMIC_RAY
    | SourceFlag.CENTROID
    | SourceFlag.FLUX
)
#: Stars are this much more elongated than the typical one at most.
_ELLIPTICITY_SPREAD = 0.2
_TYPICAL_SOURCES = 200


def nearest_that_matters_px(x, y, flux, *, reach_px, flux_ratio):
    """Return the distance to the nearest neighbour that has at least a share `flux_ratio` of the flux, inf if none.

    Parameters
    ----------
    x, y, flux : ndarray, shape (n,)
    reach_px : float
        Neighbours further away are not looked for.
    flux_ratio : float

    Returns
    -------
    ndarray of float64, shape (n,)
    """
    nearest = np.full(x.size, np.inf)
    if x.size < 2:
        return nearest
    pairs = cKDTree(np.column_stack([x, y])).query_pairs(reach_px, output_type="ndarray")
    distance = np.hypot(*(c[pairs[:, 0]] - c[pairs[:, 1]] for c in (x, y)))
    for one, other in ((0, 1), (1, 0)):
        matters = flux[pairs[:, other]] >= flux_ratio * flux[pairs[:, one]]
        np.minimum.at(nearest, pairs[matters, one], distance[matters])
    return nearest


def select_stars(catalogue, half_light_px, neighbour_px, locus, *, fwhm_px, options):
    """Tell which sources are isolated, unsaturated, point-like and bright enough.

    A point is as round as the frame's stars are: guiding errors elongate them all.

    Parameters
    ----------
    catalogue : ndarray of `SOURCE_DTYPE`
    half_light_px, neighbour_px : ndarray, shape (n,)
    locus : tuple of float
        Centre and half width of the stars' half-light radii, px.
    fwhm_px : float
    options : SingleFrameOptions

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    centre, half_width = locus
    candidates = (
        ((catalogue["flags"] & UNFIT) == 0)
        & (catalogue["snr"] >= options.star_snr_min)
        & (np.abs(half_light_px - centre) <= half_width)
    )
    brightest = np.argsort(np.where(candidates, -catalogue["snr"], np.inf), kind="stable")[:_TYPICAL_SOURCES]
    typical = np.median(catalogue["ellipticity"][brightest][candidates[brightest]]) if candidates.any() else 0.0
    isolated = neighbour_px > options.isolation_fwhm * fwhm_px
    return candidates & isolated & (catalogue["ellipticity"] <= typical + _ELLIPTICITY_SPREAD)
