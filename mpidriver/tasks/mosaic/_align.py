"""Find how far one frame's stars lie from known stars: vote for an offset, then fit an affine map to the matches.

Positions are in a tangent plane in arcsec, shape (n, 2), the brightest first.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

__all__ = ["Alignment", "align"]

#: So many of a frame's brightest stars vote.
VOTERS = 200
#: Least votes for an offset.
QUORUM = 4


@dataclass(frozen=True)
class Alignment:
    """A frame laid on known stars."""

    positions: np.ndarray
    """Where the frame's stars lie after the affine map, shape (n, 2), arcsec."""
    star: np.ndarray
    """Index of the known star that each is, -1 for none, shape (n,)."""
    near: np.ndarray
    """Whether a known star, matched or not, lies within the match radius, shape (n,)."""


def align(
    points: np.ndarray, known: np.ndarray, *, search_radius: float, match_radius: float, prior: float
) -> Alignment | None:
    """Lay a frame's stars on known ones.

    Parameters
    ----------
    points : ndarray, shape (n, 2), arcsec
    known : ndarray, shape (k, 2), arcsec
    search_radius
        Largest offset, arcsec.
    match_radius
        Largest distance of a match once the offset is out, arcsec.
    prior
        Expected change over the frame by rotation and scale, arcsec.

    Returns
    -------
    Alignment or None
        None if no offset brings together clearly more stars than chance does.
    """
    if not len(points) or not len(known):
        return None
    tree = cKDTree(known)
    middle, half = _middle_and_half(points)
    terms = np.column_stack([np.ones(len(points)), (points - middle) / half])
    moved = points + _vote(points[:VOTERS], tree, search_radius, match_radius)
    radius = match_radius
    for _ in range(3):
        star = _mutual_matches(moved, tree, radius)
        matched = star >= 0
        if not matched.any():
            return None
        shift = _fit_affine(terms[matched], known[star[matched]] - points[matched], prior)
        moved = points + terms @ shift
        scatter = 1.4826 * np.median(np.linalg.norm(known[star[matched]] - moved[matched], axis=1))
        radius = float(np.clip(5.0 * scatter, 0.2 * match_radius, match_radius))
    star = _mutual_matches(moved, tree, radius)
    if not _is_credible(star, moved, known, tree, radius, search_radius):
        return None
    return Alignment(moved, star, np.isfinite(tree.query(moved, distance_upper_bound=match_radius)[0]))


def _middle_and_half(points: np.ndarray) -> tuple[np.ndarray, float]:
    low, high = points.min(axis=0), points.max(axis=0)
    return (low + high) / 2, max(float(np.max(high - low)) / 2, 1.0)


def _vote(points: np.ndarray, tree: cKDTree, search_radius: float, tolerance: float) -> np.ndarray:
    """Return the offset (2,) that most pairs agree on, or none where chance would explain them."""
    pairs = cKDTree(points).sparse_distance_matrix(tree, search_radius, output_type="ndarray")
    offsets = tree.data[pairs["j"]] - points[pairs["i"]]
    if not len(offsets):
        return np.zeros(2)
    order = np.lexsort((pairs["j"], pairs["i"]))  # equal votes must not be settled by the tree's order
    offsets = offsets[order]
    votes = cKDTree(offsets)
    counts = votes.query_ball_point(offsets, tolerance, return_length=True)
    chance = len(offsets) * (tolerance / search_radius) ** 2
    best = int(np.argmax(counts))
    if counts[best] < max(QUORUM, 2.0 + chance + 5.0 * np.sqrt(chance)):
        return np.zeros(2)
    centre = offsets[best]
    for _ in range(3):
        centre = np.median(offsets[np.sort(votes.query_ball_point(centre, tolerance))], axis=0)
    return centre


def _mutual_matches(points: np.ndarray, tree: cKDTree, radius: float) -> np.ndarray:
    """Return for each point the known star that is nearest to it and has it as nearest, -1 for none."""
    distance, star = tree.query(points, distance_upper_bound=radius)
    matched = np.flatnonzero(np.isfinite(distance))
    nearest = cKDTree(points).query(tree.data[star[matched]])[1]
    result = np.full(len(points), -1)
    mutual = matched[nearest == matched]
    result[mutual] = star[mutual]
    return result


def _fit_affine(terms: np.ndarray, shift: np.ndarray, prior: float) -> np.ndarray:
    """Return coefficients, shape (3, 2), of a robust affine map; few stars give little but the offset."""
    keep = np.ones(len(shift), dtype=bool)
    ridge = np.diag([0.0, 1.0, 1.0]) * (0.1 / prior) ** 2  # a match is taken to be good to 0.1 arcsec
    for _ in range(3):
        chosen = terms[keep]
        coefficients = np.linalg.solve(chosen.T @ chosen + ridge, chosen.T @ shift[keep])
        distance = np.linalg.norm(shift - terms @ coefficients, axis=1)
        keep = distance <= max(3.0 * 1.4826 * float(np.median(distance)), 1e-3)
    return coefficients


def _is_credible(
    star: np.ndarray, moved: np.ndarray, known: np.ndarray, tree: cKDTree, radius: float, reach: float
) -> bool:
    """Tell whether there are clearly more matches than by chance, and a fair part of those that could be."""
    inside = np.all((known >= moved.min(axis=0)) & (known <= moved.max(axis=0)), axis=1)
    box_area = max(float(np.prod(np.ptp(moved, axis=0))), np.pi * radius**2)
    density = max(int(inside.sum()), 1) / box_area
    spacing = max(reach, 3.0 / np.sqrt(density))
    covered = int(np.isfinite(tree.query(moved, distance_upper_bound=spacing)[0]).sum())
    possible = min(covered, max(int(inside.sum()), 1))
    chance = covered * density * np.pi * radius**2
    found = int((star >= 0).sum())
    return found >= 0.2 * possible and found > chance + 3.0 * np.sqrt(chance)
