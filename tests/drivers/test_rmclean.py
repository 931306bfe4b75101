"""RM-CLEAN file to file: equal to the one in memory, on any number of ranks."""

import hashlib

import numpy as np
import pytest
from astropy.io import fits
from stokes_cubes import FREQ_HZ, stokes_cubes, write_fits_cube
from survey import run

from mpidriver.drivers._cubes._regions import BASE_BYTES
from mpidriver.drivers.rmclean import CleanOptions, clean_cubes
from mpidriver.drivers.rmsynth import CubePaths, SynthesisOptions, synthesise_cubes
from mpidriver.errors import ConfigError, DataError
from mpidriver.pool import Pool
from mpidriver.report import _cube_pictures, draw_clean_pictures
from mpidriver.tasks.faraday import rm_clean, spectrum_noise

MANY_REGIONS = BASE_BYTES + (1 << 16)


@pytest.fixture(scope="module")
def dirty(tmp_path_factory):
    """Dirty cubes with a common transfer function, and others with one a pixel."""
    folder = tmp_path_factory.mktemp("dirty")
    for name, cube in zip("QU", stokes_cubes(), strict=True):
        write_fits_cube(folder / f"{name}.fits", cube, stokes=name)
    with Pool() as pool:
        for rmsf in ("common", "pixel"):
            options = SynthesisOptions(phi_max_radm2=500.0, rmsf=rmsf)
            synthesise_cubes(pool, CubePaths(str(folder / "Q.fits"), str(folder / "U.fits")), folder / rmsf, options)
    return folder


def clean(dirty, folder, **options):
    """Clean on one rank, in many regions."""
    with Pool() as pool:
        return clean_cubes(pool, dirty, folder, CleanOptions(**{"memory_bytes": MANY_REGIONS, **options}))


def values(folder, pattern):
    """Return a complex product of a folder."""
    real, imaginary = (fits.getdata(folder / f"{pattern.format(part)}.fits") for part in ("real", "im"))
    return (real + 1j * imaginary).astype(np.complex64)


def expected(folder, **how):
    """Clean in memory what a folder holds."""
    header = fits.getheader(folder / "FDF_real_dirty.fits")
    phi = header["CRVAL3"] + header["CDELT3"] * (np.arange(1, header["NAXIS3"] + 1) - header["CRPIX3"])
    fdf, transfer = values(folder, "FDF_{}_dirty"), values(folder, "RMSF_{}")
    fwhm = fits.getdata(folder / "RMSF_FWHM.fits").astype(np.float32)
    if "noise" not in how:
        how["noise"] = spectrum_noise(fdf, phi, fwhm)
    transfer = transfer[:, 0, 0] if transfer[0].size == 1 else transfer
    return rm_clean(fdf, transfer, phi, fwhm, **how)


def digests(folder):
    """Return the digest of each product of RM-CLEAN."""
    products = [*folder.glob("FDF_clean_*.fits"), *folder.glob("FDF_CC_*.fits"), *folder.glob("CLEAN_nIter.fits")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in products}


@pytest.mark.parametrize("rmsf", ["common", "pixel"])
def test_products_are_those_of_cleaning_in_memory(dirty, tmp_path, rmsf):
    report = clean(dirty / rmsf, tmp_path)
    wanted = expected(dirty / rmsf, cutoff=3.0)
    assert np.array_equal(values(tmp_path, "FDF_clean_{}"), wanted.cleaned, equal_nan=True)
    assert np.array_equal(values(tmp_path, "FDF_CC_{}"), wanted.components, equal_nan=True)
    assert np.array_equal(fits.getdata(tmp_path / "CLEAN_nIter.fits"), wanted.iterations)
    assert wanted.iterations.max() > 5
    assert report.iterations == wanted.iterations.sum()
    assert fits.getdata(tmp_path / "FDF_clean_tot.fits") == pytest.approx(np.abs(wanted.cleaned), rel=1e-6, nan_ok=True)
    assert fits.getheader(tmp_path / "FDF_CC_im.fits")["CTYPE3"] == "FDEP"
    assert fits.getheader(tmp_path / "FDF_clean_real.fits")["BUNIT"] == "Jy/beam/RMSF"


def test_limits_may_be_absolute_or_in_multiples_of_a_map(dirty, tmp_path):
    common = dirty / "common"
    clean(common / "FDF_tot_dirty.fits", tmp_path / "a", cutoff=0.3, in_sigma=False, window_cutoff=0.1)
    wanted = expected(common, cutoff=0.3, window_cutoff=0.1, noise=None)
    assert np.array_equal(values(tmp_path / "a", "FDF_CC_{}"), wanted.components, equal_nan=True)
    noise = np.full((1, 12, 10), 0.05, np.float32)
    fits.writeto(tmp_path / "noise.fits", noise)
    clean(common, tmp_path / "b", cutoff=4.0, noise=str(tmp_path / "noise.fits"), gain=0.2)
    wanted = expected(common, cutoff=4.0, noise=noise[0], gain=0.2)
    assert np.array_equal(values(tmp_path / "b", "FDF_CC_{}"), wanted.components, equal_nan=True)


def test_pictures_show_the_cleaned_peaks_and_the_brightest_pixels(dirty, tmp_path):
    report = clean(dirty / "pixel", tmp_path)
    drawn = draw_clean_pictures(report.dirty, tmp_path)
    assert [path.name for path in drawn] == ["clean-peaks.png", "clean-spectra.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 20_000 for path in drawn)


def test_pictures_take_no_signal_for_noise_where_everything_is_polarised(dirty, tmp_path, monkeypatch):
    """Every pixel has a source of 1 Jy/beam, in noise of 0.2 in each of 23 channels."""
    shown = []
    monkeypatch.setattr(_cube_pictures, "draw_faraday_maps", lambda *_, noise, **__: shown.append(noise))
    report = clean(dirty / "common", tmp_path)
    draw_clean_pictures(report.dirty, tmp_path)
    cubes = [str(dirty / f"{name}.fits") for name in "QU"]
    _cube_pictures.draw_cube_pictures(dirty / "common", *cubes, FREQ_HZ)
    expected_noise = 0.2 / np.sqrt(23)
    assert shown[0] == pytest.approx(expected_noise, rel=0.4)
    assert expected_noise < shown[1] < 0.125  # sidelobes, yet S/N 8 all the same


@pytest.mark.slow
@pytest.mark.mpi
def test_the_command_gives_the_same_bytes_on_ranks(dirty, tmp_path):
    clean(dirty / "pixel", tmp_path / "1")
    ended = run("-n", 3, "rmclean", dirty / "pixel", "-o", tmp_path / "3", "--memory", f"{MANY_REGIONS // 1024}KiB")
    assert ended.code == 0, ended.text
    assert "7 products" in ended.text
    assert len(digests(tmp_path / "1")) == 7
    assert digests(tmp_path / "3") == digests(tmp_path / "1")


def test_what_is_missing_or_does_not_fit_is_named(dirty, tmp_path):
    with pytest.raises(DataError, match="expected one set of cubes"):
        clean(tmp_path, None)
    with pytest.raises(DataError, match="a cube named FDF_real_dirty"):
        clean(dirty / "Q.fits", None)
    (tmp_path / "FDF_real_dirty.fits").write_bytes((dirty / "common" / "FDF_real_dirty.fits").read_bytes())
    with pytest.raises(DataError, match=r"FDF_im_dirty.fits: cannot be read"):
        clean(tmp_path, None)
    with pytest.raises(ConfigError, match="--gain"):
        clean(dirty / "common", None, gain=2.0)
    assert FREQ_HZ.size == 24
    assert not list(tmp_path.glob("*clean*"))
