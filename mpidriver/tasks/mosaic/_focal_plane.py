"""What the frames of an exposure tell of each other's positions.

Detectors do not move in the focal plane. So the linear maps from pixels to the sky of an exposure's frames are those of
the detectors, turned, and changed by one polynomial over the focal plane (pointing, scale, refraction, flexure); what
is left of each frame's own is the scatter, by the atmosphere or errors of the input. Linear maps are three complex
numbers: where a frame's centre lies (xi + i eta), and the steps along its axes u and v; all in arcsec. A frame that is
alone in its exposure has these three for itself, and plays no part.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from mpidriver.tasks.least_squares import precision_about
from mpidriver.tasks.mosaic._grouping import membership, robust_fit
from mpidriver.tasks.mosaic._options import MosaicOptions

__all__ = ["FocalPlane", "fit_focal_plane", "without_whole"]

#: Errors of a frame's centre and of the steps along its axes, for evenly spread stars, in units of the centre's.
TERM_ERRORS = np.array([1.0, 3.0**0.5, 3.0**0.5])
#: An exposure has so many numbers, three a frame, for each term of its polynomial, or gets a lower degree.
NUMBERS_A_TERM = 4
#: Error of a frame that no star tells of, arcsec.
UNKNOWN = 1e3
#: What settles terms that nothing else does, arcsec.
FREE = 1e6


@dataclass(frozen=True)
class FocalPlane:
    """Where exposures and detectors together place each frame."""

    frames: np.ndarray
    """Which frames: those that are not alone in their exposure, shape (n,)."""
    correction: np.ndarray
    """What is to be added to their input maps, complex, shape (n, 3), arcsec."""
    precision: np.ndarray
    """Inverse covariance of what is still to be added to all of them, shape (3 n, 3 n)."""

    def corrections(self, n_frames: int) -> np.ndarray:
        """Return the corrections of all frames, zero for the others, shape (n_frames, 3)."""
        corrections = np.zeros((n_frames, 3), dtype=complex)
        corrections[self.frames] = self.correction
        return corrections


def fit_focal_plane(
    given: np.ndarray,
    solved: np.ndarray,
    noise: np.ndarray,
    exposures: np.ndarray,
    detectors: np.ndarray,
    options: MosaicOptions,
) -> FocalPlane:
    """Fit the maps of all frames by exposures and detectors.

    Parameters
    ----------
    given : ndarray, complex, shape (f, 3), arcsec
        Maps of the input.
    solved : ndarray, complex, shape (f, 3), arcsec
        Corrections of each frame for itself.
    noise : ndarray, shape (f,), arcsec
        Error of a coordinate of their first terms; infinite for frames without stars.
    exposures, detectors : ndarray of int, shape (f,)
        Which exposure and which detector in which band a frame is of.
    options
        Degree and priors.
    """
    frames = np.flatnonzero(np.bincount(exposures, np.isfinite(noise))[exposures] > 1)
    if not len(frames):
        return FocalPlane(frames, np.empty((0, 3), dtype=complex), np.empty((0, 0)))
    given, solved, noise = given[frames], solved[frames], noise[frames]
    exposures, detectors = (np.unique(group[frames], return_inverse=True)[1] for group in (exposures, detectors))
    turn = _turns(given[:, 1] / np.abs(given[:, 1]), exposures, detectors)[:, None]
    maps = (given + solved) / turn
    error = np.minimum(noise, UNKNOWN)[:, None] * TERM_ERRORS
    nominal = _nominal(maps, error, exposures, detectors)
    degrees = _degrees(np.bincount(exposures, np.isfinite(noise)), options.exposure_degree)
    design = _design(maps, exposures, detectors, degrees)
    size = np.full(design.shape[1], options.correction_prior_arcsec)
    least = options.frame_scatter_mas / 1000.0
    weight = 1.0 / np.hypot(error, least).ravel()
    weighted = sparse.diags_array(weight) @ design
    value = (maps - nominal).ravel()
    fitted = (design @ robust_fit(weighted, (value * weight)[:, None], size, 1.0)[:, 0]).reshape(maps.shape)
    free = _freedom(weighted, size).reshape(maps.shape)
    scatter = _scatter(maps - nominal - fitted, error, free, exposures, least)
    turned = sparse.diags_array(np.repeat(turn[:, 0], 3)) @ design
    return FocalPlane(
        frames=frames,
        correction=(nominal + fitted) * turn - given,
        precision=precision_about(turned.toarray(), size, np.repeat(scatter, 3)),
    )


def _turns(axis: np.ndarray, exposures: np.ndarray, detectors: np.ndarray) -> np.ndarray:
    """Return how each frame's exposure is turned against others that have detectors in common, shape (f,).

    Parameters
    ----------
    axis : ndarray, complex, shape (f,)
        Direction of each frame's u.
    """
    of_exposure: dict[int, complex] = {}
    of_detector: dict[int, complex] = {}
    members = [np.flatnonzero(exposures == number) for number in range(exposures.max(initial=-1) + 1)]
    for number in _connected(members, detectors):
        own = members[number]
        against = [axis[frame] / of_detector[detectors[frame]] for frame in own if detectors[frame] in of_detector]
        mean = np.sum(against) if against else 1.0
        of_exposure[number] = mean / abs(mean)
        for frame in own:
            of_detector.setdefault(detectors[frame], axis[frame] / of_exposure[number])
    return np.array([of_exposure[number] for number in exposures], dtype=complex)


def _connected(members: list[np.ndarray], detectors: np.ndarray) -> Iterator[int]:
    """Yield the exposures such that each has detectors in common with those before it, if any is left that has."""
    waiting = sorted(range(len(members)), key=lambda number: (-len(members[number]), number))
    seen: set[int] = set()
    while waiting:
        number = next((one for one in waiting if seen.intersection(detectors[members[one]].tolist())), waiting[0])
        waiting.remove(number)
        seen.update(detectors[members[number]].tolist())
        yield number


def _nominal(maps: np.ndarray, error: np.ndarray, exposures: np.ndarray, detectors: np.ndarray) -> np.ndarray:
    """Return each frame's map as if exposures differed in pointing alone and detectors kept their places."""
    of_exposure, of_detector = membership(exposures), membership(detectors)
    weight = error[:, :1].min(initial=UNKNOWN) / error[:, :1]
    both = np.hstack([of_exposure, of_detector])
    size = np.full(both.shape[1], FREE)
    centre = both @ robust_fit(both * weight, maps[:, :1] * weight, size, 1.0)
    steps = robust_fit(of_detector * weight, maps[:, 1:] * weight, size[: of_detector.shape[1]], 1.0)[detectors]
    return np.hstack([centre, steps])


def _degrees(n_frames: np.ndarray, most: int) -> np.ndarray:
    """Return the degree of each exposure's polynomial that so many frames can carry; pointing, turn and scale at least.

    Frames with a polynomial that follows their noise would be worse than each by itself.
    """
    degrees = np.full(len(n_frames), min(most, 1))
    for degree in range(2, most + 1):
        degrees[3 * n_frames >= NUMBERS_A_TERM * len(_powers(degree))] = degree
    return degrees


def _powers(degree: int) -> list[tuple[int, int]]:
    """Return the powers of x and y of a polynomial's terms."""
    return [(total - j, j) for total in range(degree + 1) for j in range(total + 1)]


def _design(maps: np.ndarray, exposures: np.ndarray, detectors: np.ndarray, degrees: np.ndarray) -> sparse.csr_array:
    """Return what exposures' polynomials and detectors' maps add to each frame's, shape (3 f, q)."""
    place = _places(maps[:, 0], exposures)
    scale = max(float(np.abs(place).max(initial=0.0)), 1.0)
    terms = _terms(place / scale, maps[:, 1:] / scale, _powers(degrees.max(initial=0)))
    of_exposure = membership(exposures)
    columns = []
    for degree in np.unique(degrees):
        chosen, n_terms = of_exposure[:, degrees == degree], len(_powers(degree))
        columns.append(np.einsum("fe,fmk->fmek", chosen, terms[..., :n_terms]))
    columns.append(np.einsum("fd,mk->fmdk", membership(detectors), np.eye(3)))
    return sparse.csr_array(np.hstack([part.reshape(3 * len(place), -1) for part in columns]))


def _terms(place: np.ndarray, step: np.ndarray, powers: list[tuple[int, int]]) -> np.ndarray:
    """Return a polynomial's terms at frames' centres, and by how much they change along their axes, (f, 3, k)."""
    x, y = place.real, place.imag
    terms = np.zeros((len(place), 3, len(powers)))
    for k, (i, j) in enumerate(powers):
        along_x = i * x ** max(i - 1, 0) * y**j
        along_y = j * x**i * y ** max(j - 1, 0)
        terms[:, 0, k] = x**i * y**j
        terms[:, 1:, k] = along_x[:, None] * step.real + along_y[:, None] * step.imag
    return terms


def _places(centre: np.ndarray, exposures: np.ndarray) -> np.ndarray:
    """Return the frames' places from the middle of their exposure's."""
    of_exposure = membership(exposures)
    return centre - (of_exposure @ ((of_exposure.T @ centre) / of_exposure.sum(axis=0)))


def _freedom(weighted: sparse.csr_array, size: np.ndarray) -> np.ndarray:
    """Return which part of each number's variance a fit leaves: one less its leverage."""
    normal = (weighted.T @ weighted).toarray() + np.diag(size**-2.0)
    dense = weighted.toarray()
    return 1.0 - np.einsum("nq,qn->n", dense, np.linalg.solve(normal, dense.T))


def _scatter(
    residual: np.ndarray, error: np.ndarray, free: np.ndarray, exposures: np.ndarray, least: float
) -> np.ndarray:
    """Return by how much the maps of each frame's exposure deviate, noise taken off, shape (f,), arcsec."""
    known = error < UNKNOWN
    square = np.where(known, np.abs(residual) ** 2 / 2 - free * error**2, 0.0).sum(axis=1)
    total, freedom = np.bincount(exposures, square), np.bincount(exposures, np.where(known, free, 0.0).sum(axis=1))
    mean = np.divide(total, freedom, out=np.zeros_like(total), where=freedom > 0.5)
    return np.sqrt(np.maximum(mean, least**2))[exposures]


def without_whole(change: np.ndarray, maps: np.ndarray, groups: np.ndarray, tied: np.ndarray) -> np.ndarray:
    """Return changes of the frames' maps without the offset, turn and stretch of groups that no reference holds.

    Nothing tells these, and a stretch that shrinks the frames' scatter about exposures and detectors would be taken up:
    100 mas over four detectors.

    Parameters
    ----------
    change, maps : ndarray, complex, shape (f, 3), arcsec
    groups : ndarray of int, shape (f,)
        Which frames hang together.
    tied : ndarray of bool, shape (n_groups,)
        Whether the reference holds a group.
    """
    change = change.copy()
    for number in np.flatnonzero(~tied):
        own = groups == number
        shift = np.zeros_like(maps[own])
        shift[:, 0] = 1.0
        whole = np.stack([shift.ravel(), maps[own].ravel(), maps[own].conj().ravel()], axis=-1)
        rest = change[own].ravel()
        change[own] = (rest - whole @ np.linalg.lstsq(whole, rest, rcond=None)[0]).reshape(-1, 3)
    return change
