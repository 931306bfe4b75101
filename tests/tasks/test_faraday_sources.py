"""Peaks, parameters and detection of polarised sources."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from mpidriver.errors import DataError
from mpidriver.tasks.faraday import (
    DETECTION_DTYPE,
    MEASUREMENT_DTYPE,
    MEASUREMENT_UNITS,
    RM_DTYPE,
    RM_UNITS,
    FaradayOptions,
    channel_noise,
    detect_sources,
    extract_spectra,
    find_peaks,
    lambda_sq,
    mean_image,
    measure_faraday,
    measure_patch,
    phi_grid,
    rm_synthesis,
    rm_table,
)
from mpidriver.tasks.faraday._stokes_i_models import STEEPEST, fit_stokes_i

DATA = Path(os.environ.get("MPIDRIVER_DATA", Path(__file__).parents[2] / "../shared/data"))
FREQ_HZ = np.linspace(800e6, 1088e6, 144)
SIGMA = 1e-3


def thin_spectra(rm_radm2, angle_deg, amplitude, alpha=0.0, *, reference_hz=940e6):
    """Noiseless complex spectra (source, chan)."""
    phase = 2.0 * (np.deg2rad(angle_deg)[:, None] + np.multiply.outer(rm_radm2, lambda_sq(FREQ_HZ)))
    return amplitude * (FREQ_HZ / reference_hz) ** alpha * np.exp(1j * phase)


def noisy(rng, spectra):
    return spectra.real + rng.normal(0, SIGMA, spectra.shape), spectra.imag + rng.normal(0, SIGMA, spectra.shape)


def cramer_rao(amplitude):
    """Least error of the RM of a thin source with equal errors, from the Fisher matrix of (p, χ, RM)."""
    return SIGMA / (2.0 * amplitude * np.sqrt(FREQ_HZ.size) * lambda_sq(FREQ_HZ).std())


@pytest.fixture(scope="module")
def monte_carlo():
    """500 thin sources at S/N 30, and their measurements."""
    rng = np.random.default_rng(20)
    amplitude = 30.0 * SIGMA / np.sqrt(FREQ_HZ.size)
    rm, angle = rng.uniform(-500, 500, 500), rng.uniform(0, 180, 500)
    q, u = noisy(rng, thin_spectra(rm, angle, amplitude))
    return rm, angle, amplitude, measure_faraday(q, u, None, FREQ_HZ, SIGMA, SIGMA)


def test_rm_error_reaches_the_cramer_rao_limit(monte_carlo):
    rm, _, amplitude, found = monte_carlo
    limit = cramer_rao(amplitude)
    difference = found["rm"].astype(float) - rm
    assert np.std(difference) == pytest.approx(limit, rel=0.1)
    assert abs(difference.mean()) < 4 * limit / np.sqrt(500)
    assert np.median(found["rm_err"]) == pytest.approx(limit, rel=0.02)


def test_fwhm_error_is_the_cramer_rao_limit_up_to_the_factor_of_the_coverage(monte_carlo):
    """FWHM σ/2p with 3.8/Δλ² exceeds the limit by 3.8 std(λ²)/Δλ²: 1.097 for uniform λ²."""
    _, _, amplitude, found = monte_carlo
    factor = 3.8 * lambda_sq(FREQ_HZ).std() / np.ptp(lambda_sq(FREQ_HZ))
    by_fwhm = found["rmsf_fwhm"] / (2.0 * found["snr_polint"])
    assert np.median(by_fwhm) == pytest.approx(factor * cramer_rao(amplitude), rel=0.02)


def test_angles_scatter_by_their_errors(monte_carlo):
    rm, angle, _, found = monte_carlo
    reference = (299792458.0 / found["reffreq_pol"].astype(float)) ** 2
    for name, truth in (("polangle", angle + np.rad2deg(rm * reference)), ("derot_polangle", angle)):
        difference = (found[name] - truth + 90.0) % 180.0 - 90.0
        assert np.std(difference / found[f"{name}_err"]) == pytest.approx(1.0, abs=0.1)


def test_flux_noise_and_complexity_of_thin_sources(monte_carlo):
    _, _, amplitude, found = monte_carlo
    noise = SIGMA / np.sqrt(FREQ_HZ.size)
    assert np.allclose(found["fdf_noise_th"], noise, rtol=1e-5)
    assert np.median(found["fdf_noise_mad"]) == pytest.approx(noise, rel=0.15)
    assert found["polint"].mean() == pytest.approx(amplitude, rel=0.01)
    assert np.std(found["complex_excess"]) == pytest.approx(1.0, abs=0.15)
    assert np.count_nonzero(found["complex_flag"] == "Y") == 0


def test_a_source_does_not_depend_on_the_others():
    rng = np.random.default_rng(30)
    q, u = noisy(rng, thin_spectra(rng.uniform(-100, 100, 1003), np.zeros(1003), 0.01))
    phi_radm2 = np.arange(-150.0, 151.0, 10.0)
    together = measure_faraday(q, u, None, FREQ_HZ, SIGMA, SIGMA, phi_radm2=phi_radm2)
    apart = measure_faraday(q[-2:], u[-2:], None, FREQ_HZ, SIGMA, SIGMA, phi_radm2=phi_radm2)
    for name in ("rm", "rm_err", "polint", "derot_polangle", "fdf_noise_mad"):
        assert np.allclose(together[name][-2:], apart[name], rtol=1e-6)


def test_debiasing_removes_the_excess_near_snr_8():
    rng = np.random.default_rng(21)
    amplitude = 8.0 * SIGMA / np.sqrt(FREQ_HZ.size)
    q, u = noisy(rng, thin_spectra(rng.uniform(-100, 100, 2000), rng.uniform(0, 180, 2000), amplitude))
    found = measure_faraday(q, u, None, FREQ_HZ, SIGMA, SIGMA, phi_radm2=np.arange(-150.0, 151.0, 5.0))
    raw = found["snr_polint"] * found["fdf_noise_th"]
    standard_error = raw.std() / np.sqrt(2000)
    assert raw.mean() > amplitude + 3 * standard_error
    assert abs(found["polint"].mean() - amplitude) < 4 * standard_error


def test_stokes_i_slope_is_divided_out_and_flux_refers_to_lambda0():
    rm, angle = np.array([-120.0, 35.0]), np.array([10.0, 100.0])
    p = thin_spectra(rm, angle, 0.02, alpha=-1.5)
    stokes_i = np.broadcast_to(0.2 * (FREQ_HZ / 940e6) ** -1.5, p.shape)
    found = measure_faraday(p.real, p.imag, stokes_i, FREQ_HZ, SIGMA, SIGMA)
    ratio = (found["reffreq_I"].astype(float) / 940e6) ** -1.5
    assert np.allclose(found["rm"], rm, atol=1e-4)
    assert np.allclose(found["stokesI"], 0.2 * ratio, rtol=1e-5)
    assert np.allclose(np.hypot(found["stokesQ"], found["stokesU"]), 0.02 * ratio, rtol=1e-5)
    assert np.allclose(found["fracpol"], 0.1, rtol=1e-3)
    assert np.allclose(found["spectral_index"], -1.5, atol=1e-4)
    assert np.all(found["sigma_add"] < 0.01)
    assert np.all(found["rm_method"] == "RM Synthesis - Fractional polarization")


def test_two_components_are_complex():
    angle = np.array([20.0])
    p = thin_spectra(np.array([-60.0]), angle, 0.01) + thin_spectra(np.array([40.0]), angle, 0.007)
    q, u = noisy(np.random.default_rng(22), p)
    found = measure_faraday(q, u, None, FREQ_HZ, SIGMA, SIGMA)
    assert found["complex_flag"][0] == "Y"
    assert found["sigma_add"][0] == pytest.approx(0.007 / np.sqrt(2) / SIGMA, rel=0.25)


def test_flags_and_errors_of_single_voxels():
    rng = np.random.default_rng(23)
    p = thin_spectra(np.array([77.0, 77.0, 77.0]), np.zeros(3), 0.05)
    q, u = noisy(rng, p)
    sigma = np.full(p.shape, SIGMA)
    q[0, ::3] = np.nan
    u[1] = np.nan
    sigma[2, :70] = 0.0
    q[2, :70] = 1e6
    found = measure_faraday(q, u, None, FREQ_HZ, sigma, sigma)
    assert found["Nchan"].tolist() == [96, 0, 74]
    assert np.isnan(found["rm"][1])
    assert found["complex_flag"].tolist() == ["N", "U", "N"]
    assert abs(found["rm"][[0, 2]] - 77.0).max() < 5 * found["rm_err"][[0, 2]].max()
    assert found["minfreq"][2] == pytest.approx(FREQ_HZ[70])


@pytest.mark.parametrize("options", [FaradayOptions(weighting="uniform"), FaradayOptions(fractional=False)])
def test_options_change_how_and_not_what(options):
    rng = np.random.default_rng(24)
    rm = rng.uniform(-400, 400, 200)
    sigma = SIGMA * np.linspace(0.5, 3.0, FREQ_HZ.size)
    p = thin_spectra(rm, np.zeros(200), 0.01)
    q, u = (part + rng.normal(0, 1, p.shape) * sigma for part in (p.real, p.imag))
    stokes_i = 0.1 + rng.normal(0, 1, p.shape) * sigma
    found = measure_faraday(q, u, stokes_i, FREQ_HZ, sigma, sigma, options=options)
    assert np.std((found["rm"] - rm) / found["rm_err"]) == pytest.approx(1.0, abs=0.15)


def test_no_source_and_wrong_shapes():
    empty = np.zeros((0, FREQ_HZ.size))
    assert measure_faraday(empty, empty, empty, FREQ_HZ, SIGMA, SIGMA).shape == (0,)
    one = np.zeros((1, FREQ_HZ.size))
    with pytest.raises(DataError, match="same shape"):
        measure_faraday(one, empty, None, FREQ_HZ, SIGMA, SIGMA)
    with pytest.raises(DataError, match="expected \\(source, 144\\)"):
        measure_faraday(one[:, 1:], one[:, 1:], None, FREQ_HZ, SIGMA, SIGMA)
    with pytest.raises(DataError, match="error of u"):
        measure_faraday(one, one, None, FREQ_HZ, SIGMA, np.ones(3))


def test_power_law_in_noise_is_unbiased_and_gives_up_without_signal():
    rng = np.random.default_rng(25)
    flux = 3.0 * SIGMA * (FREQ_HZ / 940e6) ** -0.8 + rng.normal(0, SIGMA, (2000, FREQ_HZ.size))
    sigma = np.full(flux.shape, SIGMA)
    law = fit_stokes_i(flux, sigma, FREQ_HZ, degree=1)
    alpha, alpha_err = law.coefficients[:, 1], np.sqrt(law.covariance[:, 1, 1])
    assert alpha.mean() == pytest.approx(-0.8, abs=4 * alpha.std() / np.sqrt(2000))
    assert np.std(alpha) == pytest.approx(np.mean(alpha_err), rel=0.1)
    noise = fit_stokes_i(rng.normal(0, SIGMA, flux.shape), sigma, FREQ_HZ, degree=2)
    assert np.abs(noise.coefficients[:, 1]).max() < STEEPEST
    assert np.median(noise.degree) == 0


def test_spectra_are_not_divided_by_a_stokes_i_below_zero():
    p = thin_spectra(np.array([30.0]), np.array([70.0]), 0.05)
    negative = np.full(p.shape, -0.01)
    found = measure_faraday(p.real, p.imag, negative, FREQ_HZ, SIGMA, SIGMA)
    without = measure_faraday(p.real, p.imag, None, FREQ_HZ, SIGMA, SIGMA)
    for name in ("rm", "polint", "derot_polangle", "rm_method"):
        assert found[name] == without[name]
    assert found["stokesI"] == pytest.approx(-0.01)
    assert np.isnan([found["fracpol"], without["fracpol"], without["stokesI"]]).all()


def test_a_source_beyond_the_depths_that_are_searched_has_the_rotation_measure_of_the_last():
    p = thin_spectra(np.array([120.0]), np.array([0.0]), 1.0)
    found = measure_faraday(p.real, p.imag, None, FREQ_HZ, SIGMA, SIGMA, phi_radm2=np.arange(-100.0, 101.0, 5.0))
    assert found["rm"][0] == pytest.approx(100.0, abs=5.1)
    assert np.isfinite(found["rm_err"][0])


def test_peaks_of_a_cube_are_refined_between_samples():
    phi_radm2 = phi_grid(FREQ_HZ, phi_max_radm2=400.0, samples=10)
    rm = np.linspace(-350.0, 350.0, 60).reshape(6, 10)
    p = np.exp(2j * np.multiply.outer(lambda_sq(FREQ_HZ), rm))
    p[:, 2, 3] = np.nan
    peaks = find_peaks(rm_synthesis(p.real, p.imag, FREQ_HZ, phi_radm2), phi_radm2)
    assert np.isnan(peaks.amplitude[2, 3])
    assert np.isnan(peaks.phi_radm2[2, 3])
    assert peaks.index[2, 3] == -1
    rm[2, 3] = np.nan
    assert np.nanmax(np.abs(peaks.phi_radm2 - rm)) < 0.02 * np.diff(phi_radm2)[0]
    assert np.nanmax(np.abs(peaks.amplitude - 1.0)) < 1e-3


def test_parabola_is_exact_for_uneven_steps_and_stops_at_the_ends():
    phi_radm2 = np.array([0.0, 1.0, 2.5, 3.0, 7.0])
    peaks = find_peaks(np.stack([10.0 - (phi_radm2 - 2.2) ** 2 / 4.0, phi_radm2 + 0j], axis=1), phi_radm2)
    assert peaks.phi_radm2.tolist() == pytest.approx([2.2, 7.0])
    assert peaks.amplitude.tolist() == pytest.approx([10.0, 7.0])
    with pytest.raises(DataError, match="ascending"):
        find_peaks(np.zeros((3, 1), complex), [0.0, 2.0, 1.0])


def beams(row, col, flux, shape=(64, 80), fwhm=4.0):
    """An image of point sources in Jy/beam."""
    rows, cols = np.indices(shape)
    exponent = [(rows - y) ** 2 + (cols - x) ** 2 for y, x in zip(row, col, strict=True)]
    return np.tensordot(flux, np.exp(-4.0 * np.log(2.0) / fwhm**2 * np.array(exponent)), axes=1)


def test_sources_are_found_and_their_flux_is_that_of_the_peak_between_pixels():
    rng = np.random.default_rng(26)
    row, col = np.array([10.3, 30.5, 50.0, 20.2]), np.array([12.6, 60.5, 33.0, 40.9])
    flux = np.array([1.0, 0.5, 0.3, 0.2])
    image = (beams(row, col, flux) + rng.normal(0, 1e-3, (64, 80))).astype(np.float32)
    image[:3] = np.nan
    found = detect_sources(image, snr=10.0)
    assert len(found) == 4
    assert np.abs(found["row"] - row).max() < 0.03
    assert np.abs(found["col"] - col).max() < 0.03
    assert np.allclose(found["peak"], flux, rtol=0.02)
    cube = np.stack([image, 2 * image])
    spectra = extract_spectra(cube, found["row"], found["col"])
    assert spectra.shape == (4, 2)
    assert np.allclose(spectra[:, 0], flux, rtol=0.01, atol=3e-3)


def test_extraction_is_within_half_a_percent_for_a_beam_of_four_pixels():
    offset = np.linspace(-0.5, 0.5, 11)
    images = np.stack([beams([20 + dy], [20 + dx], [1.0], (41, 41)) for dy in offset for dx in offset])
    row, col = (grid.ravel() + 20 for grid in np.meshgrid(offset, offset, indexing="ij"))
    values = np.diagonal(extract_spectra(images, row, col))
    assert np.abs(values - 1.0).max() < 5e-3
    assert images[:, 20, 20].min() < 0.92


def test_extraction_of_blank_and_outside_positions():
    cube = np.ones((2, 8, 9), np.float32)
    cube[1, 4, 4] = np.nan
    spectra = extract_spectra(cube, [4.2, 4.0, 0.0, 9.0], [3.0, 6.0, 8.0, 2.0])
    assert np.array_equal(spectra[:, 0], [1.0, 1.0, 1.0, np.nan], equal_nan=True)
    assert spectra[1, 1] == 1.0
    with pytest.raises(DataError, match="5 x 5"):
        extract_spectra(cube[:, :4], [1.0], [1.0])


def test_nothing_to_detect():
    assert detect_sources(np.full((20, 20), np.nan)).dtype == DETECTION_DTYPE
    assert len(detect_sources(np.zeros((20, 20)))) == 0
    noise = np.random.default_rng(27).normal(0, 1, (200, 200))
    assert len(detect_sources(noise, snr=5.5)) == 0


def test_noise_and_mean_of_a_cube_ignore_blanks_and_sources():
    rng = np.random.default_rng(28)
    cube = rng.normal(0, 2.0, (3, 100, 100)).astype(np.float32)
    cube[:, 50:53, 50:53] += 1000.0
    cube[0, :10] = np.nan
    cube[2] = np.nan
    noise = channel_noise(cube)
    assert noise[:2] == pytest.approx([2.0, 2.0], rel=0.05)
    assert np.isnan(noise[2])
    image = mean_image(cube)
    assert image.dtype == np.float32
    assert np.array_equal(image[:10], cube[1, :10])


def test_a_patch_gives_positions_and_rotation_measures_of_its_polarised_sources():
    from astropy.wcs import WCS

    rng = np.random.default_rng(29)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [359.999, -30.0], [40.0, 32.0]
    wcs.wcs.cdelt = [-4.0 / 3600, 4.0 / 3600]
    row, col, flux = np.array([10.3, 30.5, 50.0]), np.array([12.6, 60.5, 33.0]), np.array([0.5, 0.3, 0.2])
    rm, fraction = np.array([-120.0, 0.0, 240.0]), np.array([0.1, 0.0, 0.2])
    p = thin_spectra(rm, np.array([5.0, 0.0, 60.0]), (fraction * flux)[:, None])
    cubes = np.array([[beams(row, col, part) for part in values.T] for values in (p.real, p.imag)])
    stokes_i = beams(row, col, flux) + rng.normal(0, SIGMA, cubes[0].shape)
    q, u = cubes + rng.normal(0, SIGMA, cubes.shape)
    variance = np.full(q.shape, (0.5 * SIGMA) ** 2)
    variance[7] = q[7] = np.nan
    rows = measure_patch(stokes_i, q, u, variance, FREQ_HZ, np.arange(-600.0, 601.0, 5.0), wcs)
    assert rows["flux_type"].tolist() == ["Peak", "Peak"]
    polarised = [0, 2]
    ra_deg, dec_deg = wcs.all_pix2world(col[polarised], row[polarised], 0)
    assert np.abs((rows["ra"] - ra_deg + 180) % 360 - 180).max() < 0.3 / 3600
    assert np.abs(rows["dec"] - dec_deg).max() < 0.3 / 3600
    assert np.all(np.abs(rows["rm"] - rm[polarised]) < 4 * rows["rm_err"])
    assert np.allclose(rows["noise_chan"], SIGMA, rtol=0.1)
    assert np.allclose(rows["fracpol"], fraction[polarised], rtol=0.05)
    assert np.all(rows["Nchan"] == FREQ_HZ.size - 1)
    assert len(measure_patch(0 * stokes_i, q, u, variance, FREQ_HZ, np.arange(-600.0, 601.0, 5.0), wcs)) == 0


def test_rm_table_has_the_standard_columns_and_blanks():
    p = thin_spectra(np.array([5.0, 6.0]), np.zeros(2), 0.05)
    found = measure_faraday(p.real, p.imag, None, FREQ_HZ, SIGMA, SIGMA)
    table = rm_table(found, [266.40499, 0.0], [-28.93617, 90.0], telescope="ASKAP", cat_id=["a", "b"])
    assert table["l"][0] % 360 == pytest.approx(0.0, abs=1e-4) or table["l"][0] == pytest.approx(360.0, abs=1e-4)
    assert table["b"][0] == pytest.approx(0.0, abs=1e-4)
    assert [table["l"][1], table["b"][1]] == pytest.approx([122.93192, 27.12825], abs=1e-5)
    assert table["cat_id"].tolist() == ["a", "b"]
    assert np.isnan(table["beam_maj"]).all()
    assert table["ionosphere"][0] == "Unknown"
    assert np.array_equal(table["rm"], found["rm"])
    with pytest.raises(DataError, match="'colour' is not a column"):
        rm_table(found, [1.0, 2.0], [1.0, 2.0], colour=1)


def test_every_column_has_a_unit():
    assert list(RM_UNITS) == list(RM_DTYPE.names)
    assert list(MEASUREMENT_UNITS) == list(MEASUREMENT_DTYPE.names)


def test_columns_are_those_of_the_published_standard():
    standard = DATA / "rmcat" / "column_standard_v1.3.json"
    if not standard.exists():
        pytest.skip(f"{standard} is not here; set MPIDRIVER_DATA")
    columns = json.loads(standard.read_text())
    columns.pop("version", None)
    assert list(RM_DTYPE.names)[: len(columns)] == list(columns)
    for name, column in columns.items():
        assert RM_DTYPE[name].str[1:].startswith(column["dtype"])


def test_a_real_meerkat_spectrum():
    """Swift J1727.8-1613 on 2023-10-01 (polkat): the published peak lies at about -4.5 rad/m²."""
    spectra = sorted((DATA / "meerkat").glob("SwiftJ1727_*.txt"))
    if not spectra:
        pytest.skip(f"{DATA / 'meerkat'} holds no spectrum; set MPIDRIVER_DATA")
    freq_hz, i, q, u, _, sigma_q, sigma_u = np.loadtxt(spectra[0]).T
    found = measure_faraday(
        q[None], u[None], i[None], freq_hz, sigma_q, sigma_u, phi_radm2=np.arange(-200.0, 201.0, 2.0)
    )[0]
    assert found["rm"] == pytest.approx(-4.5, abs=float(found["rm_err"]))
    assert found["rm_err"] < 0.4
    assert found["snr_polint"] > 20
