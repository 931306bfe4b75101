"""The mosaic against synthetic catalogues of known truth: accuracy, and what must not break it."""

import dataclasses
import pickle
import subprocess
import sys

import numpy as np
import pytest
from astropy.wcs import WCS

from mpidriver.sphere import angular_separation_deg, unit_vectors
from mpidriver.tasks.mosaic import (
    FrameSources,
    MosaicOptions,
    fit_sip,
    flat_magnitudes,
    flatten,
    join_tracts,
    solve_mosaic,
)
from mpidriver.tasks.reference import at_epoch, julian_year
from mpidriver.tasks.skymap import TangentPlane

SCALE_ARCSEC = 0.2
SHAPE = (1000, 1000)
SOURCE = [(name, "f8") for name in ("x", "y", "x_err", "y_err", "flux_aper", "flux_aper_err", "snr")]


def tan_wcs(centre, rotation_rad=0.0, stretch=1.0, shape=SHAPE):
    """Return a plain TAN WCS about a sky position."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = centre
    wcs.wcs.crpix = (shape[1] + 1) / 2, (shape[0] + 1) / 2
    cos, sin = np.cos(rotation_rad), np.sin(rotation_rad)
    wcs.wcs.cd = np.array([[-cos, sin], [sin, cos]]) * SCALE_ARCSEC / 3600.0 * stretch
    wcs.wcs.lonpole = 180.0
    wcs.wcs.set()
    return wcs


@dataclasses.dataclass
class Survey:
    """A field of stars and the frames taken of it."""

    stars: np.ndarray
    frames: list
    zero_point_mag: np.ndarray
    """True zero points of the frames."""
    true_xy: list
    """Of each frame's sources, shape (2, n)."""
    number: list
    """For each frame which stars its sources are."""

    def reference(self, every=3, error_mas=5.0, error_mmag=5.0):
        """Return a shallower catalogue of the same stars."""
        rng = np.random.default_rng(3)
        stars = self.stars[::every]
        table = np.zeros(len(stars), dtype=[("ra", "f8"), ("dec", "f8"), ("error_mas", "f8"), ("mag_r", "f8")])
        shift = rng.normal(0.0, error_mas / 3.6e6, (2, len(stars)))
        table["ra"] = stars["ra"] + shift[0] / np.cos(np.radians(stars["dec"]))
        table["dec"] = stars["dec"] + shift[1]
        table["error_mas"] = error_mas
        table["mag_r"] = stars["mag"] + rng.normal(0.0, error_mmag / 1000.0, len(stars))
        return table

    def position_errors_mas(self, solution, *, tied=True):
        """Return errors (east, north) of the solved WCS at all true positions of matched frames, shape (n, 2).

        Without a reference no solution can know the whole's offset, turn and stretch: with ``tied=False`` they are
        taken out.
        """
        plane = TangentPlane(float(self.stars["ra"][0]), float(self.stars["dec"][0]))
        errors, places = [], []
        for solved, (x, y), number in zip(solution.frames, self.true_xy, self.number, strict=True):
            if solved.matched:
                place = np.stack(plane.project(self.stars["ra"][number], self.stars["dec"][number]), axis=-1)
                got = np.stack(plane.project(*solved.wcs.all_pix2world(x, y, 0)), axis=-1)
                errors.append((got - place) * 3.6e6)
                places.append(place)
        errors, places = np.concatenate(errors), np.concatenate(places)
        if tied:
            return errors
        design = np.column_stack([np.ones(len(places)), places])
        return errors - design @ np.linalg.lstsq(design, errors, rcond=None)[0]

    def zero_point_errors_mmag(self, solution):
        """Return the errors of the matched frames' zero points."""
        matched = np.array([frame.matched for frame in solution.frames])
        got = np.array([frame.zero_point_mag for frame in solution.frames])
        return (got - self.zero_point_mag)[matched] * 1000.0

    def changed(self, index, **changes):
        """Return the survey with one frame changed."""
        frames = list(self.frames)
        frames[index] = dataclasses.replace(frames[index], **changes)
        return dataclasses.replace(self, frames=frames)


def make_survey(
    *,
    seed=1,
    centre=(150.0, 2.2),
    n_exposures=8,
    n_detectors=4,
    n_stars=1500,
    shift_arcsec=1.0,
    turn=1e-4,
    bands=("r",),
    rotations_deg=(0.0,),
    distort=None,
    clouds_mag=0.003,
    flat=None,
    pointings_deg=((0.0, 0.0),),
    field_deg=0.16,
):
    """Simulate the catalogues of dithered exposures of a focal plane of 2 x 2 detectors with wrong WCS.

    Zero points are those of the exposures and detectors, and scatter by 3 mmag, or more in clouds.
    """
    rng = np.random.default_rng(seed)
    plane = TangentPlane(*centre)
    stars = make_stars(rng, plane, n_stars, field_deg)
    survey = Survey(stars, [], np.zeros(0), [], [])
    side_deg = SHAPE[0] * SCALE_ARCSEC / 3600.0 * 1.02
    of_exposure, of_detector = rng.normal(0.0, 0.1, n_exposures), rng.normal(0.0, 0.1, n_detectors)
    for exposure in range(n_exposures):
        dither = rng.uniform(-0.012, 0.012, 2) + pointings_deg[exposure % len(pointings_deg)]
        rotation = np.radians(rotations_deg[exposure % len(rotations_deg)])
        cos, sin = np.cos(rotation), np.sin(rotation)
        for detector in range(n_detectors):
            offset = (np.array([detector % 2, detector // 2]) - 0.5) * side_deg * (n_detectors > 1)
            sky = plane.deproject(*(dither + [[cos, sin], [-sin, cos]] @ offset))
            zero_point = 30.0 + of_exposure[exposure] + of_detector[detector] + rng.normal(0.0, clouds_mag)
            number, xy, sources = observe(rng, stars, tan_wcs(sky, rotation), zero_point, distort, flat)
            wrong = TangentPlane(*sky).deproject(*rng.normal(0.0, shift_arcsec / 3600.0, 2))
            guess = tan_wcs(wrong, rotation + rng.normal(0.0, turn), 1.0 + rng.normal(0.0, turn))
            band, guessed_mag = bands[exposure % len(bands)], zero_point + rng.normal(0.0, 0.05)
            survey.frames.append(FrameSources(exposure, detector, band, guess, SHAPE, guessed_mag, sources))
            survey.number.append(number)
            survey.true_xy.append(xy)
            survey.zero_point_mag = np.append(survey.zero_point_mag, zero_point)
    return survey


def make_stars(rng, plane, n_stars, field_deg):
    """Return stars of 16 to 22 mag, more of the faint; the first lies in the middle."""
    stars = np.zeros(n_stars, dtype=[("ra", "f8"), ("dec", "f8"), ("mag", "f8")])
    xi, eta = rng.uniform(-field_deg / 2, field_deg / 2, (2, n_stars))
    xi[0] = eta[0] = 0.0
    stars["ra"], stars["dec"] = plane.deproject(xi, eta)
    stars["mag"] = 16.0 + 6.0 * np.sqrt(rng.uniform(0.0, 1.0, n_stars))
    return stars


def observe(rng, stars, wcs, zero_point, distort, flat):
    """Return which stars a frame shows, where, and its sources: 5 mas and 2 mmag besides photon noise."""
    x, y = wcs.all_world2pix(stars["ra"], stars["dec"], 0)
    if distort is not None:
        x, y = distort(x, y)
    number = np.flatnonzero((x > 5) & (x < SHAPE[1] - 6) & (y > 5) & (y < SHAPE[0] - 6))
    shading = 0.0 if flat is None else flat(x[number], y[number])
    flux = 10 ** (-0.4 * (stars["mag"][number] - zero_point - shading))
    snr = flux / np.sqrt(flux + 2000.0)
    sigma_px = np.hypot(0.005, 0.7 / 2.355 / snr) / SCALE_ARCSEC
    sources = np.zeros(len(number), dtype=SOURCE)
    sources["x"] = x[number] + rng.normal(0.0, sigma_px)
    sources["y"] = y[number] + rng.normal(0.0, sigma_px)
    sources["x_err"] = sources["y_err"] = sigma_px
    sources["flux_aper"] = (flux + rng.normal(0.0, flux / snr)) * 10 ** rng.normal(0.0, 0.4 * 0.002, len(flux))
    sources["flux_aper_err"] = flux / snr
    sources["snr"] = snr
    return number, np.stack([x[number], y[number]]), sources


def moved(wcs, east_arcsec):
    """Return a WCS that is off by an angle."""
    wrong = wcs.deepcopy()
    wrong.wcs.crval = TangentPlane(*wcs.wcs.crval).deproject(east_arcsec / 3600.0, 0.0)
    wrong.wcs.set()
    return wrong


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


@pytest.fixture(scope="module")
def survey():
    return make_survey()


def test_solution_tied_to_a_reference_reaches_the_centroids_limit(survey):
    """About 140 stars a frame with 6 mas each: 6 / sqrt(140 / 3 terms) = 0.9 mas, and 0.7 mmag."""
    solution = solve_mosaic(survey.frames, reference=survey.reference())
    assert all(frame.matched for frame in solution.frames)
    assert rms(survey.position_errors_mas(solution)) < 2.0
    assert rms(survey.zero_point_errors_mmag(solution)) < 2.0


def test_solution_without_reference_is_as_good_but_for_the_whole(survey):
    solution = solve_mosaic(survey.frames)
    assert rms(survey.position_errors_mas(solution, tied=False)) < 2.0
    assert np.std(survey.zero_point_errors_mmag(solution)) < 2.0
    assert solution.n_reference == 0


def test_whole_lies_where_the_mean_of_the_input_does_without_reference(survey):
    """Frames are off by 1 arcsec each: their mean by 1 / sqrt(32); and no stretch is made up of noise."""
    solution = solve_mosaic(survey.frames)
    errors = survey.position_errors_mas(solution)
    assert np.all(np.abs(errors.mean(axis=0)) < 3 * 1000 / np.sqrt(32))
    assert rms(errors - errors.mean(axis=0)) < 30.0
    mean_input = np.mean([frame.zero_point_mag for frame in survey.frames] - survey.zero_point_mag) * 1000.0
    assert np.mean(survey.zero_point_errors_mmag(solution)) == pytest.approx(mean_input, abs=0.01)


def test_crowded_field_does_not_shrink():
    """Correcting at the measured places shrank this one by 0.8 arcsec: noise shrinks with the frames."""
    survey = make_survey(n_stars=12000, n_exposures=4)
    errors = survey.position_errors_mas(solve_mosaic(survey.frames))
    assert rms(errors - errors.mean(axis=0)) < 60.0


def test_figures_of_the_summary_are_those_of_the_input_errors(survey):
    """Errors in the sources are true, so the residuals' weighted rms is 1 / sqrt(mean weight)."""
    solution = solve_mosaic(survey.frames, reference=survey.reference())
    used = np.concatenate([frame.sources["x_err"][frame.sources["snr"] > 10] for frame in survey.frames])
    sigma_mas = np.hypot(used * SCALE_ARCSEC * 1000.0, MosaicOptions().centroid_floor_mas)
    expected = 1.0 / np.sqrt(np.mean(sigma_mas**-2.0))
    assert solution.astrometric_rms_mas == pytest.approx(expected, rel=0.15)
    assert solution.validation_rms_mas == pytest.approx(expected, rel=0.15)
    assert solution.reference_rms_mas == pytest.approx(5.0, rel=0.2)
    summary = solution.summary()
    assert summary["n_matches"] == sum(frame["n_stars"] for frame in summary["frames"]) > 4000
    assert "wcs" not in summary["frames"][0]


@pytest.mark.parametrize("centre", [(0.0, 0.0), (10.0, 90.0), (359.99, -89.95), (359.999, -30.0)])
def test_sky_has_no_special_places(centre):
    survey = make_survey(centre=centre, n_exposures=4)
    solution = solve_mosaic(survey.frames, reference=survey.reference())
    assert all(frame.matched for frame in solution.frames)
    assert rms(survey.position_errors_mas(solution)) < 2.5


def test_rotated_exposures_are_matched():
    survey = make_survey(rotations_deg=(0.0, 90.0, 180.0, 270.0))
    solution = solve_mosaic(survey.frames, reference=survey.reference())
    assert rms(survey.position_errors_mas(solution)) < 2.0


def test_two_arcsec_and_a_milliradian_are_found():
    survey = make_survey(shift_arcsec=2.0, turn=1e-3)
    solution = solve_mosaic(survey.frames)
    assert all(frame.matched for frame in solution.frames)
    assert rms(survey.position_errors_mas(solution, tied=False)) < 2.0


@pytest.mark.parametrize("tied", [True, False])
def test_frame_with_a_pointing_error_is_repaired_and_one_beyond_the_radius_named(survey, tied):
    reference = survey.reference() if tied else None
    near = survey.changed(5, wcs=moved(survey.frames[5].wcs, 4.0))
    solution = solve_mosaic(near.frames, reference=reference)
    assert solution.frames[5].matched
    assert rms(near.position_errors_mas(solution, tied=tied)) < 2.0
    far = survey.changed(5, wcs=moved(survey.frames[5].wcs, 60.0))
    solution = solve_mosaic(far.frames, reference=reference)
    assert [frame.matched for frame in solution.frames] == [index != 5 for index in range(32)]
    assert "do not match" in solution.frames[5].reason
    assert solution.frames[5].wcs is far.frames[5].wcs
    assert rms(far.position_errors_mas(solution, tied=tied)) < 3.0


def turned(wcs, centre, angle_deg):
    """Return the WCS of a frame whose exposure is turned about a position."""
    plane, cos, sin = TangentPlane(*centre), np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    turn = np.array([[cos, -sin], [sin, cos]])
    wrong = wcs.deepcopy()
    wrong.wcs.crval = plane.deproject(*(turn @ plane.project(*wcs.wcs.crval)))
    wrong.wcs.cd = turn @ wcs.wcs.cd
    wrong.wcs.set()
    return wrong


@pytest.mark.parametrize("tied", [True, False])
def test_an_exposure_that_is_turned_by_half_a_degree_is_found(survey, tied):
    wrong = survey
    for index in range(12, 16):
        wrong = wrong.changed(index, wcs=turned(survey.frames[index].wcs, (150.0, 2.2), 0.5))
    solution = solve_mosaic(wrong.frames, reference=survey.reference() if tied else None)
    assert all(frame.matched for frame in solution.frames)
    assert rms(wrong.position_errors_mas(solution, tied=tied)) < 2.0


@pytest.mark.parametrize("tied", [True, False])
def test_an_exposure_two_minutes_off_is_named_with_its_frames_that_lie_beside_all_others(tied):
    pointings = [(0.0, 0.0)] * 5 + [(0.06, 0.0)]
    survey = make_survey(n_exposures=6, n_stars=2500, field_deg=0.24, pointings_deg=pointings)
    wrong = survey
    for index in range(20, 24):
        wrong = wrong.changed(index, wcs=moved(survey.frames[index].wcs, 120.0))
    solution = solve_mosaic(wrong.frames, reference=survey.reference() if tied else None)
    assert [frame.misplaced for frame in solution.frames] == [False] * 20 + [True] * 4
    beside = {"other frames of its exposure have a wrong position"}
    assert ({frame.reason for frame in solution.frames} > beside) is not tied  # the reference lies everywhere
    assert rms(wrong.position_errors_mas(solution, tied=tied)) < 5.0


@pytest.mark.parametrize("n_stars", [150, 12000])
def test_a_frame_of_garbage_is_named_and_pulls_none(n_stars):
    survey, rng = make_survey(n_stars=n_stars, n_exposures=4), np.random.default_rng(5)
    sources = survey.frames[5].sources.copy()
    sources["x"], sources["y"] = rng.uniform(0.0, 999.0, (2, len(sources)))
    without = dataclasses.replace(survey, frames=[f for f in survey.frames if f is not survey.frames[5]])
    spoilt = solve_mosaic(survey.changed(5, sources=sources).frames, reference=survey.reference())
    assert [frame.misplaced for frame in spoilt.frames] == [index == 5 for index in range(16)]
    rest = [frame for index, frame in enumerate(spoilt.frames) if index != 5]
    for frame, other in zip(rest, solve_mosaic(without.frames, reference=survey.reference()).frames, strict=True):
        assert frame.zero_point_mag == pytest.approx(other.zero_point_mag, abs=5e-4)


def test_two_frames_that_agree_on_a_wrong_place_do_not_win():
    """Exposures 0 and 1 lie a minute of arc off together; the reference or the majority tells."""
    survey = make_survey(n_exposures=5, n_detectors=1, shift_arcsec=0.1)
    for index in (0, 1):
        survey = survey.changed(index, wcs=moved(survey.frames[index].wcs, 60.0))
    for reference in (survey.reference(), None):
        solution = solve_mosaic(survey.frames, reference=reference)
        assert [frame.matched for frame in solution.frames] == [False, False, True, True, True]


def test_frames_without_stars_keep_their_input_and_say_so(survey):
    none, one = survey.frames[3].sources[:0], survey.frames[4].sources[-1:]
    thin = survey.changed(3, sources=none).changed(4, sources=one)
    solution = solve_mosaic(thin.frames, reference=survey.reference())
    kept = solution.frames[3]
    assert (kept.matched, kept.n_stars, kept.reason) == (False, 0, "no star")
    assert kept.wcs is thin.frames[3].wcs
    assert kept.zero_point_mag == thin.frames[3].zero_point_mag
    assert np.isnan(kept.astrometric_rms_mas)
    assert sum(frame.matched for frame in solution.frames) >= 30


def test_one_frame_alone_keeps_its_input_and_with_a_reference_is_solved():
    survey = make_survey(n_exposures=1, n_detectors=1)
    alone = solve_mosaic(survey.frames)
    assert not alone.frames[0].matched
    assert "in common" in alone.frames[0].reason
    assert np.isnan(alone.astrometric_rms_mas)
    tied = solve_mosaic(survey.frames, reference=survey.reference())
    assert tied.frames[0].matched
    assert rms(survey.position_errors_mas(tied)) < 6.0


def test_no_frames_and_no_usable_frame_give_an_empty_solution():
    assert solve_mosaic([]).frames == ()
    survey = make_survey(n_exposures=1)
    for index in range(4):
        survey = survey.changed(index, sources=survey.frames[index].sources[:0])
    solution = solve_mosaic(survey.frames, reference=survey.reference())
    assert solution.n_matches == 0
    assert not any(frame.matched for frame in solution.frames)


def test_disconnected_groups_are_solved_each_for_itself():
    """Four exposures overlap by the width of their dithers alone, which leaves the focal plane some play."""
    east, west = make_survey(n_exposures=4), make_survey(n_exposures=4, centre=(151.0, 2.2), seed=2)
    solution = solve_mosaic(east.frames + west.frames)
    assert all(frame.matched for frame in solution.frames)
    for survey, frames in ((east, solution.frames[:16]), (west, solution.frames[16:])):
        part = dataclasses.replace(solution, frames=frames)
        assert rms(survey.position_errors_mas(part, tied=False)) < 10.0


@pytest.fixture(scope="module", params=[(150.0, 2.2), (10.0, 89.95)])
def strip(request):
    """Twelve exposures along a strip, and the solutions of its halves, which have a third of the frames in common."""
    pointings = [(along, 0.0) for along in np.linspace(-0.09, 0.09, 6)]
    survey = make_survey(centre=request.param, n_exposures=12, n_stars=6000, pointings_deg=pointings, field_deg=0.32)
    return survey, {number: solve_mosaic(half).frames for number, half in enumerate(halves(survey))}


def halves(survey):
    """Return the frames of the two halves of a strip."""
    plane = TangentPlane(float(survey.stars["ra"][0]), float(survey.stars["dec"][0]))
    along = np.array([float(plane.project(*frame.wcs.wcs.crval)[0]) for frame in survey.frames])
    return [[frame for frame, x in zip(survey.frames, along * side, strict=True) if x > -0.03] for side in (1, -1)]


def in_order(survey, joined):
    """Return joined solutions as one of the survey's frames."""
    frames = [joined[frame.exposure, frame.detector] for frame in survey.frames]
    return dataclasses.replace(solve_mosaic([]), frames=tuple(frames))


def test_tracts_without_a_reference_are_joined_by_the_frames_that_they_share(strip):
    survey, tracts = strip
    apart = in_order(survey, {(f.exposure, f.detector): f for side in tracts for f in tracts[side]})
    together = in_order(survey, join_tracts(tracts))
    assert rms(survey.position_errors_mas(apart, tied=False)) > 50.0
    assert rms(survey.position_errors_mas(together, tied=False)) < 7.0
    assert np.std(survey.zero_point_errors_mmag(together)) < 0.6 * np.std(survey.zero_point_errors_mmag(apart))


def test_bands_that_the_reference_lacks_have_one_zero_point_though_it_ties_the_tracts(strip):
    survey, _ = strip
    reference = survey.reference()[["ra", "dec", "error_mas"]]
    tracts = {number: solve_mosaic(half, reference=reference).frames for number, half in enumerate(halves(survey))}
    together = in_order(survey, join_tracts(tracts, tied=True))
    apart = in_order(survey, {(f.exposure, f.detector): f for side in tracts for f in tracts[side]})
    assert np.std(survey.zero_point_errors_mmag(together)) < 0.6 * np.std(survey.zero_point_errors_mmag(apart))
    assert rms(survey.position_errors_mas(together)) < rms(survey.position_errors_mas(apart)) + 0.1


def test_joined_tracts_lie_where_the_mean_of_all_their_headers_does(strip):
    survey, tracts = strip
    together = in_order(survey, join_tracts(tracts))
    assert np.all(np.abs(survey.position_errors_mas(together).mean(axis=0)) < 3 * 1000 / np.sqrt(len(survey.frames)))


def test_a_frame_that_contradicts_one_tract_is_misplaced_in_all_and_pulls_none(strip):
    _, tracts = strip
    name = next(
        (frame.exposure, frame.detector)
        for frame in tracts[0]
        if (frame.exposure, frame.detector) in {(f.exposure, f.detector) for f in tracts[1]}
    )
    spoilt = dict(tracts)
    spoilt[1] = [
        dataclasses.replace(frame, misplaced=True, matched=False, reason="wrong", wcs=moved(frame.wcs, 60.0))
        if (frame.exposure, frame.detector) == name
        else frame
        for frame in tracts[1]
    ]
    joined, without = join_tracts(spoilt), join_tracts(tracts)
    assert joined[name].misplaced
    assert joined[name].reason == "wrong"
    for other in without:
        if other != name:
            apart = unit_vectors(*joined[other].wcs.all_pix2world(500, 500, 0)) - unit_vectors(
                *without[other].wcs.all_pix2world(500, 500, 0)
            )
            assert np.linalg.norm(apart) < np.radians(2.0 / 3.6e6) * 5


def test_tracts_without_a_frame_in_common_stay_where_they_are(strip):
    _, tracts = strip
    joined = join_tracts({0: tracts[0]})
    for frame in tracts[0]:
        own = joined[frame.exposure, frame.detector]
        assert own.zero_point_mag == frame.zero_point_mag
        x, y = np.array([0.0, 999.0]), np.array([10.0, 500.0])
        apart = unit_vectors(*own.wcs.all_pix2world(x, y, 0)) - unit_vectors(*frame.wcs.all_pix2world(x, y, 0))
        assert np.max(np.abs(apart)) < np.radians(0.2 / 3.6e6)


def test_outliers_are_dropped(survey):
    """One star in twenty lies 0.5 arcsec off and is 0.3 mag too bright in one frame each."""
    rng = np.random.default_rng(8)
    spoilt = survey
    for index, frame in enumerate(survey.frames):
        sources = frame.sources.copy()
        bad = rng.random(len(sources)) < 0.05
        sources["x"][bad] += 2.5
        sources["flux_aper"][bad] *= 1.3
        spoilt = spoilt.changed(index, sources=sources)
    solution = solve_mosaic(spoilt.frames, reference=survey.reference())
    assert rms(spoilt.position_errors_mas(solution)) < 2.0
    assert rms(spoilt.zero_point_errors_mmag(solution)) < 2.5


def bent(x, y):
    """Return pixel positions moved by a cubic distortion of up to 0.1 arcsec."""
    u, v = (x - 500.0) / 500.0, (y - 500.0) / 500.0
    return x + 0.3 * u**2 - 0.2 * u * v + 0.1 * v**3, y + 0.2 * v**2 - 0.1 * u * v + 0.2 * u**2 * v


def test_stars_that_move_are_met_at_each_exposures_epoch():
    """Eight exposures over six years of stars that move by 150 mas a year, and the catalogue of ten years before."""
    rng = np.random.default_rng(5)
    survey, mjd = make_survey(n_exposures=1, n_detectors=1), 51544.5 + 365.25 * np.linspace(20.0, 26.0, 8)
    motion, stars = rng.normal(0.0, 150.0, (2, len(survey.stars))), survey.stars
    listed = survey.reference(every=1)
    names = [*listed.dtype.descr, ("epoch_yr", "f8"), ("pm_ra_masyr", "f8"), ("pm_dec_masyr", "f8")]
    reference = np.zeros(len(listed), dtype=names)
    for name in listed.dtype.names:
        reference[name] = listed[name]
    reference["epoch_yr"] = 2010.0
    reference["pm_ra_masyr"], reference["pm_dec_masyr"] = motion
    moving = Survey(stars, [], np.zeros(0), [], [])
    places = np.zeros(len(stars), dtype=[*stars.dtype.descr, *names[-3:]])
    for name in stars.dtype.names:
        places[name] = stars[name]
    places["epoch_yr"], places["pm_ra_masyr"], places["pm_dec_masyr"] = 2010.0, *motion
    for exposure, day in enumerate(mjd):
        now = at_epoch(places, julian_year(day))
        number, xy, sources = observe(rng, now, tan_wcs((150.0, 2.2)), 30.0, None, None)
        guess = tan_wcs((150.0 + rng.normal(0.0, 1e-4), 2.2))
        moving.frames.append(FrameSources(exposure, 0, "r", guess, SHAPE, 30.0, sources, mjd=day))
        moving.true_xy.append(xy)
        moving.number.append(number)
    solution = solve_mosaic(moving.frames, reference=reference)
    true = tan_wcs((150.0, 2.2))
    x, y = np.meshgrid(np.linspace(0.0, 999.0, 11), np.linspace(0.0, 999.0, 11))
    for frame in solution.frames:
        apart = angular_separation_deg(
            unit_vectors(*frame.wcs.all_pix2world(x, y, 0)), unit_vectors(*true.all_pix2world(x, y, 0))
        )
        assert rms(apart) * 3.6e6 < 6.0
    still = solve_mosaic(moving.frames, reference=reference[list(listed.dtype.names)])
    assert solution.reference_rms_mas < 0.2 * still.reference_rms_mas


@pytest.mark.parametrize("rotations_deg", [(0.0,), (0.0, 90.0, 180.0, 30.0)])
def test_frames_with_few_stars_have_the_positions_of_their_exposures_and_detectors(rotations_deg):
    survey = make_survey(n_stars=150, n_exposures=12, rotations_deg=rotations_deg)
    together, apart = (
        solve_mosaic(
            survey.frames,
            reference=survey.reference(every=2),
            options=MosaicOptions(frame_scatter_mas=scatter),
        )
        for scatter in (0.5, 1000.0)
    )
    assert rms(survey.position_errors_mas(together)) < 0.9 * rms(survey.position_errors_mas(apart))


def shaded(x, y):
    """Return by how much a detector sees better where, mag: 20 mmag from corner to corner and 15 mmag in the middle."""
    u, v = (x - 499.5) / 500.0, (y - 499.5) / 500.0
    return 0.005 * u - 0.005 * v + 0.010 * (0.5 - u**2) - 0.005 * (v**2 - 1.0 / 3.0)


@pytest.mark.parametrize("tied", [True, False])
def test_flats_of_the_detectors_are_found(tied):
    """Without a reference, a plane over all detectors of unturned exposures looks like stars that are fainter there."""
    survey = make_survey(flat=shaded, n_exposures=12, rotations_deg=(0.0, 90.0))
    solution = solve_mosaic(survey.frames, reference=survey.reference() if tied else None)
    x, y = np.meshgrid(np.linspace(0.0, 999.0, 11), np.linspace(0.0, 999.0, 11))
    true = shaded(x, y) - shaded(x, y).mean()
    for frame in solution.frames:
        found = flat_magnitudes(frame.flat_mag, x, y, SHAPE)
        assert rms(found - found.mean() - true) < 0.002
    assert solution.frames[0].flat_mag == solution.frames[4].flat_mag
    stiff = solve_mosaic(survey.frames, options=MosaicOptions(flat_degree=0))
    assert solution.photometric_rms_mmag < 0.95 * stiff.photometric_rms_mmag


def test_flattened_pixels_are_those_of_the_flat_at_each():
    coefficients = (0.01, -0.02, 0.005, 0.0, 0.015)
    image, variance = np.full((30, 20), 50.0, np.float32), np.full((30, 20), 9.0, np.float32)
    flat, flat_variance = flatten(image, variance, coefficients)
    y, x = np.mgrid[:30, :20]
    factor = 10 ** (-0.4 * flat_magnitudes(coefficients, x, y, (30, 20)))
    assert flat == pytest.approx(50.0 * factor, rel=1e-6)
    assert flat_variance == pytest.approx(9.0 * factor**2, rel=1e-6)
    assert np.mean(flat_magnitudes(coefficients, x, y, (30, 20))) == pytest.approx(0.0, abs=1e-4)
    assert flatten(image, variance, ())[0] is image


def test_clouds_over_single_detectors_are_followed():
    survey = make_survey(clouds_mag=0.1)
    solution = solve_mosaic(survey.frames, reference=survey.reference())
    assert rms(survey.zero_point_errors_mmag(solution)) < 5.0


def test_frames_with_few_stars_have_the_zero_points_of_their_exposures_and_detectors():
    survey = make_survey(n_stars=60, clouds_mag=0.0)
    together, apart = (
        solve_mosaic(survey.frames, reference=survey.reference(every=2), options=options)
        for options in (MosaicOptions(zero_point_scatter_mmag=1.0), MosaicOptions(zero_point_scatter_mmag=500.0))
    )
    assert rms(survey.zero_point_errors_mmag(together)) < 0.8 * rms(survey.zero_point_errors_mmag(apart))


def test_turned_exposures_have_the_distortion_of_their_detectors_in_common():
    """And in the axes of the detectors: in those of the sky it differs from exposure to exposure."""
    survey = make_survey(distort=bent, rotations_deg=(0.0, 90.0, 180.0, 270.0, 45.0))
    reference = survey.reference()
    common = solve_mosaic(survey.frames, reference=reference)
    each = solve_mosaic(survey.frames, reference=reference, options=MosaicOptions(degree=3, detector_degree=0))
    assert rms(survey.position_errors_mas(common)) < 2.5
    assert rms(survey.position_errors_mas(common)) < 0.9 * rms(survey.position_errors_mas(each))


def test_clear_distortion_is_found_without_a_reference_and_none_is_made_up(survey):
    bent_survey = make_survey(distort=bent, rotations_deg=(0.0, 90.0, 180.0, 270.0, 45.0))
    for field, limit_mas in ((bent_survey, 5.0), (survey, 2.0)):
        solution = solve_mosaic(field.frames)
        assert rms(field.position_errors_mas(solution, tied=False)) < limit_mas


def test_exposures_of_one_frame_have_only_their_own_positions():
    """Their detector's map could follow the frames of one exposure as it liked; with two it tells of both."""
    survey = make_survey(n_detectors=1, n_stars=300)
    one, other = (
        solve_mosaic(survey.frames, reference=survey.reference(), options=MosaicOptions(exposure_degree=degree))
        for degree in (0, 3)
    )
    assert [frame.wcs.to_header_string(relax=True) for frame in one.frames] == [
        frame.wcs.to_header_string(relax=True) for frame in other.frames
    ]


def test_one_exposure_says_nothing_of_its_detectors():
    survey = make_survey(n_exposures=1)
    alone, stiff = (
        solve_mosaic(survey.frames, reference=survey.reference(), options=options)
        for options in (
            MosaicOptions(validation_fraction=0.0),  # else which stars are kept out depends on the number of terms
            MosaicOptions(validation_fraction=0.0, detector_degree=0),
        )
    )
    for one, other in zip(alone.frames, stiff.frames, strict=True):
        assert one.wcs.wcs.ctype[0] == "RA---TAN"
        assert one.wcs.wcs.crval == pytest.approx(other.wcs.wcs.crval, abs=1e-8)


def test_degree_three_takes_up_a_distortion_and_is_written_as_sip():
    survey = make_survey(distort=bent)
    options = MosaicOptions(detector_degree=0)
    stiff = solve_mosaic(survey.frames, reference=survey.reference(), options=options)
    solution = solve_mosaic(survey.frames, reference=survey.reference(), options=MosaicOptions(degree=3))
    assert stiff.frames[0].astrometric_rms_mas > solution.frames[0].astrometric_rms_mas
    assert rms(survey.position_errors_mas(stiff)) > 15.0
    assert rms(survey.position_errors_mas(solution)) < 4.0
    assert solution.frames[0].wcs.wcs.ctype[0] == "RA---TAN-SIP"
    assert stiff.frames[0].wcs.wcs.ctype[0] == "RA---TAN"
    assert max(frame.wcs_residual_mas for frame in solution.frames) <= 0.1


def test_few_stars_do_not_bend_a_frame():
    """Some eight stars a frame: no cubic comes of them, whatever the options allow."""
    survey = make_survey(n_stars=60)
    solution = solve_mosaic(survey.frames, reference=survey.reference(every=2), options=MosaicOptions(degree=3))
    assert rms(survey.position_errors_mas(solution)) < 8.0


def test_bands_share_positions_but_not_magnitudes():
    """The reference has r alone: zero points in i are tied to their own mean."""
    survey = make_survey(bands=("r", "i"))
    solution = solve_mosaic(survey.frames, reference=survey.reference())
    in_r = np.array([frame.band == "r" for frame in solution.frames])
    errors = survey.zero_point_errors_mmag(solution)
    assert rms(errors[in_r]) < 3.0
    assert np.std(errors[~in_r]) < 3.0
    assert rms(survey.position_errors_mas(solution)) < 2.0


def test_unknown_zero_points_and_errors_are_found_and_guessed(survey):
    sources = survey.frames[2].sources.copy()
    sources["x_err"], sources["flux_aper_err"] = np.nan, 0.0
    blank = survey.changed(1, zero_point_mag=np.nan).changed(2, sources=sources)
    solution = solve_mosaic(blank.frames, reference=survey.reference())
    errors = blank.zero_point_errors_mmag(solution)
    assert abs(errors[1]) < 4.0
    assert abs(errors[2]) < 20.0


def test_equal_input_gives_equal_bytes_and_order_does_not_matter(survey):
    one, again = (solve_mosaic(survey.frames, reference=survey.reference()) for _ in range(2))
    assert [f.wcs.to_header_string(relax=True) for f in one.frames] == [
        f.wcs.to_header_string(relax=True) for f in again.frames
    ]
    assert [f.zero_point_mag for f in one.frames] == [f.zero_point_mag for f in again.frames]
    turned = solve_mosaic(survey.frames[::-1], reference=survey.reference())
    assert [f.exposure for f in turned.frames] == [f.exposure for f in one.frames][::-1]
    assert rms(survey.position_errors_mas(dataclasses.replace(turned, frames=turned.frames[::-1]))) < 2.0


def test_written_header_gives_the_same_positions():
    survey = make_survey(distort=bent, n_exposures=3)
    solution = solve_mosaic(survey.frames, reference=survey.reference(), options=MosaicOptions(degree=3))
    wcs = solution.frames[4].wcs
    read = WCS(wcs.to_header(relax=True))
    x, y = np.meshgrid(np.linspace(-0.5, 999.5, 21), np.linspace(-0.5, 999.5, 21))
    apart = angular_separation_deg(
        unit_vectors(*wcs.all_pix2world(x, y, 0)), unit_vectors(*read.all_pix2world(x, y, 0))
    )
    assert np.max(apart) * 3.6e6 < 0.01
    assert read.wcs.ctype[0] == "RA---TAN-SIP"


def test_a_header_read_again_is_written_the_same():
    """Solutions travel between ranks as headers: the text must not depend on how often."""
    survey = make_survey(distort=bent, n_exposures=3)
    for frame in solve_mosaic(survey.frames, reference=survey.reference(), options=MosaicOptions(degree=3)).frames:
        text = frame.wcs.to_header(relax=True).tostring()
        assert pickle.loads(pickle.dumps(frame.wcs)).to_header(relax=True).tostring() == text


def test_sip_follows_a_strong_distortion_to_a_tenth_of_a_mas():
    """The map is a TAN of distorted pixels, cubic terms of 30 arcsec: what SIP itself says, so it must come back."""
    base = tan_wcs((200.0, -60.0), 0.3, shape=(2000, 1500))

    def to_sky(x, y):
        u, v = (x - 750.0) / 1000.0, (y - 1000.0) / 1000.0
        return base.all_pix2world(x + 150.0 * u**3 - 20.0 * u * v, y + 150.0 * v**3 + 30.0 * u**2, 0)

    wcs, residual_mas = fit_sip(to_sky, (2000, 1500))
    assert residual_mas <= 0.1
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0.0, 1499.0, 200), rng.uniform(0.0, 1999.0, 200)
    apart = angular_separation_deg(unit_vectors(*to_sky(x, y)), unit_vectors(*wcs.all_pix2world(x, y, 0)))
    assert np.max(apart) * 3.6e6 <= 0.1
    assert wcs.all_world2pix(*wcs.all_pix2world(x, y, 0), 0) == pytest.approx(np.stack([x, y]), abs=1e-3)


def test_sip_inverse_polynomials_lead_back_to_the_pixels():
    def to_sky(x, y):
        return tan_wcs((10.0, 20.0)).all_pix2world(*bent(x, y), 0)

    wcs, _ = fit_sip(to_sky, SHAPE)
    x, y = np.random.default_rng(0).uniform(0.0, 999.0, (2, 100))
    focal = np.array(wcs.sip_pix2foc(x, y, 0))
    back = np.array(wcs.sip_foc2pix(*focal, 0))
    assert back == pytest.approx(np.stack([x, y]), abs=0.01)


def test_plain_tan_stays_plain():
    wcs, residual_mas = fit_sip(lambda x, y: tan_wcs((10.0, 89.99)).all_pix2world(x, y, 0), SHAPE)
    assert residual_mas < 1e-4
    assert wcs.sip is None
    assert tuple(wcs.wcs.ctype) == ("RA---TAN", "DEC--TAN")


def test_options_import_neither_numpy_nor_astropy():
    code = (
        "import sys; from mpidriver.tasks.mosaic import MosaicOptions; MosaicOptions();"
        "print(sorted({'numpy', 'astropy', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
