"""The sky correction in the graph of a survey: what it waits for, and the same products on any number of ranks."""

import re
import shutil

import pytest
from survey import digests, run

from mpidriver.drivers._plan import plan_survey
from mpidriver.drivers._quantum import parse_quantum
from mpidriver.drivers.pipeline import open_context
from mpidriver.store import Frame, open_state
from mpidriver.tasks.skymap import SkyMapOptions, make_skymap

SIMULATION = ["--bands", "r", "--exposures", "1", "--detectors", "1x2", "--detector-size", "192", "--channels", "0"]


def frames():
    """Two exposures of two detectors each, with a raw bias for one of them."""
    science = [Frame(exposure, detector, "r", "raw.fits") for exposure in (7, 8) for detector in (0, 1)]
    return [*science, Frame(1, 0, "", "bias.fits", kind="bias")]


def test_an_exposure_is_modelled_before_its_frames_and_after_their_calibrations():
    plan = plan_survey(frames(), make_skymap(SkyMapOptions()), sky_correction=True)
    sky = plan.graph[parse_quantum("sky_correction{exposure=7, band=r}")]
    assert [quantum.key for quantum in sky.uses] == ["bias{detector=0}"]
    assert [quantum.key for quantum in sky.users] == [
        f"single_frame{{exposure=7, detector={detector}, band=r}}" for detector in (0, 1)
    ]


def test_without_it_nothing_waits_for_an_exposure():
    plan = plan_survey(frames(), make_skymap(SkyMapOptions()))
    assert not [quantum for quantum in plan.graph if quantum.task == "sky_correction"]


@pytest.mark.slow
@pytest.mark.mpi
def test_products_are_the_same_on_one_rank_and_on_three(tmp_path):
    roots = {ranks: tmp_path / str(ranks) for ranks in (1, 3)}
    assert run("simulate", roots[1], *SIMULATION, "--quiet").code == 0
    config = roots[1] / "survey.toml"
    text = re.sub(r"(\[sky_correction\][^\[]*?enabled = )false", r"\1true", config.read_text())
    config.write_text(text.replace("background_mesh_px = 128", "background_mesh_px = 48"))
    shutil.copytree(roots[1], roots[3])
    for ranks, root in roots.items():
        ended = run("-n", ranks, "single-frame", root)
        assert ended.code == 0, ended.text
    assert digests(roots[1]) == digests(roots[3])
    context = open_context(str(roots[1]))
    with open_state(context.repository) as state:
        qualities = [frame.quality for frame in state.frames()]
    assert all(0 < abs(quality["sky_residual_e"]) < 2 for quality in qualities)
    again = run("single-frame", roots[1])
    assert re.search(r"all +· +3 ", again.text), again.text
