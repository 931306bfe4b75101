"""RM-CLEAN: the kernel against the slow reference and against RM-Tools, masks, cutoffs, and input that is wrong."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpidriver.errors import DataError
from mpidriver.tasks.faraday import double_phi_grid, lambda_sq, phi_grid, rm_clean, rm_synthesis, rmtf, rmtf_fwhm
from mpidriver.tasks.faraday._reference import reference_rm_clean

FREQ_HZ = np.linspace(800e6, 1088e6, 60)
PHI = phi_grid(FREQ_HZ, phi_max_radm2=600.0, samples=6)
FWHM = rmtf_fwhm(FREQ_HZ)


def dirty_spectra(rng, count, *, dtype=np.complex64, flagged=0.0, noise=0.02):
    """Two sources in every spectrum, (phi, spectrum), and their transfer functions, shared if nothing is flagged."""
    rm, angle = rng.uniform(-400, 400, (2, count)), rng.uniform(0, np.pi, (2, count))
    amplitude = rng.uniform(0.2, 1.0, (2, count))
    phase = 2 * (angle[:, None] + lambda_sq(FREQ_HZ)[:, None] * rm[:, None])
    p = (amplitude[:, None] * np.exp(1j * phase)).sum(axis=0)
    p += noise * np.sqrt(FREQ_HZ.size) * (rng.normal(size=p.shape) + 1j * rng.normal(size=p.shape))
    flags = rng.random(p.shape) < flagged
    options = {"lambda0_sq_m2": lambda_sq(FREQ_HZ).mean(), "dtype": dtype}
    fdf = rm_synthesis(np.where(flags, np.nan, p.real), p.imag, FREQ_HZ, PHI, **options)
    return fdf, rmtf(FREQ_HZ, double_phi_grid(PHI), flags=flags if flagged else None, **options)


@settings(max_examples=15, deadline=None, derandomize=True, database=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    flagged=st.sampled_from([0.0, 0.2]),
    window=st.booleans(),
    masked=st.booleans(),
    gain=st.sampled_from([0.05, 0.1, 0.7]),
    max_iterations=st.sampled_from([0, 7, 1000]),
)
def test_kernel_equals_reference(seed, flagged, window, masked, gain, max_iterations):
    rng = np.random.default_rng(seed)
    fdf, response = dirty_spectra(rng, 5, dtype=np.complex128, flagged=flagged)
    allowed = rng.random(fdf.shape) < 0.8 if masked else np.ones(fdf.shape, bool)
    options = {
        "cutoff": rng.uniform(0.05, 0.3),
        "window_cutoff": 0.05 if window else None,
        "gain": gain,
        "max_iterations": max_iterations,
    }
    clean = rm_clean(fdf, response, PHI, FWHM, mask=allowed if masked else None, **options)
    for k in range(5):
        own = response if response.ndim == 1 else response[:, k]
        expected = reference_rm_clean(fdf[:, k], own, PHI, FWHM, allowed=allowed[:, k], **options)
        for name, spectrum in zip(("cleaned", "components", "residual"), expected, strict=False):
            assert np.abs(getattr(clean, name)[:, k] - spectrum).max() < 1e-12, name
        assert clean.iterations[k] == expected[3]
        assert clean.converged[k] or expected[3] == max_iterations


def test_single_precision_is_that_of_input_and_output_alone():
    fdf, response = dirty_spectra(np.random.default_rng(1), 70)
    single = rm_clean(fdf, response, PHI, FWHM, cutoff=0.08)
    double = rm_clean(fdf.astype(complex), response.astype(complex), PHI, FWHM, cutoff=0.08)
    assert np.array_equal(single.iterations, double.iterations)
    for name in ("cleaned", "components", "residual"):
        assert getattr(single, name).dtype == np.complex64
        assert np.array_equal(getattr(single, name), getattr(double, name).astype(np.complex64)), name


def test_components_through_the_transfer_function_and_the_residual_are_the_dirty_spectrum():
    fdf, response = dirty_spectra(np.random.default_rng(2), 20, noise=0.0, dtype=np.complex128)
    clean = rm_clean(fdf, response, PHI, FWHM, cutoff=1e-3, max_iterations=10000)
    assert clean.converged.all()
    assert np.abs(clean.residual).max() < 1e-3
    for k in range(20):
        through = np.convolve(clean.components[:, k], response)[response.size // 2 :][: PHI.size]
        assert np.abs(through + clean.residual[:, k] - fdf[:, k]).max() < 1e-12


def test_one_source_on_the_grid_is_one_component_of_its_flux_and_angle():
    depth, p = PHI.size // 3, 0.7 * np.exp(0.4j)
    stokes = p * np.exp(2j * PHI[depth] * (lambda_sq(FREQ_HZ) - lambda_sq(FREQ_HZ).mean()))
    options = {"dtype": np.complex128}
    fdf = rm_synthesis(stokes.real, stokes.imag, FREQ_HZ, PHI, **options)
    clean = rm_clean(fdf, rmtf(FREQ_HZ, double_phi_grid(PHI), **options), PHI, FWHM, cutoff=1e-9)
    assert np.flatnonzero(clean.components).tolist() == [depth]
    assert clean.components[depth] == pytest.approx(p, abs=2e-9)
    assert np.abs(clean.cleaned - p * np.exp(-4 * np.log(2) * ((PHI - PHI[depth]) / FWHM) ** 2)).max() < 1e-8


def test_cutoff_in_standard_deviations_is_the_cutoff_times_the_noise_of_each_spectrum():
    rng = np.random.default_rng(3)
    fdf, response = dirty_spectra(rng, 12)
    noise = rng.uniform(0.02, 0.06, 12)
    by_noise = rm_clean(fdf, response, PHI, FWHM, cutoff=3.0, window_cutoff=1.0, noise=noise)
    absolute = rm_clean(fdf, response, PHI, FWHM, cutoff=3.0 * noise, window_cutoff=noise)
    assert all(np.array_equal(*pair) for pair in zip(by_noise, absolute, strict=True))
    assert np.all(np.abs(by_noise.residual).max(axis=0) < 3.0 * noise * (1 + 1e-6))


def test_what_is_below_its_cutoff_masked_or_has_none_stays_dirty():
    fdf, response = dirty_spectra(np.random.default_rng(4), 4)
    cutoff, mask = np.array([10.0, 0.05, np.nan, 0.05]), np.array([True, False, True, True])
    clean = rm_clean(fdf, response, PHI, FWHM, cutoff=cutoff, mask=mask)
    assert np.array_equal(clean.cleaned[:, :3], fdf[:, :3])
    assert not clean.components[:, :3].any()
    assert clean.iterations.tolist()[:3] == [0, 0, 0]
    assert clean.iterations[3] > 0


def test_second_search_is_deeper_but_only_near_components():
    fdf, response = dirty_spectra(np.random.default_rng(5), 30, noise=0.03)
    first = rm_clean(fdf, response, PHI, FWHM, cutoff=0.2)
    both = rm_clean(fdf, response, PHI, FWHM, cutoff=0.2, window_cutoff=0.02)
    assert np.all(both.iterations > first.iterations)
    for k in range(30):
        near = np.abs(np.subtract.outer(PHI, PHI[first.components[:, k] != 0])).min(axis=1) <= 0.5001 * FWHM
        assert not both.components[~near, k].any()
        assert np.abs(both.residual[near, k]).max() < 0.02


def test_blank_spectra_stay_blank_and_leave_the_others_alone():
    fdf, response = dirty_spectra(np.random.default_rng(6), 6)
    whole = rm_clean(fdf, response, PHI, FWHM, cutoff=0.1)
    fdf[:, 2] = np.nan
    fdf[7, 4] = np.inf
    clean = rm_clean(fdf.reshape(-1, 2, 3), response, PHI, FWHM, cutoff=0.1)
    assert np.isnan(clean.cleaned[:, 0, 2]).all()
    assert np.isnan(clean.components.reshape(-1, 6)[:, [2, 4]]).all()
    assert clean.iterations.ravel()[[2, 4]].tolist() == [0, 0]
    assert clean.converged.tolist() == [[True, True, False], [True, False, True]]
    others = [0, 1, 3, 5]
    assert np.array_equal(clean.cleaned.reshape(-1, 6)[:, others], whole.cleaned[:, others])


def test_a_transfer_function_that_cannot_belong_to_the_spectra_ends_in_dirty_spectra():
    fdf, response = dirty_spectra(np.random.default_rng(7), 3)
    clean = rm_clean(fdf, -response, PHI, FWHM, cutoff=0.1, max_iterations=10**6)
    assert not clean.converged.any()
    assert np.array_equal(clean.cleaned, fdf)
    assert not clean.components.any()
    without = rm_clean(fdf, np.full_like(response, np.nan), PHI, FWHM, cutoff=0.1)
    assert np.array_equal(without.cleaned, fdf)
    assert not without.converged.any()


def test_threads_and_the_shape_of_the_cube_do_not_change_a_bit():
    fdf, response = dirty_spectra(np.random.default_rng(8), 150, flagged=0.1)
    one = rm_clean(fdf, response, PHI, FWHM, cutoff=0.1)
    cube = rm_clean(fdf.reshape(-1, 10, 15), response.reshape(-1, 10, 15), PHI, FWHM, cutoff=0.1, threads=3)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(one, cube, strict=True))
    alone = rm_clean(fdf[:, 149], response[:, 149], PHI, FWHM, cutoff=0.1)
    assert np.array_equal(alone.cleaned, one.cleaned[:, 149])
    assert alone.iterations == one.iterations[149]
    assert rm_clean(fdf[:, :0], response[:, :0], PHI, FWHM, cutoff=0.1).cleaned.shape == (PHI.size, 0)


def test_rm_tools_makes_the_same_components_with_the_same_iterations():
    rm_tools = pytest.importorskip("RMutils.util_RM", reason="RM-Tools is installed beside, not with the package")
    fdf, response = dirty_spectra(np.random.default_rng(9), 40, flagged=0.1)
    for spectra, transfer in ((fdf, response), (fdf.astype(complex), response.astype(complex))):
        theirs = rm_tools.do_rmclean_hogbom(
            spectra, PHI, transfer, double_phi_grid(PHI), np.full(40, FWHM), 0.1, window=np.inf
        )
        ours = rm_clean(spectra, transfer, PHI, FWHM, cutoff=0.1)
        assert np.array_equal(ours.iterations, theirs.iterCountArr)
        peak = np.abs(fdf).max()
        assert np.abs(ours.components - theirs.ccArr).max() < 1e-6 * peak
        assert np.abs(ours.cleaned - theirs.cleanFDF).max() < 1e-6 * peak
        assert np.abs(ours.residual - theirs.residFDF).max() < 1e-6 * peak


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fdf": np.zeros((5, 2), np.float32)}, "complex64 or complex128"),
        ({"fdf": np.zeros((4, 2), complex)}, "5 Faraday depths"),
        ({"rmtf": np.zeros(10, complex)}, "odd number of at least 9"),
        ({"rmtf": np.zeros(7, complex)}, "odd number of at least 9"),
        ({"rmtf": np.zeros((11, 3), complex)}, "one for each spectrum"),
        ({"phi_radm2": [0.0, 1.0, 2.0, 4.0, 5.0]}, "ascending depths with one step"),
        ({"phi_radm2": [4.0, 3.0, 2.0, 1.0, 0.0]}, "ascending depths with one step"),
        ({"phi_radm2": [1.0], "fdf": np.zeros((1, 2), complex)}, "has no step"),
        ({"fwhm_radm2": 0.0}, "fwhm_radm2: expected a positive number"),
        ({"fwhm_radm2": np.ones(3)}, "fwhm_radm2: expected one value"),
        ({"cutoff": 0.0}, "cutoff: expected a positive number"),
        ({"cutoff": np.ones((2, 1))}, "cutoff: expected one value"),
        ({"window_cutoff": -1.0}, "window_cutoff: expected a positive number"),
        ({"noise": np.nan}, "noise: expected a positive number"),
        ({"mask": np.ones(3, bool)}, "mask: expected shape"),
        ({"mask": np.ones((5, 3), bool)}, "mask: expected shape"),
        ({"gain": 0.0}, "gain"),
        ({"max_iterations": -1}, "max_iterations"),
    ],
)
def test_wrong_input_is_named(change, message):
    arguments = {
        "fdf": np.zeros((5, 2), complex),
        "rmtf": np.ones(11, complex),
        "phi_radm2": np.arange(5.0),
        "fwhm_radm2": 2.0,
        "cutoff": 1.0,
        **change,
    }
    with pytest.raises(DataError, match=message):
        rm_clean(**arguments)


def test_kernel_is_right_without_compilation():
    """The kernel means the same as plain Python; only a tiny case is affordable."""
    script = (
        "import numpy as np\n"
        "from mpidriver.tasks.faraday import rm_clean\n"
        "from mpidriver.tasks.faraday._reference import reference_rm_clean\n"
        "phi, fwhm = np.arange(-9.0, 10.0), 4.0\n"
        "response = np.exp(-4 * np.log(2) * (np.arange(-19.0, 20.0) / fwhm) ** 2).astype('c8')\n"
        "fdf = (0.5j * response[13:32] + response[7:26])\n"
        "clean = rm_clean(fdf, response, phi, fwhm, cutoff=0.2, window_cutoff=0.1)\n"
        "expected = reference_rm_clean(fdf, response, phi, fwhm, cutoff=0.2, window_cutoff=0.1)\n"
        "assert np.abs(clean.cleaned - expected[0]).max() < 1e-6 and clean.iterations == expected[3] > 20\n"
    )
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    subprocess.run([sys.executable, "-W", "error", "-c", script], env=environment, check=True, timeout=120)
