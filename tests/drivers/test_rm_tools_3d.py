"""Cubes against RM-Tools' 3-D programs: every product and every peak map within a hundredth of its error."""

import json

import numpy as np
import pytest
import rm_tools_3d
from rm_tools_3d import CUTOFF, PHI_MAX, SAMPLES, SIGMA, unpack
from stokes_cubes import FREQ_HZ

from mpidriver.drivers.rmclean import CleanOptions, clean_cubes
from mpidriver.drivers.rmsynth import CubePaths, SynthesisOptions, synthesise_cubes
from mpidriver.pool import Pool
from mpidriver.tasks.faraday import RM_TOOLS_NAMES, AnalysisOptions, analyse_spectra, lambda_sq

CASES = {case["name"]: case for case in json.loads(rm_tools_3d.PATH.read_text())}
NOISE = SIGMA / np.sqrt(FREQ_HZ.size)
"""Of a Faraday spectrum, but for the case whose channels differ."""
MAP_ERROR_OF = {
    "phiPeakPIfit_rm2": "dPhiPeakPIfit_rm2",
    "polAngleFit_deg": "dPolAngleFit_deg",
    "polAngle0Fit_deg": "dPolAngle0Fit_deg",
    **dict.fromkeys(("ampPeakPIfit", "ampPeakPIfitEff", "peakFDFimagFit", "peakFDFrealFit"), "dAmpPeakPIfit"),
}
"""RM-Tools' names of maps and of their errors; other maps must agree to 1e-3."""
NOT_COMPARED = ("fracPol", "Ifreq0")  # that of peakfitcube is not debiased, and Stokes I is 1 where there is none


def our_products(folder, name, cubes, noise):
    """Return what our drivers make of a case, by RM-Tools' names."""
    rm_tools_3d.write_cubes(folder, cubes, noise)
    i, weights = (
        str(folder / file) if used else None
        for file, used in (("I.fits", "I" in cubes), ("noise.txt", name == "noise"))
    )
    paths = CubePaths(
        str(folder / "Q.fits"), str(folder / "U.fits"), i=i, frequencies=str(folder / "freq.txt"), noise=weights
    )
    with Pool() as pool:
        synthesise_cubes(
            pool, paths, folder / "ours", SynthesisOptions(phi_max_radm2=PHI_MAX, samples=SAMPLES, rmsf="pixel")
        )
        clean_cubes(pool, folder / "ours", None, CleanOptions(cutoff=CUTOFF, in_sigma=False))
    return rm_tools_3d.read_products(folder / "ours")


def mean_over_interpolation(stokes_i):
    """Return what RM-Tools takes for Stokes I at λ²_0, the mean of two channels, over what it is between them."""
    lambda0 = lambda_sq(FREQ_HZ).mean()
    above = int(np.searchsorted(FREQ_HZ, 299792458.0 / np.sqrt(lambda0)))
    x = lambda_sq(FREQ_HZ)[above - 1 : above + 1]
    share = (lambda0 - x[0]) / (x[1] - x[0])
    return 0.5 * (stokes_i[above - 1] + stokes_i[above]) / ((1 - share) * stokes_i[above - 1] + share * stokes_i[above])


def assert_products_agree(ours, theirs, cubes):
    """Spectra, components, widths and numbers of iterations are RM-Tools', but for blanks and Stokes I."""
    blank = ~np.isfinite(cubes["Q"]).any(axis=0)
    scale = mean_over_interpolation(cubes["I"]) if "I" in cubes else 1.0
    for name in rm_tools_3d.COMPLEX:
        factor = 1.0 if name == "RMSF" else scale
        difference = np.abs(ours[name] * factor - theirs[name])[:, ~blank]
        assert difference.max() < 0.01 * (1e-2 if name == "RMSF" else NOISE), name
        assert np.isnan(ours[name][:, blank]).all(), name
    assert np.array_equal(ours["CLEAN_nIter"], theirs["CLEAN_nIter"])
    assert ours["RMSF_FWHM"][~blank] == pytest.approx(theirs["RMSF_FWHM"][~blank], rel=1e-6)
    for name, key in (("FDF_maxPI", "ampPeakPIfit"), ("FDF_peakRM", "phiPeakPIfit_rm2")):
        fitted, error = theirs[f"dirty_{key}"], theirs[f"dirty_{MAP_ERROR_OF[key]}"]
        found = ours[name] * (scale if name == "FDF_maxPI" else 1.0)
        assert np.all(np.abs(found - fitted)[~blank] < 0.01 * error[~blank]), name
        assert np.isnan(ours[name][blank]).all(), name
    step = 3.8 / np.ptp(lambda_sq(FREQ_HZ)) / SAMPLES
    assert np.all(np.abs(ours["FDF_peakRM"] - theirs["FDF_peakRM"])[~blank] <= 0.5 * step)


def assert_peak_maps_agree(name, cubes, noise, theirs):
    """What peakfitcube tells of each pixel is what the analysis of its spectrum tells."""
    q, u = (cubes[stokes].astype(np.float32).reshape(FREQ_HZ.size, -1).T for stokes in "QU")
    weight = noise**-2.0 if name == "noise" else np.ones(FREQ_HZ.size)
    sigma = np.sqrt(np.sum((weight * noise) ** 2)) / weight.sum()
    options = AnalysisOptions(
        phi_max_radm2=PHI_MAX,
        samples=SAMPLES,
        weighting="variance" if name == "noise" else "uniform",
        clean_cutoff=CUTOFF / sigma,
    )
    table = analyse_spectra(FREQ_HZ, None, q, u, None, noise, noise, options=options).table
    for kind, stage in (("dirty", "synthesis"), ("clean", "clean")):
        columns = {
            their_name: column for column, their_name in (RM_TOOLS_NAMES["synthesis"] | RM_TOOLS_NAMES[stage]).items()
        }
        for key in rm_tools_3d.PEAKS:
            if key not in columns or key in NOT_COMPARED:
                continue
            value, expected = table[columns[key]].reshape(rm_tools_3d.SKY), theirs[f"{kind}_{key}"]
            error = theirs[f"{kind}_{MAP_ERROR_OF[key]}"] if key in MAP_ERROR_OF else 0.1 * np.abs(expected)
            difference = value - expected
            if key.endswith("_deg") and key in MAP_ERROR_OF:
                difference = (difference + 90.0) % 180.0 - 90.0
            assert np.all(np.abs(difference) <= 0.01 * error), (kind, key, value, expected)


@pytest.mark.parametrize("name", rm_tools_3d.CASES)
def test_every_product_of_a_stored_rm_tools_run_is_met(name, tmp_path):
    cubes, noise = {key: unpack(cube) for key, cube in CASES[name]["cubes"].items()}, np.array(CASES[name]["noise"])
    theirs = {key: unpack(values) for key, values in CASES[name]["products"].items()}
    ours = our_products(tmp_path, name, cubes, noise)
    if name == "Stokes I":  # peakfitcube multiplies errors by Stokes I, as if they were of fractions
        theirs |= {key: values / theirs["dirty_Ifreq0"] for key, values in theirs.items() if key.startswith("dirty_d")}
    assert theirs["CLEAN_nIter"].max() > 10
    assert_products_agree(ours, theirs, cubes)
    if name in ("uniform", "noise"):
        assert_peak_maps_agree(name, cubes, noise, theirs)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # RM-Tools leaves files open
def test_rm_tools_agrees_on_other_cubes_than_the_stored_and_its_files_can_be_cleaned(tmp_path):
    pytest.importorskip("RMtools_3D", reason="RM-Tools is installed beside, not with the package")
    cubes, noise = rm_tools_3d.make_case(np.random.default_rng(5), "noise")
    ours = our_products(tmp_path, "noise", cubes, noise)
    theirs = rm_tools_3d.run(tmp_path, "noise", cubes)
    assert_products_agree(ours, theirs, cubes)
    assert_peak_maps_agree("noise", cubes, noise, theirs)
    with Pool() as pool:
        clean_cubes(pool, tmp_path, tmp_path / "mixed", CleanOptions(cutoff=CUTOFF, in_sigma=False))
    mixed = rm_tools_3d.read_cubes(tmp_path / "mixed", ("FDF_clean", "FDF_CC"))
    for name, cube in mixed.items():
        assert np.abs(cube - theirs[name]).max() < 1e-5, name
