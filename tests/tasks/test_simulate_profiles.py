"""Profiles of stars and galaxies on pixels against direct integration."""

import numpy as np
import pytest
from scipy.signal import fftconvolve

from mpidriver.tasks.simulate import _profiles

#: (x, y) to (east, north) of a camera with north up and east to the left, 1 arcsec pixels.
NORTH_UP = np.diag([-1.0, 1.0]) / 3600.0


def star(x, y, fwhm_px, size=101):
    image = np.zeros((size, size))
    _profiles.add_stars(image, np.array([x]), np.array([y]), np.array([1.0]), fwhm_px=fwhm_px)
    return image


def galaxy(x, y, *, half_light=3.0, ellipticity=0.0, angle=0.0, nu=0.5, fwhm_px=3.0, size=128):
    matrices = _profiles.galaxy_matrices(np.array([half_light]), np.array([ellipticity]), np.array([angle]), NORTH_UP)
    image = np.zeros((size, size))
    _profiles.add_galaxies(
        image, np.array([x]), np.array([y]), np.array([1.0]), matrices, np.array([nu]), fwhm_px=fwhm_px
    )
    return image


def oversampled(size, factor):
    """Return x and y offsets from the middle pixel of an odd image of `size` px, `factor` points a pixel."""
    axis = (np.arange(size * factor) + 0.5) / factor - size / 2
    return axis, axis[:, None]


def binned(image, factor):
    n = image.shape[0] // factor
    return image.reshape(n, factor, n, factor).sum(axis=(1, 3))


@pytest.mark.parametrize("fwhm_px", [2.5, 3.5, 5.0])
@pytest.mark.parametrize(("x", "y"), [(50.0, 50.0), (50.3, 49.6), (49.51, 50.49)])
def test_a_star_holds_its_flux_wherever_it_lies(fwhm_px, x, y):
    assert star(x, y, fwhm_px).sum() == pytest.approx(1.0, abs=5e-5)


def test_a_star_has_its_centre_where_it_was_put():
    image = star(50.37, 49.12, 3.5)
    row, col = np.indices(image.shape)
    assert np.sum(image * col) / image.sum() == pytest.approx(50.37, abs=1e-4)
    assert np.sum(image * row) / image.sum() == pytest.approx(49.12, abs=1e-4)


def test_a_star_is_the_moffat_profile_integrated_over_pixels():
    fwhm_px, factor = 3.5, 11
    x, y = oversampled(101, factor)
    alpha = fwhm_px / 2.0 / np.sqrt(2.0 ** (1.0 / 3.5) - 1.0)
    moffat = (1.0 + ((x - 0.3) ** 2 + (y + 0.2) ** 2) / alpha**2) ** -3.5 * 2.5 / (np.pi * alpha**2 * factor**2)
    image = star(50.3, 49.8, fwhm_px)
    assert np.max(np.abs(image - binned(moffat, factor))) < 3e-3 * image.max()


def test_a_star_at_the_edge_sheds_its_light_on_the_image():
    large = star(60.2, 20.0, 3.5)
    small = np.zeros((41, 41))
    _profiles.add_stars(small, np.array([40.2]), np.array([0.0]), np.array([1.0]), fwhm_px=3.5)
    np.testing.assert_allclose(small, large[20:61, 20:61], atol=1e-15)


def test_no_sources_leave_an_image_alone():
    image, none = np.ones((8, 8)), np.zeros(0)
    _profiles.add_stars(image, none, none, none, fwhm_px=3.0)
    _profiles.add_galaxies(image, none, none, none, np.zeros((0, 2, 2)), none, fwhm_px=3.0)
    assert np.all(image == 1.0)


@pytest.mark.parametrize("half_light", [0.8, 3.0, 5.0])
@pytest.mark.parametrize("nu", [0.5, 0.0])
def test_a_galaxy_holds_its_flux(half_light, nu):
    image = galaxy(63.7, 64.2, half_light=half_light, ellipticity=0.4, angle=30.0, nu=nu)
    assert image.sum() == pytest.approx(1.0, abs=1e-12)


def test_a_disc_is_an_exponential_convolved_with_psf_and_pixel():
    """Direct integration of both profiles on a fine grid; half-light radius 1.678 scale lengths (Freeman 1970)."""
    fwhm_px, half_light, factor, size = 3.0, 3.0, 5, 127
    x, y = oversampled(size, factor)
    disc = np.exp(-np.hypot(x, y) * 1.67834699 / half_light)
    alpha = fwhm_px / 2.0 / np.sqrt(2.0 ** (1.0 / 3.5) - 1.0)
    psf = (1.0 + (x**2 + y**2) / alpha**2) ** -3.5
    expected = binned(fftconvolve(disc / disc.sum(), psf / psf.sum(), mode="same"), factor)
    image = galaxy(63.0, 63.0, half_light=half_light, fwhm_px=fwhm_px)[:size, :size]
    assert np.max(np.abs(image - expected)) < 2e-3 * expected.max()


@pytest.mark.parametrize(("angle", "sign"), [(0.0, (-1, 0)), (90.0, (1, 0)), (45.0, (0, -1)), (135.0, (0, 1))])
def test_position_angles_run_from_north_to_east(angle, sign):
    """East is to the left: a galaxy at 45 deg runs from the upper left to the lower right."""
    image = galaxy(64.0, 64.0, ellipticity=0.5, angle=angle)
    row, col = np.indices(image.shape) - 64.0
    along_x_not_y = np.sum(image * (col**2 - row**2)) / np.sum(image * (row**2 + col**2))
    diagonal = np.sum(image * 2.0 * row * col) / np.sum(image * (row**2 + col**2))
    moments = np.array([along_x_not_y, diagonal])
    assert np.array_equal(np.rint(moments / np.abs(moments).max()), sign)


def test_ellipticity_and_radius_are_those_of_the_half_light_ellipse():
    matrix = _profiles.galaxy_matrices(np.array([3.0]), np.array([0.36]), np.array([0.0]), NORTH_UP)[0]
    np.testing.assert_allclose(matrix, np.diag([(3.0 * 0.8) ** 2, (3.0 / 0.8) ** 2]), atol=1e-12)


@pytest.mark.parametrize(("nu", "expected"), [(0.5, 1.67834699), (0.0, 1.25720)])
def test_half_light_radii_of_the_profiles(nu, expected):
    """nu = 0.5 is the exponential; nu = 0 solves u K1(u) = 1/2 (Spergel 2010)."""
    assert _profiles._half_light_constant(nu) == pytest.approx(expected, rel=1e-4)
