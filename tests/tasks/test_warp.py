"""The warp: geometry, flux, noise and mask, against analytic stars and reproject."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sep
from array_layouts import LAYOUTS, laid_out
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st
from reproject import reproject_interp
from scipy import ndimage

from mpidriver.errors import ConfigError, DataError
from mpidriver.tasks.image import MaskPlane
from mpidriver.tasks.warp import WarpOptions, overlap, warp
from mpidriver.tasks.warp._map_rows import node_weights, row_of_map
from mpidriver.tasks.warp._pixel_map import interpolated, make_pixel_map, output_box, project
from mpidriver.tasks.warp._prepare import PAD, make_coefficients
from mpidriver.tasks.warp._resample import _taps, resample_by_cubic_spline, resample_by_table
from mpidriver.tasks.warp._taps import KERNELS, N_PHASES, TAPS, cardinal_weights, filter_gain, taps_of
from mpidriver.tasks.warp._warp import _prepared

NO_DATA = int(MaskPlane.NO_DATA)
DATA = Path(os.environ.get("MPIDRIVER_DATA", Path(__file__).parents[3] / "shared/data"))


def make_wcs(*, ra=150.0, dec=2.0, crpix=(60.5, 50.5), scale_arcsec=0.2, rotation_deg=0.0):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = crpix
    cos, sin = np.cos(np.radians(rotation_deg)), np.sin(np.radians(rotation_deg))
    wcs.wcs.cd = scale_arcsec / 3600.0 * np.array([[-cos, sin], [sin, cos]])
    return wcs


def gaussian_star(shape, x, y, fwhm_px=4.0, flux=1e5):
    sigma = fwhm_px / 2.3548
    rows, cols = np.indices(shape)
    profile = np.exp(-0.5 * ((cols - x) ** 2 + (rows - y) ** 2) / sigma**2)
    return (flux * profile / (2 * np.pi * sigma**2)).astype(np.float32)


def waves(shape, shift=(0.0, 0.0)):
    """Return a sum of plane waves of at least 5 px length, moved by `shift` (col, row)."""
    rng = np.random.default_rng(3)
    rows, cols = np.indices(shape)
    image = np.zeros(shape)
    for _ in range(20):
        length, angle, phase = rng.uniform(5, 30), rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi)
        along = np.cos(angle) * (cols - shift[0]) + np.sin(angle) * (rows - shift[1])
        image += np.cos(2 * np.pi * along / length + phase)
    return image


def test_identity_returns_the_same_pixels_and_noise_up_to_the_edge():
    rng = np.random.default_rng(1)
    image = rng.normal(size=(70, 90)).astype(np.float32)
    variance = rng.uniform(1, 2, size=image.shape).astype(np.float32)
    mask = rng.integers(0, 2, size=image.shape).astype(np.int32) * int(MaskPlane.SUSPECT)
    wcs = make_wcs()
    out = warp(image, wcs, wcs, image.shape, variance=variance, mask=mask)
    np.testing.assert_allclose(out.image, image, rtol=0, atol=2e-6)
    np.testing.assert_allclose(out.variance, variance, rtol=2e-6)
    np.testing.assert_array_equal(out.mask, mask)
    assert (out.image.dtype, out.variance.dtype, out.mask.dtype) == (np.float32, np.float32, np.int32)


@pytest.mark.parametrize("shift", [(0.5, 0.5), (0.37, -0.21), (-3.25, 11.0)])
def test_a_shift_of_a_band_limited_image_is_the_shifted_image(shift):
    shape = (100, 120)
    out = warp(waves(shape), make_wcs(), make_wcs(crpix=(60.5 + shift[0], 50.5 + shift[1])), shape)
    difference = (out.image - waves(shape, shift))[15:-15, 15:-15]
    # 20 waves of amplitude 1 have an rms of 3.2; Lanczos-3 loses under 1 % of the shortest.
    assert np.sqrt(np.mean(difference**2)) < 0.015


@pytest.mark.parametrize(
    ("scale_arcsec", "rotation_deg", "most_mmag"),
    # The alias at a scale ratio of 0.85 costs up to 1.5 mmag at FWHM 4 px (spectrum of the taps); there is none at 1.
    [(0.2, 0.0, 0.05), (0.2, 33.0, 0.2), (0.2, 90.0, 0.05), (0.201, 1.0, 0.1), (0.168, -140.0, 2), (0.23, 10.0, 2)],
)
def test_stars_keep_flux_and_position(scale_arcsec, rotation_deg, most_mmag):
    rng = np.random.default_rng(5)
    wcs_in = make_wcs()
    wcs_out = make_wcs(scale_arcsec=scale_arcsec, rotation_deg=rotation_deg, crpix=(80.2, 79.7))
    for x, y in rng.uniform([45, 35], [75, 65], size=(4, 2)):
        out = warp(gaussian_star((100, 120), x, y), wcs_in, wcs_out, (160, 160))
        want_x, want_y = wcs_out.all_world2pix(*wcs_in.all_pix2world(x, y, 0), 0)
        image = np.nan_to_num(out.image)
        rows, cols = np.indices(image.shape)
        near = np.hypot(cols - want_x, rows - want_y) < 30 * 0.2 / scale_arcsec * 0.8
        assert 2500 * abs(np.log10(image[near].sum(dtype=float) / 1e5)) < most_mmag
        got_x, got_y, flag = sep.winpos(image, [float(want_x)], [float(want_y)], [1.7 * 0.2 / scale_arcsec])
        assert flag[0] == 0
        assert np.hypot(got_x[0] - want_x, got_y[0] - want_y) * scale_arcsec < 5e-4


def test_surface_brightness_times_pixel_area_is_kept():
    flat = np.ones((200, 200), np.float32)
    out = warp(flat, make_wcs(crpix=(100, 100)), make_wcs(crpix=(40, 40), scale_arcsec=0.25), (80, 80), scale=3.0)
    np.testing.assert_allclose(out.image, 3.0 * (0.25 / 0.2) ** 2, rtol=1e-5)


def test_a_quarter_turn_is_np_rot90():
    image = np.random.default_rng(2).normal(size=(50, 50)).astype(np.float32)
    out = warp(image, make_wcs(crpix=(25.5, 25.5)), make_wcs(crpix=(25.5, 25.5), rotation_deg=90.0), (50, 50))
    turned = [np.rot90(image, turns) for turns in (1, 3)]
    assert min(np.abs(out.image - candidate).max() for candidate in turned) < 1e-5


def test_agrees_with_reproject():
    rng = np.random.default_rng(8)
    image = sum(gaussian_star((120, 120), *rng.uniform(20, 100, 2), fwhm_px=5.0) for _ in range(12))
    wcs_in, wcs_out = make_wcs(), make_wcs(rotation_deg=17.0, scale_arcsec=0.19, dec=2.0005)
    out = warp(image, wcs_in, wcs_out, (120, 120))
    theirs, _ = reproject_interp((image, wcs_in), wcs_out, shape_out=(120, 120), order="bicubic")
    both = np.isfinite(out.image) & np.isfinite(theirs)
    assert both.mean() > 0.6
    # reproject interpolates surface brightness with a cubic spline: the area factor is ours, the rest of the
    # difference is its spline, which is off by 0.5 % of the peak near the borders and 0.02 % rms.
    difference = (out.image[both] - theirs[both] * (0.19 / 0.2) ** 2) / image.max()
    assert np.abs(difference).max() < 6e-3
    assert difference.std() < 4e-4


@pytest.mark.parametrize(
    ("kernel", "most_mas", "most_mmag"), [("bspline3", 0.1, 0.05), ("bspline5", 0.01, 0.01), ("lanczos3", 0.3, 0.5)]
)
def test_a_star_of_4_px_keeps_its_place_and_flux_at_every_rotation(kernel, most_mas, most_mmag):
    rng = np.random.default_rng(12)
    for rotation in (0.0, 90.0, 180.0, 270.0, 33.0, 211.0):
        x, y = rng.uniform([58, 48], [62, 52])
        wcs_in, wcs_out = make_wcs(), make_wcs(rotation_deg=rotation, crpix=(60.5, 60.5))
        out = warp(gaussian_star((100, 120), x, y), wcs_in, wcs_out, (120, 120), kernel=kernel)
        want_x, want_y = (float(at) for at in wcs_out.all_world2pix(*wcs_in.all_pix2world(x, y, 0), 0))
        image = np.nan_to_num(out.image)
        rows, cols = np.indices(image.shape)
        near = np.hypot(cols - want_x, rows - want_y) < 16
        assert 2500 * abs(np.log10(image[near].sum(dtype=float) / 1e5)) < most_mmag
        got_x, got_y, _ = sep.winpos(image.astype(float), [want_x], [want_y], [1.7])
        assert 200 * np.hypot(got_x[0] - want_x, got_y[0] - want_y) < most_mas


@pytest.mark.parametrize("degree", [3, 5])
@pytest.mark.parametrize("shape", [(40, 33), (1, 30), (30, 1), (1, 1), (2, 3)])
def test_splines_agree_with_scipy(degree, shape):
    image = np.random.default_rng(7).normal(size=shape).astype(np.float32)
    shift = 0.37 if min(shape) > 3 else 0.01  # beyond the edge by more, an axis of one pixel has no data
    wcs_in = make_wcs(crpix=(1, 1))
    wcs_out = make_wcs(crpix=(1 + shift, 1 + 0.7 * shift), rotation_deg=4.0 * (shift > 0.1))
    out = warp(image, wcs_in, wcs_out, (shape[0] + 2, shape[1] + 2), kernel=f"bspline{degree}")
    rows, cols = np.indices(out.shape)
    x, y = project(wcs_out, wcs_in, cols.ravel().astype(float), rows.ravel().astype(float))
    want = ndimage.map_coordinates(image.astype(float), [y, x], order=degree, mode="mirror").reshape(out.shape)
    found = np.isfinite(out.image)
    assert found.any()
    np.testing.assert_allclose(out.image[found], want[found], atol=3e-5)


@pytest.mark.parametrize("degree", [3, 5])
def test_a_spline_through_its_coefficients_is_its_pixels(degree):
    """And the cardinal weights are the taps of pixels: a delta at phase 0, of unit sum everywhere."""
    image = np.random.default_rng(3).normal(size=(21, 18))
    plane = np.zeros((21 + 2 * PAD, 18 + 2 * PAD), np.float32)
    plane[PAD:-PAD, PAD:-PAD] = image
    make_coefficients(plane, np.array(taps_of(f"bspline{degree}").poles, np.float32))
    theirs = ndimage.spline_filter(image, degree, mode="mirror")
    np.testing.assert_allclose(plane[PAD:-PAD, PAD:-PAD] * filter_gain(degree) ** 2, theirs, rtol=1e-4, atol=1e-4)
    weights = cardinal_weights(degree, np.array([0.0, 0.3]))
    np.testing.assert_allclose(weights[0], np.eye(128)[64], atol=1e-12)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=1e-12)


def test_the_fast_cubic_spline_does_what_its_tables_say():
    rng = np.random.default_rng(4)
    image, variance = rng.normal(size=(50, 60)), rng.uniform(1, 2, size=(50, 60))
    mask = (rng.random(image.shape) < 0.03).astype(np.int32) * rng.integers(1, 512, size=image.shape).astype(np.int32)
    taps = taps_of("bspline3")
    wcs_in, wcs_out = make_wcs(crpix=(30, 25)), make_wcs(crpix=(32.3, 30.1), rotation_deg=25.0)
    pixel_map = make_pixel_map(image.shape, wcs_in, wcs_out, (0, 70, 0, 64), step=8, max_error_px=1e-3)
    planes, nodes = _prepared(image, variance, mask, taps.poles), (pixel_map.x, pixel_map.y, pixel_map.area)
    fast, tabulated = (tuple(np.empty((70, 64), kind) for kind in ("f4", "f4", "i4")) for _ in range(2))
    how = 2.0, np.float32(0.02), np.int32(NO_DATA)
    resample_by_cubic_spline(planes, nodes, pixel_map.step, taps.pixels, *how, fast)
    resample_by_table(planes, nodes, pixel_map.step, (taps.values, taps.variances, taps.pixels), *how, tabulated)
    assert np.isfinite(fast[0]).sum() > 2000
    np.testing.assert_allclose(fast[0], tabulated[0], atol=2e-5)
    np.testing.assert_allclose(fast[1], tabulated[1], rtol=2e-5)
    np.testing.assert_array_equal(fast[2], tabulated[2])


@pytest.mark.parametrize("kernel", list(KERNELS))
def test_mask_bits_reach_where_their_pixel_weighs_enough(kernel):
    """The response to one pixel of value 1 is its weight; a quintic spline's fourth neighbours are not looked at."""
    mask = np.zeros((30, 30), np.int32)
    mask[15, 14] = int(MaskPlane.SUSPECT)
    delta = (mask != 0).astype(np.float32)
    wcs_in, wcs_out = make_wcs(crpix=(15, 15)), make_wcs(crpix=(15.3, 15.4), rotation_deg=20.0)
    out = warp(delta, wcs_in, wcs_out, (30, 30), mask=mask, kernel=kernel)
    weight = np.abs(np.nan_to_num(out.image))
    rows, cols = (axis.ravel().astype(float) for axis in np.indices(weight.shape))
    x, y = (at.reshape(weight.shape) for at in project(wcs_out, wcs_in, cols, rows))
    clear = (np.abs(weight - 0.02) > 1e-4) & (np.abs(x - 14) < 3) & (np.abs(y - 15) < 3)
    np.testing.assert_array_equal((out.mask & int(MaskPlane.SUSPECT) != 0)[clear], (weight >= 0.02)[clear])


@pytest.mark.parametrize(
    ("ra", "dec"), [(0.0, 0.0), (359.9999, 30.0), (10.0, 90.0), (200.0, -89.999)], ids=["RA 0", "RA 360", "pole", "S"]
)
def test_the_pole_and_ra_0_are_places_like_others(ra, dec):
    """The input lies beside the output's centre, over the pole or across RA 0."""
    wcs_in = make_wcs(ra=ra + 1e-3, dec=dec, crpix=(60.5, 50.5))
    wcs_out = make_wcs(ra=ra, dec=dec, crpix=(80.0, 80.0), rotation_deg=12.0)
    x, y = 61.3, 48.9
    out = warp(gaussian_star((100, 120), x, y), wcs_in, wcs_out, (160, 160))
    want_x, want_y = wcs_out.all_world2pix(*wcs_in.all_pix2world(x, y, 0), 0)
    image = np.nan_to_num(out.image).astype(float)
    rows, cols = np.indices(image.shape)
    near = np.hypot(cols - want_x, rows - want_y) < 16
    assert image[near].sum() == pytest.approx(1e5, rel=5e-5)
    got_x, got_y, _ = sep.winpos(image, [float(want_x)], [float(want_y)], [1.7])
    assert np.hypot(got_x[0] - want_x, got_y[0] - want_y) < 1e-3


@pytest.mark.parametrize("kernel", ["bspline3", "bspline5", "bilinear"])
def test_the_variance_of_every_kernel_predicts_the_noise(kernel):
    image = np.random.default_rng(4).normal(0, 3.0, size=(400, 400)).astype(np.float32)
    out = warp(image, make_wcs(), make_wcs(rotation_deg=5.0), image.shape, variance=image * 0 + 9, kernel=kernel)
    inside = np.isfinite(out.image)
    np.testing.assert_allclose(np.mean(out.image[inside] ** 2) / np.mean(out.variance[inside]), 1.0, atol=0.02)


def test_the_variance_predicts_the_noise():
    rng = np.random.default_rng(4)
    image = rng.normal(0, 3.0, size=(600, 600)).astype(np.float32)
    out = warp(image, make_wcs(), make_wcs(rotation_deg=5.0), (600, 600), variance=np.full(image.shape, 9.0), scale=2.0)
    inside = np.isfinite(out.image)
    assert inside.sum() > 250_000
    # 300,000 correlated pixels, about 150,000 independent ones: 0.4 % one sigma.
    np.testing.assert_allclose(np.mean(out.image[inside] ** 2) / np.mean(out.variance[inside]), 1.0, atol=0.015)


def test_the_taps_reproduce_cubic_polynomials_and_stay_near_lanczos():
    table = taps_of("lanczos3").values[:, :TAPS].astype(float)
    phase = np.arange(N_PHASES + 1)[:, None] / N_PHASES
    distance = np.arange(TAPS) - 2.0 - phase
    for power in range(4):
        np.testing.assert_allclose((table * distance**power).sum(axis=1), float(power == 0), atol=3e-6)
    np.testing.assert_allclose(table, np.sinc(distance) * np.sinc(distance / 3.0), atol=0.025)
    np.testing.assert_array_equal(table[0], [0, 0, 1, 0, 0, 0])


def test_a_phase_that_rounds_to_one_takes_the_last_entry_of_the_table():
    """-1e-17 has the floor -1: its phase is 1 to the last digit, and the table ends there."""
    table, taps = taps_of("lanczos3").values, np.empty(8, np.float32)
    assert -1e-17 - np.floor(-1e-17) == 1.0
    _taps.py_func(table, np.float32(1.0), taps)  # plain Python minds the end of the array
    np.testing.assert_array_equal(taps, table[-1])


def test_a_stack_of_planes_is_warped_as_each_plane_by_itself():
    rng = np.random.default_rng(6)
    stack = rng.normal(size=(2, 3, 40, 50)).astype(np.float32)
    stack[0, 1, 20, 25] = np.nan
    wcs_in, wcs_out = make_wcs(crpix=(25, 20)), make_wcs(crpix=(30, 22), rotation_deg=10.0)
    variance = rng.uniform(1, 2, size=(40, 50)).astype(np.float32)
    mask = (rng.random((40, 50)) < 0.01).astype(np.int32)
    out = warp(stack, wcs_in, wcs_out, (45, 55), variance=variance, mask=mask)
    assert out.image.shape == out.variance.shape == out.mask.shape == (2, 3, 45, 55)
    for at in np.ndindex(2, 3):
        alone = warp(stack[at], wcs_in, wcs_out, (45, 55), variance=variance, mask=mask)
        for plane in ("image", "variance", "mask"):
            assert getattr(out, plane)[at].tobytes() == getattr(alone, plane).tobytes()
    assert np.isnan(out.image[0, 1]).sum() > np.isnan(out.image[0, 0]).sum()


def test_a_distortion_without_inverse_outside_the_input_costs_no_pixel_of_it(monkeypatch):
    """Nodes of the pixel map beside the input are then NaN, and the cells that they belong to reach into it."""

    wcs_in, wcs_out = make_wcs(crpix=(50, 50)), make_wcs(crpix=(80.3, 80.4), rotation_deg=5.0)

    def project_near(wcs_from, wcs_to, *place):
        x, y = project(wcs_from, wcs_to, *place)
        outside = (wcs_to is wcs_in) & ((x < -6) | (x > 105) | (y < -6) | (y > 105))
        return np.where(outside, np.nan, x), np.where(outside, np.nan, y)

    image = waves((100, 100))
    plain = warp(image, wcs_in, wcs_out, (160, 160))
    monkeypatch.setattr("mpidriver.tasks.warp._pixel_map.project", project_near)
    out = warp(image, wcs_in, wcs_out, (160, 160))
    np.testing.assert_array_equal(np.isfinite(out.image), np.isfinite(plain.image))
    np.testing.assert_array_equal(np.isfinite(out.image), (out.mask & NO_DATA) == 0)
    np.testing.assert_allclose(out.image, plain.image, atol=2e-3)


def test_without_variance_the_result_is_the_noise_factor():
    out = warp(np.ones((40, 40)), make_wcs(crpix=(20, 20)), make_wcs(crpix=(20.5, 20)), (40, 40))
    half_pixel = 1 - 3 / 16 - 2.0829 * np.sqrt(3.0) / 64  # of the cubic spline at s = 1/4
    np.testing.assert_allclose(out.variance[10:30, 10:30], half_pixel, rtol=1e-4)


def test_no_overlap_gives_no_data():
    wcs, elsewhere = make_wcs(), make_wcs(ra=200.0, dec=-40.0)
    out = warp(np.ones((30, 30)), wcs, elsewhere, (20, 25), mask=np.zeros((30, 30), np.int32))
    assert out.image.shape == (20, 25)
    assert np.isnan(out.image).all()
    assert np.isnan(out.variance).all()
    np.testing.assert_array_equal(out.mask, NO_DATA)
    assert overlap((30, 30), wcs, elsewhere, (20, 25)) is None


def test_the_antipode_does_not_overlap():
    assert overlap((30, 30), make_wcs(), make_wcs(ra=330.0, dec=-2.0), (2000, 2500)) is None


def test_overlap_holds_every_pixel_with_data():
    wcs_in, wcs_out = make_wcs(), make_wcs(rotation_deg=20.0, crpix=(150, 20))
    out = warp(np.ones((100, 120)), wcs_in, wcs_out, (200, 220))
    rows, cols = overlap((100, 120), wcs_in, wcs_out, (200, 220))
    found = np.isfinite(out.image)
    assert found[rows, cols].sum() == found.sum() > 3000


@pytest.mark.parametrize("bad_value", [np.nan, np.inf, -np.inf])
def test_a_pixel_without_value_hurts_only_its_neighbourhood(bad_value):
    image = np.ones((60, 60), np.float32)
    image[30, 30] = bad_value
    out = warp(image, make_wcs(crpix=(30, 30)), make_wcs(crpix=(30.5, 30.5)), (60, 60))
    lost = np.isnan(out.image)
    np.testing.assert_array_equal(lost, (out.mask & NO_DATA) != 0)
    inner = lost[5:55, 5:55]
    assert 4 <= inner.sum() <= 20  # a cardinal weight of 0.02 reaches 2.5 px along the axes
    np.testing.assert_allclose(out.image[~lost], 1.0, rtol=1e-5)


def test_all_nan_gives_no_data():
    out = warp(np.full((30, 30), np.nan), make_wcs(), make_wcs(), (30, 30))
    assert np.isnan(out.image).all()
    np.testing.assert_array_equal(out.mask & NO_DATA, NO_DATA)


def test_a_variance_that_is_not_one_is_no_data():
    variance = np.ones((30, 30))
    variance[10, 10], variance[15, 15], variance[20, 20] = np.nan, -1.0, np.inf
    out = warp(np.ones((30, 30)), make_wcs(), make_wcs(), (30, 30), variance=variance)
    assert sorted(zip(*np.nonzero(out.mask), strict=True)) == [(10, 10), (15, 15), (20, 20)]


def test_a_bad_pixel_is_replaced_and_its_bit_travels():
    image = np.full((60, 60), 7.0, np.float32)
    mask = np.zeros((60, 60), np.int32)
    image[30, 30], mask[30, 30] = 1e6, int(MaskPlane.COSMIC_RAY)
    out = warp(image, make_wcs(crpix=(30, 30)), make_wcs(crpix=(30.5, 30.5)), (60, 60), mask=mask)
    inner = np.s_[5:55, 5:55]
    np.testing.assert_allclose(out.image[inner], 7.0, rtol=1e-5)
    hit = (out.mask[inner] & int(MaskPlane.COSMIC_RAY)) != 0
    assert hit[24:28, 24:28].any()
    assert 4 <= hit.sum() <= 20


def test_an_interpolated_cosmic_ray_keeps_its_value():
    image = np.full((20, 20), 7.0, np.float32)
    mask = np.zeros((20, 20), np.int32)
    image[10, 10], mask[10, 10] = 8.0, int(MaskPlane.COSMIC_RAY | MaskPlane.INTERPOLATED)
    out = warp(image, make_wcs(), make_wcs(), (20, 20), mask=mask)
    assert out.image[10, 10] == pytest.approx(8.0)
    assert out.mask[10, 10] == mask[10, 10]


@pytest.mark.parametrize("dtype", [">f4", "<f8", ">i2"])
def test_any_number_type_and_stride_is_accepted(dtype):
    image = np.arange(2400).reshape(40, 60).astype(dtype)[:, ::2]
    out = warp(image, make_wcs(), make_wcs(), image.shape)
    np.testing.assert_allclose(out.image, image.astype(float), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"image": np.ones(5)}, "shape"),
        ({"image": np.ones((0, 5))}, "pixels"),
        ({"variance": np.ones((3, 3))}, "variance"),
        ({"mask": np.ones((3, 3), int)}, "mask"),
        ({"scale": np.nan}, "zero point"),
    ],
)
def test_arguments_that_do_not_fit_are_named(arguments, word):
    arguments = {"image": np.ones((4, 4)), "wcs_in": make_wcs(), "wcs_out": make_wcs(), "shape_out": (4, 4)} | arguments
    with pytest.raises(DataError, match=word):
        warp(**arguments)


def test_an_unknown_kernel_names_the_known_ones():
    with pytest.raises(ConfigError, match="lanczos3"):
        warp(np.ones((4, 4)), make_wcs(), make_wcs(), (4, 4), kernel="sinc")


def sip_wcs():
    """Return a WCS with a distortion of 15 px over 1,000."""
    header = make_wcs(crpix=(500.0, 500.0)).to_header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
    header["A_ORDER"], header["B_ORDER"] = 3, 3
    header["A_2_0"], header["A_1_1"], header["B_0_2"] = 3e-5, -1e-5, 2e-5
    header["A_3_0"], header["B_0_3"], header["B_2_1"] = 2e-8, 2e-8, 2e-8
    return WCS(header)


def decam_wcs():
    """Return the TPV of a real DECam frame."""
    paths = sorted((DATA / "decam").glob("*.fits"))
    if not paths:
        pytest.skip(f"no real frames: {DATA}/decam is absent; set MPIDRIVER_DATA")
    with fits.open(paths[0]) as hdus:
        header = next(hdu.header.copy() for hdu in hdus if "TPV" in hdu.header.get("CTYPE1", ""))
    for key in ("DATE-OBS", "MJD-OBS"):
        header.remove(key, ignore_missing=True)
    return WCS(header)


@pytest.mark.parametrize("make", [sip_wcs, decam_wcs])
def test_the_interpolated_pixel_map_of_a_distorted_frame_is_right_everywhere(make):
    wcs_in, shape_in = make(), (1000, 1000)
    ra, dec = (float(v) for v in wcs_in.all_pix2world(500, 500, 0))
    wcs_out = make_wcs(ra=ra, dec=dec, crpix=(600, 600), scale_arcsec=0.25, rotation_deg=3.0)
    box = output_box(shape_in, wcs_in, wcs_out, (1200, 1200))
    pixel_map = make_pixel_map(shape_in, wcs_in, wcs_out, box, step=32, max_error_px=1e-3)
    rows, cols = np.random.default_rng(0).uniform([box[0], box[2]], [box[1] - 1, box[3] - 1], size=(3000, 2)).T
    exact_x, exact_y = project(wcs_out, wcs_in, cols, rows)
    inside = (exact_x > -1) & (exact_x < 1000) & (exact_y > -1) & (exact_y < 1000)
    assert inside.sum() > 1500
    got_x, got_y = (interpolated(pixel_map, nodes, rows, cols) for nodes in (pixel_map.x, pixel_map.y))
    assert np.hypot(got_x - exact_x, got_y - exact_y)[inside].max() < 1e-3
    assert pixel_map.step >= 8


def test_kernel_and_reference_interpolate_the_map_alike():
    wcs_in, wcs_out = sip_wcs(), make_wcs(crpix=(500, 500), rotation_deg=30.0)
    pixel_map = make_pixel_map((1000, 1000), wcs_in, wcs_out, (300, 405, 200, 333), step=32, max_error_px=1e-3)
    weights = node_weights(pixel_map.step)
    assert weights.shape == (4, pixel_map.step)
    line, row = np.empty(pixel_map.x.shape[1]), np.empty(pixel_map.cols)
    for of_box in (0, 17, 104):
        row_of_map(pixel_map.x, of_box, weights, line, row)
        cols = 200.0 + np.arange(pixel_map.cols)
        np.testing.assert_allclose(
            row, interpolated(pixel_map, pixel_map.x, np.full(cols.size, 300.0 + of_box), cols), rtol=1e-12
        )


def test_the_step_is_halved_until_the_map_is_right():
    wcs_in, wcs_out = sip_wcs(), make_wcs(crpix=(500, 500))
    coarse = make_pixel_map((1000, 1000), wcs_in, wcs_out, (0, 1000, 0, 1000), step=256, max_error_px=1e-3)
    fine = make_pixel_map((1000, 1000), wcs_in, wcs_out, (0, 1000, 0, 1000), step=256, max_error_px=1e-6)
    assert 1 < fine.step < coarse.step <= 256


def test_a_jacobian_of_distortion_conserves_the_flux_of_a_star():
    wcs_in, wcs_out = sip_wcs(), make_wcs(crpix=(500, 500))
    ra, dec = wcs_out.all_pix2world(850.3, 120.6, 0)
    x, y = wcs_in.all_world2pix(ra, dec, 0)
    out = warp(gaussian_star((1000, 1000), x, y), wcs_in, wcs_out, (1000, 1000))
    assert np.sum(out.image[90:151, 820:881], dtype=float) == pytest.approx(1e5, rel=1e-4)


def test_equal_inputs_give_equal_bytes():
    image = waves((80, 80))
    first, second = (warp(image, make_wcs(), make_wcs(rotation_deg=3.0), (80, 80)) for _ in range(2))
    for plane in ("image", "variance", "mask"):
        assert getattr(first, plane).tobytes() == getattr(second, plane).tobytes()


def test_options_have_the_documented_defaults():
    assert WarpOptions() == WarpOptions(kernel="bspline3", mask_weight=0.02, grid_step_px=32, max_map_error_px=1e-3)


def test_the_kernels_do_the_same_as_plain_python(tmp_path):
    """Index errors that compiled code would not notice show here."""
    image = waves((14, 16)).astype(np.float32)
    image[3, 4] = np.nan
    wcs_in, wcs_out = make_wcs(crpix=(8, 7)), make_wcs(crpix=(8.3, 7.6), rotation_deg=20)
    compiled = warp(image, wcs_in, wcs_out, (12, 13))
    np.save(tmp_path / "image.npy", image)
    code = (
        "import sys; import numpy as np; from astropy.io.fits import Header; from astropy.wcs import WCS;"
        "from mpidriver.tasks.warp import warp;"
        "wcs = [WCS(Header.fromstring(text)) for text in sys.argv[2:]];"
        "out = warp(np.load(sys.argv[1] + '/image.npy'), *wcs, (12, 13));"
        "np.save(sys.argv[1] + '/out.npy', np.stack([out.image, out.variance, out.mask]))"
    )
    headers = [wcs.to_header().tostring() for wcs in (wcs_in, wcs_out)]
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path), *headers], check=True, env=environment, timeout=200)
    plain = np.load(tmp_path / "out.npy")
    assert np.isfinite(plain[0]).sum() > 80
    np.testing.assert_allclose([compiled.image, compiled.variance, compiled.mask], plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 31, 32, 33, 34, 64, 65, 66])
def test_every_size_of_output_is_filled_to_its_last_pixel(size):
    wcs_in, wcs_out = make_wcs(), make_wcs(rotation_deg=3.0)
    image = waves((140, 140))
    whole = warp(image, wcs_in, wcs_out, (100, 100))
    part = warp(image, wcs_in, wcs_out, (size, size))
    assert np.isfinite(whole.image[:size, :size]).sum() == np.isfinite(part.image).sum()
    np.testing.assert_allclose(part.image, whole.image[:size, :size], atol=2e-3)


#: Sizes about those of windows (6), lanes (8), cells (32) and runs of them.
SIZES = st.sampled_from([1, 2, 5, 6, 7, 8, 9, 31, 32, 33, 64, 65, 97])


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(
    shape_in=st.tuples(SIZES, SIZES),
    shape_out=st.tuples(SIZES, SIZES),
    shift=st.tuples(st.floats(-20, 20), st.floats(-20, 20)),
    rotation_deg=st.sampled_from([0.0, 90.0, 33.0]),
    step=st.sampled_from([1, 7, 8, 32]),
    layout=st.sampled_from(LAYOUTS),
)
def test_every_shape_and_layout_gives_the_same_bytes_and_marks_what_is_missing(
    shape_in, shape_out, shift, rotation_deg, step, layout
):
    rng = np.random.default_rng(1)
    image = rng.normal(size=shape_in).astype(np.float32)
    image[rng.random(shape_in) < 0.02] = np.nan
    variance = rng.uniform(1, 2, size=shape_in).astype(np.float32)
    mask = (rng.random(shape_in) < 0.03).astype(np.int32) * int(MaskPlane.BAD)
    wcs_in = make_wcs(crpix=(shape_in[1] / 2, shape_in[0] / 2))
    wcs_out = make_wcs(crpix=(shape_out[1] / 2 + shift[0], shape_out[0] / 2 + shift[1]), rotation_deg=rotation_deg)
    options = WarpOptions(grid_step_px=step)
    planes = [image, variance, mask]
    out, again = (
        warp(a, wcs_in, wcs_out, shape_out, variance=v, mask=m, options=options)
        for a, v, m in (planes, [laid_out(plane, layout) for plane in planes])
    )
    for name in ("image", "variance", "mask"):
        assert getattr(out, name).tobytes() == getattr(again, name).tobytes()
    missing = (out.mask & NO_DATA) != 0
    np.testing.assert_array_equal(missing, np.isnan(out.image))
    np.testing.assert_array_equal(missing, np.isnan(out.variance))
