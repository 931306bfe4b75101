"""Which measurements are of the same star: frames are laid one by one on the stars known so far.

Groups grow like a spanning tree: the frame with the largest overlap comes next, each laid on the stars of the reference
and of the frames before it. What fits no group but should (it overlaps one) has a wrong position and is named.
Positions are in a tangent plane in arcsec.
"""

from dataclasses import dataclass, field

import numpy as np

from mpidriver.tasks.mosaic._align import Alignment, align
from mpidriver.tasks.mosaic._options import MosaicOptions

__all__ = ["NO_STAR", "Matches", "match_stars"]

#: Why a frame without stars is not matched.
NO_STAR = "no star"
#: A frame that should share so many stars with a group and does not has a wrong position.
SHOULD_MATCH = 8.0


@dataclass(frozen=True)
class Matches:
    """Measurements by star."""

    star: list[np.ndarray]
    """For each frame the number of the star that each of its measurements is of, -1 for none."""
    n_stars: int
    """How many there are; those of the reference come first, in its order."""
    reason: list[str]
    """For each frame why it is not matched, empty if it is."""

    def gather(self, values: list[np.ndarray]) -> np.ndarray:
        """Return the rows of all frames' arrays that are of a star, one frame after the other."""
        return np.concatenate([rows[star >= 0] for rows, star in zip(values, self.star, strict=True)])

    def frame_numbers(self) -> np.ndarray:
        """Return the index of the frame of each gathered row."""
        return np.repeat(np.arange(len(self.star)), [np.count_nonzero(star >= 0) for star in self.star])


@dataclass(eq=False)
class _Group:
    """Frames that are laid on common stars."""

    known: np.ndarray
    """Positions of its stars, shape (k, 2)."""
    number: np.ndarray
    """Their numbers, shape (k,)."""
    score: np.ndarray
    """Stars that each frame should share with the group, shape (f,)."""
    frames: list[int] = field(default_factory=list)


def match_stars(
    points: list[np.ndarray],
    reference: np.ndarray,
    options: MosaicOptions,
    *,
    exposures: np.ndarray,
    shifts: list[np.ndarray] | None = None,
) -> Matches:
    """Find the stars that frames share with each other and with the reference.

    Parameters
    ----------
    points
        For each frame its stars' positions by its input WCS, shape (n, 2), arcsec, the brightest first.
    reference : ndarray, shape (k, 2), arcsec
        Reference stars; they get the first numbers.
    options
        Radii.
    exposures : ndarray of int, shape (f,)
        Which frames have their pointing in common.
    shifts
        For each frame by how much the reference stars have moved when it was taken, shape (k, 2), arcsec.
    """
    return _Matcher(points, options, exposures, shifts).match(reference)


class _Matcher:
    def __init__(
        self,
        points: list[np.ndarray],
        options: MosaicOptions,
        exposures: np.ndarray,
        shifts: list[np.ndarray] | None,
    ) -> None:
        self.points = points
        self.exposures = exposures
        self.shifts = shifts
        self.options = options
        self.sizes = np.array([len(frame) for frame in points])
        self.boxes = np.array([_box(frame) for frame in points]).reshape(-1, 4)
        self.star = [np.full(len(frame), -1) for frame in points]
        self.n_stars = 0

    def match(self, reference: np.ndarray) -> Matches:
        waiting = set(np.flatnonzero(self.sizes > 0).tolist())
        groups = []
        if len(reference):
            self.n_stars = len(reference)
            score = np.array([len(_within(reference, box, 0.0)[0]) for box in self.boxes], dtype=float)
            groups.append(_Group(reference, np.arange(len(reference)), np.minimum(score, self.sizes)))
            self._grow(groups[0], waiting)
        while waiting:
            seed = max(waiting, key=lambda index: (self.sizes[index], -index))
            group = _Group(np.empty((0, 2)), np.empty(0, dtype=int), np.zeros(len(self.points)))
            waiting.discard(seed)
            self._add(
                group, seed, Alignment(self.points[seed], self.star[seed], np.zeros(self.sizes[seed], dtype=bool))
            )
            self._grow(group, waiting)
            groups.append(group)
        return Matches(self.star, self.n_stars, self._reasons(groups, anchored=len(reference) > 0))

    def _grow(self, group: _Group, waiting: set[int]) -> None:
        """Add frames, the one with most stars in common first, until none fits; a failure is tried again once more."""
        tried: dict[int, float] = {}
        while True:
            open_to = [index for index in sorted(waiting) if group.score[index] > tried.get(index, 0.5)]
            if not open_to:
                return
            index = max(open_to, key=lambda candidate: (group.score[candidate], -candidate))
            alignment = self._lay(group, index)
            if alignment is None:
                tried[index] = group.score[index]
            else:
                waiting.discard(index)
                self._add(group, index, alignment)

    def _lay(self, group: _Group, index: int) -> Alignment | None:
        options = self.options
        nearby, chosen = _within(group.known, self.boxes[index], options.search_radius_arcsec)
        if self.shifts is not None:
            nearby = nearby + self._moved(index, group.number[chosen])
        alignment = align(
            self.points[index],
            nearby,
            search_radius=options.search_radius_arcsec,
            match_radius=options.match_radius_arcsec,
            prior=options.correction_prior_arcsec,
        )
        if alignment is None:
            return None
        numbers = np.append(group.number[chosen], -1)  # -1 stays -1
        return Alignment(alignment.positions, numbers[alignment.star], alignment.near)

    def _moved(self, index: int, number: np.ndarray) -> np.ndarray:
        """Return by how much stars have moved when a frame was taken; only those of the reference do."""
        shift = self.shifts[index]
        moves = number < len(shift)
        return np.where(moves[:, None], shift[np.where(moves, number, 0)], 0.0)

    def _add(self, group: _Group, index: int, alignment: Alignment) -> None:
        """Take a frame into a group; its stars that no known one is near become known."""
        fresh = np.flatnonzero(~alignment.near)
        numbers = self.n_stars + np.arange(len(fresh))
        self.n_stars += len(fresh)
        self.star[index] = alignment.star.copy()
        self.star[index][fresh] = numbers
        group.known = np.concatenate([group.known, alignment.positions[fresh]])
        group.number = np.concatenate([group.number, numbers])
        group.frames.append(index)
        group.score = np.maximum(group.score, self._shared(index))

    def _shared(self, index: int) -> np.ndarray:
        """Return how many stars each frame should share with one, by the overlap of their boxes, shape (f,)."""
        low = np.maximum(self.boxes[:, :2], self.boxes[index, :2])
        high = np.minimum(self.boxes[:, 2:], self.boxes[index, 2:])
        overlap = np.prod(np.clip(high - low, 0.0, None), axis=1)
        area = np.maximum(np.prod(self.boxes[:, 2:] - self.boxes[:, :2], axis=1), 1.0)
        density = self.sizes / area
        return overlap * np.minimum(density, density[index])

    def _reasons(self, groups: list[_Group], *, anchored: bool) -> list[str]:
        """Say for each frame why it is not matched; a group that should have met a better one is dropped whole.

        The reference is best, then the group of most frames. Groups of exposures that are wrong elsewhere come last:
        where two frames contradict each other alone, the other is believed.
        """
        ranked = groups[:1] * anchored + sorted(groups[anchored:], key=lambda group: -len(group.frames))
        accepted = _accepted(ranked)
        anchor = groups[0] if anchored else None
        sure = {index for group in accepted if group is anchor or len(group.frames) > 1 for index in group.frames}
        dropped = {index for group in ranked if group not in accepted for index in group.frames}
        wrong = set(self.exposures[list(dropped)].tolist()) - set(self.exposures[list(sure)].tolist())
        ranked.sort(key=lambda group: group is not anchor and wrong.issuperset(self.exposures[group.frames].tolist()))
        accepted = _accepted(ranked)
        reason = [NO_STAR for _ in self.points]
        for group in ranked:
            for index in group.frames:
                reason[index] = "" if group in accepted else self._wrong_position()
                if group not in accepted:
                    self.star[index][:] = -1
        return reason

    def _wrong_position(self) -> str:
        radius = self.options.search_radius_arcsec
        return f"its stars do not match those of overlapping frames or the reference within {radius:g} arcsec"


def _accepted(ranked: list[_Group]) -> list[_Group]:
    """Return the groups without those that should have met an earlier one."""
    accepted: list[_Group] = []
    for group in ranked:
        if not any(other.score[index] >= SHOULD_MATCH for other in accepted for index in group.frames):
            accepted.append(group)
    return accepted


def _box(points: np.ndarray) -> np.ndarray:
    """Return x0, y0, x1, y1 of the points."""
    if not len(points):
        return np.zeros(4)
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


def _within(known: np.ndarray, box: np.ndarray, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions within a box with a margin, and their indices."""
    inside = np.all((known >= box[:2] - margin) & (known <= box[2:] + margin), axis=1)
    chosen = np.flatnonzero(inside)
    return known[chosen], chosen
