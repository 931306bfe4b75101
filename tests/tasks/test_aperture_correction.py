"""Aperture corrections that follow the stars over a frame."""

import numpy as np
import pytest

from mpidriver.tasks.filters import gaussian_kernel
from mpidriver.tasks.image import MaskedImage
from mpidriver.tasks.matching._polynomial import n_terms, terms
from mpidriver.tasks.moffat import MoffatProfile
from mpidriver.tasks.single_frame import SingleFrameOptions
from mpidriver.tasks.single_frame._aperture_map import fit_aperture_map
from mpidriver.tasks.single_frame._catalogue import measure_sources
from mpidriver.tasks.single_frame._detection import detect

SHAPE = (600, 700)
SKY_VARIANCE = 100.0


def places(count, rng):
    return rng.uniform(0, SHAPE[1] - 1, count), rng.uniform(0, SHAPE[0] - 1, count)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_a_polynomial_is_found_among_outliers_and_none_where_stars_are_equal(degree):
    rng = np.random.default_rng(degree)
    x, y = places(200, rng)
    true = 0.06 * rng.uniform(0.5, 1.0, n_terms(degree))
    error = rng.uniform(0.001, 0.01, x.size)
    logs = terms(x, y, SHAPE, true.size) @ true + rng.normal(0, np.hypot(error, 0.003))
    logs[:20] += 0.3
    found = fit_aperture_map(x, y, np.exp(logs), error, SHAPE)
    assert found.constant == (degree == 0)
    assert np.std(found.at(x, y) - terms(x, y, SHAPE, true.size) @ true) < 0.002


@pytest.mark.parametrize("count", [0, 1, 3, 11])
def test_few_stars_give_one_correction(count):
    x, y = places(count, np.random.default_rng(3))
    assert fit_aperture_map(x, y, np.exp(0.1 * x / SHAPE[1]), np.full(count, 0.001), SHAPE).constant


def test_fluxes_of_stars_that_widen_towards_an_edge_are_those_of_the_others():
    """One correction for the frame leaves 30 mmag from edge to edge; what stars beyond the map's radius lack, 5."""
    rng = np.random.default_rng(8)
    step = 50
    y, x = (c.ravel() + rng.uniform(-1, 1, c.size) for c in np.mgrid[25 : SHAPE[0] : step, 25 : SHAPE[1] : step])
    flux, image = 10 ** rng.uniform(4.5, 5.2, x.size), np.zeros(SHAPE)
    for x0, y0, f in zip(x, y, flux, strict=True):
        profile = MoffatProfile.of_width(3.5 * (1 + 0.1 * (x0 / SHAPE[1] - 0.5)), 3.5)
        box = tuple(slice(max(0, round(c) - 30), round(c) + 31) for c in (y0, x0))
        rows, cols = (np.arange(size)[part] for size, part in zip(SHAPE, box, strict=True))
        image[box] += f * profile.density((rows[:, None] - y0) ** 2 + (cols - x0) ** 2)
    variance = (SKY_VARIANCE + image).astype(np.float32)
    image = (image + rng.normal(0, np.sqrt(variance))).astype(np.float32)
    options = SingleFrameOptions()
    rms, nowhere = np.full(SHAPE, SKY_VARIANCE**0.5, np.float32), np.zeros(SHAPE, bool)
    sources, segmentation = detect(image, rms, nowhere, options, kernel=gaussian_kernel(3.5))
    frame = MaskedImage(image, variance, np.zeros(SHAPE, np.int32))
    stars = measure_sources(frame, sources, segmentation, options, fwhm_px=3.5).catalogue
    stars = stars[stars["star"]]
    nearest = np.argmin(np.hypot(stars["x"][:, None] - x, stars["y"][:, None] - y), axis=1)
    mmag = -2500 * np.log10(stars["flux_aper"] / flux[nearest])
    slope, typical = np.polyfit(stars["x"] / SHAPE[1] - 0.5, mmag, 1)
    assert stars.size > 100
    assert abs(slope) < 4.0
    assert abs(typical) < 6.0
