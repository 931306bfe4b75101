"""One sky over the focal plane: what is removed, what stays, and what a bright object does to it."""

import numpy as np
import pytest
from astropy.wcs import WCS

from mpidriver.errors import DataError
from mpidriver.tasks.polynomials import polynomial_nodes, polynomial_plane, polynomial_through
from mpidriver.tasks.single_frame import RawFrame, SingleFrameOptions, reduce_frame
from mpidriver.tasks.sky_correction import SkyCorrectionOptions, detector_model, detector_sky, fit_focal_plane

SIDE_PX, GAP_PX, SCALE_ARCSEC = 256, 20, 1.0
OPTIONS = SingleFrameOptions(background_mesh_px=32)
GRID = [(row, col) for row in range(3) for col in range(3)]


def wcs_of(row, col):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = 359.99, 2.2
    step = SIDE_PX + GAP_PX
    wcs.wcs.crpix = 1.5 * step - col * step, 1.5 * step - row * step
    wcs.wcs.cdelt = -SCALE_ARCSEC / 3600, SCALE_ARCSEC / 3600
    wcs.wcs.set()
    return wcs


def true_sky(row, col, *, gradient=0.2):
    """Return a curved sky over the focal plane, e; a detector by itself cannot tell it from what is on it."""
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX] / SIDE_PX + np.array([row - 1, col - 1])[:, None, None] - 0.5
    return 500.0 * (1 + gradient * (0.6 * x - 0.3 * y + 0.1 * x * y - 0.1 * x**2))


def large_object(row, col, *, peak_e=20.0, sigma_px=45.0):
    """Return a faint object on the middle detector, wider than the meshes of the background, e."""
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX] - SIDE_PX / 2
    return peak_e * np.exp(-(x**2 + y**2) / (2 * sigma_px**2)) * ((row, col) == (1, 1))


def focal_plane(extra=large_object, offsets=None):
    """Return raw frames of nine detectors and the true sky of each."""
    rng = np.random.default_rng(5)
    skies = [true_sky(row, col) + (0 if offsets is None else offsets[n]) for n, (row, col) in enumerate(GRID)]
    frames = [
        RawFrame(
            (rng.poisson(sky + extra(row, col))).astype(np.float32), wcs=wcs_of(row, col), gain=1.0, read_noise=1.0
        )
        for sky, (row, col) in zip(skies, GRID, strict=True)
    ]
    return frames, skies


@pytest.fixture(scope="module")
def exposure():
    """Frames of an exposure with their true skies, and the model of each."""
    frames, truth = focal_plane()
    skies = [detector_sky(frame, options=OPTIONS) for frame in frames]
    model = fit_focal_plane(skies)
    return frames, truth, [detector_model(sky, model, number) for number, sky in enumerate(skies)]


def test_the_sky_of_the_focal_plane_is_found_under_a_large_object(exposure):
    _, truth, models = exposure
    found = [polynomial_plane(model, (SIDE_PX, SIDE_PX)) for model in models]
    assert np.abs(np.array(found) - truth).max() < 2.0  # of 500 e, with 22 e of noise a pixel
    assert np.median(np.abs(np.array(found) - truth)) < 0.3


def test_a_large_faint_object_stays_that_its_detector_alone_takes_for_sky(exposure):
    frames, _, models = exposure
    number = GRID.index((1, 1))
    middle = np.s_[SIDE_PX // 2 - 30 : SIDE_PX // 2 + 30, SIDE_PX // 2 - 30 : SIDE_PX // 2 + 30]
    light = large_object(1, 1)[middle].mean()
    alone = reduce_frame(frames[number], options=OPTIONS)
    corrected = reduce_frame(frames[number], sky_model=models[number], options=OPTIONS)
    assert np.mean(alone.image.image[middle]) < 0.4 * light
    assert np.mean(corrected.image.image[middle]) == pytest.approx(light, rel=0.07)
    assert corrected.quality["sky_residual_e"] > 0.5
    assert corrected.quality["sky_residual_rms_e"] > 3.0


def test_frames_without_large_objects_are_as_flat_as_before(exposure):
    frames, truth, models = exposure
    corrected = reduce_frame(frames[0], sky_model=models[0], options=OPTIONS)
    assert abs(np.mean(corrected.image.image)) < 0.5
    assert abs(corrected.quality["sky_residual_e"]) < 0.5
    assert corrected.quality["sky_residual_rms_e"] < 2.0
    assert corrected.quality["sky_e"] == pytest.approx(np.median(truth[0]), abs=1.0)


def test_detectors_of_another_response_get_constants_of_their_own():
    offsets = np.linspace(-12, 12, 9)
    frames, truth = focal_plane(offsets=offsets)
    skies = [detector_sky(frame, options=OPTIONS) for frame in frames]
    worst = {}
    for given in (True, False):
        model = fit_focal_plane(skies, SkyCorrectionOptions(detector_offsets=given))
        planes = [polynomial_plane(detector_model(s, model, n), s.shape) for n, s in enumerate(skies)]
        worst[given] = np.abs(np.array(planes) - truth).max()
    assert worst[True] < 2.5 < worst[False]


def test_a_detector_without_sky_gets_the_model_of_the_others(exposure):
    frames, truth, _ = exposure
    skies = [detector_sky(frame, options=OPTIONS) for frame in frames]
    none = np.zeros(0)
    skies[3] = type(skies[3])(skies[3].shape, none, none, none, skies[3].nodes)
    model = fit_focal_plane(skies, SkyCorrectionOptions(detector_offsets=False))
    assert model.used[3] == 0
    assert np.abs(polynomial_plane(detector_model(skies[3], model, 3), skies[3].shape) - truth[3]).max() < 5.0
    assert fit_focal_plane(skies[3:4]) is None
    assert fit_focal_plane([]) is None


def test_a_few_meshes_give_a_polynomial_of_lower_degree(exposure):
    frames, *_ = exposure
    sky = detector_sky(frames[0], nodes=5, options=SingleFrameOptions(background_mesh_px=128))
    assert sky.level.size == 4
    model = fit_focal_plane([sky], SkyCorrectionOptions(degree=4))
    assert model.degree == 0
    assert np.median(polynomial_plane(detector_model(sky, model, 0), sky.shape)) == pytest.approx(
        np.median(sky.level), rel=0.1
    )


def test_a_frame_without_wcs_is_refused(exposure):
    with pytest.raises(DataError, match="no WCS"):
        detector_sky(RawFrame(exposure[0][0].image), options=OPTIONS)


def test_a_polynomial_goes_through_its_nodes():
    rng = np.random.default_rng(1)
    coefficients, shape = rng.normal(size=(4, 4)), (30, 50)
    v, u = (2 * polynomial_nodes(size, 4) / (size - 1) - 1 for size in shape)
    values = np.polynomial.polynomial.polygrid2d(v, u, coefficients)
    assert polynomial_through(values, shape) == pytest.approx(coefficients, abs=1e-10)
    corners = polynomial_plane(coefficients, shape)[[0, 0, -1, -1], [0, -1, 0, -1]]
    expected = np.polynomial.polynomial.polyval2d(np.array([-1, -1, 1, 1]), np.array([-1, 1, -1, 1]), coefficients)
    assert corners == pytest.approx(expected, abs=1e-4)
