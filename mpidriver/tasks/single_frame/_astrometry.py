"""Ties a frame's WCS to a reference catalogue: pointing by votes, then an affine correction in the tangent plane."""

import dataclasses

import numpy as np
from scipy.spatial import cKDTree

from mpidriver.tasks.reference import position_errors_mas
from mpidriver.tasks.single_frame._pointing import find_pointing, searches
from mpidriver.tasks.skymap import TangentPlane

__all__ = ["Match", "match_catalogue", "sky_corners"]

_ARCSEC_PER_DEG = 3600.0
_CLIP_SIGMA = 3.5
_ROUNDS = 6
#: Typical error of our own stars, which reference stars' errors come on top of, mas.
_CENTROID_MAS = 20.0
#: An affine correction takes this many matches; fewer give a shift.
_AFFINE_MIN = 10


@dataclasses.dataclass(frozen=True)
class Match:
    """Stars that were found in the reference catalogue."""

    wcs: object
    """WCS that the matches are closest in; the frame's own if there is no match."""
    stars: np.ndarray
    """Indices into the stars, shape (n,)."""
    references: np.ndarray
    """Indices into the reference catalogue, shape (n,)."""
    rms_mas: float
    """Residual an axis, mas; NaN without a match."""
    note: str = ""
    """Why there is no match, or no refinement."""

    @property
    def matched(self) -> bool:
        """Whether there is a match."""
        return self.stars.size > 0


def match_catalogue(x, y, wcs, shape, reference, options):
    """Match stars with reference stars and correct the WCS's linear terms.

    Parameters
    ----------
    x, y : ndarray, shape (n,), px
        Stars, brightest first.
    wcs : WCS
        Right within ``options.search_radius_arcsec``, or if that fails within ``options.blind_radius_arcsec`` and
        ``options.blind_turn_deg``.
    shape : tuple of int
        Rows and columns of the frame.
    reference : ndarray
        Structured, with ra and dec in deg and perhaps their errors, brightest first.
    options : SingleFrameOptions

    Returns
    -------
    Match
    """
    least, count = options.match_min, options.match_brightest
    plane = TangentPlane(*_sky(wcs, (shape[1] - 1) / 2, (shape[0] - 1) / 2))
    ours, places = (plane.project_arcsec(*sky) for sky in (_sky(wcs, x, y), (reference["ra"], reference["dec"])))
    outline = plane.project_arcsec(*sky_corners(wcs, shape).T)
    tried, pointing = [], None
    for search in searches(np.hypot(*outline.T).max(), options):
        near = _near(places, outline, search.radius)
        if x.size < least or near.size < least:
            tried.append(f"{x.size} stars and {near.size} reference stars {search}: {least} of each needed")
            continue
        theirs = places[near]
        pointing = find_pointing(ours[:count], theirs[:count], search, options)
        if pointing is not None:
            break
        tried.append(f"no offset {search} brings {least} stars together")
    if pointing is None:
        return _no_match(wcs, "; ".join(tried))
    weight = _weights(reference[near])
    stars, found = _match_by_affine(ours, theirs, weight, pointing, options.match_radius_arcsec)
    if stars.size < least:
        return _no_match(wcs, f"{stars.size} matches after clipping: {least} needed")
    if not options.refine_wcs:
        note = "WCS of the header kept: refine_wcs is off"
        return Match(wcs, stars, near[found], _rms_mas(ours[stars] - theirs[found]), note)
    refined = _correct_wcs(wcs, x[stars], y[stars], reference[near[found]], weight[found])
    residual = plane.project_arcsec(*_sky(refined, x[stars], y[stars])) - theirs[found]
    return Match(refined, stars, near[found], _rms_mas(residual))


def _weights(reference):
    """Return the weights of the reference stars in a fit, shape (n,); an unknown error counts as the worst known."""
    error_mas = position_errors_mas(reference)
    error_mas = np.nan_to_num(error_mas, nan=max(np.nan_to_num(error_mas), default=0.0))
    return _CENTROID_MAS**2 / (_CENTROID_MAS**2 + error_mas**2)


def _match_by_affine(ours, theirs, weight, pointing, radius):
    """Match, fit an affine map and clip in turn; return indices of both."""
    tree, (linear, shift) = cKDTree(theirs), pointing
    stars = found = np.zeros(0, dtype=int)
    tolerance = 2 * radius
    for _ in range(_ROUNDS):
        moved = ours @ linear.T + shift
        stars, found = _mutual_nearest(moved, tree, tolerance)
        if stars.size < 3:
            break
        linear, shift = _affine(ours[stars], theirs[found], weight[found])
        residual = np.hypot(*(ours[stars] @ linear.T + shift - theirs[found]).T)
        tolerance = min(radius, max(_CLIP_SIGMA * 0.85 * float(np.median(residual)), 1e-3 * radius))
        keep = residual <= tolerance
        stars, found = stars[keep], found[keep]
    return stars, found


def _mutual_nearest(points, tree, tolerance):
    """Return indices of points and of the tree's that are each other's nearest within the tolerance."""
    distance, nearest = tree.query(points, distance_upper_bound=tolerance)
    stars = np.flatnonzero(np.isfinite(distance))
    _, back = cKDTree(points).query(tree.data[nearest[stars]])
    mutual = back == stars
    return stars[mutual], nearest[stars[mutual]]


def _affine(source, target, weight):
    """Return the weighted least-squares map source -> target as (linear (2, 2), shift (2,)); a shift for few points."""
    if len(source) < _AFFINE_MIN:
        return np.eye(2), np.median(target - source, axis=0)
    centre = source.mean(axis=0)
    root = np.sqrt(weight)[:, None]
    design = np.column_stack([source - centre, np.ones(len(source))])
    solution, *_ = np.linalg.lstsq(design * root, target * root, rcond=None)
    linear = solution[:2].T
    return linear, solution[2] - linear @ centre


def _correct_wcs(wcs, x, y, reference, weight):
    """Return a copy of the WCS whose CRVAL and linear terms bring the stars onto the reference.

    The correction acts beyond the distortion polynomials, in whatever projection the WCS has; where it does not
    commute with them or with the moved reference point, the next round takes up what is left.
    """
    wcs = wcs.deepcopy()
    for _ in range(_ROUNDS):
        plane = TangentPlane(*wcs.wcs.crval)
        ours = plane.project_arcsec(*_sky(wcs, x, y))
        linear, shift = _affine(ours, plane.project_arcsec(reference["ra"], reference["dec"]), weight)
        _apply(wcs, linear, shift)
        if np.hypot(*shift) < 1e-6 and np.abs(linear - np.eye(2)).max() < 1e-10:
            break
    return wcs


def _apply(wcs, linear, shift_arcsec):
    """Multiply the WCS's matrix by `linear` and move CRVAL by a shift in its tangent plane, in place."""
    if wcs.wcs.has_cd():
        wcs.wcs.cd = linear @ wcs.wcs.cd
    else:
        scale = np.diag(wcs.wcs.get_cdelt())
        wcs.wcs.pc = np.linalg.inv(scale) @ linear @ scale @ wcs.wcs.get_pc()
    wcs.wcs.crval = TangentPlane(*wcs.wcs.crval).deproject(*(shift_arcsec / _ARCSEC_PER_DEG))
    wcs.wcs.set()


def sky_corners(wcs, shape):
    """Return the outer corners of a frame, shape (4, 2): ra, dec in deg; NaN without a WCS."""
    if wcs is None:
        return np.full((4, 2), np.nan)
    rows, cols = shape
    x = np.array([-0.5, cols - 0.5, cols - 0.5, -0.5])
    y = np.array([-0.5, -0.5, rows - 0.5, rows - 0.5])
    return np.column_stack(_sky(wcs, x, y))


def _near(places, outline, margin):
    """Return indices of places in a plane that lie within the box of a frame's outline and a margin around it."""
    low, high = outline.min(axis=0) - margin, outline.max(axis=0) + margin
    return np.flatnonzero(np.all((places >= low) & (places <= high), axis=-1))


def _sky(wcs, x, y):
    """Return ra, dec in deg of 0-based pixel positions."""
    return wcs.all_pix2world(x, y, 0)


def _rms_mas(residual_arcsec):
    return float(np.sqrt(np.mean(residual_arcsec**2)) * 1000)


def _no_match(wcs, note):
    none = np.zeros(0, dtype=int)
    return Match(wcs, none, none, float("nan"), f"WCS of the header kept: {note}")
