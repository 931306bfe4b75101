"""The reference catalogue's columns by the names that survey.toml has for them."""

import numpy as np
import pytest

from mpidriver.drivers._reference import ReferenceStars, standard_columns
from mpidriver.drivers.config import ReferenceOptions
from mpidriver.errors import ConfigError
from mpidriver.sphere import angular_separation_deg, unit_vectors
from mpidriver.tasks.skymap import TangentPlane

GAIA = ReferenceOptions(
    magnitude="{band}_mean",
    magnitude_error="{band}_mean_error",
    ra_error="ra_error",
    dec_error="dec_error",
    pm_ra="pmra",
    pm_dec="pmdec",
    pm_ra_error="pmra_error",
    pm_dec_error="pmdec_error",
    epoch="ref_epoch",
)


def table(names):
    """Return a row whose columns hold 1, 2, 3 …"""
    return np.array([tuple(range(1, len(names) + 1))], dtype=[(name, "f8") for name in names])


def test_columns_of_a_catalogue_like_gaias_are_found():
    names = ["ra", "dec", "ra_error", "dec_error", "pmra", "pmdec", "pmra_error", "pmdec_error", "ref_epoch"]
    names += ["g_mean", "g_mean_error", "r_mean"]
    stars = standard_columns(table(names), GAIA, "gaia.fits")
    assert set(stars.dtype.names) == {
        *("ra", "dec", "ra_err_mas", "dec_err_mas", "pm_ra_masyr", "pm_dec_masyr", "pm_ra_err_masyr"),
        *("pm_dec_err_masyr", "epoch_yr", "mag_g", "mag_g_err", "mag_r"),
    }
    assert (stars["mag_g"][0], stars["mag_g_err"][0], stars["epoch_yr"][0]) == (10.0, 11.0, 9.0)


def test_one_epoch_for_all_is_a_number():
    options = ReferenceOptions(pm_ra="pmra", pm_dec="pmdec", epoch="2015.5")
    assert standard_columns(table(["ra", "dec", "pmra", "pmdec"]), options, "x")["epoch_yr"][0] == 2015.5


def test_errors_of_magnitudes_are_no_band():
    stars = standard_columns(table(["ra", "dec", "mag_r", "mag_r_err"]), ReferenceOptions(), "x")
    assert stars.dtype.names == ("ra", "dec", "mag_r", "mag_r_err")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ReferenceOptions(ra_error="ra_error"), "no column 'ra_error'; the table has ra, dec, mag_r"),
        (ReferenceOptions(pm_ra="ra", pm_dec="dec"), "proper motions without epoch"),
    ],
)
def test_what_cannot_be_is_named(options, message):
    with pytest.raises(ConfigError, match=message):
        standard_columns(table(["ra", "dec", "mag_r"]), options, "survey.toml")


@pytest.mark.parametrize("centre", [(150.0, 2.0), (0.0, -40.0), (359.99, 0.0), (77.0, 89.9), (10.0, -90.0)])
@pytest.mark.parametrize(("half_deg", "margin_deg"), [(0.1, 0.05), (2.0, 0.0), (30.0, 20.0), (60.0, 180.0)])
def test_stars_within_a_circle_are_found_anywhere_in_the_order_of_the_catalogue(centre, half_deg, margin_deg):
    rng = np.random.default_rng(1)
    near = TangentPlane(*centre).deproject(*rng.uniform(-0.3, 0.3, (2, 200)))
    ra = np.concatenate([rng.uniform(0.0, 360.0, 2000), near[0], [np.nan, 10.0]])
    dec = np.concatenate([np.degrees(np.arcsin(rng.uniform(-1.0, 1.0, 2000))), near[1], [0.0, np.nan]])
    stars = np.zeros(len(ra), dtype=[("ra", "f8"), ("dec", "f8"), ("number", "i8")])
    stars["ra"], stars["dec"], stars["number"] = ra, dec, np.arange(len(ra))
    outline = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * half_deg
    corners = TangentPlane(*centre).deproject_xyz(*outline.T)
    radius = np.degrees(np.arctan(np.hypot(*np.radians(outline[0])))) + margin_deg
    expected = angular_separation_deg(unit_vectors(ra, dec), unit_vectors(*centre)) <= radius
    assert ReferenceStars(stars).around(corners, margin_deg)["number"].tolist() == np.flatnonzero(expected).tolist()
