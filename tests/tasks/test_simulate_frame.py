"""Simulated frames: light, noise, defects and WCS are what the truth says."""

import dataclasses

import numpy as np
import pytest

from mpidriver.sphere import angular_separation_deg, unit_vectors
from mpidriver.tasks import simulate
from mpidriver.tasks.simulate import CameraOptions, ErrorOptions, SimulationOptions, SkyOptions
from mpidriver.tasks.simulate._light import expected_electrons

CLEAN = CameraOptions(grid=(1, 2), detector_shape=(256, 256), bad_columns=0, cosmic_rays=0.0)
EXACT = ErrorOptions(
    pointing_arcsec=0.0,
    rotation_deg=0.0,
    scale=0.0,
    distortion=0.0,
    detector_shift_arcsec=0.0,
    detector_rotation_deg=0.0,
)
EMPTY_SKY = SkyOptions(star_density=0.0, galaxy_density=0.0)


def survey(**changes):
    options = SimulationOptions.small(**changes)
    return simulate.make_truth(options), options


@pytest.fixture(scope="module")
def small():
    return survey()


def test_frames_do_not_depend_on_order_or_on_each_other(small):
    truth, options = small
    frames = truth.frames()
    first = {key: simulate.simulate_frame(truth, options, *key[:2]) for key in frames[:4]}
    for key in reversed(first):
        again = simulate.simulate_frame(simulate.make_truth(options), options, *key[:2])
        assert again.image.tobytes() == first[key].image.tobytes()
        assert again.header == first[key].header
    assert len({frame.image.tobytes() for frame in first.values()}) == len(first)


def test_frames_stay_when_strays_are_added(small):
    truth, options = small
    before = simulate.simulate_frame(truth, options, 1002, 1)
    more_truth, more = survey(strays=1)
    assert simulate.simulate_frame(more_truth, more, 1002, 1).image.tobytes() == before.image.tobytes()


def test_header_tells_what_a_camera_knows(small):
    truth, options = small
    frame = simulate.simulate_frame(truth, options, 1004, 1)
    assert frame.image.dtype == np.uint16
    assert frame.image.shape == (256, 256)
    expected = {"EXPID": 1004, "DETECTOR": 1, "FILTER": "r", "EXPTIME": 60.0, "GAIN": 1.6, "RDNOISE": 5.0}
    assert frame.header | expected == frame.header
    assert frame.header["SATURATE"] == 60000.0
    assert frame.header["MJD-OBS"] == truth.exposure(1004)["mjd"]


def test_isolated_stars_have_the_flux_of_the_truth():
    """Aperture sums of calibrated frames scatter about 10**(-0.4 (mag - zero point)) by their noise and no more."""
    sky = SkyOptions(star_density=2.0, galaxy_density=0.0, star_mag_range=(16.5, 18.0), sky_gradient=0.0)
    truth, options = survey(sky=sky, camera=CLEAN, exposures_per_band=8)
    pulls = np.concatenate([_flux_pulls(truth, options, *key) for key in truth.frames()])
    assert len(pulls) > 25
    assert np.max(np.abs(pulls)) < 4.5
    assert np.sqrt(np.mean(pulls**2)) == pytest.approx(1.0, abs=4.0 / np.sqrt(2.0 * len(pulls)))


def _flux_pulls(truth, options, exposure, detector, band):
    frame = simulate.simulate_frame(truth, options, exposure, detector)
    calibrations = simulate.simulate_calibrations(options, detector, band)
    electrons = (frame.image - calibrations.bias) * options.camera.gain / calibrations.flat
    zero_point = frame.true_zero_point_mag
    sky_mag = truth.exposure(exposure)["sky_mag_arcsec2"]
    sky = 10.0 ** (-0.4 * (sky_mag - zero_point)) * options.camera.pixel_scale_arcsec**2
    x, y = frame.true_wcs.all_world2pix(truth.stars["ra"], truth.stars["dec"], 0)
    distance = np.hypot(x - x[:, None], y - y[:, None]) + np.diag(np.full(len(x), np.inf))
    isolated = (distance.min(axis=0) > 60) & (np.minimum(x, y) > 28) & (np.maximum(x, y) < 227)
    row, col = np.indices(electrons.shape)
    pulls = []
    for i in np.flatnonzero(isolated):
        inside = np.hypot(row - y[i], col - x[i]) < 28
        flux = 10.0 ** (-0.4 * (truth.stars[f"mag_{band}"][i] - zero_point))
        noise = np.sqrt(flux + inside.sum() * (sky + options.camera.read_noise**2))
        pulls.append((electrons[inside].sum() - inside.sum() * sky - flux) / noise)
    return np.array(pulls)


def test_noise_is_that_of_gain_and_read_noise():
    truth, options = survey(sky=EMPTY_SKY, camera=CLEAN)
    frame = simulate.simulate_frame(truth, options, 1001, 0)
    calibrations = simulate.simulate_calibrations(options, 0, "g")
    mean_electrons = expected_electrons(truth, options, 1001, 0) * calibrations.flat
    gain = options.camera.gain
    pull = frame.image - (mean_electrons / gain + calibrations.bias)
    pull /= np.sqrt((mean_electrons + options.camera.read_noise**2) / gain**2 + 1.0 / 12.0)
    assert np.mean(pull) == pytest.approx(0.0, abs=4.0 / np.sqrt(pull.size))
    assert np.var(pull) == pytest.approx(1.0, abs=4.0 * np.sqrt(2.0 / pull.size))


def test_sky_level_and_gradient_are_as_configured():
    truth, options = survey(sky=dataclasses.replace(EMPTY_SKY, sky_gradient=0.1), camera=CLEAN)
    frames = [expected_electrons(truth, options, 1001, detector) for detector in (0, 1)]
    visit = truth.exposure(1001)
    for detector, image in enumerate(frames):
        zero_point = visit["zero_point_mag"] + truth.detector(detector)["zero_point_offset_mag"]
        frames[detector] = image / (10.0 ** (-0.4 * (visit["sky_mag_arcsec2"] - zero_point)) * 0.16)
    assert np.mean(frames) == pytest.approx(1.0, abs=1e-9)
    assert 0.0 < np.max(frames) - 1.0 < 0.15


def test_flat_and_bias_are_smooth_where_noise_is_off():
    camera = dataclasses.replace(CLEAN, flat_noise=0.0, flat_amplitude=0.04)
    calibrations = simulate.simulate_calibrations(SimulationOptions.small(camera=camera), 0, "g")
    assert calibrations.flat.mean() == pytest.approx(1.0, abs=1e-6)
    assert 0.02 < np.ptp(calibrations.flat) < 0.08
    assert calibrations.bias.mean() == pytest.approx(camera.bias_level, abs=0.5)
    assert not calibrations.defects.any()


def test_saturated_pixels_stand_at_the_level_of_the_header():
    sky = SkyOptions(star_density=10.0, star_mag_range=(11.0, 12.0))
    truth, options = survey(sky=sky)
    frames = [simulate.simulate_frame(truth, options, *key[:2]) for key in truth.frames()[:2]]
    assert max(frame.image.max() for frame in frames) == frames[0].header["SATURATE"]


def test_cosmic_rays_hit_only_the_pixels_that_are_named():
    truth, with_rays = survey(camera=dataclasses.replace(CLEAN, cosmic_rays=20.0))
    without = dataclasses.replace(with_rays, camera=CLEAN)
    hit = simulate.simulate_frame(truth, with_rays, 1001, 0)
    clean = simulate.simulate_frame(truth, without, 1001, 0)
    np.testing.assert_array_equal(hit.image[~hit.cosmic_rays], clean.image[~hit.cosmic_rays])
    assert np.mean(hit.image[hit.cosmic_rays] > clean.image[hit.cosmic_rays]) > 0.99
    assert 40 < hit.cosmic_rays.sum() < 600
    assert not clean.cosmic_rays.any()


def test_bad_columns_are_the_defects_of_the_calibrations():
    truth, bad = survey(camera=dataclasses.replace(CLEAN, bad_columns=4))
    good = dataclasses.replace(bad, camera=CLEAN)
    defects = simulate.simulate_calibrations(bad, 0, "g").defects
    image = simulate.simulate_frame(truth, bad, 1001, 0).image
    clean = simulate.simulate_frame(truth, good, 1001, 0).image
    np.testing.assert_array_equal(image[~defects], clean[~defects])
    assert defects.any(axis=0).sum() == 4
    assert np.mean(image[defects] != clean[defects]) > 0.99


def test_a_blank_frame_is_constant_but_has_the_headers(small):
    truth, options = small
    blank, frame = (f(truth, options, 1003, 1) for f in (simulate.blank_frame, simulate.simulate_frame))
    assert np.ptp(blank.image) == 0
    assert blank.header == frame.header
    assert blank.image.dtype == frame.image.dtype
    assert blank.wcs.to_header_string() == frame.wcs.to_header_string()


def test_without_errors_the_header_is_right():
    truth, options = survey(errors=EXACT)
    for exposure, detector, _ in truth.frames()[:3]:
        rows = truth.exposure(exposure), truth.detector(detector)
        assert _disagreement_arcsec(options, *rows).max() < 1e-6


def test_pointing_error_alone_shifts_the_frame_by_what_the_truth_records():
    truth, options = survey(errors=dataclasses.replace(EXACT, pointing_arcsec=1.5))
    visit, chip = truth.exposure(1002), truth.detector(0)
    recorded = angular_separation_deg(
        unit_vectors(visit["ra"], visit["dec"]), unit_vectors(visit["header_ra"], visit["header_dec"])
    )
    assert recorded * 3600 > 0.1
    np.testing.assert_allclose(_disagreement_arcsec(options, visit, chip), recorded * 3600, rtol=1e-5)


def test_distortion_stretches_the_corner_by_what_is_configured():
    errors = dataclasses.replace(EXACT, distortion=1e-3)
    camera = dataclasses.replace(CLEAN, grid=(2, 2), gap_arcsec=0.0)
    truth, options = survey(errors=errors, camera=camera)
    axis_arcsec = 256 * 0.4 * np.sqrt(2.0)
    at = _disagreement_arcsec(options, truth.exposure(1001), truth.detector(0), x=-0.5, y=-0.5)
    assert at == pytest.approx(1e-3 * axis_arcsec, rel=1e-4)
    half_way = _disagreement_arcsec(options, truth.exposure(1001), truth.detector(0), x=127.5, y=127.5)
    assert half_way == pytest.approx(at / 8.0, rel=1e-4)


def test_detectors_lie_side_by_side_with_their_gap():
    """The last pixel of detector 0 and the first of its neighbour are a gap and a pixel apart, east to west."""
    truth, options = survey(errors=EXACT)
    left, right = (simulate.claimed_wcs(options, truth.exposure(1001), truth.detector(i)) for i in (0, 1))
    last, first = left.pixel_to_world(255, 100), right.pixel_to_world(0, 100)
    assert last.separation(first).arcsec == pytest.approx(options.camera.gap_arcsec + 0.4, abs=1e-3)
    assert last.ra > first.ra


def _disagreement_arcsec(options, visit, chip, x=None, y=None):
    """Return the distance on the sky between the true and the claimed WCS at some pixels."""
    if x is None:
        x, y = np.array([0.0, 255.0, 130.0]), np.array([0.0, 17.0, 255.0])
    true = simulate.true_wcs(options, visit, chip).all_pix2world(x, y, 0)
    claimed = simulate.claimed_wcs(options, visit, chip).all_pix2world(x, y, 0)
    return angular_separation_deg(unit_vectors(*true), unit_vectors(*claimed)) * 3600.0


def test_strays_look_elsewhere_and_see_stars():
    truth, options = survey(strays=1)
    stray = truth.exposures[-1]
    away = angular_separation_deg(
        unit_vectors(stray["ra"], stray["dec"]), unit_vectors(options.ra_deg, options.dec_deg)
    )
    assert away == pytest.approx(options.stray_offset_deg, rel=0.02)
    frame = simulate.simulate_frame(truth, options, int(stray["exposure"]), 0)
    noise = np.sqrt(np.median(frame.image) - options.camera.bias_level)
    assert np.sum(frame.image > np.median(frame.image) + 20 * noise) > 20


@pytest.mark.parametrize(("ra", "dec"), [(0.0, 0.0), (40.0, 89.99), (40.0, -90.0)])
def test_the_survey_may_lie_anywhere_on_the_sphere(ra, dec):
    """The same stars fall on the same pixels, wherever the field's centre is."""
    sky = SkyOptions(galaxy_density=0.0)
    truth, options = survey(ra_deg=ra, dec_deg=dec, sky=sky)
    electrons = expected_electrons(truth, options, 1001, 1)
    middle_truth, middle = survey(sky=sky)
    expected = expected_electrons(middle_truth, middle, 1001, 1)
    np.testing.assert_allclose(electrons, expected, rtol=1e-4)
