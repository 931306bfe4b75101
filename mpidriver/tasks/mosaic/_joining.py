"""One sky for tracts that overlap and that no reference holds.

Solved by itself, such a tract lies where its headers claim, some 100 mas from the next one. What nothing tells inside a
tract, an offset, a turn and a stretch of all its frames and of their zero points, the frames tell that two tracts have
in common. A frame of several tracts then gets one solution, the mean of theirs, so that its pixels are the same in all.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

import numpy as np

from mpidriver.sphere import lon_lat, unit_vectors
from mpidriver.tasks.least_squares import Measurements, solve_robustly
from mpidriver.tasks.mosaic._options import MosaicOptions
from mpidriver.tasks.mosaic._records import FrameSolution
from mpidriver.tasks.mosaic._sip import fit_sip
from mpidriver.tasks.scattering import ALONE, Ranks
from mpidriver.tasks.skymap import TangentPlane

__all__ = ["join_tracts"]

#: Positions along each axis of a frame at which its solutions are compared.
PLACES = 4
#: Expected difference of two tracts' solutions of a frame, arcsec and mag.
DEVIATION_ARCSEC, DEVIATION_MAG = 0.003, 0.003
#: Expected size of quadratic and cubic bends of a tract's solution, arcsec.
BEND_ARCSEC = 0.003
#: Frames whose solutions a rank makes at a time.
CHUNK = 8
#: Powers of xi and eta of a part's correction.
POWERS = [(total - j, j) for total in range(4) for j in range(total + 1)]


@dataclass(frozen=True)
class _Terms:
    """Terms of the correction of a part of the sky."""

    plane: TangentPlane
    reach_deg: float
    """From its middle to where the terms are about 1."""

    def at(self, vectors: np.ndarray) -> np.ndarray:
        """Return the terms at positions, shape (n, k)."""
        x, y = (axis / self.reach_deg for axis in self.plane.project_xyz(vectors))
        return np.stack([x**i * y**j for i, j in POWERS], axis=-1)

    def directions(self, vectors: np.ndarray, local: TangentPlane) -> np.ndarray:
        """Return the step in another plane by one step along xi in this one, complex, shape (n,)."""
        xi, eta = self.plane.project_xyz(vectors)
        before, after = (local.project_xyz(self.plane.deproject_xyz(xi + step, eta)) for step in (-1e-4, 1e-4))
        return ((after[0] - before[0]) + 1j * (after[1] - before[1])) / 2e-4

    def moved(self, vectors: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
        """Return corrected positions, shape (n, 3)."""
        xi, eta = self.plane.project_xyz(vectors)
        correction = self.at(vectors) @ coefficients / 3600.0
        return self.plane.deproject_xyz(xi + correction.real, eta + correction.imag)


@dataclass(frozen=True)
class _Part:
    """Frames of a tract that hang together."""

    frames: list[FrameSolution]
    terms: _Terms

    @classmethod
    def of(cls, frames: list[FrameSolution]) -> "_Part":
        centres = np.concatenate([_positions(frame, *_grid(frame, 1)) for frame in frames])
        plane = TangentPlane(*map(float, lon_lat(centres.mean(axis=0))))
        return cls(frames, _Terms(plane, max(float(np.max(np.hypot(*plane.project_xyz(centres)))), 1.0 / 60)))


@dataclass(frozen=True)
class _Corrected:
    """The solution that one part has of a frame, and what joins the part to the others."""

    frame: FrameSolution
    terms: _Terms
    coefficients: np.ndarray
    """Complex, shape (k,), arcsec."""
    shift_mag: float


def join_tracts(
    tracts: Mapping[int, Sequence[FrameSolution]],
    options: MosaicOptions | None = None,
    *,
    tied: bool = False,
    ranks: Ranks = ALONE,
) -> dict[tuple[int, int], FrameSolution]:
    """Return one solution for each frame of tracts that were solved each for itself.

    Parameters
    ----------
    tracts
        Tract to the solutions of its frames.
    options
        Priors, clipping and the tolerance of the WCS; defaults if None.
    tied
        Whether a reference ties the tracts' positions, so that joining changes these by what it leaves alone.
    ranks
        Who makes the frames' solutions; these do not depend on it.

    Returns
    -------
    dict
        By exposure and detector. A frame that contradicts its neighbours in one tract is misplaced in all; one that no
        tract can match keeps its input.
    """
    options = options or MosaicOptions()
    frames = [frame for tract in sorted(tracts) for frame in tracts[tract]]
    misplaced = {_name(frame): frame for frame in frames if frame.misplaced}
    parts = _parts(tracts, misplaced)
    owners = _owners(parts)
    corrections = _position_corrections(
        parts, owners, BEND_ARCSEC if tied else options.correction_prior_arcsec, options
    )
    shifts = _zero_point_shifts(parts, owners, options)
    corrected = [
        [_Corrected(frame, parts[part].terms, corrections[part], shifts[part, frame.band]) for part, frame in own]
        for own in owners.values()
    ]
    chunks = [corrected[first : first + CHUNK] for first in range(0, len(corrected), CHUNK)]
    means = ranks.reduce(list.__add__, _means, chunks, [options] * len(chunks)) if chunks else []
    solved = {_name(frame): frame for frame in means}
    return {_name(frame): frame for frame in frames} | solved | misplaced


def _name(frame: FrameSolution) -> tuple[int, int]:
    return frame.exposure, frame.detector


def _parts(
    tracts: Mapping[int, Sequence[FrameSolution]], without: Mapping[tuple[int, int], FrameSolution]
) -> list[_Part]:
    """Return the parts of all tracts."""
    members: dict[tuple[int, int], list[FrameSolution]] = defaultdict(list)
    for tract in sorted(tracts):
        for frame in tracts[tract]:
            if frame.matched and _name(frame) not in without:
                members[tract, frame.group].append(frame)
    return [_Part.of(frames) for frames in members.values()]


Owners = dict[tuple[int, int], list[tuple[int, FrameSolution]]]


def _owners(parts: list[_Part]) -> Owners:
    """Return for each frame the numbers of the parts that have it, and their solutions."""
    owners: Owners = defaultdict(list)
    for number, part in enumerate(parts):
        for frame in part.frames:
            owners[_name(frame)].append((number, frame))
    return dict(sorted(owners.items()))


def _position_corrections(
    parts: list[_Part], owners: Owners, linear_arcsec: float, options: MosaicOptions
) -> np.ndarray:
    """Return what lays the parts on each other: coefficients of their terms, complex, shape (n_parts, k), arcsec."""
    number, place, basis, value = [], [], [], []
    for first, own in enumerate(several for several in owners.values() if len(several) > 1):
        local = TangentPlane(*map(float, own[0][1].wcs.wcs.crval))
        for part, frame in own:
            vectors = _positions(frame, *_grid(frame, PLACES))
            number.append(np.full(len(vectors), part))
            place.append(np.arange(len(vectors)) + first * PLACES**2)
            basis.append(parts[part].terms.at(vectors) * parts[part].terms.directions(vectors, local)[:, None])
            value.append(np.stack(local.project_xyz(vectors), axis=-1) * 3600.0)
    if not number:
        return np.zeros((len(parts), len(POWERS)), dtype=complex)
    size = np.array([linear_arcsec if i + j < 2 else BEND_ARCSEC for i, j in POWERS])
    weight = np.array([len(part.frames) for part in parts])  # so that the whole lies where the mean of all frames does
    return _laid_together(
        np.concatenate(number),
        np.concatenate(place),
        np.concatenate(basis),
        np.concatenate(value),
        DEVIATION_ARCSEC,
        weight[:, None] / size**2,
        options,
    )


def _zero_point_shifts(parts: list[_Part], owners: Owners, options: MosaicOptions) -> dict[tuple[int, str], float]:
    """Return what is to be added to the zero points of each part and band, mag."""
    count: dict[tuple[int, str], int] = defaultdict(int)
    for number, part in enumerate(parts):
        for frame in part.frames:
            count[number, frame.band] += 1
    numbers = {key: number for number, key in enumerate(count)}
    compared = [
        (numbers[part, frame.band], place, frame.zero_point_mag)
        for place, own in enumerate(several for several in owners.values() if len(several) > 1)
        for part, frame in own
    ]
    if not compared:
        return dict.fromkeys(count, 0.0)
    number, place, value = (np.array(column) for column in zip(*compared, strict=True))
    shift = _laid_together(
        number,
        place,
        np.ones((len(value), 1)),
        value[:, None],
        DEVIATION_MAG,
        np.array(list(count.values()))[:, None] / options.zero_point_prior_mag**2,
        options,
    )
    return {key: float(shift[number, 0]) for key, number in numbers.items()}


def _laid_together(
    number: np.ndarray,
    place: np.ndarray,
    basis: np.ndarray,
    value: np.ndarray,
    sigma: float,
    precision: np.ndarray,
    options: MosaicOptions,
) -> np.ndarray:
    """Return the coefficients of each part, shape (n_parts, k), that make its values those of the others.

    Parameters
    ----------
    number, place : ndarray of int, shape (m,)
        Of which part a value is, and where: values of one place are to be the same.
    basis : ndarray, shape (m, k)
        How the part's terms change the value.
    value : ndarray, shape (m, r)
    sigma
        Expected deviation of a value.
    precision : ndarray, shape (n_parts, k)
        Of the coefficients, beforehand.
    """
    n_places = int(place.max()) + 1
    m = Measurements(
        frame=number,
        star=place,
        basis=basis,
        value=value,
        sigma=np.full(len(value), sigma),
        tie=np.full((n_places, value.shape[1]), np.nan),
        tie_sigma=np.full(n_places, np.inf),
        parameter=np.arange(precision.size).reshape(precision.shape),
        precision=precision.ravel(),
    )
    everything = np.ones(len(value), dtype=bool)
    fit = solve_robustly(m, everything, clip_sigma=options.clip_sigma, max_iterations=options.max_iterations)
    return fit.coefficients[..., 0]


def _means(frames: list[list[_Corrected]], options: MosaicOptions) -> list[FrameSolution]:
    return [_mean(own, options) for own in frames]


def _mean(own: list[_Corrected], options: MosaicOptions) -> FrameSolution:
    """Return the mean of a frame's solutions, weighted by the stars that they use."""
    frame = own[0].frame
    weight = np.array([one.frame.n_stars for one in own]) / sum(one.frame.n_stars for one in own)

    def to_sky(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        positions = [one.terms.moved(_positions(one.frame, x, y), one.coefficients) for one in own]
        return lon_lat(np.tensordot(weight, positions, axes=1))

    wcs, residual_mas = fit_sip(to_sky, frame.shape, tolerance_mas=options.wcs_tolerance_mas)
    flats = np.array(list(zip_longest(*(one.frame.flat_mag for one in own), fillvalue=0.0))).reshape(-1, len(own))
    return replace(
        max((one.frame for one in own), key=lambda one: one.n_stars),
        wcs=wcs,
        wcs_residual_mas=residual_mas,
        zero_point_mag=float(weight @ [one.frame.zero_point_mag + one.shift_mag for one in own]),
        flat_mag=tuple((flats @ weight).tolist()),
    )


def _grid(frame: FrameSolution, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return pixel positions, 0-based, in the middle of n x n equal parts of a frame."""
    rows, columns = frame.shape
    y, x = np.meshgrid(*((np.arange(n) + 0.5) / n * size - 0.5 for size in (rows, columns)), indexing="ij")
    return x.ravel(), y.ravel()


def _positions(frame: FrameSolution, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return unit vectors of pixel positions by the frame's own solution, shape (n, 3)."""
    return unit_vectors(*frame.wcs.all_pix2world(x, y, 0))
