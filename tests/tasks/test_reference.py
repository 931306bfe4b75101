"""Reference stars at other times, against astropy, and their errors."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.time import Time

from mpidriver.sphere import angular_separation_deg, unit_vectors
from mpidriver.tasks.reference import at_epoch, julian_year, position_errors_mas

MOTIONS = ("epoch_yr", "pm_ra_masyr", "pm_dec_masyr")


def catalogue(n=4, **columns):
    """Return stars at special places with the columns that are given."""
    places = np.array([(0.0001, 10.0), (359.9999, -30.0), (200.0, 89.9999), (30.0, -89.999)])[:n]
    stars = np.zeros(n, dtype=[(name, "f8") for name in ("ra", "dec", *columns)])
    stars["ra"], stars["dec"] = places.T
    for name, values in columns.items():
        stars[name] = values
    return stars


def test_stars_move_as_astropy_moves_them():
    stars = catalogue(epoch_yr=2016.0, pm_ra_masyr=[500, -300, 800, 50], pm_dec_masyr=[-100, 200, 400, -700])
    moved = at_epoch(stars, 2026.5)
    expected = SkyCoord(
        stars["ra"] * u.deg,
        stars["dec"] * u.deg,
        pm_ra_cosdec=stars["pm_ra_masyr"] * u.mas / u.yr,
        pm_dec=stars["pm_dec_masyr"] * u.mas / u.yr,
        distance=10.0 * u.pc,
        obstime=Time(2016.0, format="jyear"),
    ).apply_space_motion(Time(2026.5, format="jyear"))
    apart = angular_separation_deg(
        unit_vectors(moved["ra"], moved["dec"]), unit_vectors(expected.ra.deg, expected.dec.deg)
    )
    assert np.max(apart) * 3.6e6 < 0.01
    assert set(moved["epoch_yr"]) == {2026.5}


def test_errors_grow_with_those_of_the_motions_and_most_where_these_are_unknown():
    stars = catalogue(
        3, **dict.fromkeys(MOTIONS, 0.0), ra_err_mas=3.0, dec_err_mas=4.0, pm_ra_err_masyr=0.4, pm_dec_err_masyr=0.3
    )
    stars["epoch_yr"], stars["pm_ra_masyr"][1], stars["pm_ra_err_masyr"][1] = 2016.0, np.nan, np.nan
    moved = at_epoch(stars, 2026.0)
    assert moved["ra_err_mas"] == pytest.approx([5.0, np.hypot(3.0, 50.0), 5.0])
    assert moved["dec_err_mas"] == pytest.approx([5.0, np.hypot(4.0, 50.0), 5.0])
    assert moved["ra"][1] == pytest.approx(stars["ra"][1], abs=1e-12)
    assert position_errors_mas(moved)[0] == pytest.approx(5.0)


@pytest.mark.parametrize("columns", [{}, dict.fromkeys(MOTIONS, 5.0)])
def test_without_motions_or_a_time_stars_stay(columns):
    stars = catalogue(**columns)
    assert at_epoch(stars, float("nan")) is stars
    if not columns:
        assert at_epoch(stars, 2020.0) is stars


def test_a_coordinate_has_one_error_whatever_the_catalogue_calls_it():
    both = catalogue(2, ra_err_mas=[3.0, 0.0], dec_err_mas=[3.0, 0.0])
    assert position_errors_mas(both) == pytest.approx([3.0, np.nan], nan_ok=True)
    assert position_errors_mas(catalogue(2, error_mas=2.0)) == pytest.approx([2.0, 2.0])
    assert np.isnan(position_errors_mas(catalogue(2))).all()


def test_julian_years_begin_at_j2000():
    assert julian_year(51544.5) == 2000.0
    assert julian_year(Time(2024.25, format="jyear").mjd) == pytest.approx(2024.25)
