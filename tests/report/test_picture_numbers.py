"""The arithmetic behind the pictures, against brute force and published or analytic values."""

import itertools

import numpy as np
import pytest

from mpidriver.report import FrameStars, lupton_rgb, match_stars, point_source_depth_mag, robust_rms, scatter_of_stars
from mpidriver.report._colour import colour_bands
from mpidriver.report._faraday_maps import _brightest_in_blocks
from mpidriver.report._figure import band_colours, finite_limits, sort_bands
from mpidriver.report._focal_plane import MAP_PX, _mean_over_polygons, _tangent_plane
from mpidriver.report._sky import _north_and_east, binned, data_box
from mpidriver.report._timeline import _mean_busy
from mpidriver.sphere import lon_lat, unit_vectors


@pytest.mark.parametrize("factor", [1, 2, 3, 7])
def test_binning_is_the_mean_of_finite_pixels(rng, factor):
    image = rng.normal(size=(13, 8))
    image[rng.random(image.shape) < 0.3] = np.nan
    image[:4, :4] = np.inf
    shown = binned(image, factor)
    assert shown.shape == (-(-13 // factor), -(-8 // factor))
    for row, col in np.ndindex(shown.shape):
        block = image[row * factor : (row + 1) * factor, col * factor : (col + 1) * factor]
        finite = block[np.isfinite(block)]
        expected = finite.mean() if finite.size else np.nan
        assert shown[row, col] == pytest.approx(expected, rel=1e-5, abs=1e-6, nan_ok=True)


def test_limits_are_finite_and_apart():
    assert finite_limits([np.nan, np.inf]) == (0.0, 1.0)
    assert finite_limits([], symmetric=True) == (-1.0, 1.0)
    assert finite_limits([2.0, 2.0]) == (1.0, 3.0)
    assert finite_limits([0.0]) == (-1.0, 1.0)
    assert finite_limits([-3.0, 1.0], 0, 100, symmetric=True) == (-3.0, 3.0)


def test_bands_go_from_blue_to_red_and_keep_their_colours():
    assert sort_bands(["z", "clear", "g", "u", "r"]) == ["u", "g", "r", "z", "clear"]
    assert band_colours("gr")["r"] == band_colours("r")["r"]
    assert len(set(band_colours(["g", "r", "N921", "N816"]).values())) == 4


def test_colours_are_made_of_the_usual_bands():
    assert colour_bands("ugrizy") == ["i", "r", "g"]
    assert colour_bands("grz") == ["z", "r", "g"]
    assert colour_bands("gz") == ["z", "g"]
    assert colour_bands(["V"]) == ["V"]


def test_a_colour_does_not_depend_on_brightness(rng):
    """Lupton et al. (2004): an object of a given colour has one hue at all intensities."""
    noise = rng.normal(0, 1, (3, 50, 50))
    layers = noise + np.array([3.0, 2.0, 1.0])[:, None, None] * np.where(np.indices((50, 50))[1] > 40, 1e3, 0.0)
    layers[:, :25] *= np.where(layers[:, :25] > 100, 5.0, 1.0)
    rgb = lupton_rgb(*layers, softening=8.0)
    bright, brighter = rgb[30:, 42:].mean(axis=(0, 1)), rgb[:20, 42:].mean(axis=(0, 1))
    np.testing.assert_allclose(bright / bright.max(), brighter / brighter.max(), atol=0.03)
    assert brighter.max() >= bright.max()
    assert rgb.min() >= 0.0
    assert rgb.max() <= 1.0


def test_pixels_without_data_are_black_and_the_sky_is_dark_grey(rng):
    layers = rng.normal(100.0, 5.0, (3, 40, 40))
    layers[:, 20, 20] += 5000.0
    layers[:, :5] = np.nan
    layers[0, 30] = np.nan
    rgb = lupton_rgb(*layers)
    assert not rgb[:5].any()
    assert rgb[20, 20].min() > 0.8
    sky = rgb[6:18]
    assert 0.05 < sky.mean() < 0.3
    np.testing.assert_allclose(rgb[30, :, 0], rgb[30, :, 1:].mean(axis=-1), atol=1e-6)
    assert np.abs(sky - sky.mean(axis=-1, keepdims=True)).mean() < 0.3 * sky.std()


def test_depth_is_that_of_an_optimally_weighted_gaussian():
    """5 sigma of sum(psf * pixel) / sum(psf**2), the matched filter of a sampled Gaussian."""
    fwhm_px, sigma_nJy = 4.0, 3.0
    rows, cols = np.mgrid[-30:31, -30:31]
    psf = np.exp(-4.0 * np.log(2.0) * (rows**2 + cols**2) / fwhm_px**2)
    psf /= psf.sum()
    expected = 31.4 - 2.5 * np.log10(5.0 * sigma_nJy / np.sqrt(np.sum(psf**2)))
    depth = point_source_depth_mag(np.array([sigma_nJy**2, 0.0, np.nan, np.inf]), fwhm_px)
    assert depth[0] == pytest.approx(expected, abs=2e-3)
    assert np.isnan(depth[1:]).all()


@pytest.mark.parametrize(("ra", "dec"), [(10.0, 0.0), (0.0, 30.0), (123.0, 89.999), (200.0, -90.0)])
def test_stars_are_matched_and_their_noise_measured_anywhere(rng, ra, dec):
    frames = []
    centre = unit_vectors(ra, dec)
    east = np.cross([0.0, 0.0, 1.0] if abs(dec) < 80 else [1.0, 0.0, 0.0], centre)
    east /= np.linalg.norm(east)
    north = np.cross(centre, east)
    places = np.radians(rng.uniform(-0.02, 0.02, (2, 400)))
    mag = rng.uniform(17, 20, 400)
    for band in "gggrr":
        x, y = places + np.radians(rng.normal(0, 10 / 3.6e6, places.shape))
        frames.append(
            FrameStars(band, *lon_lat(centre + x[:, None] * east + y[:, None] * north), mag + rng.normal(0, 0.02, 400))
        )
    matches = match_stars(frames)
    assert matches.size > 0.9 * 2000
    # The mean of 5 takes its share of the scatter: sqrt(4/5); of 3 g and 2 r measurements, sqrt(3/5) over all.
    assert np.std(matches["dra_mas"]) == pytest.approx(10 * np.sqrt(4 / 5), rel=0.06)
    assert np.std(matches["ddec_mas"]) == pytest.approx(10 * np.sqrt(4 / 5), rel=0.06)
    assert np.nanstd(matches["dmag_mmag"]) == pytest.approx(20 * np.sqrt(3 / 5), rel=0.06)
    _, astrometric, photometric = scatter_of_stars(matches)
    assert np.sqrt(np.mean(astrometric**2)) == pytest.approx(10, rel=0.08)
    assert np.sqrt(np.nanmean(photometric**2)) == pytest.approx(20, rel=0.08)


def test_matching_leaves_out_what_is_ambiguous_or_single():
    mas = 1 / 3.6e6
    one = FrameStars("g", np.array([10.0, 10.1, 10.2, np.nan]), np.zeros(4), np.array([18.0, 19.0, 20.0, 20.0]))
    two = FrameStars("g", np.array([10.0 + 20 * mas, 10.1, 10.1 + 50 * mas]), np.zeros(3), np.array([18.1, 19.0, 19.0]))
    matches = match_stars([one, two, FrameStars("r", np.zeros(0), np.zeros(0), np.zeros(0))])
    assert matches["frame"].tolist() == [0, 1]
    np.testing.assert_allclose(matches["dra_mas"], [-10.0, 10.0], rtol=1e-5)
    np.testing.assert_allclose(matches["dmag_mmag"], [-50.0, 50.0])
    np.testing.assert_allclose(matches["mag"], 18.05)
    assert match_stars([one]).size == 0
    assert match_stars([]).size == 0


def test_offsets_are_from_the_middle_of_the_exposure():
    frame = FrameStars("g", np.array([0.05, 0.0]), np.array([60.0, 60.1]), np.array([18.0, 18.0]), (0.0, 60.0))
    matches = match_stars([frame, frame])
    np.testing.assert_allclose(matches["east_arcmin"], [1.5, 1.5, 0, 0], atol=1e-3)
    np.testing.assert_allclose(matches["north_arcmin"], [0, 0, 6, 6], atol=1e-3)


def test_robust_rms_is_the_standard_deviation_of_a_normal_distribution(rng):
    values = np.append(rng.normal(0, 3.0, 20_000), [np.nan, 1e9, -1e9])
    assert robust_rms(values) == pytest.approx(3.0, rel=0.03)
    assert np.isnan(robust_rms([]))


def test_frames_over_ra_0_lie_together_with_north_up_and_east_left(frame_points):
    wcs, polygons = _tangent_plane(frame_points)
    assert polygons.shape == (6, 4, 2)
    assert polygons.min() > 0
    assert polygons.max() < MAP_PX
    x, y = wcs.wcs_world2pix([[0.05, 0.0], [359.95, 0.0], [0.0, 0.05]], 0).T
    assert x[0] < x[1]
    assert y[2] > y[0]


def test_the_map_of_frames_holds_the_mean_of_those_above(frame_points):
    low, high = np.array([[10.0, 10.0], [50.0, 10.0], [50.0, 40.0], [10.0, 40.0]]), np.full((4, 2), 20.0)
    high = low + high
    shown = _mean_over_polygons(np.array([low, high[::-1], high]), np.array([1.0, 3.0, np.nan]))
    assert shown[20, 20] == 1.0
    assert shown[50, 60] == 3.0
    assert shown[35, 40] == 2.0
    assert np.isnan(shown[100, 100])


@pytest.mark.parametrize(("dec", "angle_deg"), [(0.0, 0.0), (60.0, 30.0), (-89.95, 120.0)])
def test_the_compass_follows_the_wcs(make_wcs, dec, angle_deg):
    wcs = make_wcs(40.0, dec, 1.0, (100, 100))
    cos, sin = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    wcs.wcs.pc = [[cos, -sin], [sin, cos]]
    wcs.wcs.set()
    north, east = _north_and_east(wcs, np.array([49.5, 49.5]))
    np.testing.assert_allclose(north, [sin, cos], atol=1e-3)
    np.testing.assert_allclose(east, [-cos, sin], atol=1e-3)


def test_binned_rotation_measures_are_those_of_the_brightest_pixels(rng):
    values, weights = rng.normal(size=(2, 11, 9))
    weights[:3, :3] = -np.inf
    shown = _brightest_in_blocks(values, weights, 4)
    assert shown.shape == (3, 3)
    for row, col in np.ndindex(shown.shape):
        block = np.s_[row * 4 : row * 4 + 4, col * 4 : col * 4 + 4]
        best = np.unravel_index(np.argmax(weights[block]), weights[block].shape)
        assert shown[row, col] == values[block][best]


def test_busy_ranks_are_the_time_at_work_in_each_step(rng):
    starts = rng.uniform(0, 10, 30)
    spans = np.stack([starts, starts + rng.uniform(0, 3, 30)], axis=1)
    edges = np.linspace(0, 13, 27)
    expected = [
        np.clip(np.minimum(spans[:, 1], high) - np.maximum(spans[:, 0], low), 0, None).sum() / (high - low)
        for low, high in itertools.pairwise(edges)
    ]
    np.testing.assert_allclose(_mean_busy(spans, edges), expected, atol=1e-12)


def test_what_is_shown_is_where_the_data_are():
    known = np.zeros((100, 200), dtype=bool)
    known[20:30, 50:200] = True
    assert data_box(known) == (47.5, 199.5, 18.5, 30.5)
    assert data_box(known, factor=3) == (143.5, 599.5, 56.5, 92.5)
    assert data_box(np.zeros((100, 200), dtype=bool)) == (-0.5, 199.5, -0.5, 99.5)
