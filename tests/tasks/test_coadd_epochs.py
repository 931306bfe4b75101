"""Artefacts of single epochs: trails and moving objects are left out, variable stars are not."""

import numpy as np
import pytest

from mpidriver.tasks.coadd import CoaddOptions, coadd, coadd_blocks
from mpidriver.tasks.image import MaskPlane

SHAPE = (203, 250)
ROWS, COLS = np.indices(SHAPE)
CLIPPED, NO_DATA = int(MaskPlane.CLIPPED), int(MaskPlane.NO_DATA)
STAR, VARIABLE = (60.3, 50.7), (180.2, 120.4)


def star(x, y, flux, fwhm_px=4.0):
    sigma = fwhm_px / 2.3548
    return flux * np.exp(-0.5 * ((COLS - x) ** 2 + (ROWS - y) ** 2) / sigma**2) / (2 * np.pi * sigma**2)


def epochs(n, *, fwhms_px=(4.0,), amplitude=0.0, seed=1):
    """Return images of two stars, one of them variable, noise 1."""
    rng = np.random.default_rng(seed)
    images = []
    for number in range(n):
        fwhm_px = fwhms_px[number % len(fwhms_px)]
        change = 1 + amplitude * np.sin(2 * np.pi * number * 0.381)
        sky = star(*STAR, 2e4, fwhm_px) + star(*VARIABLE, 2e4 * change, fwhm_px)
        images.append((sky + rng.normal(size=SHAPE)).astype(np.float32))
    return images


def stacked(images, statistic="epochs", **more):
    return coadd(images, variances=[np.ones(SHAPE, np.float32)] * len(images), statistic=statistic, **more)


def trail(height, slope=0.6, start=20.0, width=2.0):
    """Return the light of a satellite that crosses the image, `height` at its middle."""
    across = (ROWS - start - slope * COLS) / np.hypot(1, slope)
    return height * np.exp(-0.5 * (across / width) ** 2)


def test_a_faint_trail_that_clipping_leaves_is_left_out_with_its_wings():
    images = epochs(8)
    clean = stacked(images)
    light = trail(3.0)
    images[3] += light.astype(np.float32)
    result, clipped = stacked(images), stacked(images, "clipped")
    on_it = light > 1.0
    assert (result.n_image[on_it] < 8).mean() > 0.98
    assert (clipped.n_image[on_it] < 8).mean() < 0.5
    assert np.mean(result.image[on_it] - clean.image[on_it]) < 0.02
    assert np.mean(clipped.image[on_it] - clean.image[on_it]) > 0.1
    assert (result.mask[on_it] & CLIPPED != 0).mean() > 0.98
    assert (result.n_image[trail(1.0, width=5.0) < 1e-4] == 8).mean() > 0.998


def test_an_asteroid_is_left_out_of_every_epoch():
    images = epochs(8)
    clean = stacked(images)
    for number, image in enumerate(images):
        image += star(30 + 14.0 * number, 160 - 3.0 * number, 400.0).astype(np.float32)
    result, mean = stacked(images), stacked(images, "mean")
    path = sum(star(30 + 14.0 * number, 160 - 3.0 * number, 1.0) for number in range(8)) > 2e-3
    assert np.sum(result.image[path] - clean.image[path]) < 0.1 * np.sum(mean.image[path] - clean.image[path])


@pytest.mark.parametrize("amplitude", [0.2, 0.5, 0.8])
def test_a_variable_star_keeps_its_mean_flux(amplitude):
    images = epochs(16, amplitude=amplitude)
    result, mean = stacked(images), stacked(images, "mean")
    near = np.hypot(COLS - VARIABLE[0], ROWS - VARIABLE[1]) < 10
    assert np.sum(result.image[near]) == pytest.approx(np.sum(mean.image[near]), rel=2e-3)


def test_stars_of_changing_seeing_stay_and_a_trail_over_one_goes():
    images = epochs(9, fwhms_px=(3.5, 4.0, 4.4))
    near = np.hypot(COLS - STAR[0], ROWS - STAR[1]) < 10
    plain = stacked(images, "mean").image[near].sum()
    assert stacked(images).image[near].sum() == pytest.approx(plain, rel=2e-3)
    without = stacked([image for number, image in enumerate(images) if number != 4], "mean").image[near].sum()
    images[4] += trail(20.0, slope=0.0, start=STAR[1]).astype(np.float32)
    assert stacked(images).image[near].sum() == pytest.approx(without, rel=3e-3)


@pytest.mark.parametrize("n", [1, 2])
def test_one_or_two_epochs_are_clipped_as_ever(n):
    images = epochs(n)
    images[0] += trail(30.0).astype(np.float32)
    for name in ("image", "variance", "mask", "n_image"):
        assert getattr(stacked(images), name).tobytes() == getattr(stacked(images, "clipped"), name).tobytes()


def test_holes_are_no_artefacts_and_blocks_change_nothing():
    images = epochs(6)
    images[2] += trail(5.0).astype(np.float32)
    images[1][:, :40] = np.nan
    images[5][100:, :] = np.nan

    def fill(i, rows, block):
        block.image[...], block.variance[...] = images[i][rows], 1.0
        block.mask[...] = np.where(np.isnan(images[i][rows]), NO_DATA, 0)
        return rows.start < 190 or i != 4

    images[4][190:] = np.nan
    again = stacked(images)
    blocks = coadd_blocks(
        fill, np.ones(6), SHAPE, statistic="epochs", byte_order=">", options=CoaddOptions(block_mib=1)
    )
    np.testing.assert_array_equal(blocks.n_image, again.n_image)
    np.testing.assert_array_equal(blocks.image, again.image)
    assert (again.n_image[:100, :30] >= 4).all()
