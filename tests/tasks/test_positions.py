"""Sky positions on an image: our tangent planes against astropy, and what is left to astropy."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from mpidriver.tasks.positions import AnyCoordinates, TangentCoordinates

SHAPE = (900, 1300)


def header(ra=150.0, dec=2.0, turn_deg=0.0, scale_deg=7e-5, sip=0.0, kind="cd"):
    """Return the header of an image with a tangent-plane WCS, distorted by some pixels at its corners."""
    turn = np.radians(turn_deg)
    matrix = scale_deg * np.array([[-np.cos(turn), np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    made = fits.Header()
    made["CTYPE1"], made["CTYPE2"] = ("RA---TAN-SIP", "DEC--TAN-SIP") if sip else ("RA---TAN", "DEC--TAN")
    made["CRVAL1"], made["CRVAL2"], made["CRPIX1"], made["CRPIX2"] = ra, dec, 640.25, -31.5
    for i in range(2):
        for j in range(2):
            made[f"CD{i + 1}_{j + 1}" if kind == "cd" else f"PC{i + 1}_{j + 1}"] = matrix[i, j]
    if sip:
        made["A_ORDER"], made["B_ORDER"] = 3, 2
        made["A_2_0"], made["A_1_1"], made["A_0_3"] = sip / 1e6, -sip / 2e6, sip / 1e9
        made["B_0_2"], made["B_2_0"] = sip / 1.5e6, -sip / 3e6
    return made


@settings(max_examples=60, deadline=None)
@given(
    st.floats(0, 360),
    st.floats(-89.9, 89.9),
    st.floats(0, 360),
    st.floats(1e-6, 1e-3),
    st.sampled_from([0.0, 2.0, 20.0]),
    st.sampled_from(["cd", "pc"]),
)
def test_tangent_planes_agree_with_astropy_both_ways(ra, dec, turn_deg, scale_deg, sip, kind):
    made = header(ra, dec, turn_deg, scale_deg, sip, kind)
    ours, wcs = TangentCoordinates.of_header(made.get), WCS(made)
    rng = np.random.default_rng(1)
    x, y = rng.uniform(0, SHAPE[1], 50), rng.uniform(0, SHAPE[0], 50)
    expected_ra, expected_dec = wcs.all_pix2world(x, y, 0)
    got_ra, got_dec = ours.to_sky(x, y)
    wrapped = (got_ra - expected_ra + 180.0) % 360.0 - 180.0
    assert np.abs(wrapped * np.cos(np.radians(dec))).max() < 1e-7 * scale_deg + 1e-12
    assert np.abs(got_dec - expected_dec).max() < 1e-7 * scale_deg + 1e-12
    got_x, got_y = ours.to_pixel(expected_ra, expected_dec)
    # A double of 360 deg is good to 6e-14 deg.
    assert np.abs([got_x - x, got_y - y]).max() < 1e-6 + 3e-12 / scale_deg
    assert ours.pixel_scale_deg == pytest.approx(AnyCoordinates(wcs).pixel_scale_deg, rel=1e-9)


def test_the_far_side_of_the_sky_is_on_no_plane():
    x, y = TangentCoordinates.of_header(header(ra=10.0, dec=0.0).get).to_pixel(np.array([190.0, 10.0]), np.zeros(2))
    assert np.isnan([x[0], y[0]]).all()
    assert np.isfinite([x[1], y[1]]).all()


def test_a_distortion_without_an_inverse_gives_nan():
    coordinates = TangentCoordinates.of_header(header(sip=200.0).get)
    x, _ = coordinates.to_pixel(np.array([150.0, 152.0]), np.array([2.0, 3.0]))
    assert np.isfinite(x[0])
    assert np.isnan(x[1])


@pytest.mark.parametrize(
    "changes",
    [
        {"CTYPE1": "RA---ZPN", "CTYPE2": "DEC--ZPN"},
        {"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV"},
        {"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN"},
        {"PV1_1": 1.0},
        {"LONPOLE": 90.0},
        {"CROTA2": 10.0},
        {"CUNIT1": "arcsec"},
        {"CPDIS1": "LOOKUP"},
        {"CD1_3": 1e-6},
        {"CD1_1": 0.0, "CD1_2": 0.0},
    ],
)
def test_other_coordinates_are_left_to_astropy(changes):
    made = header()
    made.update(changes)
    assert TangentCoordinates.of_header(made.get) is None


def test_astropy_does_the_others():
    made = header()
    made["CTYPE1"], made["CTYPE2"] = "RA---TPV", "DEC--TPV"
    made["PV1_1"], made["PV2_1"], made["PV1_4"] = 1.0, 1.0, 0.01
    coordinates = AnyCoordinates(WCS(made))
    x, y = np.array([3.0, 500.5]), np.array([2.0, 800.0])
    assert np.allclose(coordinates.to_pixel(*coordinates.to_sky(x, y)), [x, y], atol=1e-5)
    swapped = made.copy()
    swapped["CTYPE1"], swapped["CTYPE2"], swapped["CRVAL1"], swapped["CRVAL2"] = "DEC--TAN", "RA---TAN", 2.0, 150.0
    for keyword in ("PV1_1", "PV2_1", "PV1_4"):
        del swapped[keyword]
    ra, dec = AnyCoordinates(WCS(swapped)).to_sky(639.25, -32.5)
    assert (float(ra), float(dec)) == pytest.approx((150.0, 2.0))
