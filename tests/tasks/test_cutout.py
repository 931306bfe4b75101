"""The pixels of a cutout: which, and what stands beyond the image."""

import numpy as np
import pytest
from astropy.nddata import Cutout2D
from hypothesis import given
from hypothesis import strategies as st

from mpidriver.tasks.cutout import clip_box, first_pixel, is_on_image, paste

IMAGE = np.arange(12 * 17, dtype=">f4").reshape(12, 17)


@given(st.floats(-0.4, 16.4), st.floats(-0.4, 11.4), st.integers(1, 30))
def test_a_cutout_holds_the_pixels_that_astropy_cuts(x, y, size):
    x, y = round(x, 4), round(y, 4)
    x0, y0 = int(first_pixel(x, size)), int(first_pixel(y, size))
    box = clip_box(x0, y0, size, IMAGE.shape)
    ours = paste(IMAGE[box], box, x0, y0, size, fill=np.nan)
    expected = Cutout2D(IMAGE, (x, y), size, mode="partial", fill_value=np.nan)
    assert expected.origin_original == (max(x0, 0), max(y0, 0))
    assert np.array_equal(ours, expected.data, equal_nan=True)
    assert ours.dtype == IMAGE.dtype


def test_rounding_does_not_move_a_cutout():
    assert [int(first_pixel(50.0 + error, 20)) for error in (-1e-9, 0.0, 1e-9)] == [40, 40, 40]


def test_the_middle_pixel_of_an_odd_size_holds_the_position():
    positions = np.linspace(3.0, 9.0, 100)
    assert np.array_equal(first_pixel(positions, 5) + 2, np.ceil(positions - 0.5))


@pytest.mark.parametrize(
    ("x", "y", "on"),
    [(-0.5, 0, True), (-0.51, 0, False), (16.49, 11.49, True), (16.5, 0, False), (np.nan, 0, False), (0, 11.5, False)],
)
def test_a_position_is_on_an_image_as_far_as_its_pixels_reach(x, y, on):
    assert bool(is_on_image(np.array(x), np.array(y), IMAGE.shape)) is on


def test_cubes_keep_their_planes():
    cube = np.stack([IMAGE, IMAGE + 1000])
    box = clip_box(-2, 3, 4, cube.shape)
    whole = paste(cube[(..., *box)], box, -2, 3, 4, fill=np.nan)
    assert whole.shape == (2, 4, 4)
    assert np.isnan(whole[..., :2]).all()
    assert np.array_equal(whole[..., 2:], cube[:, 3:7, :2])
