"""RM synthesis: the kernel against the slow reference, analytic spectra, and input that is wrong."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpidriver.errors import DataError
from mpidriver.tasks.faraday import cube_lambda0, lambda_sq, phi_grid, pixel_lambda0, rm_synthesis, rmtf, rmtf_fwhm
from mpidriver.tasks.faraday._kernels import CACHED, synthesise_tiles
from mpidriver.tasks.faraday._reference import reference_rm_synthesis

TOLERANCE = 1e-6
"""Of the largest possible peak: float32 arithmetic and nine taps each give about 3e-7."""

POSSUM_HZ = np.linspace(800e6, 1088e6, 288)


def thin(freq_hz, rm_radm2, angle_deg=0.0, amplitude=1.0):
    """Q and U of a Faraday-thin source whose angle at λ² = 0 is given."""
    angle = 2.0 * (np.deg2rad(angle_deg) + np.multiply.outer(lambda_sq(freq_hz), rm_radm2))
    return (amplitude * np.cos(angle)).astype(np.float32), (amplitude * np.sin(angle)).astype(np.float32)


@st.composite
def observations(draw):
    """A random cube of noise: channels in any order and sampling, depths, flags and weights."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    channels = draw(st.integers(1, 150))
    low = draw(st.sampled_from([120e6, 800e6, 1.1e9]))
    freq_hz = rng.permutation(rng.uniform(low, low * draw(st.floats(1.01, 8.0)), channels))
    span = draw(st.sampled_from([1.0, 10.0, 100.0])) / np.ptp(np.append(lambda_sq(freq_hz), 0.0))
    depths = draw(st.integers(1, 200))
    if draw(st.booleans()):
        phi_radm2 = np.linspace(-span, span, depths) + draw(st.sampled_from([0.0, 0.7])) * span
    else:
        phi_radm2 = rng.uniform(-span, span, depths)
    shape = (channels, *draw(st.sampled_from([(), (1,), (3, 5), (140,)])))
    q, u = rng.normal(size=(2, *shape)).astype(np.float32)
    flagged = rng.random(shape) < draw(st.sampled_from([0.0, 0.1, 0.9]))
    q[flagged] = rng.choice([np.nan, np.inf, -np.inf])
    kind = draw(st.sampled_from(["none", "channel", "voxel"]))
    weights = {"none": None, "channel": rng.uniform(0.1, 9.0, channels), "voxel": rng.uniform(-0.2, 3.0, shape)}[kind]
    if kind == "channel":
        weights[1:] *= rng.random(channels - 1) < 0.9
    if kind == "voxel" and len(shape) == 1:
        weights = np.maximum(weights, 0.01)
    return q, u, freq_hz, phi_radm2, weights


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(observations())
def test_kernel_equals_reference(observation):
    q, u, freq_hz, phi_radm2, weights = observation
    expected = reference_rm_synthesis(q, u, freq_hz, phi_radm2, weights=weights)
    fdf = rm_synthesis(q, u, freq_hz, phi_radm2, weights=weights)
    assert fdf.shape == (phi_radm2.size, *q.shape[1:])
    assert fdf.dtype == np.complex64
    assert np.array_equal(np.isnan(expected), np.isnan(fdf))
    good = np.isfinite(q) & np.isfinite(u)
    scale = np.hypot(q, u).max(where=good, initial=0.0)
    assert np.nanmax(np.abs(fdf - expected), initial=0.0) <= TOLERANCE * scale


@pytest.mark.parametrize(
    ("freq_hz", "phi_radm2"),
    [
        (POSSUM_HZ, np.arange(-2000.0, 2001.0, 10.0)),
        (np.r_[1.1:3.1:250j, 4.5:6.5:250j, 6.5:8.5:250j] * 1e9, np.arange(-5000.0, 5001.0, 25.0)),
        (np.linspace(2e9, 4e9, 125), np.arange(-20000.0, 20001.0, 100.0)),
    ],
    ids=["possum", "quocka", "vlass"],
)
def test_error_is_below_a_millionth_of_the_peak_for_real_surveys(freq_hz, phi_radm2):
    rng = np.random.default_rng(5)
    q, u = thin(freq_hz, rng.uniform(phi_radm2[0], phi_radm2[-1], 64), rng.uniform(0, 180, 64))
    expected = reference_rm_synthesis(q, u, freq_hz, phi_radm2)
    assert np.abs(rm_synthesis(q, u, freq_hz, phi_radm2) - expected).max() <= TOLERANCE


def test_double_precision_on_request():
    rng = np.random.default_rng(6)
    q, u = rng.normal(size=(2, 288, 3))
    phi_radm2 = np.arange(-2000.0, 2001.0, 10.0)
    fdf = rm_synthesis(q, u, POSSUM_HZ, phi_radm2, dtype=np.complex128)
    assert fdf.dtype == np.complex128
    assert np.abs(fdf - reference_rm_synthesis(q, u, POSSUM_HZ, phi_radm2)).max() < 1e-13


@pytest.mark.parametrize("angle_deg", [0.0, 30.0, 90.0, 179.0])
@pytest.mark.parametrize("rm_radm2", [-1500.0, 0.0, 100.0])
def test_thin_source_peaks_at_its_depth_with_its_flux_and_angle(rm_radm2, angle_deg):
    phi_radm2 = np.arange(-2000.0, 2001.0, 10.0)
    q, u = thin(POSSUM_HZ, rm_radm2, angle_deg, amplitude=0.02)
    fdf = rm_synthesis(q, u, POSSUM_HZ, phi_radm2, lambda0_sq_m2=0.0)
    at = np.argmax(np.abs(fdf))
    assert phi_radm2[at] == rm_radm2
    assert abs(fdf[at] - 0.02 * np.exp(2j * np.deg2rad(angle_deg))) < 0.02 * 1e-5


def test_angle_refers_to_lambda0():
    q, u = thin(POSSUM_HZ, 50.0, 20.0)
    lambda0 = cube_lambda0(q, u, POSSUM_HZ)
    peak = rm_synthesis(q, u, POSSUM_HZ, [50.0])[0]
    assert abs(peak - np.exp(2j * (np.deg2rad(20.0) + 50.0 * lambda0))) < 1e-5


def test_grid_off_centre_peaks_at_the_right_depth():
    phi_radm2 = np.arange(-200.0, 801.0, 5.0)
    q, u = thin(POSSUM_HZ, 100.0)
    assert phi_radm2[np.argmax(np.abs(rm_synthesis(q, u, POSSUM_HZ, phi_radm2)))] == 100.0


def test_two_components_add_up():
    phi_radm2 = phi_grid(POSSUM_HZ, phi_max_radm2=1000.0)
    spectra = [np.stack(thin(POSSUM_HZ, rm, angle, p)) for rm, angle, p in ((-300.0, 10.0, 1.0), (400.0, 70.0, 0.5))]
    both = rm_synthesis(*(spectra[0] + spectra[1]), POSSUM_HZ, phi_radm2)
    apart = [rm_synthesis(*each, POSSUM_HZ, phi_radm2) for each in spectra]
    assert np.abs(both - apart[0] - apart[1]).max() < 2 * TOLERANCE
    assert abs(np.abs(both)[np.argmin(abs(phi_radm2 - 400.0))] - 0.5) < 0.1


def test_burn_slab_is_a_top_hat_seen_through_the_rmtf():
    """A slab of width R has P(λ²) = sin(Rλ²)/(Rλ²) exp(2i φ_c λ²) (Burn 1966, MNRAS 133, 67, eq. 18)."""
    width, centre = 40.0, 25.0
    lambda_sq_m2 = lambda_sq(POSSUM_HZ)
    p = np.sinc(width * lambda_sq_m2 / np.pi) * np.exp(2j * centre * lambda_sq_m2)
    phi_radm2 = np.linspace(-200.0, 200.0, 33)
    fdf = rm_synthesis(p.real, p.imag, POSSUM_HZ, phi_radm2, lambda0_sq_m2=0.0)
    inside = np.linspace(centre - 0.5 * width, centre + 0.5 * width, 501)
    inside = 0.5 * (inside[1:] + inside[:-1])
    smeared = [rmtf(POSSUM_HZ, phi - inside, lambda0_sq_m2=0.0, dtype=np.complex128).mean() for phi in phi_radm2]
    assert np.abs(fdf - np.array(smeared)).max() < 1e-5
    assert abs(np.sum(p * np.exp(-2j * centre * lambda_sq_m2)) / 288 - fdf[np.argmin(abs(phi_radm2 - centre))]) < 1e-6


def test_blank_planes_move_lambda0_and_isolated_flags_do_not():
    rng = np.random.default_rng(7)
    q, u = rng.normal(size=(2, 288, 6, 7)).astype(np.float32)
    whole = cube_lambda0(q, u, POSSUM_HZ)
    assert whole == pytest.approx(lambda_sq(POSSUM_HZ).mean(), rel=1e-14)
    isolated = q.copy()
    isolated[rng.random(q.shape) < 0.3] = np.nan
    assert cube_lambda0(isolated, u, POSSUM_HZ) == whole
    u[:100] = np.nan
    assert cube_lambda0(q, u, POSSUM_HZ) == pytest.approx(lambda_sq(POSSUM_HZ)[100:].mean(), rel=1e-14)
    weights = np.where(np.arange(288) < 200, np.nan, 2.0)
    assert cube_lambda0(q, u, POSSUM_HZ, weights=weights) == pytest.approx(lambda_sq(POSSUM_HZ)[200:].mean(), rel=1e-14)
    assert cube_lambda0(q[:, None, :0], u[:, None, :0], POSSUM_HZ) == pytest.approx(lambda_sq(POSSUM_HZ).mean())


def test_voxel_weights_constant_along_pixels_equal_channel_weights():
    rng = np.random.default_rng(8)
    q, u = rng.normal(size=(2, 40, 9)).astype(np.float32)
    q[rng.random(q.shape) < 0.2] = np.nan
    weights = rng.uniform(1e8, 1e10, 40).astype(np.float32)
    freq_hz, phi_radm2 = POSSUM_HZ[:40], np.arange(-500.0, 501.0, 25.0)
    by_channel = rm_synthesis(q, u, freq_hz, phi_radm2, weights=weights)
    by_voxel = rm_synthesis(q, u, freq_hz, phi_radm2, weights=np.broadcast_to(weights[:, None], q.shape))
    assert np.abs(by_channel - by_voxel).max() < 5 * TOLERANCE


def test_threads_do_not_change_a_bit():
    rng = np.random.default_rng(9)
    q, u = rng.normal(size=(2, 64, 37, 41)).astype(np.float32)
    q[rng.random(q.shape) < 0.1] = np.nan
    phi_radm2 = np.arange(-300.0, 301.0, 5.0)
    one = rm_synthesis(q, u, POSSUM_HZ[::4][:64], phi_radm2)
    assert one.tobytes() == rm_synthesis(q, u, POSSUM_HZ[::4][:64], phi_radm2, threads=3).tobytes()


def test_a_pixel_does_not_depend_on_its_neighbours():
    rng = np.random.default_rng(10)
    q, u = rng.normal(size=(2, 288, 131)).astype(np.float32)
    phi_radm2 = np.arange(-2000.0, 2001.0, 10.0)
    cube = rm_synthesis(q, u, POSSUM_HZ, phi_radm2)
    alone = rm_synthesis(q[:, 130], u[:, 130], POSSUM_HZ, phi_radm2)
    assert np.array_equal(cube[:, 130], alone)


def test_byte_order_and_strides_of_the_input_do_not_matter():
    rng = np.random.default_rng(11)
    q, u = rng.normal(size=(2, 30, 4, 5)).astype(np.float32)
    phi_radm2 = np.arange(-100.0, 101.0, 10.0)
    plain = rm_synthesis(q, u, POSSUM_HZ[:30], phi_radm2)
    last = [np.moveaxis(np.ascontiguousarray(np.moveaxis(cube, 0, -1)), -1, 0) for cube in (q, u)]
    assert np.array_equal(plain, rm_synthesis(*last, POSSUM_HZ[:30], phi_radm2))
    assert np.array_equal(plain, rm_synthesis(q.astype(">f4"), u.astype(">f4"), POSSUM_HZ[:30], phi_radm2))
    compiled = len(synthesise_tiles.signatures)
    q.flags.writeable = u.flags.writeable = False
    assert np.array_equal(plain, rm_synthesis(q, u, POSSUM_HZ[:30], phi_radm2, weights=np.ones_like(q)))
    assert len(synthesise_tiles.signatures) == compiled


def test_all_flagged_pixel_is_nan_and_one_channel_is_flat():
    q, u = np.ones((2, 3, 2), np.float32)
    q[:, 1] = np.nan
    fdf = rm_synthesis(q, u, POSSUM_HZ[:3], [-10.0, 0.0, 10.0])
    assert np.all(np.isnan(fdf[:, 1]))
    assert np.all(np.isfinite(fdf[:, 0]))
    flat = rm_synthesis(q[:1, :1], u[:1, :1], POSSUM_HZ[:1], [-10.0, 0.0, 10.0])
    assert np.allclose(flat, 1 + 1j, atol=1e-6)
    assert rm_synthesis(q[:, :0], u[:, :0], POSSUM_HZ[:3], [0.0]).shape == (1, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"u": np.zeros((4, 3), np.float32)}, "same shape"),
        ({"q": np.zeros((5, 2)), "u": np.zeros((5, 2))}, "expected 4 channels"),
        ({"freq_hz": [800.0, 900.0, 1000.0, 1100.0]}, "multiply MHz by 1e6"),
        ({"freq_hz": [800e6, np.nan, 1e9, 1.1e9]}, "not finite"),
        ({"freq_hz": []}, "at least one frequency"),
        ({"phi_radm2": []}, "at least one Faraday depth"),
        ({"phi_radm2": [0.0, np.inf]}, "must be finite"),
        ({"weights": np.zeros(4)}, "at least one channel must have a positive weight"),
        ({"weights": [1.0, -1.0, 1.0, 1.0]}, "at least 0"),
        ({"weights": np.ones(3)}, "expected shape"),
        ({"weights": np.ones((4, 3))}, "expected shape"),
        ({"dtype": np.float32}, "complex64 or complex128"),
        ({"lambda0_sq_m2": "own"}, "a number, an array or"),
        ({"lambda0_sq_m2": np.ones(3)}, "one value or shape"),
        ({"lambda0_sq_m2": -0.1}, "at least 0"),
        ({"lambda0_sq_m2": np.nan}, "at least 0"),
    ],
)
def test_wrong_input_is_named(change, message):
    arguments = {
        "q": np.ones((4, 2), np.float32),
        "u": np.ones((4, 2), np.float32),
        "freq_hz": [8e8, 9e8, 1e9, 1.1e9],
        "phi_radm2": [0.0, 1.0],
        **change,
    }
    with pytest.raises(DataError, match=message):
        rm_synthesis(**arguments)


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
@pytest.mark.parametrize("uniform", [True, False])
def test_each_pixel_about_its_own_lambda0(dtype, uniform):
    rng = np.random.default_rng(13)
    q, u = rng.normal(size=(2, 60, 3, 50)).astype(np.float32)
    q[rng.random(q.shape) < 0.3] = np.nan
    q[:, 0, 0] = np.nan
    freq_hz = POSSUM_HZ[::4][:60]
    phi_radm2 = np.linspace(-700.0, 700.0, 150) if uniform else rng.uniform(-700.0, 700.0, 150)
    weights = rng.uniform(0.5, 2.0, 60)
    fdf = rm_synthesis(q, u, freq_hz, phi_radm2, weights=weights, lambda0_sq_m2="pixel", dtype=dtype, threads=2)
    response = rmtf(
        freq_hz,
        phi_radm2,
        weights=weights,
        flags=np.isnan(q),
        lambda0_sq_m2=pixel_lambda0(q, u, freq_hz, weights=weights),
    )
    assert np.isnan(fdf[:, 0, 0]).all()
    for row, col in ((0, 1), (1, 7), (2, 49)):
        own = q[:, row, col], u[:, row, col]
        good = np.isfinite(own[0])
        lambda0 = np.average(lambda_sq(freq_hz)[good], weights=weights[good])
        expected = reference_rm_synthesis(*own, freq_hz, phi_radm2, weights=weights, lambda0_sq_m2=lambda0)
        tolerance = 2 * TOLERANCE if dtype == np.complex64 else 1e-11
        assert np.abs(fdf[:, row, col] - expected).max() < tolerance
        unit = np.where(good, 1.0, np.nan)
        transfer = reference_rm_synthesis(unit, 0 * unit, freq_hz, phi_radm2, weights=weights, lambda0_sq_m2=lambda0)
        assert np.abs(response[:, row, col] - transfer).max() < 2 * TOLERANCE


@pytest.mark.parametrize("kind", ["none", "channel", "voxel"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, ">f4"])
def test_lambda0_of_pixels_is_the_mean_over_their_own_channels(kind, dtype):
    rng = np.random.default_rng(15)
    q, u = rng.normal(size=(2, 30, 7, 400)).astype(dtype)
    q[rng.random(q.shape) < 0.3], u[4, 2], q[:, 0, 0] = np.nan, np.inf, np.nan
    weights = {
        "none": None,
        "channel": rng.uniform(0.0, 2.0, 30) * (np.arange(30) != 3),
        "voxel": rng.uniform(-0.2, 2.0, q.shape).astype(np.float32),
    }[kind]
    used = np.ones(30) if weights is None else weights
    used = np.broadcast_to(used[:, None, None] if used.ndim == 1 else used, q.shape)
    good = np.isfinite(q) & np.isfinite(u) & (used > 0)
    used = np.where(good, used, 0.0).astype(float)
    with np.errstate(invalid="ignore"):
        expected = np.tensordot(lambda_sq(POSSUM_HZ[:30]), used, axes=1) / used.sum(axis=0)
    found = pixel_lambda0(q, u, POSSUM_HZ[:30], weights=weights)
    assert found.shape == (7, 400)
    assert np.isnan(found[0, 0])
    assert found == pytest.approx(expected, rel=1e-12, nan_ok=True)


def test_rmtf_is_one_at_zero_and_has_the_flags_of_the_pixel():
    rng = np.random.default_rng(12)
    phi_radm2 = np.arange(-1000.0, 1001.0, 10.0)
    flags = rng.random((288, 4, 5)) < 0.3
    flags[:, 1] = flags[:, 0]
    flags[:, 0, 0] = True
    assert rmtf(POSSUM_HZ, phi_radm2, flags=flags[:, :0]).shape == (201, 0, 5)
    response = rmtf(POSSUM_HZ, phi_radm2, flags=flags)
    assert response.shape == (201, 4, 5)
    assert np.all(np.isnan(response[:, 0, 0]))
    assert np.allclose(response[100, 1:], 1.0, atol=1e-6)
    q = np.where(flags[:, 2, 3], np.nan, 1.0)
    lambda0 = lambda_sq(POSSUM_HZ).mean()
    expected = reference_rm_synthesis(q, 0 * q, POSSUM_HZ, phi_radm2, lambda0_sq_m2=lambda0)
    assert np.abs(response[:, 2, 3] - expected).max() < TOLERANCE
    planes = rmtf(POSSUM_HZ, phi_radm2, flags=flags[:, 2, 3])
    assert planes.shape == (201,)
    assert np.abs(np.abs(planes) - np.abs(expected)).max() < TOLERANCE


def test_rmtf_of_uniform_coverage_is_a_sinc_of_the_expected_width():
    """Uniform λ² coverage has the FWHM 3.79/Δλ² (Schnitzeler et al. 2009, A&A 494, 611)."""
    lambda_sq_m2 = np.linspace(0.05, 0.15, 2000)
    freq_hz = 299792458.0 / np.sqrt(lambda_sq_m2)
    phi_radm2 = np.linspace(-60.0, 60.0, 2401)
    response = np.abs(rmtf(freq_hz, phi_radm2, dtype=np.complex128))
    assert np.abs(response - np.abs(np.sinc(0.1 * phi_radm2 / np.pi))).max() < 2e-3
    width = np.ptp(phi_radm2[(response >= 0.5) & (np.abs(phi_radm2) < 30)])
    assert width == pytest.approx(rmtf_fwhm(freq_hz), rel=0.01)


def test_large_results_are_written_past_the_caches_with_the_same_values():
    """Rows that begin at cache lines and those that do not, of a result that is large enough."""
    phi_radm2 = np.linspace(-200.0, 200.0, 3)
    q, u = np.random.default_rng(14).normal(size=(2, 2, CACHED // 24 + 1100)).astype(np.float32)
    fdf = [rm_synthesis(q[:, :pixels], u[:, :pixels], POSSUM_HZ[:2], phi_radm2) for pixels in (q.shape[1] & -8, 1000)]
    odd = rm_synthesis(q[:, : (q.shape[1] & -8) - 3], u[:, : (q.shape[1] & -8) - 3], POSSUM_HZ[:2], phi_radm2)
    assert fdf[0].nbytes > CACHED
    assert np.array_equal(fdf[0][:, :1000], fdf[1])
    assert np.array_equal(fdf[0][:, : odd.shape[1]], odd)


@pytest.mark.parametrize("gridded", [False, True])
def test_kernel_is_right_without_compilation(gridded):
    """The kernel means the same as plain Python; only a tiny case is affordable."""
    channels, depths = (101, 200) if gridded else (5, 4)
    script = (
        "import numpy as np\n"
        "from mpidriver.tasks.faraday import lambda_sq, rm_synthesis\n"
        "from mpidriver.tasks.faraday._plan import make_tables\n"
        "from mpidriver.tasks.faraday._reference import reference_rm_synthesis\n"
        f"freq, phi = np.linspace(1e9, 1.5e9, {channels}), np.linspace(-300.0, 1500.0, {depths})\n"
        "q, u = np.random.default_rng(1).normal(size=(2, freq.size, 2)).astype('f4')\n"
        "q[3, 1] = np.nan\n"
        "arguments, weights = (q, u, freq, phi), np.random.default_rng(2).random(q.shape)\n"
        "radices = list(make_tables(freq, phi, np.ones(freq.size), 0.0, 'f4').radices)\n"
        f"assert radices == {[4, 4, 3, 2] if gridded else []}\n"
        "for own in ({}, {'weights': weights}):\n"
        "    difference = rm_synthesis(*arguments, **own) - reference_rm_synthesis(*arguments, **own)\n"
        "    assert np.abs(difference).max() < 1e-6\n"
    )
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    subprocess.run([sys.executable, "-W", "error", "-c", script], env=environment, check=True, timeout=120)
