"""Deblending: sources that share light are parted, and fluxes of all are right within their errors."""

import numpy as np
import pytest

from mpidriver.tasks.image import MaskedImage
from mpidriver.tasks.moffat import MoffatProfile
from mpidriver.tasks.multiband._deblend import deblend, sky_sigma
from mpidriver.tasks.multiband._mixtures import DE_VAUCOULEURS, EXPONENTIAL, VARIANCES, psf_mixture
from mpidriver.tasks.multiband._model_kernels import fill_templates
from mpidriver.tasks.multiband._models import PROFILES, Models, joint_fluxes, sources_at
from mpidriver.tasks.multiband._psf import ROUND, Psf
from mpidriver.tasks.multiband._scene import make_scene
from mpidriver.tasks.multiband._tiles import tiles_of
from mpidriver.tasks.simulate._profiles import add_galaxies, add_stars

SHAPE = (200, 240)
FWHM_PX, SKY = 4.0, 4.0
#: The simulated PSF: its profile is that of the same width before the pixels.
PROFILE = MoffatProfile.of_width(FWHM_PX, 3.5)


def known_psf():
    radii = np.linspace(1.0, 16.0, 16)
    return Psf(1.75, PROFILE.fwhm_px, 9, 1.0, radii, PROFILE.enclosed(radii), psf_mixture(PROFILE), ROUND[None])


def scene_of(light, *, noise=True, seed=1):
    rng = np.random.default_rng(seed)
    variance = SKY**2 + light / 10.0
    image = light + (rng.normal(size=SHAPE) * np.sqrt(variance) if noise else 0.0)
    planes = image.astype(np.float32), variance.astype(np.float32), np.zeros(SHAPE, np.int32)
    return make_scene(MaskedImage(*planes), background_box_px=0)


def stars(x, y, flux):
    light = np.zeros(SHAPE)
    add_stars(light, np.array(x), np.array(y), np.array(flux), fwhm_px=FWHM_PX)
    return light


@pytest.mark.parametrize(("shares", "index"), [(EXPONENTIAL, 1), (DE_VAUCOULEURS, 4)])
def test_half_of_a_profile_lies_within_its_half_light_radius(shares, index):
    assert shares.sum() == pytest.approx(1, abs=1e-4)
    # Sérsic (1963): half of the light within radius 1; the cut of the wide one leaves 4 % more inside.
    assert np.sum(shares * (1 - np.exp(-0.5 / VARIANCES))) == pytest.approx(0.5, abs=0.03 if index == 4 else 0.002)


@pytest.mark.parametrize("beta", [2.5, 3.5, 6.0])
def test_the_mixture_has_the_light_of_the_psf(beta):
    profile = MoffatProfile.of_width(FWHM_PX, beta)
    mixture = psf_mixture(profile)
    assert mixture.shares.sum() == pytest.approx(1)
    radius = np.array([1.0, 2.0, 3.0]) * profile.fwhm_px
    within = np.sum(mixture.shares * (1 - np.exp(-0.5 * radius[:, None] ** 2 / mixture.variances_px2)), axis=1)
    np.testing.assert_allclose(within, profile.enclosed(radius), atol=0.008)


def test_derivatives_are_those_of_differences():
    psf = known_psf()
    source = np.array([12.3, 11.8, 9.0, 5.0, 2.0, 0.4, 1.0, 12.0])

    def template(values):
        planes = np.empty((7, 25, 25))
        fill_templates(planes, np.empty(25), (25, 25), values, ROUND, psf.planes, PROFILES, True)
        return planes

    planes = template(source)
    assert np.sum(0.6 * planes[0] + 0.4 * planes[1]) == pytest.approx(0.97, abs=0.03)
    for k, step in enumerate((1e-3, 1e-3, 1e-3, 1e-3, 1e-3)):
        up, down = source.copy(), source.copy()
        up[k] += step
        down[k] -= step
        mixed = [0.6 * p[0] + 0.4 * p[1] for p in (template(up), template(down))]
        # Gaussians end at 4.5 sigmas, which makes steps of 4e-5 of their height.
        np.testing.assert_allclose(planes[2 + k], (mixed[0] - mixed[1]) / (2 * step), atol=2e-5)


def test_fluxes_of_known_positions_are_exact_without_noise():
    x, y, flux = np.array([60.0, 63.4, 66.0]), np.array([80.3, 80.0, 83.5]), np.array([5000.0, 800.0, 2000.0])
    psf = known_psf()
    sources = sources_at(x, y, flux, np.full(3, SKY), psf)
    models = Models(sources, psf.matrices(x, y), psf.planes)
    joint = joint_fluxes(scene_of(models.image(SHAPE), noise=False), models)
    np.testing.assert_allclose(joint.flux, flux, rtol=1e-4)
    assert (joint.inflation > 1.05).all()
    assert joint.overlap[1] > 0.5 > joint.overlap[0]


def test_errors_of_blends_predict_their_scatter():
    x, y, flux = np.array([60.0, 63.0]), np.array([80.3, 80.0]), np.array([3000.0, 2000.0])
    psf = known_psf()
    models = Models(sources_at(x, y, flux, np.full(2, SKY), psf), psf.matrices(x, y), psf.planes)
    light = models.image(SHAPE)
    joint = [joint_fluxes(scene_of(light, seed=seed), models) for seed in range(60)]
    pulls = np.array([(one.flux - flux) / one.flux_err for one in joint])
    assert 0.8 < pulls.std() < 1.2
    assert abs(pulls.mean()) < 0.3


@pytest.mark.parametrize("distance_px", [4.0, 6.0, 10.0])
def test_close_stars_are_parted(distance_px):
    x, y, flux = [100.0, 100.0 + distance_px], [90.0, 90.4], [8000.0, 3000.0]
    found = deblend(scene_of(stars(x, y, flux)), np.array(x) + 0.3, np.array(y) - 0.2, known_psf())
    error = np.hypot(found.joint.flux_err, found.shape_errors * found.joint.flux)
    np.testing.assert_allclose(found.joint.flux, flux, atol=4 * error.max(), rtol=0.01)


def test_a_star_on_a_galaxy_and_the_galaxy_have_their_own_light():
    light = stars([104.0], [100.0], [4000.0])
    matrix = np.array([[[16.0, 6.0], [6.0, 9.0]]])
    add_galaxies(light, np.array([98.0]), np.array([95.0]), np.array([15_000.0]), matrix, np.array([0.5]), fwhm_px=4.0)
    found = deblend(scene_of(light), np.array([98.2, 103.8]), np.array([95.1, 100.3]), known_psf())
    np.testing.assert_allclose(found.joint.flux, [15_000.0, 4000.0], rtol=0.04)
    sources = found.models.sources
    assert (sources[0, 2] * sources[0, 3] - sources[0, 4] ** 2) ** 0.25 == pytest.approx(np.sqrt(10.39), rel=0.1)
    assert sources[0, 4] > 2.0


def test_tiles_show_each_source_without_the_other():
    x, y, flux = np.array([5.0, 12.0]), np.array([90.0, 92.0]), np.array([9000.0, 2000.0])
    scene, psf = scene_of(stars(x, y, flux), noise=False), known_psf()
    found = deblend(scene, x, y, psf)
    (tiles,) = tiles_of(scene, found.models, np.full(2, 20.0))
    rows, cols = np.indices(tiles.scene.image.shape)
    for k in range(2):
        near = np.hypot(cols - tiles.x[k], rows - tiles.y[k]) < 5.0
        assert tiles.scene.image[near].sum() == pytest.approx(flux[k] * PROFILE.enclosed(5.0), rel=0.02)
    np.testing.assert_allclose(tiles.x + tiles.offsets[:, 0], found.models.sources[:, 0])
    # The tile of the first reaches beyond the image.
    assert not tiles.scene.usable[int(tiles.y[0]), int(tiles.x[0]) - 8]


def test_nothing_and_sources_outside_or_on_holes_go_through():
    scene = scene_of(stars([50.0], [50.0], [3000.0]))
    scene.usable[90:120, 90:120] = False
    assert deblend(scene, np.zeros(0), np.zeros(0), known_psf()).joint.flux.size == 0
    found = deblend(scene, np.array([50.0, -400.0, 105.0]), np.array([50.0, 20.0, 105.0]), known_psf())
    assert found.joint.flux[0] == pytest.approx(3000.0, rel=0.05)
    assert np.isnan(found.joint.flux[1:]).all()
    assert sky_sigma(scene, np.array([50.0]), np.array([50.0])) == pytest.approx(SKY, rel=0.02)


@pytest.mark.parametrize(
    ("radius_px", "most_bias", "most_pull"), [(0.0, 0.04, 1.2), (1.5, 0.08, 1.9), (2.5, 0.08, 1.6)]
)
def test_faint_sources_keep_their_light_and_errors_whether_galaxies_or_not(radius_px, most_bias, most_pull):
    """At S/N 12 nobody can tell; what is taken for a point loses up to a third of a galaxy's light: errors hold it."""
    psf, flux = known_psf(), 12 * SKY * np.sqrt(4 * np.pi) * 1.75 * (1.0 + (radius_px / 2) ** 2) ** 0.5
    y, x = (axis.ravel() for axis in np.mgrid[20:200:32.0, 20:240:32.0])
    light = np.zeros(SHAPE)
    add = np.full(x.size, flux)
    if radius_px:
        matrices = np.tile(radius_px**2 * np.eye(2), (x.size, 1, 1))
        add_galaxies(light, x, y, add, matrices, np.full(x.size, 0.5), fwhm_px=FWHM_PX)
    else:
        add_stars(light, x, y, add, fwhm_px=FWHM_PX)
    found, error = [], []
    for seed in range(4):
        deblended = deblend(scene_of(light, seed=seed), x, y, psf)
        found.append(deblended.joint.flux)
        error.append(np.hypot(deblended.joint.flux_err, deblended.shape_errors * deblended.joint.flux))
    found, error = np.concatenate(found), np.concatenate(error)
    assert abs(np.median(found) / flux - 1) < most_bias
    assert np.sqrt(np.mean(np.clip((found - flux) / error, -9, 9) ** 2)) < most_pull
