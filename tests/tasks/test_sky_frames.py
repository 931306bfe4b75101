"""A pattern that frames of the sky have in common, and how strong it is on one of them."""

import numpy as np
import pytest

from mpidriver.errors import DataError
from mpidriver.tasks.calibs import CalibsOptions, SkyMeshes, combine_skies
from mpidriver.tasks.image import MaskedImage
from mpidriver.tasks.single_frame import SingleFrameOptions
from mpidriver.tasks.single_frame._sky_pattern import subtract_sky_pattern

ROWS, COLS = 192, 256
OPTIONS = SingleFrameOptions()


def pattern():
    """A ring of 4 % of the sky, as scattered light makes it."""
    y, x = np.mgrid[:ROWS, :COLS]
    radius = np.hypot(x - 150, y - 80)
    ring = 0.04 * np.exp(-0.5 * ((radius - 70) / 20) ** 2)
    return (ring - np.median(ring)).astype(np.float32)


def masked(image):
    return MaskedImage(image.astype(np.float32), np.full(image.shape, 100, np.float32), np.zeros(image.shape, np.int32))


def test_the_amplitude_is_the_frames_own_whatever_lies_on_it():
    rng = np.random.default_rng(1)
    image = 500 + 800 * pattern() + rng.normal(0, 10, (ROWS, COLS))
    image[40:90, 30:100] += 300  # a galaxy
    image[rng.integers(0, ROWS, 40), rng.integers(0, COLS, 40)] += 5000
    left = image - subtract_sky_pattern(masked(image), pattern(), OPTIONS).image
    assert left == pytest.approx(800 * pattern(), abs=1.5)


@pytest.mark.parametrize("shown", [np.zeros((ROWS, COLS)), np.full((ROWS, COLS), np.nan)])
def test_no_pattern_changes_nothing(shown):
    frame = masked(np.random.default_rng(2).normal(100, 10, (ROWS, COLS)))
    assert np.array_equal(subtract_sky_pattern(frame, shown, OPTIONS).image, frame.image)


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(DataError, match=r"sky has the shape \(2, 3\)"):
        subtract_sky_pattern(masked(np.ones((4, 4))), np.ones((2, 3)), OPTIONS)
    skies = [
        SkyMeshes(np.zeros((2, 2)), (20, 20)),
        SkyMeshes(np.zeros((2, 3)), (20, 30)),
        SkyMeshes(np.zeros((2, 2)), (20, 20)),
    ]
    with pytest.raises(DataError, match="different shapes: 20 x 20, 20 x 30"):
        combine_skies(skies, CalibsOptions())
    with pytest.raises(DataError, match="1 frames, and at least 3"):
        combine_skies(skies[:1], CalibsOptions())


def test_meshes_that_no_frame_shows_are_filled_and_single_halos_left_out():
    relative = np.zeros((5, 3, 4))
    relative[:, 0, 0] = np.nan
    relative[2, 1] = 0.5
    relative[:, 2] = 0.03
    found = combine_skies([SkyMeshes(one, (30, 40)) for one in relative], CalibsOptions())
    assert found.shape == (30, 40)
    assert np.isfinite(found).all()
    assert found[24:26].mean() == pytest.approx(0.03, abs=1e-4)
    assert abs(found[4:6].mean()) < 1e-4
