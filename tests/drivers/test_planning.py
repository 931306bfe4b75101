"""Planning: which quanta a selection lets run, and that nothing but the state database is read for it."""

import json
import subprocess
import sys

import numpy as np
import pytest

from mpidriver.drivers._plan import plan_survey
from mpidriver.drivers._selection import Selection, selected_quanta
from mpidriver.drivers.config import SurveyConfig, config_text
from mpidriver.store import Frame, Repository, open_state
from mpidriver.tasks.skymap import SkyMapOptions, make_skymap

SKY = SkyMapOptions(
    kind="discrete",
    centres=((150.0, 2.0),),
    tract_radius_deg=0.1,
    tract_overlap_deg=0.0,
    pixel_scale_arcsec=1.0,
    patch_inner_px=250,
    patch_border_px=10,
)


def frames():
    """Two exposures a band of two detectors side by side, and one exposure of another region."""
    outline = np.array([(-0.05, -0.05), (0.05, -0.05), (0.05, 0.05), (-0.05, 0.05)])
    found = []
    for exposure, (band, dec) in enumerate([("g", 2.0), ("g", 2.02), ("r", 2.0), ("r", 1.98), ("r", 30.0)]):
        for detector, ra in enumerate((149.95, 150.05)):
            corners = np.array([ra, dec]) + outline
            found.append(Frame(exposure, detector, band, f"raw/{exposure}-{detector}.fits", corners=corners))
    return found


@pytest.fixture(scope="module")
def plan():
    return plan_survey(frames(), make_skymap(SKY))


def chosen(plan, **selection):
    return selected_quanta(plan.graph, Selection(**selection))


def by_task(quanta, task):
    return {quantum.data_id for quantum in quanta if quantum.task == task}


def test_without_a_selection_all_is_selected(plan):
    assert chosen(plan) == set(plan.graph)
    assert [name for name in plan.unplaced.values() if "outside every tract: exposure 4" in name] == list(
        plan.unplaced.values()
    )


@pytest.mark.parametrize("selection", [{"exposure": "1"}, {"band": "r"}, {"detector": "0"}, {"patch": "0,0"}])
def test_what_is_selected_matches_and_hangs_together(plan, selection):
    quanta = chosen(plan, **selection)
    matches = Selection(**selection).compiled()
    assert 0 < len(quanta) < len(plan.graph)
    assert all(matches(quantum.data_id) for quantum in quanta)
    for quantum in quanta:
        node = plan.graph[quantum]
        assert not (node.needs or node.uses) or quanta & {*node.needs, *node.uses}
        assert not node.users or quanta & set(node.users)


def test_coadds_without_warps_take_the_frames_of_the_warps_and_the_solutions(plan):
    without = plan_survey(frames(), make_skymap(SKY), keep_warps=False).graph
    assert by_task(without, "warp") == set()
    for coadd in (quantum for quantum in plan.graph if quantum.task == "coadd"):
        of_warps = [plan.graph[warp].needs for warp in plan.graph[coadd].uses]
        assert without[coadd].uses == [frame for frame, *_ in of_warps]
        assert without[coadd].needs == of_warps[0][1:]


def test_what_is_joined_over_bands_is_joined_from_all(plan):
    """The plan is the whole survey's whatever is selected: the inputs of a merge do not depend on it."""
    merges = by_task(chosen(plan, band="r"), "merge_detections")
    assert merges == by_task(plan.graph, "merge_detections")
    assert by_task(chosen(plan, band="r"), "detect") < by_task(plan.graph, "detect")


def test_a_patch_takes_the_frames_of_its_mosaic_and_no_stray(plan):
    quanta = chosen(plan, patch="0,0")
    assert {ids.exposure for ids in by_task(quanta, "single_frame")} == {0, 1, 2, 3}
    assert {ids.patch for ids in by_task(quanta, "coadd")} == {(0, 0)}
    assert by_task(quanta, "survey_catalogue") == by_task(plan.graph, "survey_catalogue")
    assert 4 in {ids.exposure for ids in by_task(chosen(plan, exposure="4"), "single_frame")}


OPENED = """
import json, sys
from pathlib import Path
from mpidriver.cli import main
opened = []
root = sys.argv[1]
def hook(event, arguments):
    if event in ("open", "os.listdir", "os.scandir") and str(arguments[0]).startswith(root):
        opened.append(str(Path(arguments[0]).relative_to(root)))
sys.addaudithook(hook)
code = main(["coadd", root, "--dry-run"])
print(json.dumps([code, opened]))
"""


def test_planning_coadds_opens_no_file_but_the_configuration_and_the_database(tmp_path):
    repository = Repository.create(tmp_path / "survey", config=config_text(SurveyConfig(skymap=SKY)))
    with open_state(repository) as state:
        state.add_frames(frames())
    command = [sys.executable, "-c", OPENED, str(repository.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    *quanta, report = done.stdout.splitlines()
    code, opened = json.loads(report)
    assert (code, set(opened)) == (0, {"survey.toml"})  # SQLite opens its file by itself
    assert sum(line.startswith("coadd{") for line in quanta) == len(
        {(patch, band) for patch in ("0,0", "0,1", "0,2", "1,0", "1,1", "1,2", "2,0", "2,1", "2,2") for band in "gr"}
    )
