"""The analysis of single spectra: against RM-Tools, against the truth, and input that is wrong."""

import json

import numpy as np
import pytest
import rm_tools_1d

from mpidriver.errors import DataError
from mpidriver.tasks.faraday import (
    ANALYSIS_DTYPE,
    ANALYSIS_UNITS,
    RM_TOOLS_NAMES,
    AnalysisOptions,
    analyse_spectra,
    lambda_sq,
    rm_synthesis,
)

CASES = json.loads(rm_tools_1d.PATH.read_text())
OPTION_NAMES = {
    "fit_function": "stokes_i_model",
    "weightType": "weighting",
    "nSamples": "samples",
    "phiMax_radm2": "phi_max_radm2",
    "dPhi_radm2": "phi_step_radm2",
}
ERROR_OF = {
    "phiPeakPIfit_rm2": "dPhiPeakPIfit_rm2",
    "ampPeakPIfit": "dAmpPeakPIfit",
    "ampPeakPIfitEff": "dAmpPeakPIfit",
    "peakFDFrealFit": "dAmpPeakPIfit",
    "peakFDFimagFit": "dAmpPeakPIfit",
    "polAngleFit_deg": "dPolAngleFit_deg",
    "polAngle0Fit_deg": "dPolAngle0Fit_deg",
    "mom2CCFDF": "dPhiPeakPIfit_rm2",
}
"""RM-Tools' names of values and of their errors; other values must agree to 1e-3."""
NOT_COMPARED = {
    "IfitStat",  # RM-Tools adds the exit code of its minimiser
    "polyCoefferr",  # RM-Tools' propagation to the new reference frequency lacks a factor ln 10
}

FREQ_HZ = np.linspace(800e6, 1088e6, 72)


def our_options(theirs):
    """Return our options for those of RM-Tools."""
    options = {OPTION_NAMES[name]: value for name, value in theirs.items() if name in OPTION_NAMES}
    degree = theirs.get("polyOrd", 2)
    return AnalysisOptions(stokes_i_degree=abs(degree), stokes_i_choose=degree < 0, **options)


def analyse_case(freq_hz, spectra, options):
    """Return our row for one spectrum in RM-Tools' order of columns."""
    rows = [np.array(values)[None] for values in spectra]
    i, q, u, di, dq, du = rows if len(rows) == 6 else (None, *rows[:2], None, *rows[2:])
    return analyse_spectra(freq_hz, i, q, u, di, dq, du, options=our_options(options)).table[0]


def assert_agrees(row, theirs):
    """Every number that RM-Tools reports is ours to a hundredth of its error."""
    for stage, names in RM_TOOLS_NAMES.items():
        for ours, name in names.items():
            if (
                name in NOT_COMPARED
                or name not in theirs[stage]
                or (name.startswith("poly") and row["stokes_i_flag"] == 9)
            ):
                continue
            value, expected = row[ours], np.array(theirs[stage][name])
            error = theirs[stage].get(ERROR_OF.get(name))
            tolerance = 1e-3 * np.abs(expected) if error is None else 0.01 * error
            difference = value - expected
            if "Angle" in name and error is not None:
                difference = (difference + 90.0) % 180.0 - 90.0
            assert np.all(np.abs(difference) <= tolerance + 1e-12 * np.abs(expected)), (stage, name, value, expected)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_every_number_of_a_stored_rm_tools_run_is_met(case):
    row = analyse_case(np.array(case["freq_hz"]), case["spectra"], case["options"])
    if case["name"] == "no Stokes I":
        assert np.isnan(row["stokes_i"])
        case = {**case, "synthesis": {k: v for k, v in case["synthesis"].items() if k[:5] not in ("Ifreq", "IfitC")}}
    assert_agrees(row, case)


def sources(rng, count, *, snr=(10.0, 60.0), channels=72):
    """Stokes I, Q, U and errors of thin sources with a power law, and their true rotation measures and indices."""
    freq_hz = FREQ_HZ[:channels]
    alpha, rm, angle = rng.uniform(-1, 0, count), rng.uniform(-200, 200, count), rng.uniform(0, np.pi, count)
    shape = (freq_hz / freq_hz.mean()) ** alpha[:, None]
    p = 0.01 * shape * np.exp(2j * (angle[:, None] + rm[:, None] * lambda_sq(freq_hz)))
    sigma = 0.01 * np.sqrt(channels) / rng.uniform(*snr, count)[:, None] * rng.uniform(0.8, 1.2, (count, channels))
    q, u, i = (part + sigma * rng.normal(size=p.shape) for part in (p.real, p.imag, 0.1 * shape))
    return (i, q, u, sigma, sigma, sigma), rm, alpha


def rm_limit(table, prefix):
    """Return the Cramér-Rao limit of the rotation measure, which FWHM σ/(2p) exceeds by a tenth."""
    return table["noise_theory"] / (2 * table[prefix + "polint"] * lambda_sq(FREQ_HZ).std())


def test_rotation_measures_scatter_as_the_cramer_rao_limit_and_stokes_i_as_its_errors_say():
    spectra, rm, alpha = sources(np.random.default_rng(1), 400)
    table = analyse_spectra(FREQ_HZ, *spectra, options=AnalysisOptions(phi_max_radm2=400.0)).table
    for prefix in ("dirty_", "clean_"):
        error = rm_limit(table, prefix)
        assert np.all(table[prefix + "rm_err_radm2"] > error)
        pulls = (table[prefix + "rm_radm2"] - rm) / error
        assert np.sqrt(np.mean(pulls**2)) == pytest.approx(1.0, abs=0.12)
        pulls = (table[prefix + "polint_debiased"] - 0.01 * table["stokes_i"] / 0.1) / table[prefix + "polint_err"]
        assert np.sqrt(np.mean(pulls**2)) == pytest.approx(1.0, abs=0.12)
    assert np.median(table["noise_theory"] / table["clean_noise_mad"]) == pytest.approx(1.0, abs=0.15)
    one = AnalysisOptions(phi_max_radm2=400.0, stokes_i_degree=1)
    table = analyse_spectra(FREQ_HZ, *spectra, options=one).table
    pulls = (table["stokes_i_coefficients"][:, -2] - alpha) / table["stokes_i_coefficient_errs"][:, -2]
    assert np.sqrt(np.mean(pulls**2)) == pytest.approx(1.0, abs=0.12)
    true = 0.1 * (table["freq0_hz"] / FREQ_HZ.mean()) ** alpha
    assert np.sqrt(np.mean(((table["stokes_i"] - true) / table["stokes_i_err"]) ** 2)) == pytest.approx(1.0, abs=0.12)


def test_complexity_tells_a_second_component_from_noise():
    rng = np.random.default_rng(2)
    spectra, _, _ = sources(rng, 60, snr=(100.0, 100.0))
    q, u = spectra[1:3]
    second = 0.003 * np.exp(2j * (1.0 + 80.0 * lambda_sq(FREQ_HZ)))
    q[30:] += second.real
    u[30:] += second.imag
    table = analyse_spectra(FREQ_HZ, *spectra, options=AnalysisOptions(phi_max_radm2=400.0)).table
    assert np.median(table["sigma_add"][:30]) < 0.3
    assert np.all(table["sigma_add"][30:] > 0.5)
    assert np.all(table["sigma_add_err_minus"] > 0)
    assert np.median(table["clean_second_moment_radm2"][30:]) > np.median(table["clean_second_moment_radm2"][:30])


def test_criterion_chooses_the_degree_that_made_the_spectrum():
    rng = np.random.default_rng(3)
    x = FREQ_HZ / FREQ_HZ.mean()
    curved = 0.1 * x ** (-0.7 + 3.0 * np.log10(x))
    sigma = 1e-5
    i = np.stack([np.full(72, 0.1), 0.1 * x**-0.7, curved]) + sigma * rng.normal(size=(3, 72))
    options = AnalysisOptions(phi_max_radm2=100.0, stokes_i_degree=5, stokes_i_choose=True)
    analysis = analyse_spectra(FREQ_HZ, i, i * 0.1, i * 0.0, sigma, sigma, sigma, options=options)
    assert analysis.table["stokes_i_degree"].tolist() == [0, 1, 2]
    assert np.abs(analysis.stokes_i_model[2] - curved).max() < 5 * sigma
    coefficients = analysis.table["stokes_i_coefficients"][2]
    expected = -0.7 + 2 * 3.0 * np.log10(analysis.table["freq0_hz"][2] / FREQ_HZ.mean())
    assert coefficients[-2] == pytest.approx(expected, abs=5 * analysis.table["stokes_i_coefficient_errs"][2, -2])


@pytest.mark.parametrize("model", ["log", "linear"])
def test_stokes_i_model_is_the_least_squares_fit_of_scipy(model):
    from scipy.optimize import curve_fit

    spectra, _, _ = sources(np.random.default_rng(4), 5)
    options = AnalysisOptions(phi_max_radm2=100.0, stokes_i_model=model, stokes_i_degree=3)
    table = analyse_spectra(FREQ_HZ, *spectra, options=options).table
    for row, i, sigma in zip(table, spectra[0], spectra[3], strict=True):
        x = FREQ_HZ / row["freq0_hz"]

        def law(z, a, b, c, d):
            if model == "linear":
                return a + z * (b + z * (c + z * d))
            return a * 10 ** (np.log10(z) * (b + np.log10(z) * (c + np.log10(z) * d)))

        expected, covariance = curve_fit(law, x, i, p0=[0.1, 0, 0, 0], sigma=sigma, absolute_sigma=True, xtol=1e-14)
        errors = np.sqrt(np.diag(covariance))
        assert np.all(np.abs(row["stokes_i_coefficients"][:1:-1] - expected) < 1e-3 * errors)
        assert row["stokes_i_coefficient_errs"][:1:-1] == pytest.approx(errors, rel=1e-3)


def test_a_source_does_not_depend_on_the_others_on_threads_or_on_the_order_of_channels():
    spectra, _, _ = sources(np.random.default_rng(5), 530)
    options = AnalysisOptions(phi_max_radm2=200.0)
    whole = analyse_spectra(FREQ_HZ, *spectra, options=options)
    again = analyse_spectra(FREQ_HZ, *spectra, options=options, threads=3)
    assert whole.table.tobytes() == again.table.tobytes()
    last = analyse_spectra(FREQ_HZ, *(part[529:] for part in spectra), options=options)
    assert whole.table[529:].tobytes() == last.table.tobytes()
    assert np.array_equal(whole.clean.cleaned[:, 529], last.clean.cleaned[:, 0])
    order = np.random.default_rng(6).permutation(72)
    shuffled = analyse_spectra(FREQ_HZ[order], *(part[:5, order] for part in spectra), options=options).table
    assert shuffled["clean_rm_radm2"] == pytest.approx(whole.table["clean_rm_radm2"][:5], abs=1e-3)
    assert shuffled["channel_width_hz"][0] == whole.table["channel_width_hz"][0]


def test_flags_are_as_channels_that_were_never_observed():
    spectra, _, _ = sources(np.random.default_rng(7), 3)
    phi = np.arange(-300.0, 301.0, 5.0)
    flagged = [part.copy() for part in spectra]
    flagged[1][:, :20] = np.nan
    flagged[4][:, 20:25] = -1.0
    flagged[0][:, :25] = np.inf
    few = analyse_spectra(FREQ_HZ[25:], *(part[:, 25:] for part in spectra), phi_radm2=phi).table
    all_channels = analyse_spectra(FREQ_HZ, *flagged, phi_radm2=phi).table
    assert all_channels["channels"].tolist() == [47, 47, 47]
    for name in ANALYSIS_DTYPE.names:
        if name not in ("channel_width_hz", "stokes_i_flag"):
            assert all_channels[name] == pytest.approx(few[name], rel=2e-3, abs=1e-6, nan_ok=True), name


def test_sources_without_data_are_blank_and_leave_the_others_alone():
    spectra, _, _ = sources(np.random.default_rng(8), 5)
    options = AnalysisOptions(phi_max_radm2=200.0)
    whole = analyse_spectra(FREQ_HZ, *spectra, options=options).table
    spectra[1][1] = np.nan
    spectra[0][2] = np.nan
    spectra[1][3, 1:] = np.nan
    table = analyse_spectra(FREQ_HZ, *spectra, options=options).table
    assert table["channels"].tolist() == [72, 0, 72, 1, 72]
    blank = [name for name in table.dtype.names if table.dtype[name] == "f8" and not name.startswith("stokes_i")]
    assert [name for name in blank if not np.isnan(table[name][1])] == ["channel_width_hz"]
    assert table["stokes_i_flag"][2] == 9
    assert np.isnan(table["stokes_i"][2])
    assert np.isfinite(table["clean_rm_radm2"][2])
    assert np.isnan(table["fwhm_radm2"][3])
    assert table["clean_iterations"][[1, 3]].tolist() == [0, 0]
    assert np.array_equal(table[[0, 4]], whole[[0, 4]])
    assert len(analyse_spectra(FREQ_HZ, *(part[:0] for part in spectra), options=options).table) == 0


def test_columns_have_units_and_results_are_consistent():
    assert set(ANALYSIS_UNITS) == set(ANALYSIS_DTYPE.names)
    spectra, _, _ = sources(np.random.default_rng(9), 4)
    analysis = analyse_spectra(FREQ_HZ, *spectra, options=AnalysisOptions(phi_max_radm2=200.0))
    q, u = (part / analysis.stokes_i_model for part in spectra[1:3])
    weights = (analysis.stokes_i_model / spectra[4]) ** 2
    fdf = rm_synthesis(q.T, u.T, FREQ_HZ, analysis.phi_radm2, weights=weights.T, lambda0_sq_m2="pixel")
    assert np.abs(fdf * analysis.table["stokes_i"] - analysis.fdf).max() < 1e-6 * np.abs(analysis.fdf).max()
    assert np.abs(np.abs(analysis.rmtf[analysis.phi_radm2.size]) - 1).max() < 1e-6


def test_rm_tools_agrees_on_other_spectra_than_the_stored():
    pytest.importorskip("RMtools_1D", reason="RM-Tools is installed beside, not with the package")
    rng = np.random.default_rng(10)
    for options in ({}, {"polyOrd": 1, "phiMax_radm2": 400.0}, {"polyOrd": -4, "weightType": "uniform"}):
        spectra = rm_tools_1d.make_spectra(rng, FREQ_HZ)
        assert_agrees(analyse_case(FREQ_HZ, spectra, options), rm_tools_1d.run(FREQ_HZ, spectra, options))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"freq_hz": FREQ_HZ / 1e6}, "multiply MHz by 1e6"),
        ({"freq_hz": FREQ_HZ[1:]}, "with the channels of freq_hz"),
        ({"freq_hz": np.append(FREQ_HZ[1:], np.nan)}, "not finite"),
        ({"u": np.zeros((3, 72))}, "the same shape"),
        ({"i": np.zeros((3, 72))}, "the same shape"),
        ({"q": np.zeros(72)}, r"expected \(source, 72\)"),
        ({"dq": np.zeros((3, 3))}, "error of q"),
        ({"phi_radm2": [0.0, 1.0]}, "at least three"),
        ({"phi_radm2": [0.0, 1.0, 3.0]}, "one step"),
    ],
)
def test_wrong_input_is_named(change, message):
    arguments = {name: np.ones((2, 72)) for name in ("i", "q", "u", "di", "dq", "du")}
    with pytest.raises(DataError, match=message):
        analyse_spectra(**{"freq_hz": FREQ_HZ, **arguments, **change})


def test_one_channel_has_no_grid_of_its_own():
    with pytest.raises(DataError, match="no resolution"):
        analyse_spectra([1e9], *np.ones((6, 2, 1)))
    table = analyse_spectra([1e9], *np.ones((6, 2, 1)), phi_radm2=np.arange(-5.0, 6.0)).table
    assert np.isnan(table["dirty_rm_err_radm2"]).all()
    assert table["channels"].tolist() == [1, 1]
