"""Calibration frames: the clipped mean of a stack, the levels of flats, defects."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpidriver.errors import DataError
from mpidriver.tasks.calibs import CalibsOptions, combine_frames, find_defects, solve_scales

OPTIONS = CalibsOptions(frames_min=1)


def combined(stack, options=OPTIONS):
    return combine_frames(lambda number, rows: stack[number][rows], len(stack), stack.shape[1:], options=options)


def slow_mean(values, clip_sigma, noise):
    """The same, slow and obvious."""
    values = np.sort(values[np.isfinite(values)])
    if not values.size:
        return np.nan, 0
    median = np.median(values)
    deviation = np.sort(np.abs(values - median))[values.size // 2]
    kept = values[np.abs(values - median) <= clip_sigma * max(noise, 1.4826 * deviation)]
    return kept.mean(), kept.size


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 12])
def test_the_clipped_mean_equals_a_slow_one(count):
    rng = np.random.default_rng(count)
    stack = rng.normal(100, 3, (count, 9, 11)).astype(np.float32)
    stack[rng.random(stack.shape) < 0.1] = np.nan
    stack[rng.random(stack.shape) < 0.05] += 500
    found = combined(stack)
    for row, col in np.ndindex(9, 11):
        mean, kept = slow_mean(stack[:, row, col], OPTIONS.clip_sigma, found.noise)
        assert found.n_image[row, col] == kept
        assert found.image[row, col] == pytest.approx(mean, rel=1e-6, nan_ok=True)


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 6))
def test_blocks_of_rows_make_no_difference(mib):
    stack = np.random.default_rng(1).normal(0, 1, (6, 700, 90)).astype(np.float32)
    whole = combined(stack)
    by_blocks = combined(stack, CalibsOptions(block_mib=mib))
    assert np.array_equal(whole.image, by_blocks.image)


def test_cosmic_rays_leave_no_trace_and_the_noise_is_that_of_a_mean():
    rng = np.random.default_rng(2)
    stack = rng.normal(1000, 5, (16, 80, 80)).astype(np.float32)
    stack[3, 10:12, 20:30] += 4000
    found = combined(stack)
    assert found.noise == pytest.approx(5, rel=0.05)
    assert np.std(found.image) == pytest.approx(5 / 4, rel=0.06)
    assert np.all(np.abs(found.image[10:12, 20:30] - 1000) < 7)


def test_numbers_that_are_all_equal_are_not_clipped_for_the_noise_of_rounding():
    stack = np.full((5, 4, 4), 7, np.float32)
    stack[0, 0, 0] = 8
    assert combined(stack).image[1:].tolist() == np.full((3, 4), 7).tolist()


def test_too_few_frames_are_refused():
    with pytest.raises(DataError, match="2 frames, and at least 3 are needed"):
        combined(np.zeros((2, 4, 4), np.float32), CalibsOptions())


def test_levels_part_into_exposures_and_detectors_with_gaps_and_outliers():
    rng = np.random.default_rng(3)
    exposures, detectors = rng.uniform(1e4, 4e4, 9), rng.uniform(0.8, 1.2, 12)
    detectors /= np.exp(np.mean(np.log(detectors)))
    levels = exposures[:, None] * detectors * np.exp(rng.normal(0, 1e-4, (9, 12)))
    levels[rng.random(levels.shape) < 0.2] = np.nan
    levels[2, 3] *= 1.4
    found = solve_scales(levels)
    assert found.exposures == pytest.approx(exposures, rel=5e-4)
    assert found.detectors == pytest.approx(detectors, rel=5e-4)
    assert found.rms < 3e-4


def test_an_exposure_without_any_level_is_not_a_number():
    levels = np.array([[1.0, 2.0], [np.nan, np.nan], [3.0, 6.0]])
    found = solve_scales(levels)
    assert np.isnan(found.exposures[1])
    assert found.exposures[2] / found.exposures[0] == pytest.approx(3)
    with pytest.raises(DataError, match="no frame has a positive level"):
        solve_scales(np.full((2, 2), np.nan))


def test_hot_and_dead_pixels_are_found():
    rng = np.random.default_rng(4)
    dark = rng.normal(0.01, 0.001, (60, 60)).astype(np.float32)
    dark[5, 6] = 3.0
    flat = (1 + 0.3 * np.linspace(-1, 1, 60) + rng.normal(0, 0.01, (60, 60))).astype(np.float32)
    flat[:, 20], flat[30, 30] = 0.02, np.nan
    found = find_defects(dark, [flat], options=CalibsOptions())
    expected = np.zeros((60, 60), bool)
    expected[:, 20] = expected[5, 6] = expected[30, 30] = True
    assert np.array_equal(found, expected)
