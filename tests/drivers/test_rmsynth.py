"""RM synthesis file to file: equal to the transform in memory, on any number of ranks, after kills and refusals."""

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from stokes_cubes import FREQ_HZ, stokes_cubes, write_fits_cube
from survey import run

from mpidriver.drivers._cubes import _synthesis
from mpidriver.drivers._cubes._regions import BASE_BYTES, cut_regions
from mpidriver.drivers.rmsynth import CubePaths, SynthesisOptions, synthesise_cubes
from mpidriver.errors import ConfigError, DataError, TaskError
from mpidriver.pool import Pool
from mpidriver.report import brightest_pixels, draw_cube_pictures
from mpidriver.store import open_cube
from mpidriver.tasks.faraday import find_peaks, reference_lambda_sq, rm_synthesis, rmtf

MANY_REGIONS = BASE_BYTES + (1 << 15)
NAMES = {f"FDF_{part}_dirty" for part in ("real", "im", "tot")} | {f"RMSF_{part}" for part in ("real", "im", "tot")}
NAMES |= {"RMSF_FWHM", "FDF_maxPI", "FDF_peakRM"}


@pytest.fixture(scope="module")
def cubes(tmp_path_factory):
    """Cubes of Q, U and I, and a noise a channel."""
    folder = tmp_path_factory.mktemp("cubes")
    q, u = stokes_cubes()
    for name, cube in (("Q", q), ("U", u), ("I", stokes_i())):
        write_fits_cube(folder / f"{name}.fits", cube, stokes=name)
    np.savetxt(folder / "noise.txt", noise())
    return folder


def stokes_i():
    """A steep Stokes I with a voxel that cannot divide."""
    i = np.broadcast_to(2.0 * (FREQ_HZ / 900e6)[:, None, None] ** -0.8, stokes_cubes()[0].shape).astype(np.float32)
    i[7, 4, 4] = 0.0
    return i


def noise():
    """Noise of the channels; one has none."""
    return np.where(np.arange(FREQ_HZ.size) == 9, np.nan, 1.0 + 0.1 * np.arange(FREQ_HZ.size))


def paths(cubes, **more):
    """Return the cubes as the driver takes them."""
    return CubePaths(
        str(cubes / "Q.fits"), str(cubes / "U.fits"), **{key: str(cubes / name) for key, name in more.items()}
    )


def synthesise(cubes, folder, inputs=None, **options):
    """Transform on one rank, by default in many regions."""
    options = SynthesisOptions(**{"memory_bytes": MANY_REGIONS, "phi_max_radm2": 500.0, **options})
    with Pool() as pool:
        return synthesise_cubes(pool, inputs or paths(cubes), folder, options)


def digests(folder):
    """Return the digest of each product."""
    products = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in products}


def complex_cube(folder, pattern, suffix=".fits"):
    """Return a complex product of a folder."""
    parts = [open_cube(folder / f"{pattern.format(part)}{suffix}") for part in ("real", "im")]
    real, imaginary = (cube.read(slice(0, cube.shape[1]), slice(0, cube.shape[2])) for cube in parts)
    return real + 1j * imaginary


def test_products_are_those_of_the_transform_in_memory(cubes, tmp_path):
    report = synthesise(cubes, tmp_path)
    q, u = stokes_cubes()
    weights = np.where(np.arange(FREQ_HZ.size) == 2, 0.0, 1.0)
    lambda0 = reference_lambda_sq(FREQ_HZ, weights=weights)
    assert report.lambda0_sq_m2 == pytest.approx(lambda0)
    expected = rm_synthesis(q, u, FREQ_HZ, report.phi_radm2, weights=weights, lambda0_sq_m2=lambda0)
    assert {path.stem for path in tmp_path.glob("*.fits")} == NAMES
    fdf = complex_cube(tmp_path, "FDF_{}_dirty")
    assert np.array_equal(fdf, expected, equal_nan=True)
    assert fits.getdata(tmp_path / "FDF_tot_dirty.fits") == pytest.approx(np.abs(expected), rel=1e-6, nan_ok=True)
    peaks = find_peaks(expected, report.phi_radm2)
    assert np.array_equal(fits.getdata(tmp_path / "FDF_maxPI.fits")[0], peaks.amplitude, equal_nan=True)
    assert np.array_equal(fits.getdata(tmp_path / "FDF_peakRM.fits")[0], peaks.phi_radm2, equal_nan=True)
    assert (report.pixels, report.blank_pixels, report.flagged_pixels) == (120, 6, 12)
    assert report.unused_channels == 1
    transfer = complex_cube(tmp_path, "RMSF_{}")[:, 0, 0]
    assert transfer[len(transfer) // 2] == pytest.approx(1.0)
    assert len(transfer) == 2 * len(report.phi_radm2) + 1


def test_headers_are_those_of_rm_tools(cubes, tmp_path):
    report = synthesise(cubes, tmp_path)
    header = fits.getheader(tmp_path / "FDF_real_dirty.fits")
    assert [header[key] for key in ("CTYPE3", "CUNIT3", "BUNIT", "STOKES")] == ["FDEP", "rad/m^2", "Jy/beam/RMSF", "Q"]
    assert header["LAMSQ0"] == report.lambda0_sq_m2
    assert header["CRPIX3"] == len(report.phi_radm2) // 2 + 1
    assert header["CRVAL3"] == 0.0
    assert header["CDELT3"] == pytest.approx(report.phi_radm2[1] - report.phi_radm2[0])
    assert [header["CTYPE1"], header["BMAJ"], header["OBJECT"]] == ["RA---SIN", 0.01, "field"]
    assert fits.getheader(tmp_path / "FDF_peakRM.fits")["CTYPE3"] == "DEGENERATE"
    assert fits.getdata(tmp_path / "RMSF_FWHM.fits").shape == (12, 10)


def test_each_pixel_has_its_own_transfer_function_if_asked_for(cubes, tmp_path):
    report = synthesise(cubes, tmp_path, rmsf="pixel", inputs=paths(cubes, noise="noise.txt"))
    q, u = stokes_cubes()
    weights = np.nan_to_num(1.0 / noise() ** 2) * (np.arange(FREQ_HZ.size) != 2)
    step = report.phi_radm2[1] - report.phi_radm2[0]
    wide = step * np.arange(-len(report.phi_radm2), len(report.phi_radm2) + 1)
    flags = ~np.isfinite(q + u)
    expected = rmtf(FREQ_HZ, wide, weights=weights, flags=flags, lambda0_sq_m2=report.lambda0_sq_m2)
    assert complex_cube(tmp_path, "RMSF_{}") == pytest.approx(expected, abs=1e-6, nan_ok=True)
    fwhm = fits.getdata(tmp_path / "RMSF_FWHM.fits")
    assert np.isnan(fwhm).sum() == 6
    assert np.unique(fwhm[np.isfinite(fwhm)]).size == 1


def test_division_by_stokes_i_gives_back_its_brightness_at_lambda0(cubes, tmp_path):
    report = synthesise(cubes, tmp_path, inputs=paths(cubes, i="I.fits"))
    (q, u), i = stokes_cubes(), stokes_i()
    i = np.where(i > 0, i, np.nan)
    weights = np.where(np.arange(FREQ_HZ.size) == 2, 0.0, 1.0)
    lambda0 = report.lambda0_sq_m2
    fractional = rm_synthesis(q / i, u / i, FREQ_HZ, report.phi_radm2, weights=weights, lambda0_sq_m2=lambda0)
    at_lambda0 = 2.0 * (299792458.0 / np.sqrt(lambda0) / 900e6) ** -0.8
    assert complex_cube(tmp_path, "FDF_{}_dirty") == pytest.approx(fractional * at_lambda0, abs=3e-4, nan_ok=True)


@pytest.mark.parametrize(
    "order", [("FREQ", "STOKES", "RA---SIN", "DEC--SIN"), ("RA---SIN", "DEC--SIN", "FREQ", "STOKES")]
)
def test_one_cube_with_a_stokes_axis_gives_the_same_in_any_order_of_axes(cubes, tmp_path, order):
    both = write_fits_cube(tmp_path / "QU.fits", np.stack(stokes_cubes()), order=order)
    synthesise(cubes, tmp_path / "one", inputs=CubePaths(str(both)))
    synthesise(cubes, tmp_path / "two")
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


def test_hdf5_products_hold_what_fits_products_hold_and_double_is_more_exact(cubes, tmp_path):
    synthesise(cubes, tmp_path / "fits")
    report = synthesise(cubes, tmp_path / "hdf5", suffix=".h5", double=True, prefix="x-")
    single = complex_cube(tmp_path / "fits", "FDF_{}_dirty")
    double = complex_cube(tmp_path / "hdf5", "x-FDF_{}_dirty", ".h5")
    assert double.dtype == np.complex128
    assert double == pytest.approx(single, abs=2e-6, nan_ok=True)
    assert {path.name for path in report.filled.files} == {f"x-{name}.h5" for name in NAMES}


def test_the_same_job_is_not_done_again_and_another_one_is(cubes, tmp_path):
    synthesise(cubes, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.fits")}
    assert synthesise(cubes, tmp_path).filled.was_done
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.fits")} == before
    (tmp_path / "FDF_im_dirty.fits").unlink()
    assert not synthesise(cubes, tmp_path).filled.was_done
    assert not synthesise(cubes, tmp_path, samples=4.0).filled.was_done


def test_a_run_goes_on_behind_the_regions_that_a_failed_one_has_written(cubes, tmp_path, monkeypatch):
    synthesise(cubes, tmp_path / "whole")
    fill, filled = _synthesis.Synthesis.fill, []

    def failing(self, files, region):
        if region.number == 2:
            raise OSError("the disk is gone")
        return fill(self, files, region)

    def counting(self, files, region):
        filled.append(region.number)
        return fill(self, files, region)

    monkeypatch.setattr(_synthesis.Synthesis, "fill", failing)
    with pytest.raises(TaskError, match="the disk is gone"):
        synthesise(cubes, tmp_path / "again")
    assert digests(tmp_path / "again") == {}
    monkeypatch.setattr(_synthesis.Synthesis, "fill", counting)
    report = synthesise(cubes, tmp_path / "again")
    assert filled == [2, 3]
    assert (report.blank_pixels, report.flagged_pixels) == (6, 12)
    assert digests(tmp_path / "again") == digests(tmp_path / "whole")


def test_pictures_show_the_peaks_and_the_brightest_pixels(cubes, tmp_path):
    report = synthesise(cubes, tmp_path, prefix="a-")
    drawn = draw_cube_pictures(tmp_path, cubes / "Q.fits", cubes / "U.fits", report.freq_hz, prefix="a-")
    assert [path.name for path in drawn] == ["a-peaks.png", "a-spectra.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 20_000 for path in drawn)


def test_the_brightest_pixels_are_not_neighbours():
    image = np.full((30, 20), np.nan)
    image[5, 5], image[6, 6], image[25, 3], image[5, 15] = 9.0, 8.0, 7.0, 6.0
    assert brightest_pixels(image) == [(5, 5), (25, 3), (5, 15)]
    assert brightest_pixels(image, count=2, apart=0) == [(5, 5), (6, 6)]
    assert brightest_pixels(np.full((2, 2), np.nan)) == []


@pytest.mark.slow
@pytest.mark.mpi
def test_every_number_of_ranks_gives_the_same_bytes(cubes, tmp_path):
    synthesise(cubes, tmp_path / "1", rmsf="pixel", inputs=paths(cubes, i="I.fits", noise="noise.txt"))
    expected = digests(tmp_path / "1")
    inputs = [cubes / "Q.fits", cubes / "U.fits", "--stokes-i", cubes / "I.fits", "--noise", cubes / "noise.txt"]
    for ranks in (2, 3, 5):
        folder = tmp_path / str(ranks)
        how = ["--rmsf", "pixel", "--phi-max", 500, "--memory", f"{MANY_REGIONS // 1024}KiB", "-o", folder, "-q"]
        ended = run("-n", ranks, "rmsynth", *inputs, *how)
        assert ended.code == 0, ended.text
        assert digests(folder) == expected


@pytest.mark.mpi
def test_a_run_that_is_killed_goes_on_to_the_same_bytes(tmp_path):
    freq_hz = np.linspace(800e6, 1088e6, 24)
    for name, cube in zip("QU", stokes_cubes(sky=(120, 60), freq_hz=freq_hz), strict=True):
        write_fits_cube(tmp_path / f"{name}.fits", cube, stokes=name)
    inputs = CubePaths(str(tmp_path / "Q.fits"), str(tmp_path / "U.fits"))
    memory_bytes = BASE_BYTES + (1 << 19)
    synthesise(None, tmp_path / "whole", inputs=inputs, memory_bytes=memory_bytes)
    how = ["--phi-max", 500, "--memory", f"{memory_bytes // 1024}KiB", "-o", tmp_path / "killed"]
    command = ["-n", 2, "rmsynth", inputs.q, inputs.u, *how]
    process = subprocess.Popen([sys.executable, "-m", "mpidriver", *map(str, command)], start_new_session=True)
    journal = tmp_path / "killed" / ".partial-rmsynth-journal"
    while process.poll() is None and not (journal.exists() and len(journal.read_text().splitlines()) > 3):
        time.sleep(0.002)
    kill_all_below(process.pid)
    process.wait()
    assert digests(tmp_path / "killed") == {}, "it was over before it could be killed"
    ended = run(*command)
    assert ended.code == 0, ended.text
    assert digests(tmp_path / "killed") == digests(tmp_path / "whole")


def kill_all_below(pid):
    """Kill a process and all that it has started, with SIGKILL, the youngest last."""
    with contextlib.suppress(OSError):
        below = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        os.kill(pid, signal.SIGKILL)
        for child in below:
            kill_all_below(child)


def test_bad_input_is_named_and_leaves_nothing(cubes, tmp_path):
    q, _ = stokes_cubes()
    small = write_fits_cube(tmp_path / "small.fits", q[:, :5])
    bare = write_fits_cube(tmp_path / "bare.fits", q)
    fits.setval(bare, "CTYPE3", value="CHANNEL")
    (tmp_path / "few").write_text("1e9\n1.1e9\n")
    (tmp_path / "mixed").write_text("\n".join(map(str, [*FREQ_HZ[:5], FREQ_HZ[3], *FREQ_HZ[6:]])))
    for name, values in (
        ("mhz", FREQ_HZ / 1e6),
        ("nan", np.append(FREQ_HZ[1:], np.nan)),
        ("same", np.full(24, 1e9)),
        ("zero", np.zeros(24)),
        ("one", np.arange(24) == 4),
    ):
        np.savetxt(tmp_path / name, values)
    blank = write_fits_cube(tmp_path / "blank.fits", q * np.nan)
    good = str(cubes / "Q.fits")
    for inputs, says in (
        (CubePaths(good, str(small)), "expected the shape of"),
        (CubePaths(good), "expected a STOKES axis with Q and U, or a second cube"),
        (CubePaths(good, good), "expected a STOKES axis with Q and U, or another cube"),
        (CubePaths(str(bare), str(cubes / "U.fits")), "give --freq FILE"),
        (CubePaths(good, str(cubes / "U.fits"), frequencies=str(tmp_path / "few")), "expected 24 frequencies"),
        (CubePaths(good, str(cubes / "U.fits"), frequencies=str(tmp_path / "mixed")), "must rise or fall .* channel 5"),
        (CubePaths(good, str(cubes / "U.fits"), frequencies=str(tmp_path / "mhz")), "mhz: .* expected Hz"),
        (CubePaths(good, str(cubes / "U.fits"), frequencies=str(tmp_path / "nan")), "nan: .* 1 of 24 .* not finite"),
        (CubePaths(good, str(cubes / "U.fits"), frequencies=str(tmp_path / "same")), "must rise or fall .* channel 1"),
        (CubePaths(good, str(cubes / "U.fits"), weights=str(tmp_path / "zero")), "a positive number for at least one"),
        (CubePaths(good, str(cubes / "U.fits"), weights=str(tmp_path / "one")), "give --phi-max and --d-phi"),
        (CubePaths(str(blank), str(cubes / "U.fits")), "no channel has both data and a positive weight"),
        (CubePaths(good, str(cubes / "U.fits"), noise=str(tmp_path / "few")), "expected 24 values"),
    ):
        with pytest.raises(DataError, match=says):
            synthesise(cubes, tmp_path / "out", inputs=inputs)
    for wrong in (-0.1, np.nan, np.inf):
        with pytest.raises(ConfigError, match="--lambda0: expected a number of m² of at least 0"):
            synthesise(cubes, tmp_path / "out", lambda0_sq_m2=wrong)
    assert not (tmp_path / "out").exists()


def test_one_channel_is_flat_on_depths_that_are_given(cubes, tmp_path):
    weights = tmp_path / "one"
    np.savetxt(weights, np.arange(24) == 4)
    report = synthesise(cubes, tmp_path / "out", inputs=replace(paths(cubes), weights=str(weights)), dphi_radm2=100.0)
    flat = np.abs(complex_cube(tmp_path / "out", "FDF_{}_dirty"))
    assert report.unused_channels == 23
    assert np.ptp(flat[:, 5, 5]) == pytest.approx(0.0, abs=1e-6)
    assert np.isnan(flat[:, 0, 0]).all()


def test_a_disk_that_is_too_small_refuses_at_once(cubes, tmp_path):
    limited = ["bash", "-c", 'ulimit -f 40; exec "$@"', "-", sys.executable, "-m", "mpidriver", "rmsynth"]
    command = [*limited, str(cubes / "Q.fits"), str(cubes / "U.fits"), "-o", str(tmp_path / "out")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 3, ended.stderr
    assert "FDF_real_dirty.fits: not written, File too large; raise the file size limit" in ended.stderr
    assert digests(tmp_path / "out") == {}


def test_regions_cover_the_sky_once_and_keep_to_memory_and_chunks():
    for shape, grain, room in (
        ((100, 80), (1, 1), 80 * 30 * 50),
        ((100, 80), (7, 9), 7 * 30 * 50),
        ((5, 900), (1, 1), 50),
    ):
        regions = cut_regions(shape, granularity=grain, bytes_a_pixel=50, memory_bytes=BASE_BYTES + room)
        seen = np.zeros(shape, int)
        for region in regions:
            seen[region.rows, region.cols] += 1
            assert region.pixels * 50 <= room
        assert np.all(seen == 1)
    with pytest.raises(ConfigError, match="--memory: a rank needs at least 401 MiB"):
        cut_regions((5, 5), granularity=(1, 1), bytes_a_pixel=50, memory_bytes=BASE_BYTES)
