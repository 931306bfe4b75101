"""Detection on all bands together: as rare in noise as promised, deeper than a band, with empty places beside it."""

import dataclasses

import numpy as np
import pytest
from astropy.wcs import WCS
from scipy import stats
from scipy.spatial import cKDTree

from mpidriver.tasks.image import MaskedImage, MaskPlane
from mpidriver.tasks.multiband import MultibandOptions, detect, detect_combined, merge_detections
from mpidriver.tasks.multiband._combined import _threshold
from mpidriver.tasks.simulate._profiles import add_stars

SHAPE = (300, 320)
OPTIONS = MultibandOptions(sky_objects=30, background_box_px=0)


def make_wcs():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [10.0, 2.0], [150.0, 150.0]
    wcs.wcs.cd = 0.2 / 3600.0 * np.array([[-1.0, 0.0], [0.0, 1.0]])
    return wcs


def coadd(x, y, flux, seed):
    light = np.zeros(SHAPE)
    add_stars(light, np.array(x, float), np.array(y, float), np.array(flux, float), fwhm_px=4.0)
    noise = np.random.default_rng(seed).normal(size=SHAPE) * 4.0
    planes = (light + noise).astype(np.float32), np.full(SHAPE, 16.0, np.float32), np.zeros(SHAPE, np.int32)
    return MaskedImage(*planes)


@pytest.mark.parametrize("n_bands", [1, 2, 5])
def test_noise_exceeds_the_threshold_as_rarely_as_in_one_band(n_bands):
    noise = np.maximum(np.random.default_rng(3).normal(size=(400_000, n_bands)), 0.0)
    above = np.mean(np.sum(noise**2, axis=1) > _threshold(2.5, n_bands) ** 2)
    assert above == pytest.approx(stats.norm.sf(2.5), rel=0.06)
    assert _threshold(5.0, 1) == pytest.approx(5.0)


def test_what_no_band_shows_all_show_together():
    grid = np.stack(np.meshgrid(np.arange(40, 300, 60.0), np.arange(40, 280, 60.0)), axis=-1).reshape(-1, 2)
    coadds = [coadd(grid[:, 0], grid[:, 1], np.full(len(grid), 140.0), seed) for seed in range(4)]
    alone = detect(coadds[0], make_wcs(), options=OPTIONS)
    together = detect_combined(coadds, make_wcs(), options=OPTIONS).table
    together = together[~together["is_sky"]]
    found = cKDTree(np.column_stack([together["x"], together["y"]])).query(grid)[0] < 2.5
    assert found.mean() > 0.9 > 0.5 > alone.size / len(grid)
    assert together.size <= len(grid) + 1


def test_stars_on_one_footprint_part_at_their_peaks_and_share_its_number():
    bands = {"g": coadd([100.0, 106.0], [120.0, 120.0], [9000.0, 4000.0], 1)}
    combined = detect_combined(list(bands.values()), make_wcs(), options=OPTIONS)
    merged = merge_detections(
        {band: detect(image, make_wcs(), options=OPTIONS) for band, image in bands.items()},
        combined=combined,
        options=OPTIONS,
    )
    real = merged[~merged["is_sky"]]
    assert real.size == 2
    assert real["detected_combined"].all()
    assert len(set(real["footprint"])) == 1
    assert real["footprint"][0] > 0
    np.testing.assert_allclose(np.sort(real["x"]), [100.0, 106.0], atol=0.5)
    assert (np.diff(merged["id"]) == 1).all()


def test_sky_objects_lie_on_empty_places_and_are_those_of_their_patch():
    image = coadd([100.0, 200.0], [120.0, 60.0], [90_000.0, 40_000.0], 1)
    mask = image.mask.copy()
    mask[200:, :150] = int(MaskPlane.NO_DATA)
    found = detect_combined([dataclasses.replace(image, mask=mask)], make_wcs(), options=OPTIONS, seed=(3, 1, 1))
    sky = found.table[found.table["is_sky"]]
    assert sky.size == OPTIONS.sky_objects
    rows, cols = np.rint(sky["y"]).astype(int), np.rint(sky["x"]).astype(int)
    assert (found.footprints[rows, cols] == 0).all()
    assert not ((rows > 195) & (cols < 155)).any()
    assert cKDTree(np.column_stack([sky["x"], sky["y"]])).query_pairs(8.0) == set()
    again = detect_combined([dataclasses.replace(image, mask=mask)], make_wcs(), options=OPTIONS, seed=(3, 1, 1))
    other = detect_combined([dataclasses.replace(image, mask=mask)], make_wcs(), options=OPTIONS, seed=(3, 1, 2))
    assert again.table.tobytes() == found.table.tobytes()
    assert not np.array_equal(other.table["x"], found.table["x"])


def test_bands_without_data_show_nothing():
    image = coadd([], [], [], 1)
    blank = dataclasses.replace(image, mask=np.full(SHAPE, int(MaskPlane.NO_DATA), np.int32))
    found = detect_combined([blank, blank], make_wcs(), options=OPTIONS)
    assert found.table.size == 0
    assert not found.footprints.any()
