"""The mosaic in a survey: tracts without a reference have one sky, and exposures with wrong headers are named."""

import re
import shutil

import numpy as np
import pytest
from astropy.io import fits
from survey import digests, run, run_in_turn

from mpidriver.drivers._plan import plan_survey
from mpidriver.drivers._solutions import read_frame_solutions, read_solutions
from mpidriver.errors import DataError
from mpidriver.sphere import unit_vectors
from mpidriver.store import Frame, Repository, read_table, write_table
from mpidriver.tasks.skymap import SkyMapOptions, make_skymap

SIMULATION = ["--bands", "r", "--exposures", "4", "--detectors", "2x2", "--detector-size", "256", "--channels", "0"]
LAST_EXPOSURE = 1004
MAS = np.degrees(1.0) * 3.6e6


def two_tracts(text):
    """Return a survey.toml with two tracts that overlap and without a reference."""
    text = re.sub(r"centres = .*", "centres = [[150.0947, 2.2058], [150.1379, 2.2058]]", text)
    text = re.sub(r"tract_radius_deg = .*", "tract_radius_deg = 0.016", text)
    text = re.sub(r"patch_inner_px = .*", "patch_inner_px = 290", text)
    text = re.sub(r"patch_border_px = .*", "patch_border_px = 4", text)
    return re.sub(r'path = "calib/reference.fits"', "", text)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """A survey of two tracts, not yet reduced."""
    root = tmp_path_factory.mktemp("tracts") / "repo"
    assert run("simulate", root, *SIMULATION, "--quiet").code == 0
    config = root / "survey.toml"
    config.write_text(two_tracts(config.read_text()))
    return root


@pytest.fixture(scope="module")
def solved(raw, tmp_path_factory):
    """The same, its mosaics made in one process."""
    root = tmp_path_factory.mktemp("solved") / "repo"
    shutil.copytree(raw, root)
    ended = run_in_turn(["single-frame", root], ["mosaic", root])
    assert ended.code == 0, ended.text
    return root


def mosaic(root, tract, name="mosaic"):
    path = Repository.open(root).path(name, tract=tract)
    return {(frame.exposure, frame.detector): frame for frame in read_frame_solutions(path)}


def seams_mas(one, other):
    """Return by how much the positions of frames differ that two tracts have."""
    x, y = np.meshgrid([0.0, 128.0, 255.0], [0.0, 128.0, 255.0])
    shared = sorted(one.keys() & other.keys())
    assert len(shared) > 3
    places = [[unit_vectors(*tract[name].wcs.all_pix2world(x, y, 0)) for tract in (one, other)] for name in shared]
    return np.linalg.norm([here - there for here, there in places], axis=-1) * MAS


def test_tracts_are_joined_only_where_they_overlap_and_no_reference_ties_them():
    def frame(number, ra):
        outline = np.array([(-0.05, -0.05), (0.05, -0.05), (0.05, 0.05), (-0.05, 0.05)])
        return Frame(number, 0, "r", f"{number}.fits", corners=np.array([ra, 0.0]) + outline)

    frames = [frame(number, ra) for number, ra in enumerate((10.0, 10.2, 10.4, 20.0))]
    centres = ((10.05, 0.0), (10.35, 0.0), (20.0, 0.0))
    sky = make_skymap(SkyMapOptions(kind="discrete", centres=centres, tract_radius_deg=0.16))
    tied, free = (plan_survey(frames, sky, joined=joined).graph for joined in (False, True))
    assert not [quantum for quantum in tied if quantum.task in ("solve_tract", "join_tracts")]
    needs = {
        quantum.data_id.tract: [need.key for need in free[quantum].needs]
        for quantum in free
        if quantum.task == "mosaic"
    }
    assert needs == {0: ["solve_tract{tract=0}", "join_tracts{}"], 1: ["solve_tract{tract=1}", "join_tracts{}"], 2: []}


def test_frames_have_one_position_and_zero_point_in_all_tracts_without_a_reference(solved):
    assert np.median(seams_mas(*(mosaic(solved, tract, "tract_solution") for tract in (0, 1)))) > 20.0
    one, other = (mosaic(solved, tract) for tract in (0, 1))
    assert np.max(seams_mas(one, other)) == 0.0
    assert [one[name].zero_point_mag for name in one if name in other] == [
        other[name].zero_point_mag for name in one if name in other
    ]


@pytest.mark.mpi
def test_joined_tracts_are_the_same_on_any_number_of_ranks(solved, tmp_path):
    root = tmp_path / "repo"
    shutil.copytree(solved, root)
    ended = run("-n", 3, "mosaic", root, "--clobber", "solve_tract")
    assert ended.code == 0, ended.text
    assert re.search(r"all +7 ", ended.text), ended.text
    assert digests(root) == digests(solved)


def test_an_exposure_whose_header_is_off_by_two_minutes_is_named_in_all_tracts(raw, tmp_path):
    root = tmp_path / "repo"
    shutil.copytree(raw, root)
    for path in (root / "raw").glob(f"*{LAST_EXPOSURE}*"):
        with fits.open(path, mode="update") as opened:
            opened[0].header["CRVAL2"] += 2.0 / 60
    ended = run_in_turn(["single-frame", root], ["mosaic", root])
    assert ended.code == 0, ended.text
    assert f"of exposure {LAST_EXPOSURE}: its stars do not match" in " ".join(ended.text.split())
    frames = [frame for tract in (0, 1) for frame in mosaic(root, tract).values()]
    assert {frame.exposure for frame in frames if frame.misplaced} == {LAST_EXPOSURE}
    assert all(frame.misplaced for frame in frames if frame.exposure == LAST_EXPOSURE)
    assert all(frame.matched for frame in frames if frame.exposure != LAST_EXPOSURE)


def test_a_mosaic_of_an_earlier_version_says_what_to_do(solved, tmp_path):
    rows = read_table(Repository.open(solved).path("mosaic", tract=0))
    kept = [name for name in rows.dtype.names if name != "flat"]
    old = np.empty(len(rows), dtype=[(name, rows.dtype[name]) for name in kept])
    for name in kept:
        old[name] = rows[name]
    write_table(tmp_path / "old.fits", old)
    with pytest.raises(DataError, match=r"no column 'flat'; run `mpidriver mosaic` again"):
        read_solutions(tmp_path / "old.fits")
