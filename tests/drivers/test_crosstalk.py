"""Cross-talk that raw frames are given comes out of them again, on any number of ranks."""

import re
import shutil

import numpy as np
import pytest
from astropy.io import fits
from survey import digests, run

from mpidriver.drivers._plan import plan_survey
from mpidriver.drivers._quantum import parse_quantum
from mpidriver.store import Frame, read_image, read_table, write_table
from mpidriver.tasks.single_frame import Coupling, crosstalk
from mpidriver.tasks.skymap import SkyMapOptions, make_skymap

SIMULATION = ["--bands", "r", "--exposures", "1", "--detectors", "1x2", "--detector-size", "128", "--channels", "0"]
#: Victim, source, coefficient, section of the source and of the victim: the halves of 0, and both detectors.
TABLE = [
    (0, 0, 4e-3, "[128:65,1:128]", "[1:64,1:128]"),
    (1, 0, 2e-3, "[1:128,128:1]", ""),
    (0, 1, 1e-3, "", ""),
    (1, 7, 2e-3, "", ""),
]
DTYPE = [
    ("victim", "i4"),
    ("source", "i4"),
    ("coefficient", "f8"),
    ("source_section", "U16"),
    ("victim_section", "U16"),
]


def test_victims_wait_for_the_cross_talk_of_their_exposure():
    frames = [Frame(exposure, detector, "r", "raw.fits") for exposure in (7, 8) for detector in (0, 1, 2, 3)]
    frames = [frame for frame in frames if (frame.exposure, frame.detector) != (8, 1)]
    frames.append(Frame(1, 1, "", "bias.fits", kind="bias"))
    plan = plan_survey(frames, make_skymap(SkyMapOptions()), coupled={0: {1}, 2: {1, 9}}, sky_correction=True)
    made = [quantum for quantum in plan.graph if quantum.task == "crosstalk"]
    assert [quantum.key for quantum in made] == ["crosstalk{exposure=7, band=r}"]
    node = plan.graph[parse_quantum("crosstalk{exposure=7, band=r}")]
    assert [quantum.key for quantum in node.uses] == ["bias{detector=1}"]
    assert {quantum.key for quantum in node.users} == {
        "sky_correction{exposure=7, band=r}",
        *(f"single_frame{{exposure=7, detector={detector}, band=r}}" for detector in (0, 2)),
    }


@pytest.mark.slow
@pytest.mark.mpi
def test_frames_with_cross_talk_become_those_without(tmp_path):
    clean, one, three = (tmp_path / name for name in ("clean", "one", "three"))
    assert run("simulate", clean, *SIMULATION, "--quiet").code == 0
    shutil.copytree(clean, one)
    add_crosstalk(one)
    write_table(one / "calib" / "crosstalk.fits", np.array(TABLE, DTYPE))
    config = one / "survey.toml"
    config.write_text(config.read_text().replace("# crosstalk =", 'crosstalk = "calib/crosstalk.fits"'))
    shutil.copytree(one, three)
    for root, ranks in ((clean, 1), (one, 1), (three, 3)):
        ended = run("-n", ranks, "single-frame", root)
        assert ended.code == 0, ended.text
    assert digests(one) == digests(three)
    for path in (clean / "frames").rglob("00?.fits"):
        (image, *_), (without, *_) = (read_image(root / path.relative_to(clean)) for root in (one, clean))
        assert np.nanpercentile(np.abs(image - without), 99.8) < 3  # electrons; counts are whole numbers
    ended = run("-n", 2, "calibs", one, "crosstalk", "--quiet")
    assert ended.code == 0, ended.text
    measured = read_table(one / "calibs" / "crosstalk.fits")
    assert np.count_nonzero(measured["pixels"]) >= 2
    for row in measured[measured["pixels"] > 0]:
        (true,) = (known[2] for known in TABLE if known[:2] == (row["victim"], row["source"]))
        assert abs(row["coefficient"] - true) < 5 * row["error"] + 0.05 * true
    again = run("single-frame", one)
    assert re.search(r"all +· +3 ", again.text), again.text


def add_crosstalk(root):
    """Add to the raw frames what they record of each other."""
    raws = {}
    for path in (root / "raw").glob("*.fits"):
        with fits.open(path) as hdus:
            raws[hdus[0].header["DETECTOR"]] = path, hdus[0].data.astype(np.float32)
    signals = {
        detector: counts - read_image(root / "calib" / f"bias-{detector:03d}.fits")[0]
        for detector, (_, counts) in raws.items()
    }
    for detector, (path, counts) in raws.items():
        couplings = [Coupling(source, *rest) for victim, source, *rest in TABLE if victim == detector]
        with fits.open(path, mode="update") as hdus:
            seen = counts + crosstalk(couplings, signals, counts.shape)
            hdus[0].data[:] = np.clip(np.rint(seen), 0, 60000).astype(np.uint16)
