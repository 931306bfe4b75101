"""Fakes come back as they were put in, and objects keep their fluxes on the pixels of a single frame."""

import numpy as np
import pytest
from astropy.wcs import WCS

from mpidriver.tasks.image import MaskedImage
from mpidriver.tasks.multiband import (
    SUMMARY_UNITS,
    MultibandOptions,
    ObjectFlag,
    detect,
    fake_units,
    force,
    force_frame,
    inject,
    join_fakes,
    make_fakes,
    measure,
    merge_detections,
    merge_measurements,
    recovered,
    reference_dtype,
    summary_of_fakes,
)
from mpidriver.tasks.multiband._frames import on_grid
from mpidriver.tasks.simulate._profiles import add_stars

SHAPE = (400, 420)
OPTIONS = MultibandOptions(background_box_px=0, fake_spacing_px=50.0, aperture_radii_arcsec=(1.0, 2.0))
SKY = 3.0


def make_wcs(*, scale_arcsec=0.2, angle_deg=0.0, crpix=(200.0, 200.0)):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [30.0, -5.0], crpix
    cos, sin = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    wcs.wcs.cd = scale_arcsec / 3600.0 * np.array([[-cos, sin], [sin, cos]])
    return wcs


def stars_on(wcs, shape, ra, dec, flux, *, fwhm_px, seed):
    light = np.zeros(shape)
    x, y = wcs.all_world2pix(ra, dec, 0)
    add_stars(light, x, y, flux, fwhm_px=fwhm_px)
    noise = np.random.default_rng(seed).normal(size=shape) * SKY
    planes = (light + noise).astype(np.float32), np.full(shape, SKY**2, np.float32), np.zeros(shape, np.int32)
    return MaskedImage(*planes)


@pytest.fixture(scope="module")
def sky():
    rng = np.random.default_rng(4)
    grid = np.stack(np.meshgrid(np.arange(40, 380, 52.0), np.arange(40, 380, 52.0)), axis=-1).reshape(-1, 2)
    x, y = (grid + rng.uniform(-12, 12, grid.shape)).T
    ra, dec = make_wcs().all_pix2world(x, y, 0)
    return ra, dec, 10 ** rng.uniform(3.2, 4.7, x.size)


@pytest.fixture(scope="module")
def coadd(sky):
    return stars_on(make_wcs(), SHAPE, *sky, fwhm_px=4.0, seed=1)


def catalogued(image):
    objects = merge_detections({"i": detect(image, make_wcs(), options=OPTIONS)}, options=OPTIONS)
    return merge_measurements({"i": measure(image, make_wcs(), objects, options=OPTIONS)}, options=OPTIONS)


@pytest.fixture(scope="module")
def reference(coadd):
    return catalogued(coadd)


def test_fakes_come_back_as_they_were_put_in(coadd, reference):
    fakes = make_fakes(make_wcs(), SHAPE, noise_njy=25.0, options=OPTIONS, seed=(1, 2, 3))
    assert (fakes["radius_arcsec"] > 0).mean() == pytest.approx(0.5, abs=0.2)
    with_fakes = inject(coadd, make_wcs(), reference, fakes, options=OPTIONS)
    assert (with_fakes.image - coadd.image).sum() == pytest.approx(fakes["flux"].sum(), rel=0.06)
    again = catalogued(with_fakes)
    table = recovered(fakes, reference, again, {"i": force(with_fakes, make_wcs(), again, options=OPTIONS)})
    assert set(table.dtype.names) == set(fake_units(["i"]))
    bright = ~table["on_object"] & (table["flux"] > 30 * 25.0)
    assert table["found"][bright].mean() > 0.9
    assert table["found"][~table["on_object"] & (table["flux"] < 3 * 25.0)].mean() < 0.3
    own = bright & table["found"]
    assert np.median(table["flux_model_i"][own] / table["flux"][own]) == pytest.approx(1, abs=0.02)
    joined, bands = join_fakes([table, table])
    summary = summary_of_fakes(joined, bands)
    assert summary.dtype.names == tuple(SUMMARY_UNITS)
    assert summary["n"].sum() > 0.8 * 2 * (~table["on_object"]).sum()
    assert ((summary["completeness"] >= 0) & (summary["completeness"] <= 1)).all()


def test_fakes_are_those_of_their_patch():
    first, again, other = (
        make_fakes(make_wcs(), SHAPE, noise_njy=25.0, options=OPTIONS, seed=(1, 2, n)) for n in (3, 3, 4)
    )
    assert first.tobytes() == again.tobytes() != other.tobytes()


def test_a_fake_on_a_real_object_says_nothing(reference):
    fakes = make_fakes(make_wcs(), SHAPE, noise_njy=25.0, options=OPTIONS)
    fakes["ra"][0], fakes["dec"][0] = reference["ra"][0], reference["dec"][0]
    table = recovered(fakes, reference, reference, {})
    assert table["on_object"][0]
    assert not table["found"][0]
    assert summary_of_fakes(table, []).size == 0


def test_ellipses_turn_and_shrink_with_the_pixels():
    merged = np.zeros(1, reference_dtype())
    merged["ra"], merged["dec"] = 30.001, -5.001
    merged["model_xx"], merged["model_yy"], merged["model_xy"] = 16.0, 4.0, 0.0
    merged["kron_a_px"], merged["kron_b_px"], merged["kron_theta_rad"] = 10.0, 5.0, 0.0
    turned = on_grid(merged, make_wcs(), make_wcs(scale_arcsec=0.4, angle_deg=90.0))
    np.testing.assert_allclose([turned["model_xx"][0], turned["model_yy"][0]], [1.0, 4.0], rtol=1e-4)
    assert turned["model_xy"][0] == pytest.approx(0, abs=1e-3)
    np.testing.assert_allclose([turned["kron_a_px"][0], turned["kron_b_px"][0]], [5.0, 2.5], rtol=1e-4)
    assert abs(np.sin(turned["kron_theta_rad"][0])) == pytest.approx(1, abs=1e-4)


def test_light_on_a_frame_is_that_of_the_coadd(sky, reference):
    ra, dec, flux = sky
    wcs = make_wcs(scale_arcsec=0.25, angle_deg=30.0, crpix=(100.0, 250.0))
    # One count is 2 nJy: 31.4 - 2.5 log10(2).
    frame = stars_on(wcs, (350, 300), ra, dec, flux / 2.0, fwhm_px=3.5, seed=2)
    table = force_frame(frame, wcs, reference, make_wcs(), zero_point_mag=31.4 - 2.5 * np.log10(2.0), options=OPTIONS)
    assert 10 < table.size < reference.size
    assert np.isin(table["id"], reference["id"]).all()
    at_x, at_y = wcs.all_world2pix(ra, dec, 0)
    star = np.argmin(np.hypot(table["x"][:, None] - at_x, table["y"][:, None] - at_y), axis=1)
    clean = table["flags"] & int(ObjectFlag.EDGE | ObjectFlag.BLENDED) == 0
    error = np.hypot(table["flux_psf_err"], 0.01 * flux[star])
    assert np.abs((table["flux_psf"] - flux[star]) / error)[clean].max() < 4.5
    assert np.median(table["flux_psf"][clean] / flux[star][clean]) == pytest.approx(1, abs=0.01)


def test_a_frame_beside_the_patch_and_no_objects_give_no_rows(reference):
    frame = stars_on(make_wcs(), SHAPE, np.zeros(0), np.zeros(0), np.zeros(0), fwhm_px=4.0, seed=2)
    far = make_wcs(crpix=(200.0, 5000.0))
    for wcs, rows in ((far, reference), (make_wcs(), reference[:0])):
        assert force_frame(frame, wcs, rows, make_wcs(), zero_point_mag=31.4, options=OPTIONS).size == 0
