"""The coadd's PSF: what stars of frames show, carried over to the coadd, mixed where frames overlap."""

import numpy as np
import pytest
from astropy.wcs import WCS

from mpidriver.tasks.coadd import CoaddPsf, coadd, input_row
from mpidriver.tasks.coadd._inputs import INPUT_DTYPE
from mpidriver.tasks.coadd._star_moments import frame_psf, moments_of_frame
from mpidriver.tasks.gaussian_windows import adaptive_moments
from mpidriver.tasks.image import MaskedImage, MaskPlane
from mpidriver.tasks.moffat import MoffatProfile
from mpidriver.tasks.multiband import detect, measure, merge_detections

SHAPE = (400, 420)
SKY_SIGMA = 1.0


def wcs_at(shape=SHAPE, rotation_deg=0.0, scale_arcsec=0.2):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [150.0, 2.0]
    wcs.wcs.crpix = [shape[1] / 2 + 0.5, shape[0] / 2 + 0.5]
    cos, sin = np.cos(np.radians(rotation_deg)), np.sin(np.radians(rotation_deg))
    wcs.wcs.cd = scale_arcsec / 3600 * np.array([[-cos, sin], [sin, cos]])
    return wcs


def field(x, y, flux, fwhm_px, *, shape=SHAPE, stretch=1.0, seed=1):
    """Return a frame of Moffat stars, wider along x by `stretch`."""
    profile = MoffatProfile.of_width(fwhm_px, 3.0)
    image = np.random.default_rng(seed).normal(0, SKY_SIGMA, shape)
    for at_x, at_y, light in zip(x, y, flux, strict=True):
        rows, cols = np.arange(shape[0]) - at_y, np.arange(shape[1]) - at_x
        near_rows, near_cols = np.abs(rows) < 25, np.abs(cols) < 25
        radius2 = (cols[near_cols] / stretch) ** 2 + rows[near_rows, None] ** 2
        image[np.ix_(near_rows, near_cols)] += light / stretch * profile.density(radius2)
    return MaskedImage(image.astype(np.float32), np.full(shape, SKY_SIGMA**2, np.float32), np.zeros(shape, np.int32))


def places(shape=SHAPE, *, step=45, seed=3):
    rng = np.random.default_rng(seed)
    x, y = (
        axis.ravel() for axis in np.meshgrid(np.arange(25, shape[1] - 24, step), np.arange(25, shape[0] - 24, step))
    )
    return x + rng.uniform(-4, 4, x.size), y + rng.uniform(-4, 4, x.size), rng.uniform(3e3, 3e4, x.size)


def catalogue_of(x, y, fwhm_px):
    kinds = [("x", "f8"), ("y", "f8"), ("fwhm_px", "f4"), ("snr", "f4"), ("flags", "i4"), ("star", "?")]
    table = np.zeros(x.size, kinds)
    table["x"], table["y"], table["fwhm_px"], table["snr"], table["star"] = x, y, fwhm_px, 200, True
    return table


def row_of(frame, table, wcs_in, wcs_out, *, weight=1.0):
    return input_row(frame, table, wcs_in, wcs_out, exposure=1, detector=0, zero_point_mag=31.4, weight=weight)


@pytest.mark.parametrize("stretch", [1.0, 1.2])
def test_the_moments_and_the_profile_of_a_frame_are_those_of_its_stars(stretch):
    x, y, flux = places()
    psf = frame_psf(field(x, y, flux, 4.0, stretch=stretch), catalogue_of(x, y, 4.0))
    alone = field([25], [25], [1e7], 4.0, stretch=stretch, shape=(51, 51))
    usable = np.ones((51, 51), bool)
    want = adaptive_moments(alone.image, usable, np.array([25.0]), np.array([25.0]), 1.7, 25.0)[0, :3]
    np.testing.assert_allclose(moments_of_frame(psf, [50, 350], [50, 350]), [want, want], atol=0.05)
    assert psf.n_stars > 0.8 * x.size
    if stretch == 1.0:
        assert psf.beta == pytest.approx(3.0, abs=0.4)


def test_too_few_stars_are_none():
    x, y, flux = (axis[:2] for axis in places())
    psf = frame_psf(field(x, y, flux, 4.0), catalogue_of(x, y, 4.0))
    assert psf.n_stars == 0
    assert np.isnan(psf.moments).all()


def test_a_quarter_turn_exchanges_the_axes_and_the_outline_follows():
    x, y, flux = places()
    frame, table = field(x, y, flux, 4.0, stretch=1.2), catalogue_of(x, y, 4.0)
    straight = CoaddPsf(row_of(frame, table, wcs_at(), wcs_at()))
    turned = CoaddPsf(row_of(frame, table, wcs_at(rotation_deg=90), wcs_at()))
    before, after = straight.moments(200, 200)[0], turned.moments(200, 200)[0]
    assert before[0] > 1.2 * before[1]
    np.testing.assert_allclose(after, before[[1, 0, 2]] * [1, 1, -1], atol=0.02)
    # The frame is 400 rows of 420; turned about the middle it ends 10 px within the first and the last column.
    np.testing.assert_array_equal(turned.weights([8, 11, 200], [200, 200, -8]).sum(axis=1), [0, 1, 1])
    np.testing.assert_array_equal(straight.weights([8, 11, 200], [200, 200, -8]).sum(axis=1), [1, 1, 0])


def test_the_moments_of_a_mixture_are_those_of_its_image_and_outside_there_is_none():
    rows = np.zeros(2, INPUT_DTYPE)
    rows["weight"], rows["psf_beta"], rows["psf_fwhm_per_sigma"] = [1.0, 2.0], 50.0, 2.3548
    rows["psf_moments"][:, 0] = [[2.0, 3.0, 0.3], [5.0, 4.0, -0.5]]
    rows["footprint"] = 100.0 * np.array([[0, 0], [1, 0], [2, 0], [2, 1], [2, 2], [1, 2], [0, 2], [0, 1]])
    rows["footprint"][1, :, 0] += 100
    psf = CoaddPsf(rows)
    stamp = psf.image(150.2, 50.4, 25).astype(np.float32)
    assert stamp.sum() == pytest.approx(1.0, abs=1e-6)
    at = np.array([25.2]), np.array([25.4])
    found = adaptive_moments(stamp, np.ones(stamp.shape, bool), *at, 2.0, 25.0)[0, :3]
    np.testing.assert_allclose(psf.moments(150.2, 50.4)[0], found, rtol=0.02, atol=0.02)
    np.testing.assert_allclose(psf.moments([50, 250], [50, 50]), rows["psf_moments"][:, 0], rtol=1e-6)
    assert np.isnan(psf.moments(350, 50)).all()
    assert np.isnan(psf.image(350, 50, 3)).all()


def test_fluxes_do_not_change_where_a_frame_of_other_seeing_ends():
    x, y, flux = places(seed=5)
    wcs = wcs_at()
    frames, rows = [], []
    for number, fwhm_px in enumerate((3.4, 4.6)):
        frame = field(x, y, flux, fwhm_px, seed=10 + number)
        rows.append(row_of(frame, catalogue_of(x, y, fwhm_px), wcs, wcs))
        if number == 1:
            frame.image[:, 210:], frame.mask[:, 210:] = np.nan, int(MaskPlane.NO_DATA)
            rows[-1]["footprint"][..., 0] = np.minimum(rows[-1]["footprint"][..., 0], 209.5)
        frames.append(frame)
    stacked = coadd(frames, statistic="mean")
    objects = merge_detections({"r": detect(stacked, wcs)}, tract=0, patch=(0, 0))
    step = {}
    for name, psf in (("none", None), ("inputs", CoaddPsf(np.concatenate(rows)))):
        table = measure(stacked, wcs, objects, psf=psf)
        nearest = np.argmin(np.hypot(table["x"][:, None] - x, table["y"][:, None] - y), axis=1)
        ratio = table["flux_psf"] / flux[nearest]
        clear = (table["snr"] > 50) & (np.abs(table["x"] - 210) > 12)
        left, right = (np.median(ratio[clear & side]) for side in (table["x"] < 210, table["x"] > 210))
        step[name] = abs(left / right - 1)
    # What is left is that a mean of two widths has another profile than one width.
    assert step["inputs"] < 0.025 < 0.1 < step["none"]
