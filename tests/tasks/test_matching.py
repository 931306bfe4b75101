"""Background matching: known planes on overlapping frames come out, the sky stays, outliers and holes do no harm."""

import dataclasses

import numpy as np
import pytest
from astropy.wcs import WCS

from mpidriver.tasks.image import MaskPlane
from mpidriver.tasks.matching import (
    MatchingOptions,
    Superpixels,
    add_polynomial,
    match_backgrounds,
    sample_cells,
    superpixels,
)
from mpidriver.tasks.skymap import TangentPlane

SCALE_DEG = 0.2 / 3600
SHAPE = (320, 480)
CELL_DEG = 16 * SCALE_DEG


def tan_wcs(shift=(0.0, 0.0), *, turn_deg=0.0, centre=(150.0, 2.0)):
    """Return a frame whose middle lies at `shift` (pixels) from a centre on the sky."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], list(centre)
    cos, sin = np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))
    wcs.wcs.cd = np.array([[-cos, -sin], [-sin, cos]]) * SCALE_DEG
    wcs.wcs.crpix = [SHAPE[1] / 2 + 0.5 + shift[0], SHAPE[0] / 2 + 0.5 + shift[1]]
    wcs.wcs.set()
    return wcs


def background(plane=(0.0,), *, error=0.01, seed=0):
    """Return the superpixels of a frame that has a polynomial too much, with noise."""
    size = SHAPE[0] // 16, SHAPE[1] // 16
    image = add_polynomial(np.zeros(SHAPE, np.float32), plane)
    level = image.reshape(size[0], 16, size[1], 16).mean(axis=(1, 3))
    level += np.random.default_rng(seed).normal(0, error, size)
    return Superpixels(level.astype(np.float32), np.full(size, error**2, np.float32), SHAPE)


def cells(frame, wcs, *, scale=1.0, degree=1, centre=(150.0, 2.0)):
    return sample_cells(frame, wcs, TangentPlane(*centre), cell_deg=CELL_DEG, scale=scale, degree=degree)


def test_superpixels_are_clipped_means_of_the_sky():
    rng = np.random.default_rng(1)
    image = rng.normal(5.0, 2.0, (64, 96)).astype(np.float32)
    mask = np.zeros(image.shape, np.int32)
    image[3, 4] = 1e5  # a hit that no mask knows
    image[:32, 32:64], mask[:32, 32:64] = 1e4, MaskPlane.DETECTED
    image[40, 40] = np.nan
    found = superpixels(image, mask, size_px=32)
    assert found.level.shape == (2, 3)
    assert np.isnan(found.level[0, 1])
    known = np.isfinite(found.level)
    assert known.sum() == 5
    np.testing.assert_allclose(found.level[known], 5.0, atol=4 * 2.0 / 32)
    assert found.pixel_noise() == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize("centre", [(150.0, 2.0), (0.0, 0.0), (0.0, 90.0), (77.0, -90.0)])
def test_planes_are_found_wherever_the_tract_is(centre):
    """Frames turned by quarters, across RA 0 and at the poles; the mean of all corrections is not changed."""
    rng = np.random.default_rng(2)
    planes = rng.normal(0, 1.0, (8, 3)) * [5.0, 1.0, 1.0]
    frames = [
        cells(
            background(plane, seed=number),
            tan_wcs(rng.uniform(-60, 60, 2), turn_deg=90 * number, centre=centre),
            centre=centre,
        )
        for number, plane in enumerate(planes)
    ]
    matched = match_backgrounds(frames)
    before, after = matched.seam_rms()
    assert before > 50.0  # nJy/arcsec², 25 pixels each
    assert after < 0.05
    left = planes + matched.coefficients
    assert np.ptp(left[:, 0]) < 0.2
    assert abs(matched.coefficients[:, 0].mean()) < 0.1  # the sky stays where the mean of the frames has it


def test_units_of_frames_do_not_matter():
    """Frames whose electrons are worth less have corrections that are larger by as much."""
    plane = np.array([3.0, 0.5, -0.5])
    shifts = [(0, 0), (40, 30)]
    same = [cells(background(plane * sign), tan_wcs(at)) for sign, at in zip((1, -1), shifts, strict=True)]
    bright = cells(background(-10 * plane, error=0.1), tan_wcs(shifts[1]), scale=0.1)
    one, other = (match_backgrounds(frames).coefficients for frames in (same, [same[0], bright]))
    np.testing.assert_allclose(one[0], other[0], atol=0.01)
    np.testing.assert_allclose(10 * one[1], other[1], atol=0.1)


def test_the_order_of_frames_does_not_matter():
    frames = [cells(background((number, 0.3, 0.0), seed=number), tan_wcs((50 * number, 0))) for number in range(4)]
    forth, back = match_backgrounds(frames), match_backgrounds(frames[::-1])
    np.testing.assert_allclose(forth.coefficients, back.coefficients[::-1], atol=1e-9)


def test_outliers_are_dropped():
    """A source in one frame and not in the other, as a satellite's trail, does not shift them."""
    clean, dirty = background(), background(seed=1)
    level = dirty.level.copy()
    level[::4, 3] += 50.0
    frames = [cells(clean, tan_wcs()), cells(dataclasses.replace(dirty, level=level), tan_wcs((3, 5)))]
    matched = match_backgrounds(frames)
    assert np.abs(matched.coefficients).max() < 0.05
    assert (matched.n_cells < [len(frame.cell) for frame in frames]).all()


def test_frames_that_overlap_nothing_are_left_alone():
    frames = [cells(background((5.0,)), tan_wcs((shift, 0))) for shift in (0, 5_000)]
    matched = match_backgrounds([*frames, cells(background((7.0,)), tan_wcs((20, 0)))])
    assert not matched.coefficients[1].any()
    assert matched.n_cells[1] == 0
    assert len(matched.seams) == 1


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_to_match_is_no_error(count):
    matched = match_backgrounds([cells(background(), tan_wcs())] * count)
    assert matched.coefficients.shape[0] == count
    assert not matched.coefficients.any()
    assert np.isnan(matched.seam_rms()).all()


def test_a_frame_without_sky_or_zero_point_has_no_cells():
    covered = dataclasses.replace(background(), level=np.full((20, 30), np.nan, np.float32))
    frames = [cells(background(), tan_wcs()), cells(covered, tan_wcs()), cells(background(), tan_wcs(), scale=np.nan)]
    assert [len(frame.cell) for frame in frames[1:]] == [0, 0]
    assert not match_backgrounds(frames).coefficients.any()


def test_matching_can_be_switched_off():
    frames = [cells(background((sign,)), tan_wcs()) for sign in (-5.0, 5.0)]
    assert not match_backgrounds(frames, options=MatchingOptions(enabled=False)).coefficients.any()


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_the_polynomial_added_is_the_one_that_is_fitted(degree):
    """What `sample_cells` takes for a coefficient's effect is what `add_polynomial` does."""
    count = (degree + 1) * (degree + 2) // 2
    coefficients = np.random.default_rng(degree).normal(size=count)
    frame = cells(background(coefficients, error=1e-6), tan_wcs((7, -3), turn_deg=30), degree=degree)
    curvature = 0.01 * np.abs(frame.value).max()  # a mean over 16 px and a line between middles are not the value
    np.testing.assert_allclose(frame.basis @ coefficients, frame.value, atol=curvature)
