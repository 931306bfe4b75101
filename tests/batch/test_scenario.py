"""From a list of messages to cutouts on a remote, by one command and by four, with everything wrong that can be."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from local_slurm import needs_slurm
from object_store import SECRET, needs_rclone
from survey import digests, run

from mpidriver.store import write_image

EXAMPLE = Path(__file__).parents[2] / "examples" / "cutouts_from_storage.sh"

pytestmark = needs_rclone


def frame_wcs(number):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = 150.0 + number, 2.0
    wcs.wcs.crpix = 60.5, 50.5
    wcs.wcs.cdelt = -1e-4, 1e-4
    return wcs


def message(number, x, y, **more):
    ra, dec = frame_wcs(number).all_pix2world(x, y, 0)
    return {"file": f"night/{number}.fits", "ra": float(ra), "dec": float(dec), **more}


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """Six frames as a survey has them; the last of them is cut off."""
    folder = tmp_path_factory.mktemp("frames")
    rng = np.random.default_rng(5)
    for number in range(6):
        write_image(folder / f"night/{number}.fits", rng.normal(size=(100, 120)).astype("f4"), wcs=frame_wcs(number))
    with open(folder / "night/5.fits", "r+b") as file:
        file.truncate(20_000)
    return folder


@pytest.fixture
def scene(s3, frames, tmp_path):
    """An empty repository, and the frames on the server."""
    s3.rclone("copy", frames, "ceph:survey/frames")
    root = tmp_path / "work"
    assert run("init", root).code == 0
    text = (root / "survey.toml").read_text()
    text = text.replace('source = ""', 'source = "ceph:survey/frames"').replace(
        'target = ""', 'target = "ceph:survey/out"'
    )
    (root / "survey.toml").write_text(text)
    return root


GOOD = [message(number, 20.0 + 10 * number, 40.0, name=f"star-{number}") for number in range(5)]


def listed(root, messages, as_list=False):
    path = root / "messages.json"
    path.write_text(json.dumps(messages) if as_list else "".join(json.dumps(one) + "\n" for one in messages))
    return path


def table(folder):
    with open(folder / "cutouts.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def brought_out(s3, tmp_path, place="ceph:survey/out"):
    s3.rclone("copy", place, tmp_path / "brought-out")
    return tmp_path / "brought-out"


def one_command(root, messages):
    return run("cutout", root, "--messages", messages, "--stage-in", "--stage-out")


def test_one_command_stages_in_cuts_and_stages_out(s3, scene, frames, tmp_path):
    ended = one_command(scene, listed(scene, GOOD, as_list=True))
    assert ended.code == 0, ended.text
    out = brought_out(s3, tmp_path)
    rows = table(out)
    assert [row["status"] for row in rows] == ["whole"] * 5
    for number, row in enumerate(rows):
        left = 10 + 10 * number
        expected = fits.getdata(frames / f"night/{number}.fits")[30:50, left : left + 20]
        assert np.array_equal(fits.getdata(out / row["cutout"]), expected)


def test_all_that_is_wrong_is_named_and_the_rest_is_done(s3, scene, tmp_path):
    wrong = [
        message(0, -300.0, 40.0, name="off"),
        {**GOOD[0], "file": "night/absent.fits", "name": "absent"},
        message(5, 50.0, 50.0, name="cut-off"),
    ]
    ended = one_command(scene, listed(scene, GOOD + wrong))
    assert ended.code == 1
    expected = ["1 positions on no image: off", "night/absent.fits: not at ceph:survey/frames", "5.fits", "truncated"]
    assert [words for words in expected if words not in ended.text] == []
    assert "Traceback" not in ended.text
    rows = {row["name"]: row for row in table(brought_out(s3, tmp_path))}
    assert {name: rows[name]["status"] for name in ("off", "absent", "cut-off")} == {
        "off": "off",
        "absent": "failed",
        "cut-off": "failed",
    }
    assert "no such file" in rows["absent"]["reason"].lower()
    assert "truncated" in rows["cut-off"]["reason"]
    assert [rows[f"star-{number}"]["status"] for number in range(5)] == ["whole"] * 5


def four_commands(root, messages):
    return [
        ("stage", "in", root, "--messages", messages),
        ("cutout", root, "--messages", messages, "--locate-only"),
        ("cutout", root, "--pixels", root / "cutouts" / "pixels.csv"),
        ("stage", "out", root, "cutouts"),
    ]


def test_four_commands_make_what_one_makes(s3, scene, tmp_path):
    messages = listed(scene, [*GOOD, message(1, 2.0, 98.0, name="edge"), message(0, -300.0, 40.0, name="off")])
    assert one_command(scene, messages).code == 1
    made = digests(scene, ["cutouts"])
    for path in [*(scene / "cutouts").iterdir(), *(scene / "raw/night").iterdir()]:
        path.unlink()
    codes = [run(*command).code for command in four_commands(scene, messages)]
    assert codes == [0, 1, 1, 0]  # a position on no image is missed by those that were asked for it
    again = digests(scene, ["cutouts"])
    assert set(again) - set(made) == {"cutouts/pixels.csv"}
    assert made == {path: digest for path, digest in again.items() if path in made}
    assert len(list((brought_out(s3, tmp_path) / "cutouts").glob("*.fits"))) == 6


def test_wrong_keys_and_a_server_that_is_down_end_it_with_a_word(s3, scene):
    messages = listed(scene, GOOD)
    s3.refuse_all()
    for command in (("stage", "in", scene), ("cutout", scene, "--messages", messages, "--stage-in")):
        ended = run(*command)
        assert ended.code == 1, ended.text
        assert "ceph:survey/frames: access was refused; check the keys in RCLONE_CONFIG_CEPH_…" in ended.text
        assert SECRET not in ended.text
        assert "Traceback" not in ended.text
    down = run("stage", "in", scene, RCLONE_CONFIG_CEPH_ENDPOINT="http://127.0.0.1:9")
    assert (down.code, "cannot be reached" in down.text) == (1, True)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"file": "/data/a.fits", "ra": 1, "dec": 2}', ["message 1", "/data/a.fits", "relative"]),
        ('{"file": "../a.fits", "ra": 1, "dec": 2}', ["message 1", ".."]),
        ('{"file": "a.fits", "ra": 1}', ["message 1", "dec"]),
        ('{"file": "a.fits", "ra": "x", "dec": 2}', ["message 1", "'x'"]),
        ('{"file": "a.fits", "ra": 1, "dec": 200}', ["position 1", "200"]),
        ("[{]", ["neither JSON lines nor a JSON list"]),
    ],
)
def test_a_wrong_message_is_named_before_anything_is_done(scene, content, words):
    (scene / "messages.json").write_text(content)
    ended = one_command(scene, scene / "messages.json")
    assert ended.code == 2, ended.text
    assert [word for word in words if word not in ended.text] == []
    assert not (scene / "cutouts").exists()


@pytest.mark.parametrize("after", ["raw", "cutouts"])
def test_killed_at_any_time_and_run_again_it_ends_right(s3, scene, tmp_path, after):
    messages = listed(scene, GOOD)
    command = [sys.executable, "-m", "mpidriver", "cutout", scene, "--messages", messages, "--stage-in", "--stage-out"]
    process = subprocess.Popen(list(map(str, command)), start_new_session=True, stdout=subprocess.DEVNULL)
    while process.poll() is None and not any((scene / after).rglob("*.fits")):
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    ended = one_command(scene, messages)
    assert ended.code == 0, ended.text
    out = brought_out(s3, tmp_path)
    assert [row["status"] for row in table(out)] == ["whole"] * 5
    assert sorted(path.name for path in out.iterdir()) == sorted(
        ["cutouts.csv", *(row["cutout"] for row in table(out))]
    )
    assert not list(scene.rglob(".staging-*"))


def test_a_driver_brings_its_raw_files_in_and_its_products_out(s3, tmp_path):
    root = tmp_path / "repo"
    small = ["--bands", "r", "--exposures", "1", "--detectors", "1x1", "--detector-size", "200", "--channels", "0"]
    assert run("simulate", root, *small, "--quiet").code == 0
    (frame,) = (root / "raw").glob("frame-*.fits")
    content = frame.read_bytes()
    s3.rclone("copy", root / "raw", "ceph:survey/raw")
    frame.unlink()
    text = (root / "survey.toml").read_text()
    (root / "survey.toml").write_text(text.replace('folders = ["coadds"', 'folders = ["frames", "coadds"'))
    staging = ["--stage-in", "ceph:survey/raw", "--stage-out", "ceph:survey/products"]
    ended = run("single-frame", root, "--quiet", *staging)
    assert ended.code == 0, ended.text
    assert frame.read_bytes() == content
    out = brought_out(s3, tmp_path, "ceph:survey/products")
    assert digests(out, ["frames"]) == digests(root, ["frames"])
    assert len(digests(out, ["frames"])) == 3  # image, catalogue, background


def test_a_job_is_told_the_names_of_what_defines_remotes_and_not_what_they_hold(s3, scene):
    ended = run("submit", "--system", "slurm", "--dry-run", "--", "stage", "in", scene)
    assert ended.code == 0, ended.text
    assert "RCLONE_CONFIG_CEPH_SECRET_ACCESS_KEY" in ended.text
    assert SECRET not in ended.text
    other = run("submit", "--system", "slurm", "--dry-run", "--", "pipeline", scene)
    assert "RCLONE_CONFIG" not in other.text


@pytest.mark.slow
@needs_slurm
def test_four_jobs_of_slurm_do_the_same(slurm, s3, frames, tmp_path):
    four_jobs_do_the_same(s3, frames, tmp_path, "--system", "slurm", "--time", "5", "--memory", "1GiB")


def test_four_jobs_of_this_machine_do_the_same(s3, frames, tmp_path):
    four_jobs_do_the_same(s3, frames, tmp_path, "--system", "local")


def four_jobs_do_the_same(s3, frames, tmp_path, *system):
    """The example script: each job waits for the one before."""
    s3.rclone("copy", frames, "ceph:survey/frames")
    messages = listed(tmp_path, [*GOOD, message(0, -300.0, 40.0, name="off")])
    environment = {**os.environ, **s3.environment, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(
        [EXAMPLE, messages, "ceph:survey/frames", "ceph:survey/stamps", *system],
        cwd=tmp_path,
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    (work,) = tmp_path.glob("cutouts-*")
    jobs = ended_jobs(work)
    assert [(job["name"], job["state"]) for job in jobs] == [
        ("stage", "done"),
        ("cutout", "incomplete"),  # the position on no image is missed, and the next job runs all the same
        ("cutout", "incomplete"),
        ("stage", "done"),
    ]
    out = brought_out(s3, tmp_path, "ceph:survey/stamps") / "cutouts"
    assert {row["name"]: row["status"] for row in table(out)} == {one["name"]: "whole" for one in GOOD} | {"off": "off"}
    assert len(list(out.glob("*.fits"))) == 5
    assert [path for path in work.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()] == []


def ended_jobs(repository):
    """Return the jobs of a repository when all of them have ended."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        jobs = json.loads(run("jobs", repository, "--json").text)["jobs"]
        if all(job["state"] in ("done", "incomplete") for job in jobs):
            return jobs
        time.sleep(0.1)
    raise AssertionError(f"jobs have not ended: {jobs}")
