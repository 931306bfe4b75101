"""The truth of the simulated survey: tables, options, and what they promise."""

import dataclasses
import subprocess
import sys
import tomllib

import numpy as np
import pytest
from astropy.wcs import WCS

from mpidriver.errors import ConfigError, DataError
from mpidriver.options import from_mapping, to_toml
from mpidriver.sphere import angular_separation_deg, unit_vectors
from mpidriver.tasks import simulate
from mpidriver.tasks.simulate import ErrorOptions, RadioOptions, SimulationOptions, SkyOptions
from mpidriver.tasks.simulate._tangent import offset_position

SMALL = SimulationOptions.small()


@pytest.fixture(scope="module")
def truth():
    return simulate.make_truth(SMALL)


@pytest.mark.parametrize("options", [SMALL, SimulationOptions()], ids=["small", "default"])
def test_options_survive_toml(options):
    text = to_toml(options)
    assert from_mapping(SimulationOptions, tomllib.loads(text), "survey.toml") == options


def test_option_records_load_without_numpy():
    code = "import sys; from mpidriver.tasks.simulate import SimulationOptions; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_exists():
    assert all(getattr(simulate, name) is not None for name in simulate.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = simulate.no_such_name


def test_every_column_has_a_unit(truth):
    units = simulate.truth_units(SMALL)
    tables = dataclasses.asdict(truth)
    assert list(units) == list(tables)
    for name, table in tables.items():
        assert list(units[name]) == list(table.dtype.names), name
        assert len(table) > 0, name


def test_truth_is_a_function_of_the_options(truth):
    again, other = simulate.make_truth(SMALL), simulate.make_truth(SimulationOptions.small(seed=7))
    for name, table in dataclasses.asdict(truth).items():
        assert getattr(again, name).tobytes() == table.tobytes()
        if name != "beams":
            assert getattr(other, name).tobytes() != table.tobytes()


def test_more_detectors_exposures_and_strays_change_nothing_that_was(truth):
    camera = dataclasses.replace(SMALL.camera, grid=(1, 3))
    more = simulate.make_truth(dataclasses.replace(SMALL, strays=2, camera=camera))
    n = len(truth.exposures)
    assert more.exposures[:n].tobytes() == truth.exposures.tobytes()
    assert more.exposures["field"].tolist() == [0] * n + [1, 2]
    np.testing.assert_array_equal(more.detectors["rotation_deg"][:2], truth.detectors["rotation_deg"])
    strays = simulate.make_truth(dataclasses.replace(SMALL, strays=1))
    kept = strays.stars[strays.stars["field"] == 0]
    assert kept.tobytes() == truth.stars.tobytes()
    assert len(strays.stars) == 2 * len(kept)


def test_frames_are_listed_in_order(truth):
    frames = truth.frames()
    assert frames == sorted(frames)
    assert frames[0] == (1001, 0, "g")
    assert frames[-1] == (1006, 1, "r")


def test_magnitudes_lie_in_the_range_and_follow_the_slope():
    sky = SkyOptions(star_density=2000.0, star_mag_range=(15.0, 20.0), star_slope=0.3)
    stars = simulate.make_truth(dataclasses.replace(SMALL, sky=sky)).stars
    mag = stars["mag_r"]
    assert mag.min() >= 15.0
    assert mag.max() <= 20.0
    brighter, fainter = np.sum((mag > 17.0) & (mag < 18.0)), np.sum((mag > 18.0) & (mag < 19.0))
    error = np.log10(np.e) * np.sqrt(1.0 / brighter + 1.0 / fainter)
    assert np.log10(fainter / brighter) == pytest.approx(0.3, abs=4.0 * error)


def test_recorded_errors_have_the_configured_rms():
    errors = ErrorOptions(pointing_arcsec=2.0, exposure_zero_point_mag=0.05, scale=3e-4, rotation_deg=0.1)
    options = SimulationOptions.small(exposures_per_band=500, errors=errors)
    table = simulate.make_truth(options).exposures
    cos_dec = np.cos(np.radians(options.dec_deg))
    tolerance = 4.0 / np.sqrt(2.0 * len(table))
    assert np.std((table["ra"] - table["header_ra"]) * cos_dec) * 3600 == pytest.approx(2.0, rel=tolerance)
    assert np.std(table["dec"] - table["header_dec"]) * 3600 == pytest.approx(2.0, rel=tolerance)
    assert np.std(table["zero_point_mag"]) == pytest.approx(0.05, rel=tolerance)
    assert np.std(table["scale"]) == pytest.approx(3e-4, rel=tolerance)
    assert np.std(table["rotation_deg"]) == pytest.approx(0.1, rel=tolerance)


def test_reference_catalogue_is_wrong_by_as_much_as_it_says():
    options = dataclasses.replace(SMALL, sky=SkyOptions(star_density=2000.0))
    truth = simulate.make_truth(options)
    table = simulate.reference_catalogue(truth, options)
    assert list(table.dtype.names) == list(simulate.reference_units(options))
    stars = truth.stars[table["id"] - 1]
    np.testing.assert_array_equal(stars["id"], table["id"])
    low, high = options.errors.reference_mag_range
    assert np.all((stars["mag_r"] >= low) & (stars["mag_r"] <= high))
    tolerance = 4.0 / np.sqrt(2.0 * len(table))
    east_mas = (table["ra"] - stars["ra"]) * np.cos(np.radians(stars["dec"])) * 3.6e6
    assert np.std(east_mas / table["ra_err_mas"]) == pytest.approx(1.0, rel=tolerance)
    assert np.std((table["dec"] - stars["dec"]) * 3.6e6 / table["dec_err_mas"]) == pytest.approx(1.0, rel=tolerance)
    assert np.std((table["mag_g"] - stars["mag_g"]) / table["mag_g_err"]) == pytest.approx(1.0, rel=tolerance)


@pytest.mark.parametrize(("ra", "dec"), [(150.0, 2.2), (0.001, -70.0), (33.0, 90.0), (12.0, -90.0)])
def test_offsets_agree_with_the_tan_projection_of_wcslib(ra, dec):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.cdelt = [1.0 / 3600.0, 1.0 / 3600.0]
    wcs.wcs.lonpole = 180.0
    east, north = np.array([0.0, 900.0, -3000.0]), np.array([0.0, -500.0, 70.0])
    expected = unit_vectors(*wcs.wcs_pix2world(east, north, 1))  # CRPIX is 0, so pixels are standard coordinates
    got = unit_vectors(*offset_position(ra, dec, east, north))
    assert np.max(angular_separation_deg(got, expected)) < 1e-12


def test_radio_sources_are_three_beams_apart(truth):
    options = SimulationOptions()
    sources = simulate.make_truth(options).radio_sources
    vectors = unit_vectors(sources["ra"], sources["dec"])
    distance = angular_separation_deg(vectors[:, None], vectors[None]) * 3600.0
    np.fill_diagonal(distance, np.inf)
    assert distance.min() >= 3.0 * options.radio.beam_fwhm_arcsec


def test_kinds_of_radio_sources_have_what_belongs_to_them():
    sources = simulate.make_truth(SimulationOptions()).radio_sources
    kinds, counts = np.unique(sources["kind"], return_counts=True)
    assert dict(zip(kinds.tolist(), counts.tolist(), strict=True)) == {
        "unpolarised": 4,
        "two": 4,
        "slab": 5,
        "thin": 11,
    }
    assert np.all((sources["fraction_1"] > 0) == (sources["kind"] != "unpolarised"))
    assert np.all((sources["fraction_2"] > 0) == (sources["kind"] == "two"))
    assert np.all((sources["slab_radm2"] > 0) == (sources["kind"] == "slab"))


def test_impossible_surveys_are_refused():
    with pytest.raises(ConfigError, match=r"n_sources = 500 do not fit .* ask for no more"):
        simulate.make_truth(SimulationOptions.small(radio=RadioOptions(n_sources=500, image_shape=(48, 48))))
    with pytest.raises(ConfigError, match="smaller than four beams"):
        simulate.make_truth(SimulationOptions.small(radio=RadioOptions(image_shape=(8, 8))))
    with pytest.raises(ConfigError, match="sum exceeds 1"):
        RadioOptions(unpolarised=0.5, slab=0.6)
    with pytest.raises(ConfigError, match="zero_points_mag must hold one value"):
        SimulationOptions(bands=("g",))
    with pytest.raises(ConfigError, match="also the number of an exposure"):
        SimulationOptions(radio_exposure=1003)
    with pytest.raises(ConfigError, match="star_mag_range must run upwards"):
        SkyOptions(star_mag_range=(22.0, 15.0))
    with pytest.raises(ConfigError, match=r"start at 2.5 pixels, 1, or above; got 0.7"):
        SimulationOptions(sky=SkyOptions(seeing_range_arcsec=(0.7, 1.0)))


def test_unknown_numbers_are_named(truth):
    with pytest.raises(DataError, match="no exposure 7; known: 1001 to 1006"):
        simulate.simulate_frame(truth, SMALL, 7, 0)
    with pytest.raises(DataError, match="no channel 24; known: 0 to 23"):
        simulate.simulate_channel(truth, SMALL, 0, 24)
    with pytest.raises(ConfigError, match="band 'Z' is not among g, r"):
        simulate.simulate_calibrations(SMALL, 0, "Z")


def test_a_survey_may_consist_of_a_radio_part_alone():
    truth = simulate.make_truth(SimulationOptions.small(exposures_per_band=0))
    assert truth.frames() == []
    assert len(truth.radio_sources) == 5


def test_a_survey_without_a_radio_part_has_no_sources():
    truth = simulate.make_truth(SimulationOptions.small(radio=RadioOptions(n_beams=0)))
    assert len(truth.beams) == len(truth.radio_sources) == 0
