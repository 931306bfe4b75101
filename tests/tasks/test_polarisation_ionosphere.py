"""Faraday rotation in the ionosphere: its field, its electrons, its mean over an exposure."""

import numpy as np
import pytest

from mpidriver.errors import DataError
from mpidriver.tasks.faraday import lambda_sq
from mpidriver.tasks.polarisation import (
    TecMaps,
    correct_rotation,
    exposure_times,
    ionospheric_factor,
    magnetic_field_nt,
    series_at,
    slant_rm,
)

FREQ_HZ = np.linspace(744e6, 1032e6, 24)
ASKAP = {"longitude_deg": 116.637, "latitude_deg": -26.697}


def geodetic(latitude_deg, longitude_deg, height_km):
    """Return a position and the unit vectors north, east and down there, by the WGS 84 ellipsoid."""
    lat, lon = np.deg2rad([latitude_deg, longitude_deg])
    normal = 6378.137 / np.sqrt(1 - 0.00669437999014 * np.sin(lat) ** 2)
    position = np.array([(normal + height_km) * np.cos(lat) * np.cos(lon),
                         (normal + height_km) * np.cos(lat) * np.sin(lon),
                         (normal * (1 - 0.00669437999014) + height_km) * np.sin(lat)])  # fmt: skip
    down = -np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    east = np.array([-np.sin(lon), np.cos(lon), 0.0])
    return position, np.stack([np.cross(east, down), east, down])


@pytest.mark.parametrize(
    ("place", "published_nt"),
    [
        # test values of the World Magnetic Model 2020 (Chulliat et al. 2020, table of test values), epoch 2020.0
        ((80.0, 0.0, 0.0), (6570.4, -146.3, 54606.0)),
        ((0.0, 120.0, 0.0), (39624.3, 109.9, -10932.5)),
        ((-80.0, 240.0, 0.0), (5940.6, 15772.1, -52480.8)),
        ((80.0, 0.0, 100.0), (6261.8, -185.5, 52429.1)),
        ((0.0, 120.0, 100.0), (37636.7, 104.9, -10474.8)),
    ],
)
def test_the_field_is_that_of_an_independent_model_to_a_few_thousandths(place, published_nt):
    position, axes = geodetic(*place)
    found = axes @ magnetic_field_nt(position, 2020.0)
    np.testing.assert_allclose(found, published_nt, atol=160.0)


def test_the_field_has_neither_sources_nor_curl_above_the_ground():
    at, step = np.array([4000.0, -3500.0, 4200.0]), 1.0
    steps = step * np.eye(3)
    slope = np.stack([(magnetic_field_nt(at + d, 2018.0) - magnetic_field_nt(at - d, 2018.0)) / 2 for d in steps])
    size = np.abs(slope).max()
    assert abs(np.trace(slope)) < 1e-4 * size
    assert np.abs(slope - slope.T).max() < 1e-4 * size


def test_the_field_changes_steadily_between_epochs_and_on():
    at = np.array([6500.0, 100.0, -300.0])
    by_year = np.array(
        [magnetic_field_nt(at, year) for year in (2009.0, 2010.0, 2012.5, 2015.0, 2020.0, 2022.0, 2024.0)]
    )
    np.testing.assert_allclose(by_year[0], by_year[1])
    np.testing.assert_allclose(by_year[2], (by_year[1] + by_year[3]) / 2)
    np.testing.assert_allclose(by_year[6] - by_year[5], by_year[5] - by_year[4])


def uniform_maps(tecu=10.0, times=(59000.0, 59000.5, 59001.0)):
    latitude, longitude = np.arange(-87.5, 88.0, 2.5), np.arange(-180.0, 181.0, 5.0)
    return TecMaps(np.array(times), latitude, longitude, np.full((len(times), 71, 73), tecu), 450.0)


def overhead(mjd):
    """Return the right ascension of the zenith of ASKAP."""
    turned = 0.7790572732640 + 1.00273781191135448 * (mjd - 51544.5)
    return (360.0 * turned + ASKAP["longitude_deg"]) % 360.0


def test_overhead_the_rm_is_content_times_field_and_negative_in_the_south():
    mjd = 59000.3
    found = slant_rm(uniform_maps(), mjd, overhead(mjd), ASKAP["latitude_deg"], **ASKAP)
    position, axes = geodetic(ASKAP["latitude_deg"], ASKAP["longitude_deg"], 450.0)
    downwards = (axes @ magnetic_field_nt(position, 2020.4))[2]
    np.testing.assert_allclose(found, 2.6312e-6 * 10.0 * downwards, rtol=2e-3)
    assert -1.4 < found[0] < -0.8


def test_the_content_grows_with_the_slant_and_lies_between_maps():
    mjd = 59000.25
    ra = overhead(mjd)
    one = slant_rm(uniform_maps(1.0), mjd, ra, -60.0, **ASKAP)
    np.testing.assert_allclose(slant_rm(uniform_maps(7.0), mjd, ra, -60.0, **ASKAP), 7.0 * one)
    maps = uniform_maps(1.0)
    maps.tecu[1] = 3.0
    np.testing.assert_allclose(slant_rm(maps, mjd, ra, -60.0, **ASKAP), 2.0 * one)


def test_maps_turn_with_the_sun():
    maps = uniform_maps(0.0)
    maps.tecu[:] = 10.0 + 5.0 * np.cos(np.deg2rad(maps.longitude_deg + 360.0 * maps.mjd[:, None]))[:, None, :]
    times = np.linspace(59000.1, 59000.9, 9)
    from mpidriver.tasks.polarisation._electron_content import _vertical

    outward = np.tile([1.0, 0.0, 0.0], (9, 1))
    np.testing.assert_allclose(_vertical(maps, times, outward), 10.0 + 5.0 * np.cos(2 * np.pi * times), atol=0.02)


def test_what_maps_do_not_tell_is_an_error():
    mjd = 59000.3
    with pytest.raises(DataError, match=r"maps are of MJD 59000\.000 to 59001\.000"):
        slant_rm(uniform_maps(), 59001.5, overhead(59001.5), -26.0, **ASKAP)
    with pytest.raises(DataError, match="deg high during the exposure"):
        slant_rm(uniform_maps(), mjd, overhead(mjd) + 180.0, 20.0, **ASKAP)
    with pytest.raises(DataError, match="no electron content"):
        slant_rm(uniform_maps(np.nan), mjd, overhead(mjd), -26.0, **ASKAP)


def test_times_are_the_middles_of_equal_steps():
    np.testing.assert_allclose(exposure_times(100.0, 86400.0, 30000.0), 100.0 + np.array([1, 3, 5]) / 6)
    np.testing.assert_allclose(exposure_times(100.0, 0.0, 60.0), [100.0])


def test_a_table_is_read_between_its_rows_and_a_gap_beyond_them():
    found = series_at(np.array([1.5, 3.2, 0.9]), [3.0, 1.0, 2.0], [30.0, 10.0, 20.0])
    np.testing.assert_allclose(found, [15.0, 30.0, 10.0])
    with pytest.raises(DataError, match=r"covers MJD 1\.0000 to 3\.0000"):
        series_at(np.array([4.5]), [3.0, 1.0, 2.0], [30.0, 10.0, 20.0])
    with pytest.raises(DataError, match="covers nothing"):
        series_at(np.array([4.5]), [np.nan], [30.0])


def test_the_factor_of_a_steady_ionosphere_is_a_rotation():
    factor = ionospheric_factor(np.full(5, -1.3), FREQ_HZ)
    np.testing.assert_allclose(factor, np.exp(-2.6j * lambda_sq(FREQ_HZ)))


def test_the_factor_of_a_linear_change_depolarises_as_a_sinc():
    times = (np.arange(4000) + 0.5) / 4000
    factor = ionospheric_factor(2.0 + 6.0 * (times - 0.5), FREQ_HZ)
    x = 6.0 * lambda_sq(FREQ_HZ)
    np.testing.assert_allclose(factor, np.exp(4j * lambda_sq(FREQ_HZ)) * np.sinc(x / np.pi), rtol=1e-6)


def test_correction_undoes_the_factor_and_leaves_stokes_i():
    rng = np.random.default_rng(1)
    truth = rng.standard_normal((2, 3, 4, 5)).astype(np.float32)
    factor = 0.8 * np.exp(1.1j)
    seen = truth.copy()
    p = (truth[:, 1] + 1j * truth[:, 2]) * factor
    seen[:, 1], seen[:, 2] = p.real, p.imag
    np.testing.assert_allclose(correct_rotation(seen, factor), truth, atol=1e-6)
