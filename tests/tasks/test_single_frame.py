"""Simulated frames with a known truth through the single-frame stage."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial import cKDTree

from mpidriver.errors import DataError
from mpidriver.tasks.filters import gaussian_kernel, mexican_hat_kernel, smooth
from mpidriver.tasks.image import MaskedImage, MaskPlane
from mpidriver.tasks.moffat import MoffatProfile, normal_equations
from mpidriver.tasks.single_frame import (
    SOURCE_DTYPE,
    SOURCE_UNITS,
    Calibrations,
    RawFrame,
    SingleFrameOptions,
    SourceFlag,
    reduce_frame,
)
from mpidriver.tasks.single_frame._astrometry import match_catalogue
from mpidriver.tasks.single_frame._background import pixel_noise, source_free_sky
from mpidriver.tasks.single_frame._bad_pixels import interpolate_bad_pixels
from mpidriver.tasks.single_frame._centroids import windowed_centroids
from mpidriver.tasks.single_frame._cosmic_rays import laplacian, remove_cosmic_rays
from mpidriver.tasks.single_frame._cover import _grown, cover_sources
from mpidriver.tasks.single_frame._photometry import aperture_fluxes
from mpidriver.tasks.single_frame._pointing import vote_offset
from mpidriver.tasks.single_frame._psf import half_light_locus
from mpidriver.tasks.single_frame._signature import remove_signature, subtract_overscan
from mpidriver.tasks.single_frame._stars import nearest_that_matters_px
from mpidriver.tasks.single_frame._zero_point import fit_zero_point
from mpidriver.tasks.sky import clipped_mean, mesh_size
from mpidriver.tasks.skymap import TangentPlane

OPTIONS = SingleFrameOptions()
GAIN, READ_NOISE_E, SKY_E = 2.0, 5.0, 400.0


def point_sources(shape, x, y, flux, *, fwhm_px, beta=3.0):
    """Return Moffat stars sampled at pixel centres, normalised analytically."""
    rows, cols = shape
    alpha2 = (fwhm_px / 2) ** 2 / (2 ** (1 / beta) - 1)
    image, half = np.zeros(shape), int(12 * fwhm_px)
    for x0, y0, f in zip(x, y, flux, strict=True):
        at_row = np.arange(max(0, int(y0) - half), min(rows, int(y0) + half + 2))
        at_col = np.arange(max(0, int(x0) - half), min(cols, int(x0) + half + 2))
        radius2 = (at_row[:, None] - y0) ** 2 + (at_col - x0) ** 2
        image[np.ix_(at_row, at_col)] += f * (beta - 1) / (np.pi * alpha2) * (1 + radius2 / alpha2) ** -beta
    return image


def star_grid(shape, step_px, rng, low=4.0, high=5.3):
    """Return stars on a shaken grid, far enough from each other to be isolated."""
    y, x = (
        (c + rng.uniform(-0.5, 0.5, c.shape)).ravel()
        for c in np.mgrid[step_px / 2 : shape[0] : step_px, step_px / 2 : shape[1] : step_px]
    )
    return x, y, 10 ** rng.uniform(low, high, x.size)


def expose(electrons, rng, bias_adu=0.0):
    """Return counts of an exposure in ADU, with Poisson and read noise."""
    noisy = rng.poisson(electrons) + rng.normal(0, READ_NOISE_E, electrons.shape)
    return (noisy / GAIN + bias_adu).astype(np.float32)


def raw_frame(counts, **changes):
    return RawFrame(counts, gain=GAIN, read_noise=READ_NOISE_E, band="r", **changes)


def tan_wcs(shape, *, ra=150.0, dec=2.2, scale_arcsec=0.25, rotation_deg=20.0):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = ra, dec
    wcs.wcs.crpix = shape[1] / 2, shape[0] / 2
    c, s = np.cos(np.radians(rotation_deg)), np.sin(np.radians(rotation_deg))
    wcs.wcs.cd = np.array([[-c, s], [s, c]]) * scale_arcsec / 3600
    wcs.wcs.set()
    return wcs


def reference_of(wcs, x, y, mag):
    reference = np.zeros(len(x), dtype=[("ra", "f8"), ("dec", "f8"), ("mag_r", "f8")])
    reference["ra"], reference["dec"] = wcs.all_pix2world(x, y, 0)
    reference["mag_r"] = mag
    return reference


def matched(catalogue, x, y, radius_px=1):
    """Return rows of the catalogue and indices of the truth that belong together."""
    distance, index = cKDTree(np.column_stack([x, y])).query(np.column_stack([catalogue["x"], catalogue["y"]]))
    return catalogue[distance < radius_px], index[distance < radius_px]


@pytest.fixture(scope="module", params=[(2.5, 3.0), (4.0, 3.0), (4.0, 40.0), (6.0, 3.5)], ids=str)
def field(request):
    """One reduced frame of isolated stars with its truth, for several seeings and wings."""
    fwhm_px, beta = request.param
    rng = np.random.default_rng(11)
    shape = (768, 512)
    x, y, flux = star_grid(shape, 64, rng)
    electrons = point_sources(shape, x, y, flux, fwhm_px=fwhm_px, beta=beta) + SKY_E
    reduced = reduce_frame(raw_frame(expose(electrons, rng)), options=OPTIONS)
    return (fwhm_px, beta), (x, y, flux), reduced


# The whole stage


def test_every_star_is_found_and_nothing_else(field):
    _, (x, y, _), reduced = field
    found, index = matched(reduced.catalogue, x, y)
    assert set(index) == set(range(x.size))
    assert reduced.catalogue.size - found.size <= 2
    assert reduced.quality["n_sources"] == reduced.catalogue.size


def test_fluxes_are_unbiased_within_one_percent(field):
    _, (x, y, flux), reduced = field
    stars, index = matched(reduced.catalogue[reduced.catalogue["star"]], x, y)
    assert stars.size > 0.8 * x.size
    assert np.median(stars["flux_aper"] / flux[index]) == pytest.approx(1, abs=0.01)
    assert np.median(stars["flux_auto"] / flux[index]) == pytest.approx(1, abs=0.05)
    # An aperture of few pixels feels the stars' phase: 0.15 % at FWHM 2.5 px without any noise.
    error = np.hypot(stars["flux_aper_err"], 0.002 * flux[index])
    pull = (stars["flux_aper"] / np.median(stars["flux_aper"] / flux[index]) - flux[index]) / error
    assert 1.4826 * np.median(np.abs(pull)) == pytest.approx(1, abs=0.3)


def test_centroids_are_near_the_cramer_rao_limit(field):
    (fwhm_px, beta), (x, y, flux), reduced = field
    stars, index = matched(reduced.catalogue[reduced.catalogue["star"]], x, y)
    pull = np.concatenate([(stars["x"] - x[index]) / stars["x_err"], (stars["y"] - y[index]) / stars["y_err"]])
    assert 1.4826 * np.median(np.abs(pull)) == pytest.approx(1, abs=0.3)
    assert np.median(stars["x_err"] / centroid_limit_px(flux[index], fwhm_px=fwhm_px, beta=beta)) < 1.2


def test_a_brighter_neighbour_pulls_half_as_much_at_most():
    rng = np.random.default_rng(0)
    for angle in rng.uniform(0, 2 * np.pi, 8):
        x, y = rng.uniform(19, 21, (2, 2))
        x[1], y[1] = x[0] + 8 * np.cos(angle), y[0] + 8 * np.sin(angle)
        star, neighbour = (point_sources((41, 41), x[[i]], y[[i]], [f], fwhm_px=4) for i, f in ((0, 1e4), (1, 3e4)))
        image = (star + neighbour).astype(np.float32)
        parted = np.where(image > 20, np.where(star > neighbour, 1, 2), 0).astype(np.int32)
        pull_px = []
        for segmentation in (parted, np.zeros_like(parted)):
            segments = segmentation, np.array([1])
            found = windowed_centroids(image, np.ones_like(image), segments, x[:1], y[:1], np.array([4.0]))
            pull_px.append(np.hypot(found[0] - x[0], found[1] - y[0])[0])
        assert 0 < pull_px[0] < 0.5 * pull_px[1] < 0.25


def test_a_wide_source_gets_a_wide_window():
    """In a window of the stars' width the centroids of sources twice as wide scatter more."""
    rng = np.random.default_rng(14)
    shape = (512, 512)
    x, y, flux = star_grid(shape, 48, rng, low=3.8, high=4.0)
    stars = rng.uniform(size=x.size) < 0.3
    flux[stars] *= 10
    electrons = sum(
        point_sources(shape, x[kind], y[kind], flux[kind], fwhm_px=width)
        for kind, width in ((stars, 3.0), (~stars, 7.0))
    )
    found, index = matched(reduce_frame(raw_frame(expose(electrons + SKY_E, rng))).catalogue, x, y, radius_px=3)
    wide = ~stars[index]
    assert wide.sum() > 0.95 * np.count_nonzero(~stars)
    error_px = np.concatenate([found["x"] - x[index], found["y"] - y[index]])[np.tile(wide, 2)]
    assert 1.4826 * np.median(np.abs(error_px)) < 0.42
    assert np.max(np.abs(error_px)) < 2.2


def centroid_limit_px(flux, *, fwhm_px, beta):
    """Return the Cramer-Rao limit of a Moffat star's x from the Fisher information of its pixels."""
    shape, step = (121, 121), 1e-3
    star = point_sources(shape, [60], [60], [1], fwhm_px=fwhm_px, beta=beta)
    slope = (point_sources(shape, [60 + step], [60], [1], fwhm_px=fwhm_px, beta=beta) - star) / step
    f = flux[:, None, None]
    return np.sum((f * slope) ** 2 / (f * star + SKY_E + READ_NOISE_E**2), axis=(1, 2)) ** -0.5


def test_seeing_is_measured_within_three_percent(field):
    (fwhm_px, _), _, reduced = field
    assert reduced.quality["fwhm_px"] == pytest.approx(fwhm_px, rel=0.03)
    stars = reduced.catalogue[reduced.catalogue["star"]]
    assert np.median(stars["fwhm_px"]) == pytest.approx(fwhm_px, rel=0.05)


def test_sky_noise_and_variance_agree_with_the_detector(field):
    _, _, reduced = field
    noise_e = np.sqrt(SKY_E + READ_NOISE_E**2)
    assert reduced.quality["sky_e"] == pytest.approx(SKY_E, abs=1.0)
    assert reduced.quality["sky_rms_e"] == pytest.approx(noise_e, rel=0.03)
    empty = (reduced.image.mask == 0) & (np.abs(reduced.image.image) < 60)
    assert np.median(reduced.image.variance[empty]) == pytest.approx(noise_e**2, rel=0.05)
    assert np.std(reduced.image.image[empty]) == pytest.approx(noise_e, rel=0.05)


def test_products_have_the_declared_types(field):
    _, _, reduced = field
    assert [plane.dtype for plane in dataclasses.astuple(reduced.image)] == [np.float32, np.float32, np.int32]
    assert reduced.catalogue.dtype == SOURCE_DTYPE
    assert set(SOURCE_UNITS) == set(SOURCE_DTYPE.names)
    assert all(type(value) is float for value in reduced.quality.values())
    assert reduced.corners.shape == (4, 2)
    assert np.all(np.diff(reduced.catalogue["flux_aper"]) <= 0)


def test_equal_frames_give_equal_bytes():
    rng = np.random.default_rng(5)
    x, y, flux = star_grid((300, 260), 60, rng)
    counts = expose(point_sources((300, 260), x, y, flux, fwhm_px=3) + SKY_E, rng)
    one, other = (reduce_frame(raw_frame(counts.copy()), options=OPTIONS) for _ in range(2))
    assert one.catalogue.tobytes() == other.catalogue.tobytes()
    assert one.image.image.tobytes() == other.image.image.tobytes()


def test_the_raw_frame_is_left_as_it_was():
    rng = np.random.default_rng(6)
    counts = expose(np.full((120, 100), SKY_E), rng)
    counts[5, 5] = np.nan
    before = counts.copy()
    reduce_frame(raw_frame(counts), options=OPTIONS)
    np.testing.assert_array_equal(counts, before)


def test_a_frame_without_stars_is_a_frame():
    reduced = reduce_frame(raw_frame(expose(np.full((200, 180), SKY_E), np.random.default_rng(1))), options=OPTIONS)
    assert reduced.quality["n_stars"] == 0
    assert reduced.catalogue.size <= 1
    assert np.isnan(reduced.quality["fwhm_px"])
    assert np.isfinite(reduced.quality["limiting_mag"])


@pytest.mark.parametrize(
    ("counts", "changes", "words"),
    [
        (np.zeros((50, 60)), {}, "same value"),
        (np.full((50, 60), 1234, dtype=np.uint16), {}, "same value"),
        (np.full((50, 60), np.nan), {}, "no pixel holds a number"),
        (np.random.default_rng(0).normal(100, 5, (50, 60)), {"mask": np.ones((50, 60))}, "every pixel is masked"),
        (np.random.default_rng(0).normal(100, 5, (50, 60)), {"weight": np.zeros((50, 60))}, "every pixel is masked"),
        (np.random.default_rng(0).normal(9e4, 5, (50, 60)), {"saturation": 6e4}, "3000 of 3000 are saturated"),
    ],
)
def test_an_empty_frame_is_refused_by_name(counts, changes, words):
    with pytest.raises(DataError, match=f"empty frame: .*{words}"):
        reduce_frame(raw_frame(counts, **changes), options=OPTIONS)


@pytest.mark.parametrize("shape", [(41, 51), (12, 300), (300, 9), (3, 3)])
def test_small_frames_pass(shape):
    counts = expose(np.full(shape, SKY_E), np.random.default_rng(2))
    reduced = reduce_frame(raw_frame(counts), options=OPTIONS)
    assert reduced.image.image.shape == shape
    assert abs(np.median(reduced.image.image)) < 3 * np.sqrt(SKY_E)


def test_a_crowded_field_is_parted():
    """A star every 40 pixels of area 6 FWHM^2: the Mexican hat finds most of the brighter half, a Gaussian few."""
    rng = np.random.default_rng(3)
    shape, count = (256, 256), 900
    x, y = rng.uniform(0, 256, (2, count))
    flux = 10 ** rng.uniform(3.5, 5, count)
    counts = expose(point_sources(shape, x, y, flux, fwhm_px=4.0) + SKY_E, rng)
    number = {}
    for kind in ("auto", "gaussian"):
        options = SingleFrameOptions(detection_filter=kind)
        _, index = matched(reduce_frame(raw_frame(counts), options=options).catalogue, x, y)
        number[kind] = len(set(index[flux[index] > np.median(flux)]))
    assert number["auto"] > 0.6 * count / 2
    assert number["auto"] > 1.5 * number["gaussian"]


@pytest.mark.parametrize("kernel", [gaussian_kernel(3.3), mexican_hat_kernel(2.5)], ids=["gaussian", "mexican hat"])
@pytest.mark.parametrize("shape", [(40, 53), (5, 3)])
def test_smoothing_is_the_convolution(kernel, shape):
    image = np.random.default_rng(3).normal(0, 10, shape).astype(np.float32)
    expected = ndimage.convolve(image.astype(np.float64), kernel.astype(np.float64), mode="constant")
    np.testing.assert_allclose(smooth(image, kernel), expected, atol=1e-4)


@given(st.integers(0, 9), st.integers(0, 100))
@settings(derandomize=True, database=None, max_examples=30)
def test_what_sources_cover_grows_by_squares(reach, seed):
    pixels = np.random.default_rng(seed).random((23, 18)) < 0.02
    np.testing.assert_array_equal(_grown(pixels, reach), ndimage.maximum_filter(pixels, 2 * reach + 1))


@pytest.mark.parametrize("shape", [(64, 66), (65, 67)])
def test_bright_stars_are_covered_in_frames_of_any_size(shape):
    x, y = np.array([20.0, 66.0]), np.array([30.0, 64.0])
    rng = np.random.default_rng(4)
    image = expose(point_sources(shape, x, y, [3e4, 3e4], fwhm_px=3) + SKY_E, rng) * GAIN
    frame = MaskedImage(image, image.copy(), np.zeros(shape, np.int32))
    frame.image[50, 10], frame.mask[50, 10] = np.nan, MaskPlane.NO_DATA
    cover = cover_sources(frame, OPTIONS)
    rows, cols = np.indices(shape)
    distance = np.min([np.hypot(cols - cx, rows - cy) for cx, cy in zip(x, y, strict=True)], axis=0)
    assert cover.pixels.shape == shape
    assert cover.pixels[distance < 6].all()
    assert not cover.pixels[distance > 25].any()
    assert cover.fwhm_px == pytest.approx(3, rel=0.3)


# Instrument signature


def test_bias_dark_gain_and_flat_are_applied_exactly():
    rng = np.random.default_rng(4)
    truth = rng.integers(100, 5000, (20, 30)).astype(float)
    bias, dark = rng.integers(90, 110, (2, 20, 30)).astype(float)
    flat = rng.choice([0.5, 1.0, 2.0], (20, 30))
    counts = truth * flat / 2 + bias + dark * 4
    frame = remove_signature(
        RawFrame(counts, gain=2.0, read_noise=3.0, exptime_s=4.0), Calibrations(bias=bias, dark=dark, flat=flat)
    )
    np.testing.assert_array_equal(frame.image, truth.astype(np.float32))
    expected = (truth * flat + dark * 8 + 9) / flat**2
    np.testing.assert_allclose(frame.variance, expected, rtol=1e-6)


def test_overscan_is_subtracted_row_by_row_and_trimmed():
    rows = np.arange(40.0)
    counts = 500 + rows[:, None] + np.zeros((40, 60))
    counts[:, 50:] -= 400
    calibrations = Calibrations(overscan=(50, 0, 60, 40), science=(0, 0, 50, 40))
    frame = remove_signature(RawFrame(counts), calibrations)
    assert frame.image.shape == (40, 50)
    np.testing.assert_array_equal(frame.image, 400)
    np.testing.assert_array_equal(subtract_overscan(counts.T, (0, 50, 40, 60))[:50], 400)


def test_trimming_moves_the_wcs():
    shape = (80, 90)
    wcs = tan_wcs(shape)
    counts = expose(np.full(shape, SKY_E), np.random.default_rng(9))
    reduced = reduce_frame(raw_frame(counts, wcs=wcs), calibrations=Calibrations(science=(10, 20, 90, 80)))
    np.testing.assert_allclose(reduced.wcs.all_pix2world(3, 4, 0), wcs.all_pix2world(13, 24, 0))
    np.testing.assert_allclose(reduced.corners[0], wcs.all_pix2world(9.5, 19.5, 0))


def test_defects_saturation_companions_and_missing_numbers_are_masked():
    counts = np.random.default_rng(8).normal(1000, 10, (40, 40))
    counts[10, 10], counts[20, 20] = 70_000, np.nan
    defects, mask, weight = np.zeros((40, 40), dtype=np.uint8), np.zeros((40, 40)), np.full((40, 40), 0.25)
    defects[:, 5], mask[30, 30], weight[35, 2] = 1, 8, 0
    raw = RawFrame(counts, saturation=65_000, mask=mask, weight=weight, gain=3.0)
    frame = remove_signature(raw, Calibrations(defects=defects), saturation_grow_px=1)
    assert frame.mask[10, 9:12].tolist() == [MaskPlane.SATURATED] * 3
    assert np.all(frame.mask[:, 5] == MaskPlane.BAD)
    assert frame.mask[30, 30] == frame.mask[35, 2] == MaskPlane.BAD
    assert frame.mask[20, 20] == MaskPlane.NO_DATA
    assert frame.variance[0, 0] == 9 / 0.25


def test_an_integer_at_the_end_of_its_range_is_saturated():
    counts = np.full((9, 9), 1000, dtype=np.uint16)
    counts[4, 4] = 65_535
    assert np.flatnonzero(remove_signature(RawFrame(counts)).mask).tolist() == [40]


@pytest.mark.parametrize(
    ("raw", "calibrations", "words"),
    [
        (RawFrame(np.ones((4, 5)), weight=np.ones((5, 4))), None, r"weight map has the shape \(5, 4\)"),
        (RawFrame(np.ones((4, 5)), gain=0.0), None, "gain must be a positive number"),
        (RawFrame(np.ones(4)), None, r"\(rows, cols\) is needed"),
        (RawFrame(np.ones((4, 5))), Calibrations(flat=np.ones((4, 4))), r"flat has the shape \(4, 4\)"),
        (RawFrame(np.ones((4, 5))), Calibrations(science=(0, 0, 9, 4)), "not within the image of 4 x 5"),
    ],
)
def test_what_does_not_fit_together_is_refused(raw, calibrations, words):
    with pytest.raises(DataError, match=words):
        remove_signature(raw, calibrations)


def test_a_frame_whose_sky_was_subtracted_gets_its_noise_back():
    rng = np.random.default_rng(12)
    counts = expose(np.full((200, 200), 2500.0), rng) - 2500 / GAIN
    reduced = reduce_frame(raw_frame(counts), options=OPTIONS)
    assert np.median(reduced.image.variance) == pytest.approx(2525, rel=0.1)


# Bad pixels and cosmic rays


def test_a_bad_column_is_interpolated_and_flagged():
    rows, cols = np.mgrid[:30, :40]
    image = (100 + 2 * rows + 3 * cols).astype(np.float32)
    mask = np.zeros(image.shape, dtype=np.int32)
    mask[:, 17] = MaskPlane.BAD
    damaged = np.where(mask, np.float32(np.nan), image)
    filled = interpolate_bad_pixels(MaskedImage(damaged, np.ones_like(image), mask))
    np.testing.assert_allclose(filled.image[4:-4, 17], image[4:-4, 17], rtol=1e-5)
    assert np.all(filled.mask[:, 17] == MaskPlane.BAD | MaskPlane.INTERPOLATED)
    assert np.all(filled.mask[:, :17] == 0)


def test_a_large_hole_stays_without_data():
    image = np.random.default_rng(1).normal(100, 10, (120, 150)).astype(np.float32)
    image[:, 80:] = np.nan
    reduced = reduce_frame(RawFrame(image), options=OPTIONS)
    no_data = (reduced.image.mask & MaskPlane.NO_DATA) != 0
    assert no_data[:, 96:].all()
    assert not no_data[:, :96].any()
    np.testing.assert_array_equal(np.isnan(reduced.image.image), no_data)
    assert reduced.quality["bad_fraction"] == pytest.approx(70 / 150, abs=0.01)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None, derandomize=True, database=None)
def test_the_laplacian_equals_that_of_the_subsampled_image(seed):
    """Van Dokkum 2001, equations 5 to 9, done literally."""
    image = np.random.default_rng(seed).normal(0, 1, (8, 9))
    fine = np.repeat(np.repeat(image, 2, axis=0), 2, axis=1)
    padded = np.pad(fine, 1, mode="edge")
    literal = 4 * fine - padded[:-2, 1:-1] - padded[2:, 1:-1] - padded[1:-1, :-2] - padded[1:-1, 2:]
    expected = np.maximum(literal, 0).reshape(8, 2, 9, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(laplacian(np.pad(image, 1, mode="edge")), expected, atol=1e-12)


@pytest.mark.parametrize(("fwhm_px", "beta"), [(2.5, 40.0), (2.5, 3.0), (3.5, 3.0)])
def test_cosmic_rays_are_found_and_stars_are_spared(fwhm_px, beta):
    rng = np.random.default_rng(21)
    shape = (512, 512)
    x, y, flux = star_grid(shape, 40, rng, high=6.0)
    electrons = point_sources(shape, x, y, flux, fwhm_px=fwhm_px, beta=beta) + SKY_E
    image = expose(electrons, rng) * GAIN
    hit = np.zeros(shape, dtype=bool)
    for _ in range(150):
        row, col = rng.integers(2, 500, 2)
        length, slope = rng.integers(1, 8), rng.uniform(-1, 1)
        along = np.arange(length)
        hit[np.rint(row + slope * along).astype(int), col + along] = True
    image[hit] += rng.uniform(300, 5000, np.count_nonzero(hit))
    variance = np.maximum(image, 0) + READ_NOISE_E**2
    clean = remove_cosmic_rays(MaskedImage(image, variance, np.zeros(shape, dtype=np.int32)), OPTIONS)
    found = (clean.mask & MaskPlane.COSMIC_RAY) != 0
    cores = np.zeros(shape, dtype=bool)
    near_row, near_col = np.rint(y).astype(int), np.rint(x).astype(int)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            cores[near_row + dy, near_col + dx] = True
    assert np.mean(found[hit & ~cores]) >= 0.9
    assert np.mean(found[cores & ~hit]) < 0.01
    assert np.count_nonzero(found & ~hit) < 0.2 * np.count_nonzero(hit)


def test_stars_under_cosmic_rays_and_saturation_are_flagged():
    rng = np.random.default_rng(31)
    x, y, flux = star_grid((240, 240), 60, rng)
    flux[5] = 5e6
    counts = expose(point_sources((240, 240), x, y, flux, fwhm_px=4) + SKY_E, rng)
    row, col = round(y[0]) + 2, round(x[0]) + 2
    counts[row, col] += 20_000
    reduced = reduce_frame(raw_frame(counts, saturation=50_000), options=OPTIONS)
    rows, index = matched(reduced.catalogue, x, y, radius_px=5)
    flags = dict(zip(index, rows["flags"], strict=True))
    assert flags[0] & SourceFlag.COSMIC_RAY
    assert flags[5] & SourceFlag.SATURATED
    assert not rows["star"][index == 5].any()
    assert reduced.quality["cosmic_ray_pixels"] >= 1


# Sky


def test_a_sloping_sky_is_followed():
    rng = np.random.default_rng(41)
    rows, cols = np.mgrid[:600, :500]
    sky = 400 + 0.2 * rows + 0.1 * cols
    frame = MaskedImage(
        rng.normal(sky, np.sqrt(sky)).astype(np.float32), sky.astype(np.float32), np.zeros(sky.shape, dtype=np.int32)
    )
    found = source_free_sky(frame, np.zeros(sky.shape, dtype=bool), OPTIONS)
    inner = (slice(100, -100), slice(100, -100))
    assert np.max(np.abs(found.level - sky)[inner]) < 0.5
    assert np.max(np.abs(found.level - sky)) < 2


@given(st.integers(1, 10_000), st.integers(8, 512))
@settings(derandomize=True, database=None)
def test_meshes_divide_a_frame_evenly(size, mesh_px):
    side = mesh_size(size, mesh_px)
    count = -(-size // side)
    assert side <= max(size, 1)
    assert count * side - size < side
    assert side <= 2 * mesh_px


def test_the_clipped_mean_of_normal_values_is_theirs():
    values = np.random.default_rng(51).normal(10, 3, 200_000)
    values[:500] += 1000
    mean, deviation = clipped_mean(values)
    assert mean == pytest.approx(10, abs=0.03)
    assert deviation == pytest.approx(3, rel=0.01)


def test_noise_from_pixel_to_pixel_does_not_see_a_slope():
    image = np.random.default_rng(52).normal(0, 2, (300, 300)) + np.arange(300) * 5
    assert pixel_noise(image, np.ones(image.shape, dtype=bool)) == pytest.approx(2, rel=0.03)


# Stars


def test_the_locus_is_the_stars_and_not_the_galaxies():
    rng = np.random.default_rng(61)
    radius = np.concatenate([rng.normal(2.0, 0.03, 60), rng.uniform(2.2, 8, 300), rng.uniform(0.5, 1.5, 15)])
    centre, half_width = half_light_locus(radius)
    assert centre == pytest.approx(2.0, abs=0.05)
    assert half_width < 0.3


def test_only_neighbours_that_matter_count():
    x, y = np.array([0.0, 3.0, 10.0]), np.zeros(3)
    nearest = nearest_that_matters_px(x, y, np.array([100.0, 1.0, 50.0]), reach_px=20, flux_ratio=0.1)
    assert nearest.tolist() == [10, 3, 10]


# Astrometry and zero point


@pytest.fixture(scope="module")
def pointed():
    """A frame with its true WCS, stars and magnitudes at zero point 30."""
    rng = np.random.default_rng(71)
    shape = (640, 640)
    x, y, flux = star_grid(shape, 64, rng)
    x, y = x + rng.uniform(-20, 20, x.size), y + rng.uniform(-20, 20, y.size)
    counts = expose(point_sources(shape, x, y, flux, fwhm_px=3.5) + SKY_E, rng)
    return counts, (x, y), 30 - 2.5 * np.log10(flux), rng


@pytest.mark.parametrize("dec", [2.2, -89.95])
@pytest.mark.parametrize("sip", [False, True])
def test_a_wrong_pointing_is_repaired(pointed, dec, sip):
    counts, (x, y), mag, _ = pointed
    truth = tan_wcs(counts.shape, ra=0.001, dec=dec)
    if sip:
        truth = with_sip(truth)
    wrong = truth.deepcopy()
    wrong.wcs.crpix = truth.wcs.crpix + np.array([24.0, -18.0])
    linear = "pc" if sip else "cd"
    setattr(wrong.wcs, linear, getattr(truth.wcs, linear) @ np.array([[1.0005, 0.0008], [-0.0006, 0.9996]]))
    wrong.wcs.set()
    reference = reference_of(truth, x, y, mag)
    reduced = reduce_frame(raw_frame(counts, wcs=wrong), reference=reference, options=OPTIONS)
    assert reduced.quality["wcs_refined"] == 1
    assert reduced.quality["n_matched"] > 0.7 * x.size
    assert reduced.quality["astrometric_rms_mas"] < 12
    assert reduced.quality["zero_point_mag"] == pytest.approx(30, abs=0.01)
    assert reduced.quality["zero_point_scatter_mag"] < 0.03
    assert reduced.notes == ()
    assert list(reduced.wcs.wcs.ctype) == list(truth.wcs.ctype)
    grid = np.meshgrid(np.linspace(0, 639, 5), np.linspace(0, 639, 5))
    plane = TangentPlane(*truth.all_pix2world(319.5, 319.5, 0))
    offset = plane.project_arcsec(*reduced.wcs.all_pix2world(*grid, 0))
    offset -= plane.project_arcsec(*truth.all_pix2world(*grid, 0))
    assert np.abs(offset).max() < 0.03
    # The input WCS is not touched.
    np.testing.assert_array_equal(wrong.wcs.crval, truth.wcs.crval)


@pytest.mark.parametrize(
    ("offset_arcsec", "turn_deg"), [((100.0, -66.0), 0.9), ((-200.0, 150.0), -0.4), ((0.0, 0.0), 1.0)]
)
def test_a_pointing_wrong_by_minutes_and_turned_is_repaired(pointed, offset_arcsec, turn_deg):
    counts, (x, y), mag, rng = pointed
    truth = tan_wcs(counts.shape)
    wrong = truth.deepcopy()
    turn = np.radians(turn_deg)
    wrong.wcs.cd = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ truth.wcs.cd
    wrong.wcs.crpix = truth.wcs.crpix + np.array(offset_arcsec) / 0.25
    wrong.wcs.set()
    others = rng.uniform(-1000, 1640, (2, 1500))
    others = others[:, np.any((others < 0) | (others > 640), axis=0)]
    reference = reference_of(
        truth, np.append(x, others[0]), np.append(y, others[1]), np.append(mag, rng.choice(mag, others.shape[1]))
    )
    reduced = reduce_frame(raw_frame(counts, wcs=wrong), reference=reference, options=OPTIONS)
    assert reduced.notes == ()
    assert reduced.quality["n_matched"] > 0.7 * x.size
    assert reduced.quality["astrometric_rms_mas"] < 12
    grid = np.meshgrid(np.linspace(0, 639, 3), np.linspace(0, 639, 3))
    back = truth.all_world2pix(*reduced.wcs.all_pix2world(*grid, 0), 0)
    assert np.abs(np.array(back) - grid).max() < 0.12


def test_a_pointing_wrong_by_minutes_is_named_when_it_is_not_searched(pointed):
    counts, (x, y), mag, _ = pointed
    truth = tan_wcs(counts.shape)
    wrong = truth.deepcopy()
    wrong.wcs.crpix = truth.wcs.crpix + np.array([480.0, 0.0])
    options = SingleFrameOptions(blind_radius_arcsec=0.0)
    reduced = reduce_frame(raw_frame(counts, wcs=wrong), reference=reference_of(truth, x, y, mag), options=options)
    assert reduced.quality["wcs_refined"] == 0
    assert any(note.startswith("WCS of the header kept: ") for note in reduced.notes)


def with_sip(wcs):
    header = wcs.to_header(relax=True)
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
    header["A_ORDER"] = header["B_ORDER"] = 2
    header["A_2_0"], header["B_1_1"] = 3e-6, -2e-6
    return WCS(header)


def test_a_deep_reference_in_any_order_is_matched(pointed):
    counts, (x, y), mag, rng = pointed
    truth = tan_wcs(counts.shape)
    wrong = truth.deepcopy()
    wrong.wcs.crpix = truth.wcs.crpix + np.array([-20.0, 11.0])
    faint = rng.uniform(-50, 690, (2, 4000))
    reference = reference_of(truth, np.append(faint[0], x), np.append(faint[1], y), np.append(np.full(4000, 24.0), mag))
    rng.shuffle(reference)
    reduced = reduce_frame(raw_frame(counts, wcs=wrong), reference=reference, options=OPTIONS)
    assert reduced.quality["wcs_refined"] == 1
    assert reduced.quality["zero_point_mag"] == pytest.approx(30, abs=0.01)


def test_an_unrelated_reference_changes_nothing_and_is_said(pointed):
    counts, _, mag, rng = pointed
    wcs = tan_wcs(counts.shape)
    elsewhere = reference_of(wcs, *rng.uniform(0, 640, (2, mag.size)), mag)
    raw = raw_frame(counts, wcs=wcs, zero_point_mag=27.0)
    reduced = reduce_frame(raw, reference=elsewhere, options=OPTIONS)
    assert reduced.wcs is wcs
    assert reduced.quality["wcs_refined"] == reduced.quality["n_matched"] == 0
    assert np.isnan(reduced.quality["astrometric_rms_mas"])
    assert reduced.zero_point_mag == pytest.approx(27.0 + 2.5 * np.log10(GAIN))
    assert any("WCS of the header kept" in note for note in reduced.notes)
    assert any("zero point of the header kept" in note for note in reduced.notes)


def test_without_reference_and_header_the_zero_point_is_the_default(pointed):
    reduced = reduce_frame(raw_frame(pointed[0]), options=OPTIONS)
    assert reduced.zero_point_mag == OPTIONS.default_zero_point_mag
    assert reduced.quality["zero_point_measured"] == 0
    assert "default" in " ".join(reduced.notes)
    assert np.isnan(reduced.corners).all()
    assert np.isnan(reduced.catalogue["ra"]).all()


def test_refinement_can_be_switched_off(pointed):
    counts, (x, y), mag, _ = pointed
    wcs = tan_wcs(counts.shape)
    options = SingleFrameOptions(refine_wcs=False)
    reduced = reduce_frame(raw_frame(counts, wcs=wcs), reference=reference_of(wcs, x, y, mag), options=options)
    assert reduced.wcs is wcs
    assert reduced.quality["wcs_refined"] == 0
    assert reduced.quality["zero_point_measured"] == 1


@given(st.floats(-9, 9), st.floats(-9, 9), st.integers(0, 1000))
@settings(max_examples=25, deadline=None, derandomize=True, database=None)
def test_votes_find_any_offset_among_strangers(dx, dy, seed):
    rng = np.random.default_rng(seed)
    common = rng.uniform(0, 300, (30, 2))
    ours = np.vstack([common + rng.normal(0, 0.05, common.shape), rng.uniform(0, 300, (20, 2))])
    theirs = np.vstack([common + np.array([dx, dy]), rng.uniform(0, 300, (40, 2))])
    offset, votes = vote_offset(ours, theirs, 10 * np.sqrt(2), 1.0, 5)
    assert votes >= 27
    np.testing.assert_allclose(offset, [dx, dy], atol=0.3)


def test_few_matches_give_a_shift_only():
    shape = (500, 500)
    truth = tan_wcs(shape)
    x, y = np.array([50.0, 400, 260, 120, 430, 300]), np.array([60.0, 90, 300, 410, 380, 150])
    wrong = truth.deepcopy()
    wrong.wcs.crpix = truth.wcs.crpix + np.array([8.0, 5.0])
    match = match_catalogue(x, y, wrong, shape, reference_of(truth, x, y, 20.0), OPTIONS)
    assert match.stars.tolist() == [0, 1, 2, 3, 4, 5]
    assert match.references.tolist() == match.stars.tolist()
    assert match.rms_mas < 1
    np.testing.assert_allclose(match.wcs.wcs.cd, truth.wcs.cd)


def test_reference_stars_weigh_what_their_errors_say():
    """They are off by 5 to 150 mas and known to be so."""
    shape, rng = (500, 500), np.random.default_rng(4)
    truth = tan_wcs(shape)
    x, y = rng.uniform(20, 480, (2, 300))
    plain = reference_of(truth, x, y, 20.0)
    reference = np.zeros(len(x), dtype=[*plain.dtype.descr, ("error_mas", "f8")])
    for name in plain.dtype.names:
        reference[name] = plain[name]
    reference["error_mas"] = np.linspace(5.0, 150.0, len(x))
    reference["dec"] += rng.normal(0, 1, len(x)) * reference["error_mas"] / 3.6e6
    plane, grid = TangentPlane(*truth.all_pix2world(250, 250, 0)), np.mgrid[:500:50, :500:50].reshape(2, -1)
    error = {}
    for name, stars in (("weighed", reference), ("alike", reference[list(plain.dtype.names)])):
        found = match_catalogue(x, y, truth, shape, stars, OPTIONS).wcs
        offset = plane.project_arcsec(*found.all_pix2world(*grid, 0)) - plane.project_arcsec(
            *truth.all_pix2world(*grid, 0)
        )
        error[name] = np.sqrt(np.mean(offset**2))
    assert error["weighed"] < 0.8 * error["alike"]


def test_the_zero_point_ignores_variables():
    rng = np.random.default_rng(81)
    flux = 10 ** rng.uniform(3, 5, 60)
    mag = 28.5 - 2.5 * np.log10(flux) + rng.normal(0, 0.01, 60)
    mag[:12] += rng.uniform(0.5, 2, 12)
    mag[12], flux[13] = np.nan, -5
    zero_point = fit_zero_point(flux, mag)
    assert zero_point.mag == pytest.approx(28.5, abs=0.006)
    assert zero_point.n_stars <= 46
    assert fit_zero_point(flux[:2], mag[:2]) is None


# The door


def test_options_load_without_the_heavy_libraries():
    code = (
        "import sys, mpidriver.tasks.single_frame as s; s.SingleFrameOptions();"
        "print([m for m in ('numpy', 'astropy', 'scipy', 'sep', 'numba') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names():
    import mpidriver.tasks.single_frame as door

    assert all(hasattr(door, name) for name in door.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = door.nothing


# Total fluxes


def pixel_averaged(profile, shape, x, y):
    """Return a star of flux 1 averaged over each pixel by Gauss-Legendre quadrature."""
    node, weight = np.polynomial.legendre.leggauss(8)
    rows, cols = np.indices(shape)
    image = np.zeros(shape)
    for dx, wx in zip(node / 2, weight / 2, strict=True):
        for dy, wy in zip(node / 2, weight / 2, strict=True):
            radius2 = (cols + dx - x) ** 2 + (rows + dy - y) ** 2
            image += wx * wy * (1 + radius2 / profile.alpha_px**2) ** -profile.beta
    return image * (profile.beta - 1) / (np.pi * profile.alpha_px**2)


@pytest.mark.parametrize("beta", [2.5, 3.5, 40.0])
def test_the_profile_knows_what_pixels_and_apertures_do_to_it(beta):
    profile = MoffatProfile.of_width(3.2, beta)
    rng = np.random.default_rng(2)
    places = rng.uniform(49.5, 50.5, (20, 2))
    images = [pixel_averaged(profile, (101, 101), x, y) for x, y in places]
    for radius in (3.3, 6.0, 12.0):
        enclosed = [
            aperture_fluxes(image, image, [x], [y], radius)[0][0] for image, (x, y) in zip(images, places, strict=True)
        ]
        assert np.mean(enclosed) == pytest.approx(profile.enclosed(radius), abs=1e-3)
    rows, cols = np.indices((101, 101))
    (x, y), image = places[0], images[0]
    radius2 = (cols - x) ** 2 + (rows - y) ** 2
    np.testing.assert_allclose(profile.density(radius2), image, atol=4e-3 * image.max())
    centred = pixel_averaged(profile, (1, 31), 0.0, 0.0)[0]
    assert np.interp(0.5 * centred[0], centred[::-1], np.arange(31)[::-1]) == pytest.approx(
        profile.fwhm_px / 2, abs=0.05
    )
    assert 3.2 < profile.fwhm_px < 3.4


def test_the_slopes_of_the_fit_are_those_of_its_cost():
    rng = np.random.default_rng(6)
    radius2 = rng.uniform(0, 60, 300)
    values = 0.04 * MoffatProfile(4.0, 3.0).density(radius2) / MoffatProfile(4.0, 3.0).density(0)
    pixels = radius2, values + rng.normal(0, 0.002, values.size), np.full(values.size, 0.002)
    at, step = np.array([0.03, np.log(4.4), np.log(2.4), 1e-4]), np.array([1e-7, 1e-6, 1e-6, 1e-7])
    for i, change in enumerate(np.diag(step)):
        cost = [normal_equations(*pixels, at + sign * change)[0] for sign in (-1, 1)]
        assert normal_equations(*pixels, at)[1][i] == pytest.approx((cost[1] - cost[0]) / (2 * step[i]), rel=1e-4)


@pytest.mark.parametrize("beta", [2.5, 3.5, 40.0])
def test_total_fluxes_of_bright_stars_among_faint_sources_are_unbiased(beta):
    """Each bright star has two faint sources within 4 FWHM; a curve of growth that takes them in is 3 to 7 mmag off."""
    rng = np.random.default_rng(17)
    shape, profile = (800, 800), MoffatProfile.of_width(3.5, beta)
    x, y, flux = star_grid(shape, 100, rng, low=4.8, high=5.1)
    faint = rng.uniform(0, 800, (2, 2500))
    x_all, y_all = np.concatenate([x, faint[0]]), np.concatenate([y, faint[1]])
    flux_all = np.concatenate([flux, 10 ** rng.uniform(1.5, 3.3, faint.shape[1])])
    image = np.full(shape, SKY_E)
    for x0, y0, f in zip(x_all, y_all, flux_all, strict=True):
        # The same profile as `pixel_averaged`, drawn by its own series to be quick; the test above compares both.
        half = 40 if f > 1e4 else 15
        rows = np.arange(max(0, round(y0) - half), min(800, round(y0) + half + 1))
        cols = np.arange(max(0, round(x0) - half), min(800, round(x0) + half + 1))
        image[np.ix_(rows, cols)] += f * profile.density((rows[:, None] - y0) ** 2 + (cols - x0) ** 2)
    reduced = reduce_frame(raw_frame(expose(np.maximum(image, 0), rng)), options=OPTIONS)
    stars = reduced.catalogue[reduced.catalogue["star"]]
    found, index = matched(stars, x, y)
    assert found.size > 55
    error = np.median(2500 * np.log10(found["flux_aper"] / flux[index]))
    assert abs(error) < 2.0
