"""Spectra from cut-outs: value, background and noise."""

import numpy as np
import pytest

from mpidriver.errors import DataError
from mpidriver.tasks.polarisation import CutoutGrid, annulus_mask, extract_sources, flag_channels

GRID = CutoutGrid(61, 4.0 / 3600)
BEAM = np.array([16.0, 12.0, 30.0]) / [3600, 3600, 1]
ANNULUS = annulus_mask(GRID, BEAM, (1.5, 5.0))


def test_the_annulus_lies_between_its_radii():
    rows, cols = np.mgrid[-30:31, -30:31]
    radius = np.hypot(rows, cols) * 4.0 / 16.0
    np.testing.assert_array_equal(ANNULUS, (radius >= 1.5) & (radius <= 5.0))
    with pytest.raises(DataError, match="holds 0 pixels"):
        annulus_mask(GRID, BEAM, (40.0, 50.0))


def test_value_background_and_noise_of_white_noise_with_a_neighbour():
    rng = np.random.default_rng(0)
    cutouts = (0.2 * rng.standard_normal((300, 3, 61, 61)) + 0.7).astype(np.float32)
    cutouts[:, :, 30, 30] = 5.7
    cutouts[:, :, 40:44, 40:44] += 50.0
    found = extract_sources(cutouts, ANNULUS)
    assert found.background.mean() == pytest.approx(0.7, abs=1e-3)
    assert found.noise.mean() == pytest.approx(0.2, rel=0.01)
    assert found.value.mean() == pytest.approx(5.0, abs=1e-3)
    assert found.noise.std() < 0.01


def test_the_same_as_the_obvious_loop():
    rng = np.random.default_rng(1)
    cutouts = rng.standard_t(2, (5, 3, 61, 61)).astype(np.float32)
    cutouts[2, 1, 20:30] = np.nan
    found = extract_sources(cutouts, ANNULUS)
    for target in range(5):
        for stokes in range(3):
            values = cutouts[target, stokes][ANNULUS].astype(float)
            values = values[np.isfinite(values)]
            for _ in range(3):
                centre = np.median(values)
                sigma = 1.4826 * np.median(np.abs(values - centre))
                values = values[np.abs(values - centre) <= 4.0 * sigma]
            centre = np.median(values)
            assert found.background[target, stokes] == pytest.approx(centre, abs=1e-6)
            assert found.noise[target, stokes] == pytest.approx(np.sqrt(np.mean((values - centre) ** 2)), rel=1e-5)


def test_without_data_there_is_nothing():
    cutouts = np.full((2, 3, 61, 61), np.nan, np.float32)
    cutouts[1, :, 30:, 30:] = 1.0
    found = extract_sources(cutouts, ANNULUS)
    assert np.isnan(np.stack(found)).all()  # a constant annulus tells no noise


def test_channels_of_high_noise_are_flagged_a_source():
    rng = np.random.default_rng(2)
    noise = rng.uniform(0.9, 1.1, (4, 50, 3))
    noise[1, 7, 2] = 3.0
    noise[2, 9] = np.nan
    noise[3] = np.nan
    flags = flag_channels(noise, clip=5.0)
    assert np.argwhere(flags).tolist() == [[1, 7]]
