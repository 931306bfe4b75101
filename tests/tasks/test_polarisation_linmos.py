"""Cut-outs, common resolution and linear mosaicking: a source of S Jy stays one of S Jy a beam."""

import numpy as np
import pytest

from mpidriver.errors import DataError
from mpidriver.tasks.polarisation import (
    CutoutGrid,
    Mosaic,
    axis_distance_deg,
    beam_area_ratio,
    beam_covariance,
    beam_weights,
    common_beam,
    cutout_wcs,
    map_window,
    primary_beam,
    resample_weights,
    resample_window,
    smooth_cutouts,
    smoothing_covariance,
)

ARCSEC = 1.0 / 3600.0
GRID = CutoutGrid(65, 4.0 * ARCSEC)
TARGET = (150.0, -30.0)


def image_wcs(ra=150.1, dec=-29.9, turn_deg=0.0, size=600):
    from astropy.wcs import WCS

    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [ra, dec], [(size + 1) / 2] * 2
    c, s = np.cos(np.deg2rad(turn_deg)), np.sin(np.deg2rad(turn_deg))
    wcs.wcs.cd = 4.0 * ARCSEC * np.array([[-c, s], [s, c]])
    wcs.wcs.set()
    return wcs


def gaussian_image(wcs, beam_deg, size=600, flux=1.0, target=TARGET):
    """Return a point source of a flux on an image in Jy/beam, by the sky offsets of its pixels."""
    from astropy.coordinates import SkyCoord

    rows, cols = np.mgrid[:size, :size]
    ra, dec = wcs.wcs_pix2world(cols, rows, 0)
    offset = SkyCoord(*target, unit="deg").spherical_offsets_to(SkyCoord(ra, dec, unit="deg"))
    east, north = (part.deg for part in offset)
    inverse = np.linalg.inv(beam_covariance(beam_deg))
    form = inverse[0, 0] * east**2 + 2 * inverse[0, 1] * east * north + inverse[1, 1] * north**2
    return (flux * np.exp(-0.5 * form)).astype(np.float32)


def cut(image, wcs, grid=GRID, target=TARGET):
    place = map_window(wcs, image.shape[-2:], *target, grid)
    return resample_window(image[..., place.rows, place.cols], place, grid)


ELLIPSE = np.array([20.0, 14.0, 35.0]) * [ARCSEC, ARCSEC, 1.0]


@pytest.mark.parametrize("turn_deg", [0.0, 40.0, 200.0])
def test_a_cutout_shows_the_sky_however_the_image_is_turned(turn_deg):
    wcs = image_wcs(turn_deg=turn_deg)
    found = cut(gaussian_image(wcs, ELLIPSE)[None], wcs)[0]
    expected = gaussian_image(cutout_wcs(*TARGET, GRID), ELLIPSE, size=65)
    assert found[32, 32] == pytest.approx(1.0, abs=5e-4)
    np.testing.assert_allclose(found, expected, atol=5e-4)


def test_the_map_of_second_order_is_exact_to_a_thousandth_of_a_pixel_a_degree_away():
    wcs = image_wcs(151.0, -29.3, 17.0, size=3000)
    place = map_window(wcs, (3000, 3000), *TARGET, GRID)
    own = cutout_wcs(*TARGET, GRID)
    rows, cols = np.mgrid[:65, :65]
    x, y = wcs.wcs_world2pix(*own.wcs_pix2world(cols, rows, 0), 0)
    v, u = (rows - 32) / 32, (cols - 32) / 32
    for poly, exact, start in ((place.x_map, x, place.cols.start), (place.y_map, y, place.rows.start)):
        np.testing.assert_allclose(np.polynomial.polynomial.polyval2d(v, u, poly) + start, exact, atol=1e-3)


def test_a_window_off_the_image_is_none_and_blank_pixels_stay_blank():
    wcs = image_wcs()
    assert map_window(wcs, (600, 600), 155.0, -30.0, GRID) is None
    assert map_window(wcs, (600, 600), 330.0, 30.0, GRID) is None
    image = gaussian_image(wcs, ELLIPSE)[None]
    y = round(float(wcs.wcs_world2pix(*TARGET, 0)[1]))
    image[0, y + 10 :, :] = np.nan
    found = cut(image, wcs)[0]
    assert np.isfinite(found[:38]).all()
    assert np.isnan(found[46:]).all()
    assert np.isnan(cut(np.full((1, 600, 600), np.nan, np.float32), wcs)).all()


def test_weights_are_never_negative_and_zero_where_the_map_is():
    wcs = image_wcs(turn_deg=20.0)
    rows, cols = np.mgrid[:600, :600]
    weights = (1.0 + 0.01 * rows + 0.02 * cols).astype(np.float32)
    place = map_window(wcs, weights.shape, *TARGET, GRID)
    x, y = wcs.wcs_world2pix(*TARGET, 0)
    found = resample_weights(weights[place.rows, place.cols], place, GRID)
    assert found[32, 32] == pytest.approx(1.0 + 0.01 * y + 0.02 * x, rel=1e-5)
    weights[:, round(float(x)) - 8 : round(float(x)) + 9] = 0.0
    weights[:, round(float(x)) + 20 :] = np.nan
    found = resample_weights(weights[place.rows, place.cols], place, GRID)
    assert found[32, 32] == 0.0
    assert found.min() == 0.0
    assert (found > 1.0).any()


def test_the_common_beam_of_round_beams_is_the_largest_and_of_others_contains_all():
    np.testing.assert_allclose(common_beam([[2.0, 2.0, 10.0], [3.0, 3.0, 50.0]]), [3.0, 3.0, 0.0])
    np.testing.assert_allclose(common_beam([ELLIPSE, ELLIPSE]), ELLIPSE, atol=1e-9)
    rng = np.random.default_rng(3)
    beams = np.column_stack([rng.uniform(14, 18, 30), rng.uniform(10, 13.9, 30), rng.uniform(0, 180, 30)])
    beams[:, :2] *= ARCSEC
    found = common_beam(beams)
    assert all(np.linalg.eigvalsh(beam_covariance(found) - beam_covariance(beam))[0] >= -1e-15 for beam in beams)
    assert found[0] * found[1] < (18.1 * ARCSEC) ** 2


@pytest.mark.parametrize("beam", [[np.nan, 1.0, 0.0], [1.0, 0.0, 0.0], [1.0, 2.0, 0.0]])
def test_an_image_without_a_beam_says_how_to_name_it(beam):
    with pytest.raises(DataError, match=r"\[polarimeter\.metadata\]"):
        common_beam([beam])


def test_smoothing_gives_the_common_beam_and_keeps_the_flux_of_a_point():
    common = np.array([30.0, 22.0, 110.0]) * [ARCSEC, ARCSEC, 1.0]
    wcs = image_wcs(turn_deg=12.0)
    found = smooth_cutouts(cut(gaussian_image(wcs, ELLIPSE, flux=2.5)[None], wcs), ELLIPSE, common, GRID)[0]
    expected = gaussian_image(cutout_wcs(*TARGET, GRID), common, size=65, flux=2.5)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert found[32, 32] == pytest.approx(2.5, rel=1e-3)


def test_smoothing_to_what_a_beam_is_changes_nothing_and_to_less_is_an_error():
    cutouts = np.random.default_rng(0).standard_normal((2, 65, 65)).astype(np.float32)
    assert smoothing_covariance(ELLIPSE, ELLIPSE) is None
    np.testing.assert_array_equal(smooth_cutouts(cutouts, ELLIPSE, ELLIPSE, GRID), cutouts)
    with pytest.raises(DataError, match=r"20\.00 x 14\.00 arcsec at 35\.0 deg cannot be smoothed to 15\.00"):
        smoothing_covariance(ELLIPSE, np.array([15.0, 15.0, 0.0]) * [ARCSEC, ARCSEC, 1.0])


def test_noise_that_is_correlated_like_the_beam_grows_by_the_root_of_the_areas():
    from scipy.ndimage import gaussian_filter

    own, common = np.array([[16.0, 16.0, 0.0], [24.0, 24.0, 0.0]]) * [ARCSEC, ARCSEC, 1.0]
    grid = CutoutGrid(401, 4.0 * ARCSEC)
    noise = gaussian_filter(np.random.default_rng(5).standard_normal((4, 401, 401)), (0, 1.699, 1.699))
    smooth = smooth_cutouts(noise.astype(np.float32), own, common, grid)[:, 30:-30, 30:-30]
    assert smooth.std() / noise.std() == pytest.approx(np.sqrt(beam_area_ratio(own, common)), rel=0.03)


def test_what_is_near_blank_pixels_is_blank_after_smoothing():
    cutouts = np.ones((1, 65, 65), np.float32)
    cutouts[0, :, 50:] = np.nan
    found = smooth_cutouts(cutouts, ELLIPSE, ELLIPSE * [1.5, 1.5, 1.0], GRID)[0]
    assert np.isfinite(found[:, 5:40]).all()
    assert np.isnan(found[:, 50:]).all()


@pytest.mark.parametrize("corrected", [True, False])
def test_beams_are_joined_by_their_inverse_variance_to_the_true_sky(corrected):
    rng = np.random.default_rng(2)
    sky = rng.standard_normal((3, 65, 65)).astype(np.float32)
    responses, noises = rng.uniform(0.3, 1.0, (3, 65, 65)), (1.0, 2.0, 0.5)
    mosaic = Mosaic(1, GRID)
    for response, noise in zip(responses, noises, strict=True):
        seen = sky if corrected else sky * response
        mosaic.add(0, seen.astype(np.float32), *beam_weights(response, noise, corrected=corrected, cutoff=0.1))
    np.testing.assert_allclose(mosaic.mean()[0], sky, rtol=1e-5, atol=1e-6)


def test_the_noise_of_a_mosaic_is_what_inverse_variance_weights_give():
    rng = np.random.default_rng(4)
    responses, noises = np.array([0.9, 0.4]), (1.0, 0.7)
    mosaic = Mosaic(1, GRID)
    for response, noise in zip(responses, noises, strict=True):
        seen = (noise * rng.standard_normal((3, 65, 65))).astype(np.float32)
        plane = np.full((65, 65), response)
        mosaic.add(0, seen, *beam_weights(plane, noise, corrected=False, cutoff=0.1))
    expected = 1.0 / np.sqrt(sum((a / s) ** 2 for a, s in zip(responses, noises, strict=True)))
    assert mosaic.mean().std() == pytest.approx(expected, rel=0.03)


def test_beams_below_the_cutoff_and_blank_pixels_are_left_out():
    mosaic = Mosaic(2, GRID)
    ones = np.ones((3, 65, 65), np.float32)
    response = np.full((65, 65), 0.5)
    response[:, :30] = 0.05
    half = ones.copy()
    half[1, :20] = np.nan
    mosaic.add(0, half, *beam_weights(response, 1.0, corrected=True, cutoff=0.1))
    mean = mosaic.mean()
    assert np.isnan(mean[1]).all()
    assert np.isnan(mean[0][:, :, :30]).all()
    assert np.isnan(mean[0][:, :20]).all()
    assert (mean[0][:, 20:, 30:] == 1.0).all()


def test_models_of_the_primary_beam():
    options = {"dish_m": 12.0, "fwhm_factor": 1.09}
    assert primary_beam("none", 1.0, 1e9, **options) == 1.0
    half = np.rad2deg(1.09 * 299792458.0 / 1e9 / 12.0) / 2
    assert primary_beam("gaussian", half, 1e9, **options) == pytest.approx(0.5)
    assert primary_beam("airy", 0.0, 1e9, **options) == 1.0
    null = np.rad2deg(np.arcsin(1.2196699 * 299792458.0 / 1e9 / 12.0))
    assert primary_beam("airy", null, 1e9, **options) == pytest.approx(0.0, abs=1e-10)
    assert primary_beam("airy", 0.514497 * np.rad2deg(299792458.0 / 1e9 / 12.0), 1e9, **options) == pytest.approx(
        0.5, abs=1e-4
    )


def test_the_distance_from_the_axis_is_that_on_the_sphere():
    from astropy.coordinates import SkyCoord

    found = axis_distance_deg(GRID, *TARGET, (150.8, -29.5))
    ra, dec = cutout_wcs(*TARGET, GRID).wcs_pix2world(*np.meshgrid(np.arange(65), np.arange(65)), 0)
    expected = SkyCoord(ra, dec, unit="deg").separation(SkyCoord(150.8, -29.5, unit="deg")).deg
    np.testing.assert_allclose(found, expected, atol=1e-9)
