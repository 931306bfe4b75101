"""A pattern that all frames of the sky show is found on them and taken out of them."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from survey import digests, run

from mpidriver.store import read_image

ROWS, COLS = 192, 256
LEVELS = (900.0, 1600.0, 1200.0, 2500.0)


def pattern():
    """A ring of 4 % of the sky, as scattered light makes it."""
    y, x = np.mgrid[:ROWS, :COLS]
    radius = np.hypot(x - 150, y - 80)
    ring = 0.04 * np.exp(-0.5 * ((radius - 70) / 20) ** 2)
    return (ring - np.median(ring)).astype(np.float32)


def expose(root, number, level, rng):
    """Write a frame of the sky with stars in places of its own."""
    light = level * (1 + pattern())
    y, x = np.mgrid[:ROWS, :COLS]
    for x0, y0, flux in zip(
        rng.uniform(0, COLS, 25), rng.uniform(0, ROWS, 25), 10 ** rng.uniform(3, 5, 25), strict=True
    ):
        light = light + flux / (2 * np.pi * 1.5**2) * np.exp(-0.5 * ((x - x0) ** 2 + (y - y0) ** 2) / 1.5**2)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [30.0, -5.0]
    wcs.wcs.crpix, wcs.wcs.cdelt = [COLS / 2, ROWS / 2], [-1e-4, 1e-4]
    header = wcs.to_header()
    header.update(EXPID=number, DETECTOR=1, FILTER="r", EXPTIME=60.0, GAIN=1.0, RDNOISE=3.0, SATURATE=6e4)
    header["MJD-OBS"] = 6e4
    fits.writeto(root / f"{number}.fits", rng.poisson(light).astype(np.float32), header)


@pytest.mark.slow
@pytest.mark.mpi
def test_frames_become_even_with_the_sky_frame_made_of_them(tmp_path):
    rng, raw, repo = np.random.default_rng(3), tmp_path / "raw", tmp_path / "repo"
    raw.mkdir()
    for number, level in enumerate(LEVELS):
        expose(raw, number, level, rng)
    init = ("init", repo, "--centre", "30,-5", "--radius", "0.01", "--pixel-scale", "0.36", "--patch-size", "300")
    assert run(*init).code == 0
    config = repo / "survey.toml"
    text = config.read_text().replace("sky_mesh_px = 64", "sky_mesh_px = 24")
    config.write_text(text.replace("background_mesh_px = 128", "background_mesh_px = 256"))
    assert run("ingest", repo, raw).code == 0
    uneven = unevenness(repo)
    made = []
    for ranks in (1, 3):
        ended = run("-n", ranks, "calibs", repo, "sky", "--clobber", "--quiet")
        assert ended.code == 0, ended.text
        made.append(digests(repo, ["calibs"]))
    assert made[0] == made[1]
    found = read_image(repo / "calibs" / "sky-001-r.fits")[0]
    assert np.std(found - pattern()) < 0.15 * np.std(pattern())
    assert unevenness(repo) < 0.25 * uneven


def unevenness(repo):
    """Reduce the frames; return how bright the ring's crest is on them, over the sky."""
    ended = run("single-frame", repo, "--quiet")
    assert ended.code == 0, ended.text
    images = [read_image(repo / "frames" / f"{number:012d}" / "001.fits")[0] for number in range(len(LEVELS))]
    crest = pattern() > 0.8 * pattern().max()
    return np.mean([np.nanmedian(one[crest]) / level for one, level in zip(images, LEVELS, strict=True)])
