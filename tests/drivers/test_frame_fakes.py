"""Fakes in raw frames: the same sources in each, found again in what is reduced from them."""

import numpy as np
import pytest
from survey import run, run_in_turn

from mpidriver.drivers._frame_fakes import solutions_of
from mpidriver.errors import DataError
from mpidriver.store import read_table, read_table_header
from mpidriver.tasks.image import MaskedImage
from mpidriver.tasks.multiband import electrons_of_fakes, found_on_frame, make_fakes
from mpidriver.tasks.simulate._profiles import add_stars
from mpidriver.tasks.single_frame import SOURCE_DTYPE

SIMULATION = ["--bands", "r", "--exposures", "2", "--detectors", "1x1", "--detector-size", "300", "--channels", "0"]


def make_wcs(scale_arcsec=0.2, turned=False):
    from astropy.wcs import WCS

    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [30.0, -5.0], [110.0, 120.0]
    axes = np.array([[0.0, 1.0], [1.0, 0.0]]) if turned else np.diag([-1.0, 1.0])
    wcs.wcs.cd = scale_arcsec / 3600 * axes
    return wcs


def test_fakes_bring_their_light_and_its_noise_wherever_the_frame_lies():
    rng, shape = np.random.default_rng(1), (240, 250)
    x, y = rng.uniform(20, 220, (2, 30))
    image = rng.normal(0, 5, shape)
    add_stars(image, x, y, np.full(x.size, 2e4), fwhm_px=3.5)
    frame = MaskedImage(image.astype(np.float32), np.full(shape, 25, np.float32), np.zeros(shape, np.int32))
    wcs, patch_wcs = make_wcs(0.25, turned=True), make_wcs()
    stars = np.zeros(x.size, [("ra", "f8"), ("dec", "f8")])
    stars["ra"], stars["dec"] = wcs.all_pix2world(x, y, 0)
    fakes = make_fakes(patch_wcs, (200, 200), noise_njy=100.0)
    solution = (wcs, 30.0, (0.05, 0.0))
    electrons = electrons_of_fakes(frame, stars, fakes, solution, patch_wcs, seed=(1, 2))
    assert np.array_equal(electrons, electrons_of_fakes(frame, stars, fakes, solution, patch_wcs, seed=(1, 2)))
    assert np.array_equal(electrons, np.rint(electrons))
    nothing = np.zeros(0, SOURCE_DTYPE)
    found = found_on_frame(fakes, nothing, nothing, solution, shape)
    assert not found["found"].any()
    u = (2 * found["x"] + 1) / shape[1] - 1
    assert found["flux"] == pytest.approx(10 ** (-0.4 * (found["mag"] - 30.0 - 0.05 * u)))
    assert electrons.sum() == pytest.approx(found["flux"].sum(), rel=0.08)


@pytest.mark.slow
@pytest.mark.mpi
def test_a_copy_with_fakes_shows_them_in_every_frame(tmp_path):
    repo, copy = tmp_path / "repo", tmp_path / "copy"
    ended = run_in_turn(("simulate", repo, *SIMULATION, "--quiet"), ("fakes", repo, copy))
    assert ended.code == 2
    assert "no frame is placed by a mosaic yet" in ended.text
    reduced = [(verb, repo, "--quiet") for verb in ("single-frame", "mosaic")]
    ended = run_in_turn(*reduced, ("fakes", repo, copy), ("fakes", copy))
    assert ended.code == 1
    assert "not reduced yet" in ended.text
    ended = run("-n", 2, "single-frame", copy, "--quiet")
    assert ended.code == 0, ended.text
    ended = run_in_turn(("mosaic", copy, "--quiet"), ("fakes", copy), ("fakes", copy, tmp_path / "other"))
    assert ended.code == 2
    assert "holds fakes itself" in ended.text
    with pytest.raises(DataError, match="nowhere is no repository; has it been moved"):
        solutions_of(str(tmp_path / "nowhere"))
    table, all_fakes = read_table(copy / "fakes" / "frames.fits"), read_table(copy / "fakes" / "injected.fits")
    assert sorted(set(table["exposure"])) == [1001, 1002]
    assert np.array_equal(table["ra"], all_fakes["ra"][table["fake"]])
    bright = ~table["on_source"] & (table["flux_aper"] > 40 * table["flux_aper_err"]) & (table["radius_arcsec"] == 0)
    assert np.median(table["flux_aper"][bright] / table["flux"][bright]) == pytest.approx(1, abs=0.02)
    strong = ~table["on_source"] & (table["mag"] < np.percentile(table["mag"], 40))
    assert table["found"][strong].mean() > 0.9
    frame = next((copy / "frames").rglob("000-cat.fits"))
    assert read_table_header(frame)["NFAKES"] > 10
