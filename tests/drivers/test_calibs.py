"""Raw bias, dark and flat exposures to calibration frames, and frames of the sky that use them."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from survey import digests, run

from mpidriver.drivers.calibs import STAGES
from mpidriver.store import open_state, read_image, read_table
from mpidriver.store._repository import Repository

ROWS, COLS, OVERSCAN = 96, 128, 8
GAIN, READ_NOISE, DARK = {1: 1.5, 2: 2.0}, 4.0, 0.2
RESPONSE = {1: 0.9, 2: 1.1}


class Camera:
    """Two detectors with an overscan, and what they write."""

    def __init__(self, root):
        self.root = root
        self.rng = np.random.default_rng(5)
        _y, x = np.mgrid[:ROWS, :COLS]
        self.bias = {d: 3 * np.sin(x / (5 * d)) for d in GAIN}
        self.flat = {d: RESPONSE[d] * (1 + 0.1 * (x / COLS - 0.5)) for d in GAIN}
        self.dark = {d: np.full((ROWS, COLS), DARK) for d in GAIN}
        self.dark[1][7, 9] = 40.0
        self.exposures = 0

    def expose(self, obstype, band, seconds, electrons_per_s=0.0, wcs=None):
        """Write one exposure of both detectors; `electrons_per_s` falls on the sky's side of the flat."""
        self.exposures += 1
        for detector, gain in GAIN.items():
            light = electrons_per_s * seconds * self.flat[detector] + self.dark[detector] * seconds * gain
            electrons = self.rng.poisson(light) + self.rng.normal(0, READ_NOISE, (ROWS, COLS))
            counts = np.empty((ROWS, COLS + OVERSCAN))
            level = 500 + self.exposures + self.rng.normal(0, 0.1, (ROWS, 1))
            counts[:, :COLS] = level + self.bias[detector] + electrons / gain
            counts[:, COLS:] = level + self.rng.normal(0, READ_NOISE / gain, (ROWS, OVERSCAN))
            header = fits.Header() if wcs is None else wcs.to_header()
            header.update(
                {
                    "EXPID": self.exposures,
                    "DETECTOR": detector,
                    "FILTER": band,
                    "EXPTIME": seconds,
                    "MJD-OBS": 6e4,
                    "GAIN": gain,
                    "RDNOISE": READ_NOISE,
                    "SATURATE": 60000.0,
                    "OBSTYPE": obstype,
                    "BIASSEC": f"[{COLS + 1}:{COLS + OVERSCAN},1:{ROWS}]",
                    "DATASEC": f"[1:{COLS},1:{ROWS}]",
                }
            )
            name = f"{obstype.split()[0].lower()}-{self.exposures:03d}-{detector}.fits"
            fits.writeto(self.root / name, counts.astype(np.float32), header)


def sky_wcs():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [30.0, -5.0]
    wcs.wcs.crpix, wcs.wcs.cdelt = [COLS / 2, ROWS / 2], [-1e-4, 1e-4]
    return wcs


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """A repository with a night's raw frames; one bias frame is garbage."""
    root = tmp_path_factory.mktemp("night")
    (root / "raw").mkdir()
    camera = Camera(root / "raw")
    for _ in range(9):
        camera.expose("zero", "r", 0.0)
    for _ in range(6):
        camera.expose("dark", "r", 300.0)
    for level in (2e3, 3e3, 2.5e3, 4e3, 3.5e3, 2e3):
        camera.expose("dome flat", "r", 5.0, level)
    for _ in range(4):
        camera.expose("object", "r", 100.0, 30.0, sky_wcs())
    repo = root / "repo"
    init = ("init", repo, "--centre", "30,-5", "--radius", "0.01", "--pixel-scale", "0.36", "--patch-size", "200")
    assert run(*init).code == 0
    survey = repo / "survey.toml"
    text = survey.read_text()
    for name, keyword in {"image_type": "OBSTYPE", "overscan": "BIASSEC", "science": "DATASEC"}.items():
        text = text.replace(f'\n{name} = ""', f'\n{name} = "{keyword}"', 1)
    survey.write_text(text)
    assert run("ingest", repo, camera.root).code == 0
    broken = repo / "raw" / "zero-003-1.fits"
    content = broken.read_bytes()
    broken.unlink()
    broken.write_bytes(content[: len(content) // 2])
    camera.repo = repo
    return camera


@pytest.fixture(scope="module")
def made(night):
    ended = run("calibs", night.repo, "--quiet")
    assert ended.code == 0, ended.text
    return night


def product(camera, dataset, **ids):
    return read_image(Repository.open(camera.repo).path(dataset, **ids))


def test_what_the_detectors_do_is_recovered(made):
    for detector, gain in GAIN.items():
        noise = READ_NOISE / gain
        bias, header = product(made, "bias", detector=detector)
        assert header["NINPUT"] == (8 if detector == 1 else 9)
        assert np.std(bias - made.bias[detector]) < 1.3 * noise / np.sqrt(8)
        dark, _ = product(made, "dark", detector=detector)
        assert np.median(dark) == pytest.approx(DARK, rel=0.02)
        flat, _ = product(made, "flat", detector=detector, band="r")
        ratio = flat / made.flat[detector]
        assert np.mean(ratio) == pytest.approx(1 / np.sqrt(0.99), rel=2e-3)  # the geometric mean of both is 1
        assert np.std(ratio) < 0.01
    defects, _ = product(made, "defects", detector=1)
    assert np.argwhere(defects).tolist() == [[7, 9]]


def test_the_levels_of_the_flats_are_one_number_an_exposure(made):
    table = read_table(made.repo / "calibs" / "flat-scales-r.fits")
    brightness = [level for level in (1e4, 1.5e4, 1.25e4, 2e4, 1.75e4, 1e4) for _ in GAIN]
    assert table["scale"] == pytest.approx(np.array(brightness) * np.sqrt(0.99), rel=3e-3)


def test_frames_of_the_sky_use_them(made):
    ended = run("single-frame", made.repo, "--quiet")
    assert ended.code == 0, ended.text
    with open_state(Repository.open(made.repo), readonly=True) as state:
        quality = [frame.quality for frame in state.frames(kind="image")]
        assert len(quality) == 8
    for level in (one["sky_e"] for one in quality):
        assert level == pytest.approx(3000 * np.sqrt(0.99), rel=0.02)


def test_nothing_is_made_twice_and_any_number_of_ranks_makes_the_same(made):
    assert run("calibs", made.repo).code == 0
    with open_state(Repository.open(made.repo), readonly=True) as state:
        assert {quantum.attempt for quantum in state.quanta() if quantum.task in STAGES} == {1}
    before = digests(made.repo, ("calibs",))
    ended = run("-n", 3, "calibs", made.repo, "--clobber", "--quiet")
    assert ended.code == 0, ended.text
    assert digests(made.repo, ("calibs",)) == before


def test_fringes_are_made_when_asked_for(made):
    assert "fringe" not in run("pipeline", made.repo, "--dry-run").text
    ended = run("calibs", made.repo, "fringe", "--quiet")
    assert ended.code == 0, ended.text
    pattern, header = product(made, "fringe", detector=2, band="r")
    assert header["NINPUT"] == 4
    assert abs(np.nanmean(pattern)) < 2e-3


def test_an_unknown_kind_is_refused(made):
    ended = run("calibs", made.repo, "flats")
    assert ended.code == 2
    assert "must be one of bias, dark, flat, defects, fringe, sky, crosstalk, got 'flats'" in ended.text


def test_cross_talk_needs_a_table_of_what_may_couple(made):
    ended = run("calibs", made.repo, "crosstalk")
    assert ended.code == 2
    assert "no cross-talk to measure; name a table" in ended.text


def test_they_are_drawn(made):
    assert "calibs" in run("plot", made.repo, "--list").text.split()
    assert run("plot", made.repo, "calibs", "--quiet").code == 0
    assert (made.repo / "reports" / "calibs.png").stat().st_size > 5000
    ended = run("plot", made.repo, "calib")
    assert ended.code == 2
    assert ended.text.startswith("mpidriver: no picture 'calib'; there are ")
    assert "calibs, timeline" in ended.text
