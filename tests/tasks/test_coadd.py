"""The coadd: means, clipping, variances and masks, by arrays and by blocks."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from array_layouts import LAYOUTS, laid_out
from hypothesis import given, settings
from hypothesis import strategies as st

from mpidriver.errors import ConfigError, DataError
from mpidriver.tasks.coadd import Coadd, CoaddOptions, coadd, coadd_blocks
from mpidriver.tasks.coadd._network import median_network, sorting_network
from mpidriver.tasks.image import MaskedImage, MaskPlane

SHAPE = (50, 150)
NO_DATA, CLIPPED = int(MaskPlane.NO_DATA), int(MaskPlane.CLIPPED)
STATISTICS = ("mean", "clipped")
ALL_STATISTICS = (*STATISTICS, "median")


def noisy(n, *, sigma=1.0, level=0.0, seed=1, shape=SHAPE):
    rng = np.random.default_rng(seed)
    images = [(level + sigma * rng.normal(size=shape)).astype(np.float32) for _ in range(n)]
    return images, [np.full(shape, sigma**2, np.float32) for _ in range(n)]


def star(fwhm_px, flux=1e5, shape=(61, 61)):
    rows, cols = np.indices(shape)
    sigma = fwhm_px / 2.3548
    profile = np.exp(-0.5 * ((cols - 30.3) ** 2 + (rows - 29.8) ** 2) / sigma**2)
    return flux * profile / (2 * np.pi * sigma**2)


@pytest.mark.parametrize("size", range(25))
def test_the_sorting_network_sorts_every_pattern_of_zeros_and_ones(size):
    """A network that sorts all 0-1 sequences sorts everything (Knuth, TAOCP 5.3.4 Z); large sizes get random ones."""
    count = min(2**size, 4096)
    patterns = np.arange(count) if count == 2**size else np.random.default_rng(size).integers(0, 2**size, count)
    values = (patterns[:, None] >> np.arange(max(size, 1))[None, :size]) & 1
    for low, high in sorting_network(size):
        assert low < high < size
        values[:, [low, high]] = np.sort(values[:, [low, high]], axis=1)
    assert (np.diff(values, axis=1) >= 0).all()


@pytest.mark.parametrize("size", [1, 2, 3, 8, 13, 20])
def test_the_median_network_puts_the_middle_values_where_they_belong(size):
    values = np.random.default_rng(size).random((500, size))
    ordered = np.sort(values, axis=1)
    for low, high in median_network(size):
        values[:, [low, high]] = np.sort(values[:, [low, high]], axis=1)
    for middle in ((size - 1) // 2, size // 2):
        np.testing.assert_array_equal(ordered[:, middle], values[:, middle])


@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_the_mean_of_constants_is_the_weighted_mean(n, statistic):
    weights = np.arange(1.0, n + 1)
    values = 100.0 + np.arange(n)
    result = coadd([np.full(SHAPE, v) for v in values], weights, variances=[np.ones(SHAPE)] * n, statistic=statistic)
    np.testing.assert_allclose(result.image, np.average(values, weights=weights), rtol=1e-6)
    np.testing.assert_allclose(result.variance, (weights**2).sum() / weights.sum() ** 2, rtol=1e-6)
    np.testing.assert_array_equal(result.n_image, n)
    np.testing.assert_array_equal(result.mask, 0)


def test_planes_have_the_documented_types():
    result = coadd([np.ones(SHAPE, ">f8")], [2])
    assert isinstance(result, Coadd)
    types = [getattr(result, name).dtype for name in ("image", "variance", "mask", "n_image")]
    assert types == [np.float32, np.float32, np.int32, np.int16]


@pytest.mark.parametrize("statistic", STATISTICS)
def test_the_variance_predicts_the_noise(statistic):
    sigmas = [1.0, 2.0, 1.5, 1.0, 3.0]
    pairs = [noisy(1, sigma=sigma, seed=i, shape=(300, 300)) for i, sigma in enumerate(sigmas)]
    images, variances = [p[0][0] for p in pairs], [p[1][0] for p in pairs]
    result = coadd(images, 1 / np.square(sigmas), variances=variances, statistic=statistic)
    # 90,000 pixels: 0.5 % one sigma.
    np.testing.assert_allclose(result.image.var() / result.variance.mean(), 1.0, atol=0.02)
    assert abs(result.image.mean()) < 5 * result.image.std() / 300
    np.testing.assert_allclose(result.variance.mean(), 1 / np.sum(1 / np.square(sigmas)), rtol=5e-3)


def test_a_cosmic_ray_in_one_of_six_is_clipped():
    images, variances = noisy(6, sigma=2.0)
    clean = coadd(images, np.ones(6), variances=variances, statistic="mean")
    images[3][20, 30:40] += 100.0
    result = coadd(images, np.ones(6), variances=variances)
    np.testing.assert_array_equal(result.n_image[20, 30:40], 5)
    np.testing.assert_array_equal(result.mask[20, 30:40], CLIPPED)
    assert np.abs(result.image[20, 30:40] - clean.image[20, 30:40]).max() < 3.0
    assert coadd(images, np.ones(6), variances=variances, statistic="mean").image[20, 30:40].min() > 12.0


@pytest.mark.parametrize("sky_sigma", [3.0, 30.0])
@pytest.mark.parametrize("fwhms_px", [(3.8, 4.0, 4.1, 4.2, 4.0, 3.9), (3.4, 3.9, 4.2, 4.4), (2.9, 4.0, 4.15, 4.3)])
def test_stars_survive_a_changing_psf_with_their_flux(sky_sigma, fwhms_px):
    rng = np.random.default_rng(2)
    n = len(fwhms_px)
    expected = [star(fwhm) + sky_sigma**2 for fwhm in fwhms_px]
    images = [rng.poisson(light) - sky_sigma**2 for light in expected]
    result = coadd(images, np.ones(n), variances=expected)
    mean = coadd(images, np.ones(n), variances=expected, statistic="mean")
    np.testing.assert_array_equal(result.n_image[26:35, 26:35], n)
    assert result.image.sum(dtype=float) == pytest.approx(mean.image.sum(dtype=float), rel=1e-3)
    assert mean.image.sum(dtype=float) == pytest.approx(1e5, abs=4 * np.sqrt(mean.variance.sum(dtype=float)))


def test_weights_of_exposures_do_not_bias_the_flux_of_a_star():
    rng = np.random.default_rng(6)
    levels = (10.0, 40.0, 90.0)
    images, variances = [], []
    for level in levels:
        expected = star(4.0) + level
        images.append(rng.poisson(expected) - level)
        variances.append(expected)
    result = coadd(images, 1 / np.array(levels), variances=variances, statistic="mean")
    assert result.image.sum(dtype=float) == pytest.approx(1e5, rel=4 / np.sqrt(1e5))


def test_of_two_that_disagree_the_brighter_is_dropped():
    images, variances = noisy(2)
    images[0][5, 5] += 50.0
    images[1][6, 6] += 50.0
    result = coadd(images, [1, 1], variances=variances)
    assert result.image[5, 5] == images[1][5, 5]
    assert result.image[6, 6] == images[0][6, 6]
    assert result.mask[5, 5] == result.mask[6, 6] == CLIPPED
    assert (result.n_image == 1).sum() <= 5


def test_where_all_would_be_clipped_the_lower_half_stays():
    values = [0.0, 0.1, 1000.0, 1001.0]
    result = coadd([np.full(SHAPE, v) for v in values], np.ones(4), variances=[np.ones(SHAPE)] * 4)
    np.testing.assert_allclose(result.image, 0.05, rtol=1e-6)
    np.testing.assert_array_equal(result.n_image, 2)
    np.testing.assert_array_equal(result.mask, CLIPPED)


@pytest.mark.parametrize("statistic", ALL_STATISTICS)
@pytest.mark.parametrize("hole", [np.nan, np.inf, "mask"])
def test_holes_are_left_out(hole, statistic):
    images, variances = noisy(4, level=10.0)
    masks = [np.zeros(SHAPE, np.int32) for _ in images]
    if hole == "mask":
        masks[2][:, :20] = NO_DATA
    else:
        images[2][:, :20] = hole
    result = coadd(images, np.ones(4), variances=variances, masks=masks, statistic=statistic)
    rest = coadd([images[i] for i in (0, 1, 3)], np.ones(3), variances=[variances[0]] * 3, statistic=statistic)
    np.testing.assert_allclose(result.image[:, :20], rest.image[:, :20], rtol=1e-6)
    assert (result.n_image[:, :20] <= 3).all()
    assert (result.mask & NO_DATA == 0).all()


@pytest.mark.parametrize("statistic", ALL_STATISTICS)
def test_nothing_anywhere_is_nan_and_says_so(statistic):
    masks = [np.zeros(SHAPE, np.int32), np.full(SHAPE, int(MaskPlane.SENSOR_EDGE), np.int32)]
    result = coadd([np.full(SHAPE, np.nan)] * 2, [1, 1], masks=masks, statistic=statistic)
    assert np.isnan(result.image).all()
    assert np.isnan(result.variance).all()
    np.testing.assert_array_equal(result.n_image, 0)
    np.testing.assert_array_equal(result.mask, NO_DATA | int(MaskPlane.SENSOR_EDGE))


@pytest.mark.parametrize("variance", [np.nan, -1.0, np.inf])
def test_a_pixel_with_an_impossible_variance_is_left_out(variance):
    variances = [np.ones(SHAPE), np.ones(SHAPE), np.ones(SHAPE)]
    variances[1][7, 7] = variance
    result = coadd([np.ones(SHAPE), np.full(SHAPE, 4.0), np.ones(SHAPE)], np.ones(3), variances=variances)
    assert result.image[7, 7] == 1.0
    assert result.n_image[7, 7] == 2


def test_mask_bits_of_the_inputs_that_count_are_kept_and_bad_inputs_left_out():
    images = [np.full(SHAPE, v) for v in (1.0, 2.0, 60.0)]
    masks = [np.zeros(SHAPE, np.int32) for _ in images]
    masks[0][:] = int(MaskPlane.SUSPECT)
    masks[1][:] = int(MaskPlane.INTERPOLATED)
    masks[2][:] = int(MaskPlane.BAD)
    result = coadd(images, np.ones(3), masks=masks, statistic="mean")
    np.testing.assert_array_equal(result.image, 1.5)
    np.testing.assert_array_equal(result.mask, int(MaskPlane.SUSPECT | MaskPlane.INTERPOLATED))
    everything = CoaddOptions(bad_planes=("NO_DATA",))
    np.testing.assert_array_equal(
        coadd(images, np.ones(3), masks=masks, statistic="mean", options=everything).image, 21
    )


def test_where_every_input_is_bad_the_values_are_kept_and_marked():
    """The core of a star that is saturated in every exposure must not become a hole."""
    masks = [np.full(SHAPE, int(MaskPlane.SATURATED), np.int32)] * 2
    result = coadd([np.full(SHAPE, 1e5), np.full(SHAPE, 1.2e5)], [1, 1], masks=masks)
    np.testing.assert_allclose(result.image, 1.1e5)
    np.testing.assert_array_equal(result.mask, int(MaskPlane.SATURATED))


def test_an_image_of_weight_zero_is_as_if_absent():
    images, variances = noisy(3)
    with_it = coadd(images, [1, 0, 2], variances=variances)
    without = coadd([images[0], images[2]], [1, 2], variances=variances[:2])
    np.testing.assert_array_equal(with_it.image, without.image)
    assert np.isnan(coadd(images, [0, 0, 0]).image).all()


@settings(deadline=None, max_examples=20, derandomize=True, database=None)
@given(st.integers(1, 40), st.integers(0, 2**31), st.floats(0, 0.5))
def test_the_median_agrees_with_numpy(n, seed, hole_fraction):
    rng = np.random.default_rng(seed)
    images = rng.normal(5, 1, size=(n, 4, 33)).astype(np.float32)
    images[rng.random(images.shape) < hole_fraction] = np.nan
    result = coadd(images, rng.uniform(0.5, 2, n), variances=np.ones_like(images), statistic="median")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # where all are NaN
        np.testing.assert_allclose(result.image, np.nanmedian(images, axis=0), rtol=1e-6)
    np.testing.assert_array_equal(result.n_image, np.isfinite(images).sum(axis=0))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 15, 40])
def test_the_variance_of_a_median_predicts_its_noise(n):
    images = np.random.default_rng(n).normal(0, 2, size=(n, 300, 200)).astype(np.float32)
    result = coadd(images, variances=np.full_like(images, 4.0), statistic="median")
    # 60,000 pixels: 0.6 % one sigma.
    np.testing.assert_allclose(result.image.var() / result.variance.mean(), 1.0, atol=0.025)


@settings(deadline=None, max_examples=25, derandomize=True, database=None)
@given(st.integers(1, 40), st.integers(0, 2**31), st.floats(0, 0.5))
def test_clipping_agrees_with_numpy(n, seed, hole_fraction):
    rng = np.random.default_rng(seed)
    images = rng.normal(5, 1, size=(n, 4, 33)).astype(np.float32)
    images[rng.random(images.shape) < 0.05] += 30
    images[rng.random(images.shape) < hole_fraction] = np.nan
    weights = rng.uniform(0.5, 2, n)
    options = CoaddOptions(clip_sigma=3.5, clip_fraction=0.3)
    result = coadd(images, weights, variances=np.ones_like(images), options=options)
    counts = np.isfinite(images).sum(axis=0)
    ordered = np.sort(np.where(np.isfinite(images), images, np.inf), axis=0)
    low = np.take_along_axis(ordered, np.maximum(counts - 1, 0)[None] // 2, 0)[0]
    high = np.take_along_axis(ordered, np.minimum(counts, n - 1)[None] // 2, 0)[0]
    with np.errstate(invalid="ignore"):
        median = 0.5 * (low + high)
        keep = np.isfinite(images) & ~(np.abs(images - median) > 3.5 + 0.3 * np.abs(median))
    plain = (counts > 2) & keep.any(axis=0)
    total = (weights[:, None, None] * keep).sum(axis=0)
    want = np.divide(
        (weights[:, None, None] * np.where(keep, images, 0)).sum(axis=0), total, where=plain, out=total * 0
    )
    np.testing.assert_allclose(result.image[plain], want[plain], rtol=2e-5)
    np.testing.assert_array_equal(result.n_image[plain], keep.sum(axis=0)[plain])
    np.testing.assert_array_equal(np.isnan(result.image), counts == 0)


@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("block_mib", [1, 64])
def test_blocks_of_rows_give_the_same_as_arrays(block_mib, byte_order):
    images, variances = noisy(5, shape=(700, 150))
    masks = [np.zeros((700, 150), np.int32) for _ in images]
    masks[1][3, 4] = int(MaskPlane.SUSPECT)
    asked = []

    def fill(i, rows, block):
        asked.append((rows.start, rows.stop, i))
        assert block.image.dtype == np.dtype(byte_order + "f4")
        block.image[...], block.variance[...], block.mask[...] = images[i][rows], variances[i][rows], masks[i][rows]
        return True

    options = CoaddOptions(block_mib=block_mib)
    result = coadd_blocks(fill, np.ones(5), (700, 150), byte_order=byte_order, options=options)
    whole = coadd(images, np.ones(5), masks=masks, variances=variances)
    for name in ("image", "variance", "mask", "n_image"):
        assert getattr(result, name).tobytes() == getattr(whole, name).tobytes()
    assert asked == sorted(asked)
    assert len(asked) == 5 * (7 if block_mib == 1 else 1)


def test_images_without_these_rows_may_say_so():
    def fill(i, rows, block):
        if i == 0 or rows.start >= 100:
            return False
        block.image[...], block.variance[...], block.mask[...] = i, 1, 0
        return True

    result = coadd_blocks(fill, [1, 1, 1], (200, 6000), options=CoaddOptions(block_mib=1))
    found = np.isfinite(result.image[:, 0])
    assert 100 <= found.sum() < 110
    np.testing.assert_array_equal(result.image[found], 1.5)
    np.testing.assert_array_equal(result.mask[~found], NO_DATA)


def test_no_images_is_an_empty_coadd_where_the_shape_is_known():
    result = coadd_blocks(lambda i, rows, block: False, [], (10, 20))
    assert np.isnan(result.image).all()
    with pytest.raises(DataError, match="no image"):
        coadd([], [])


def test_masked_images_are_accepted():
    image = MaskedImage(np.ones(SHAPE), np.full(SHAPE, 4.0), np.full(SHAPE, 256))
    result = coadd([image, image], [1, 1])
    np.testing.assert_array_equal(result.variance, 2.0)
    np.testing.assert_array_equal(result.mask, 256)


def test_without_variances_the_scatter_of_the_image_stands_in():
    images, _ = noisy(6, sigma=3.0)
    images[0][10, 10] += 300
    result = coadd(images)
    np.testing.assert_allclose(result.variance[images[0] < 100].mean(), 9 / 6, rtol=0.05)
    assert result.n_image[10, 10] == 5


@pytest.mark.parametrize(
    ("arguments", "error", "word"),
    [
        ({"weights": [1, np.nan]}, DataError, "weights"),
        ({"weights": [1, -1]}, DataError, "weights"),
        ({"masks": [np.zeros((3, 4), int)]}, DataError, "masks"),
        ({"variances": [np.ones((3, 4))]}, DataError, "variances"),
        ({"images": [np.ones((3, 4)), np.ones((4, 4))]}, DataError, "shape"),
        ({"statistic": "mode"}, ConfigError, "clipped"),
        ({"options": CoaddOptions(bad_planes=("UGLY",))}, ConfigError, "COSMIC_RAY"),
    ],
)
def test_arguments_that_do_not_fit_are_named(arguments, error, word):
    arguments = {"images": [np.ones((3, 4))] * 2, "weights": [1, 1]} | arguments
    with pytest.raises(error, match=word):
        coadd(**arguments)


def test_the_kernels_do_the_same_as_plain_python(tmp_path):
    """Index errors that compiled code would not notice show here."""
    images = np.random.default_rng(0).normal(size=(5, 3, 140)).astype(np.float32)
    images[1, 1, 20], images[:3, 2, 30], images[:, 0, 7] = 50.0, np.nan, np.nan
    images[:4, 2, 31] = np.nan
    np.save(tmp_path / "images.npy", images)
    code = (
        "import sys; import numpy as np; from mpidriver.tasks.coadd import coadd;"
        "out = coadd(np.load(sys.argv[1] + '/images.npy'));"
        "np.save(sys.argv[1] + '/out.npy', np.stack([out.image, out.variance, out.mask, out.n_image]))"
    )
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env=environment, timeout=200)
    out = coadd(images)
    plain = np.load(tmp_path / "out.npy")
    np.testing.assert_allclose([out.image, out.variance, out.mask, out.n_image], plain, rtol=1e-5)


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(
    n=st.integers(1, 9),
    # About the length of a run, 512.
    shape=st.tuples(st.sampled_from([1, 2, 7, 33]), st.sampled_from([1, 2, 129, 511, 512, 513, 1025])),
    statistic=st.sampled_from(ALL_STATISTICS),
    layout=st.sampled_from(LAYOUTS),
)
def test_every_shape_and_layout_gives_the_same_bytes_within_the_range_of_the_inputs(n, shape, statistic, layout):
    rng = np.random.default_rng(n)
    images = rng.normal(size=(n, *shape)).astype(np.float32)
    images[rng.random(images.shape) < 0.05] = np.nan
    images[rng.random(images.shape) < 0.02] = 1e3
    variances = rng.uniform(0.5, 2, size=images.shape).astype(np.float32)
    masks = (rng.random(images.shape) < 0.1).astype(np.int32) * int(MaskPlane.BAD)
    weights = rng.uniform(0, 1, n) * (rng.random(n) < 0.8)
    stacks = [images, masks, variances], [[laid_out(p, layout) for p in s] for s in (images, masks, variances)]
    result, again = (
        coadd(list(i), weights, masks=list(m), variances=list(v), statistic=statistic) for i, m, v in stacks
    )
    for name in ("image", "variance", "mask", "n_image"):
        assert getattr(result, name).tobytes() == getattr(again, name).tobytes()
    np.testing.assert_array_equal(result.n_image == 0, np.isnan(result.image))
    used = result.n_image > 0
    low, high = np.nanmin(images[:, used], axis=0), np.nanmax(images[:, used], axis=0)
    assert ((result.image[used] >= low - 1e-3) & (result.image[used] <= high + 1e-3)).all()
