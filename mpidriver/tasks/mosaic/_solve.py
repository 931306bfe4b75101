"""The mosaic of one tract, from the frames' stars to their WCS and zero points."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mpidriver.sphere import lon_lat, unit_vectors
from mpidriver.tasks.mosaic._astrometry import Astrometry, solve_astrometry
from mpidriver.tasks.mosaic._grouping import detector_numbers, exposure_numbers
from mpidriver.tasks.mosaic._matching import NO_STAR, Matches, match_stars
from mpidriver.tasks.mosaic._options import MosaicOptions
from mpidriver.tasks.mosaic._photometry import Photometry, solve_photometry
from mpidriver.tasks.mosaic._records import FrameSolution, FrameSources, MosaicSolution, Summary
from mpidriver.tasks.mosaic._sip import fit_sip
from mpidriver.tasks.mosaic._stars import choose_stars
from mpidriver.tasks.reference import at_epoch, julian_year, position_errors_mas
from mpidriver.tasks.scattering import ALONE, Ranks
from mpidriver.tasks.skymap import TangentPlane

__all__ = ["solve_mosaic"]


def solve_mosaic(
    frames: Sequence[FrameSources],
    *,
    reference: np.ndarray | None = None,
    options: MosaicOptions | None = None,
    ranks: Ranks = ALONE,
) -> MosaicSolution:
    """Solve positions and zero points of all frames of a tract at once.

    Stars that frames share are free; each frame's WCS gets a polynomial correction, whose higher terms all exposures of
    a detector and band have in common. Zero points are those of exposures and of detectors, with a little scatter, and
    each detector has a flat. Reference stars tie the whole; without them the mean of the frames' input solutions does.

    Parameters
    ----------
    frames
        Stars of each frame with its own WCS and zero point; in any order, each (exposure, detector) once.
    reference
        Structured array with ra, dec (deg) and, if known, their errors and proper motions as `at_epoch` takes them, and
        mag_<band> with mag_<band>_err for any of the bands.
    options
        Defaults if None.
    ranks
        Who sets up the normal equations, a pool for example; the solution does not depend on it.

    Returns
    -------
    MosaicSolution
        A frame that cannot be matched keeps its input solution and says why.
    """
    options = options or MosaicOptions()
    if not frames:
        return MosaicSolution()
    plane = _common_plane(frames)
    stars = [choose_stars(frame, plane, options) for frame in frames]
    years, epoch_yr = _epochs(frames)
    ties = _Reference.of(reference, plane, epoch_yr)
    groups = exposure_numbers(frames), detector_numbers(frames)
    matches = match_stars(
        [frame.position for frame in stars],
        ties.position,
        options,
        exposures=groups[0],
        shifts=ties.shifts(years),
    )
    common = _measured_together(matches, ties)
    stars = [
        replace(each, position=ties.at_rest(each.position, star, year))
        for each, star, year in zip(stars, common.star, years, strict=True)
    ]
    astrometry = solve_astrometry(stars, *groups, common, ties.position, ties.sigma(options), options, ranks)
    photometry = solve_photometry(frames, stars, common, ties.stars, options, ranks)
    reasons = _reasons(frames, matches.reason, astrometry.n_used > 0)
    solved = [
        _solved(index, frame, plane, astrometry, photometry, options)
        if astrometry.n_used[index]
        else _unsolved(frame, reasons[index])
        for index, frame in enumerate(frames)
    ]
    return MosaicSolution.of(_summary(solved, astrometry, photometry), solved)


def _epochs(frames: Sequence[FrameSources]) -> tuple[np.ndarray, float]:
    """Return the years from the frames' mean epoch to each, 0 if not known, and that epoch, NaN if none is known."""
    year = np.array([julian_year(frame.mjd) for frame in frames])
    known = np.isfinite(year)
    if not known.any():
        return np.zeros(len(frames)), float("nan")
    mean = float(np.mean(year[known]))
    return np.where(known, year - mean, 0.0), mean


@dataclass(frozen=True)
class _Reference:
    """Reference stars in the common plane."""

    stars: np.ndarray | None
    position: np.ndarray
    """At the frames' mean epoch, shape (k, 2), arcsec."""
    motion: np.ndarray
    """Shape (k, 2), arcsec/yr."""

    @classmethod
    def of(cls, reference: np.ndarray | None, plane: TangentPlane, epoch_yr: float) -> "_Reference":
        if reference is None or not len(reference):
            return cls(None, np.empty((0, 2)), np.empty((0, 2)))
        stars = at_epoch(reference, epoch_yr)
        later = at_epoch(reference, epoch_yr + 1.0)
        position = plane.project_arcsec(stars["ra"], stars["dec"])
        motion = plane.project_arcsec(later["ra"], later["dec"]) - position
        known = np.isfinite(position).all(axis=1)
        return cls(stars[known], position[known], motion[known])

    def shifts(self, years: np.ndarray) -> list[np.ndarray] | None:
        """Return by how much the stars have moved at each frame's epoch, shape (k, 2); none if they do not move."""
        return [self.motion * year for year in years] if self.motion.any() else None

    def at_rest(self, position: np.ndarray, star: np.ndarray, year: float) -> np.ndarray:
        """Return measured positions, those of reference stars carried back to the mean epoch."""
        moving = np.flatnonzero((star >= 0) & (star < len(self.motion)))
        carried = position.copy()
        carried[moving] -= self.motion[star[moving]] * year
        return carried

    def sigma(self, options: MosaicOptions) -> np.ndarray:
        """Return the error of one coordinate, arcsec, shape (k,)."""
        if self.stars is None:
            return np.empty(0)
        error_mas = position_errors_mas(self.stars)
        return np.where(np.isfinite(error_mas), error_mas, options.reference_error_mas) / 1000.0


def _common_plane(frames: Sequence[FrameSources]) -> TangentPlane:
    """Return the plane that touches the sky in the middle of the frames, rounded so as to be easy to name."""
    centres = [frame.wcs.all_pix2world((frame.shape[1] - 1) / 2, (frame.shape[0] - 1) / 2, 0) for frame in frames]
    mean = np.mean([unit_vectors(*map(float, centre)) for centre in centres], axis=0)
    ra, dec = lon_lat(mean)
    return TangentPlane(round(float(ra), 4), round(float(dec), 4))


def _measured_together(matches: Matches, ties: _Reference) -> Matches:
    """Return the matches without stars that only one measurement knows."""
    numbers = np.concatenate([star[star >= 0] for star in matches.star] or [np.empty(0, dtype=int)])
    count = np.bincount(numbers, minlength=matches.n_stars)
    count[: len(ties.position)] += 1
    shared = np.append(count > 1, False)
    star = [np.where(shared[star], star, -1) for star in matches.star]
    return Matches(star, matches.n_stars, matches.reason)


def _reasons(frames: Sequence[FrameSources], reasons: list[str], solved: np.ndarray) -> list[str]:
    """Say for each frame why it has no solution.

    Where an exposure's frames all have none and some contradict others, none of them lies where its header says, not
    even those beside the others.
    """
    wrong = {frame.exposure for frame, reason in zip(frames, reasons, strict=True) if reason not in ("", NO_STAR)}
    wrong -= {frame.exposure for frame, is_solved in zip(frames, solved, strict=True) if is_solved}
    return [
        "other frames of its exposure have a wrong position"
        if reason in ("", NO_STAR) and frame.exposure in wrong
        else reason
        for frame, reason in zip(frames, reasons, strict=True)
    ]


def _unsolved(frame: FrameSources, reason: str) -> FrameSolution:
    """Return a frame's input as its solution."""
    return FrameSolution(
        frame.exposure,
        frame.detector,
        frame.band,
        shape=frame.shape,
        wcs=frame.wcs,
        zero_point_mag=float(frame.zero_point_mag),
        n_stars=0,
        astrometric_rms_mas=float("nan"),
        photometric_rms_mmag=float("nan"),
        matched=False,
        reason=reason or "no star in common with another frame or the reference",
        misplaced=reason not in ("", NO_STAR),
    )


def _solved(
    index: int,
    frame: FrameSources,
    plane: TangentPlane,
    astrometry: Astrometry,
    photometry: Photometry,
    options: MosaicOptions,
) -> FrameSolution:
    wcs, residual_mas = fit_sip(
        lambda x, y: astrometry.to_sky(index, frame, plane, x, y),
        frame.shape,
        tolerance_mas=options.wcs_tolerance_mas,
    )
    return FrameSolution(
        frame.exposure,
        frame.detector,
        frame.band,
        shape=frame.shape,
        wcs=wcs,
        zero_point_mag=float(photometry.zero_point_mag[index]),
        n_stars=int(astrometry.n_used[index]),
        astrometric_rms_mas=float(astrometry.frame_rms_mas[index]),
        photometric_rms_mmag=float(photometry.frame_rms_mmag[index]),
        matched=True,
        flat_mag=tuple(photometry.flat_mag[index].tolist()),
        group=int(astrometry.group[index]),
        wcs_residual_mas=residual_mas,
    )


def _summary(solved: list[FrameSolution], astrometry: Astrometry, photometry: Photometry) -> Summary:
    return Summary(
        n_frames=sum(frame.matched for frame in solved),
        n_stars=astrometry.n_stars,
        n_matches=int(astrometry.n_used.sum()),
        n_reference=astrometry.n_reference,
        astrometric_rms_mas=astrometry.rms_mas,
        validation_rms_mas=astrometry.validation_rms_mas,
        reference_rms_mas=astrometry.reference_rms_mas,
        photometric_rms_mmag=photometry.rms_mmag,
    )
