"""Offset and turn between a frame's stars and reference stars, by votes of all pairs."""

import dataclasses

import numpy as np
from scipy.spatial import cKDTree

__all__ = ["Search", "find_pointing", "searches", "vote_offset"]

#: A peak of votes has to stand this far above chance, and further where there are many places for chance.
_VOTE_SIGMA, _BLIND_SIGMA = 5.0, 10.0


@dataclasses.dataclass(frozen=True)
class Search:
    """Where a pointing is looked for."""

    radius: float
    """Largest offset, arcsec."""
    turns_deg: np.ndarray
    """Turns about the frame's centre that are tried, shape (n,)."""
    sigma: float
    """How far votes have to stand above chance."""

    def __str__(self) -> str:
        turns = f" and {self.turns_deg.max():g} deg" if self.turns_deg.size > 1 else ""
        return f"within {self.radius:g} arcsec{turns}"


def searches(reach, options):
    """Return the searches that are made in turn, the wide one if the narrow one finds nothing.

    Parameters
    ----------
    reach : float
        Distance of the frame's corners from its centre, arcsec.
    options : SingleFrameOptions
    """
    narrow = Search(options.search_radius_arcsec, np.zeros(1), _VOTE_SIGMA)
    if options.blind_radius_arcsec <= options.search_radius_arcsec:
        return [narrow]
    # Between two turns corners move by two match radii, so that the nearer one is right to one of them.
    step_deg = np.degrees(2 * options.match_radius_arcsec / reach)
    steps = int(np.ceil(options.blind_turn_deg / step_deg))
    turns_deg = np.linspace(-options.blind_turn_deg, options.blind_turn_deg, 2 * steps + 1)
    return [narrow, Search(options.blind_radius_arcsec, turns_deg, _BLIND_SIGMA)]


def find_pointing(ours, theirs, search, options):
    """Return the map ours -> theirs that most pairs agree on as (linear (2, 2), shift (2,)), None if none stands out.

    Parameters
    ----------
    ours, theirs : ndarray, shape (n, 2), (m, 2)
        Positions in the tangent plane of the frame's centre, arcsec.
    search : Search
    options : SingleFrameOptions
    """
    best, pointing = 0, None
    for turn_rad in np.radians(search.turns_deg):
        linear = np.array([[np.cos(turn_rad), -np.sin(turn_rad)], [np.sin(turn_rad), np.cos(turn_rad)]])
        shift, votes = vote_offset(
            ours @ linear.T, theirs, search.radius, options.match_radius_arcsec, options.match_min, search.sigma
        )
        if votes > best:
            best, pointing = votes, (linear, shift)
    return pointing


def vote_offset(ours, theirs, search_radius, match_radius, least, sigma=_VOTE_SIGMA):
    """Return the offset theirs - ours that most pairs agree on, and how many; (None, 0) if none stands out of chance.

    All differences within the search radius fall into a histogram with bins of the match radius; a bin and its
    neighbours vote together.

    Parameters
    ----------
    ours, theirs : ndarray, shape (n, 2), (m, 2)
        Positions in one plane.
    search_radius, match_radius : float
        In the same unit.
    least : int
        Fewest votes that are believed.
    sigma : float
        They stand as far above chance.

    Returns
    -------
    offset : ndarray, shape (2,), or None
    votes : int
    """
    tree = cKDTree(theirs)
    pairs = cKDTree(ours).query_ball_tree(tree, search_radius)
    first = np.repeat(np.arange(len(ours)), [len(p) for p in pairs])
    second = np.fromiter((j for p in pairs for j in sorted(p)), dtype=int, count=first.size)
    difference = theirs[second] - ours[first]
    bins = max(3, int(np.ceil(2 * search_radius / match_radius)))
    edges = np.linspace(-search_radius, search_radius, bins + 1)
    votes, _, _ = np.histogram2d(difference[:, 0], difference[:, 1], bins=(edges, edges))
    padded = np.pad(votes, 1)
    together = sum(padded[i : i + bins, j : j + bins] for i in range(3) for j in range(3))
    peak = np.unravel_index(np.argmax(together), together.shape)
    chance = 9 * first.size / (np.pi / 4 * bins**2)
    if together[peak] < max(least, chance + sigma * np.sqrt(chance + 1)):
        return None, 0
    centre = np.array([(edges[i] + edges[i + 1]) / 2 for i in peak])
    near = np.all(np.abs(difference - centre) <= 1.5 * (edges[1] - edges[0]) + 1e-9, axis=1)
    return np.median(difference[near], axis=0), int(together[peak])
