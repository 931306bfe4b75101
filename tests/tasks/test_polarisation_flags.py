"""What compares sources: leakage, RMs that stand out, blends; and the rows of the RM table."""

import numpy as np
import pytest

from mpidriver.errors import DataError
from mpidriver.tasks.faraday import FaradayOptions
from mpidriver.tasks.polarisation import (
    RM_TABLE_DTYPE,
    RM_TABLE_UNITS,
    RM_TABLE_WORDS,
    RMTableOptions,
    analyse_components,
    blends,
    compare_rows,
    leakage_by_distance,
    outlying_rms,
    source_rows,
    why_unmeasured,
)

C_M_S = 299792458.0
FREQ_HZ = np.linspace(800e6, 1088e6, 72)


def test_leakage_is_the_median_fraction_of_bright_sources_by_distance():
    rng = np.random.default_rng(0)
    distance = rng.uniform(0.0, 3.0, 4000)
    truth = 0.002 + 0.001 * distance**2
    fraction = truth * rng.uniform(0.8, 1.2, 4000)
    polarised = rng.random(4000) < 0.1
    fraction[polarised] = 0.08
    snr = np.where(rng.random(4000) < 0.5, 100.0, 5.0)
    found = leakage_by_distance(fraction, snr, distance, min_snr=30.0)
    np.testing.assert_allclose(found, truth, rtol=0.12, atol=1e-4)


def test_leakage_needs_bright_sources_and_a_distance():
    assert np.isnan(leakage_by_distance(np.full(30, 0.01), np.full(30, 99.0), np.ones(30), min_snr=30.0)).all()
    distance = np.linspace(0, 1, 60)
    distance[3] = np.nan
    found = leakage_by_distance(np.full(60, 0.01), np.full(60, 99.0), distance, min_snr=30.0)
    assert np.isnan(found[3])
    np.testing.assert_allclose(np.delete(found, 3), 0.01)
    assert leakage_by_distance(np.zeros(0), np.zeros(0), np.zeros(0), min_snr=30.0).shape == (0,)


def test_an_rm_that_differs_from_its_neighbours_stands_out():
    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(358.0, 362.0, 300) % 360.0, rng.uniform(-2.0, 2.0, 300)
    rm = 30.0 * dec + rng.normal(0.0, 2.0, 300)
    good = np.ones(300, bool)
    rm[[5, 77]] += 150.0
    good[77] = False
    found = outlying_rms(ra, dec, rm, np.full(300, 1.0), good, neighbours=30, sigma=4.0)
    assert found[5]
    assert not found[77]
    assert found.sum() < 6
    assert not outlying_rms(ra[:4], dec[:4], rm[:4], np.ones(4), good[:4], neighbours=30, sigma=3.0).any()


def test_blends_are_other_components_within_the_radius():
    ra, dec, flux = np.array([0.0, 359.999, 10.0]), np.array([0.0, 0.0, 5.0]), np.array([2.0, 1.0, 3.0])
    count, ratio = blends(ra, dec, flux, ra, dec, flux, np.full(3, 4.0 / 3600))
    assert count.tolist() == [1, 1, 0]
    np.testing.assert_allclose(ratio, [0.5, 2.0, np.nan])


def spectra(
    n,
    rm=40.0,
    noise=1e-4,
):
    """Return the table of spectra of thin sources of 0.1 Jy, a tenth polarised."""
    chan = len(FREQ_HZ)
    rng = np.random.default_rng(7)
    vectors = [("freq", "f8", (chan,))]
    vectors += [(f"stokes{s}{end}", "f4", (chan,)) for s in "IQU" for end in ("", "_error", "_bkg")]
    scalars = [(name, RM_TABLE_DTYPE[name]) for name in ("cat_id", "source_id", "ra", "dec", "ra_err", "dec_err",
               "total_I_flux", "beamdist", "beam_maj", "n_images")]  # fmt: skip
    table = np.zeros(n, dtype=scalars + vectors)
    table["cat_id"] = [f"s{number}" for number in range(n)]
    table["ra"], table["dec"] = 150.0 + 0.01 * np.arange(n), -30.0
    table["ra_err"], table["dec_err"] = 1e-4, 2e-4
    table["freq"], table["beam_maj"], table["n_images"] = FREQ_HZ, 20 / 3600, 72
    shape = 0.1 * (FREQ_HZ / 940e6) ** -0.7
    p = 0.1 * shape * np.exp(2j * (0.5 + rm * (C_M_S / FREQ_HZ) ** 2))
    for letter, values in (("I", shape), ("Q", p.real), ("U", p.imag)):
        table[f"stokes{letter}"] = values + noise * rng.standard_normal((n, chan))
        table[f"stokes{letter}_error"] = noise
        table[f"stokes{letter}_bkg"] = 3e-5
    return table


def rows_of(table):
    options = FaradayOptions()
    analysis = analyse_components(table, options)
    return source_rows(table, analysis.table, options, ionosphere="FRion"), analysis


def test_rows_hold_the_measurement_the_components_and_the_clean_width():
    table = spectra(20)
    rows, analysis = rows_of(table)
    assert rows.dtype == RM_TABLE_DTYPE
    assert rows["cat_id"].tolist() == table["cat_id"].tolist()
    assert (np.abs(rows["rm"] - 40.0) < 5 * rows["rm_err"]).all()
    np.testing.assert_allclose(rows["polint"], 0.01, rtol=0.02)
    np.testing.assert_allclose(rows["stokesI_bkg"], 3e-5, rtol=1e-5)
    np.testing.assert_allclose(rows["pos_err"], 2e-4, rtol=1e-6)
    np.testing.assert_allclose(rows["refwave_sq_pol"], (C_M_S / rows["reffreq_pol"].astype(float)) ** 2)
    assert (rows["rm_width"] < 0.5 * rows["rmsf_fwhm"]).all()
    assert set(rows["complex_flag"]) == {"N"}
    peak = analysis.phi_radm2[np.abs(analysis.clean.cleaned).argmax(axis=0)]
    assert (np.abs(peak - 40.0) < 10.0).all()


def test_two_components_are_complex_by_both_tests():
    one, two = spectra(10, rm=-200.0), spectra(10, rm=150.0)
    for letter in "QU":
        one[f"stokes{letter}"] += two[f"stokes{letter}"]
    rows, _ = rows_of(one)
    assert rows["complex_sigma_add_flag"].all()
    assert rows["complex_M2_CC_flag"].all()
    np.testing.assert_allclose(rows["rm_width"], 175.0, rtol=0.25)
    assert set(rows["complex_flag"]) == {"Y"}


def test_why_a_source_could_not_be_measured():
    table = spectra(5)
    table["stokesQ"][1] = np.nan
    table["stokesU"][2, 1:] = np.nan
    table["n_images"][3], table["stokesI"][3], table["stokesQ"][3] = 0, np.nan, np.nan
    rows, _ = rows_of(table)
    reasons = why_unmeasured(table, rows)
    assert reasons[0] == reasons[4] == ""
    assert reasons[1] == "blank in all 72 channels of the 72 images around it"
    assert reasons[2] == "only 1 of 72 channels have data: too few for an RM"
    assert reasons[3] == "it lies in none of the channel images that could be used"


def test_one_frequency_tells_no_rotation_measure():
    table = spectra(2)
    table["freq"] = 9e8
    with pytest.raises(DataError, match=r"two channels or more, got one frequency, 9e\+08 Hz"):
        analyse_components(table, FaradayOptions())


def test_rows_are_compared_and_sorted():
    rows, _ = rows_of(spectra(60))
    rows["beamdist"] = np.linspace(0, 1, 60)
    rows["total_I_flux"] = 0.1
    rows["Nchan"][4] = 10
    rows["snr_polint"][6] = 3.0
    polarised = np.arange(60) % 6 == 0
    rows["fracpol"][~polarised] = 0.001
    catalogue = rows[["ra", "dec", "total_I_flux"]]
    options = RMTableOptions(telescope="ASKAP", catalog_name="test")
    found = compare_rows(rows[::-1], catalogue, options)
    assert (np.diff(found["ra"]) > 0).all()
    assert np.flatnonzero(found["channel_flag"]).tolist() == [4]
    assert np.flatnonzero(found["snr_flag"]).tolist() == [6]
    np.testing.assert_array_equal(found["leakage_flag"], ~polarised)
    np.testing.assert_allclose(found["leakage"], 0.001)
    assert set(found["telescope"]) == {"ASKAP"}
    assert not found["is_blended_flag"].any()
    assert len(compare_rows(rows[:0], catalogue, options)) == 0


def test_every_column_has_a_unit_a_ucd_and_a_description():
    assert list(RM_TABLE_UNITS) == list(RM_TABLE_DTYPE.names)
    own = {"snr_polint", "fdf_noise_th", "fdf_noise_mad", "sigma_add", "complex_excess"}
    lacking = [name for name, (ucd, text) in RM_TABLE_WORDS.items() if not (ucd and text)]
    assert set(lacking) == set()
    assert own <= set(RM_TABLE_WORDS)
