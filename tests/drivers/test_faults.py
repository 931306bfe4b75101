"""Input and places that are not as they should be: the rest goes on, and what is wrong is named."""

import contextlib
import dataclasses
import hashlib
import os
import resource
import shutil
import sqlite3
import subprocess
import sys

import numpy as np
import pytest
from astropy.io import fits
from survey import digests, run

from mpidriver.cli import main
from mpidriver.drivers._stages import STAGES
from mpidriver.drivers.ingest import expand, ingest
from mpidriver.drivers.pipeline import open_context
from mpidriver.errors import ConfigError
from mpidriver.pool import Pool
from mpidriver.store import open_state

SMALL = ["--bands", "r", "--exposures", "2", "--detectors", "1x1", "--detector-size", "200", "--channels", "0"]


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """A tiny simulated repository, not reduced."""
    root = tmp_path_factory.mktemp("faults") / "raw"
    assert run("simulate", root, *SMALL, "--quiet").code == 0
    return root


@pytest.fixture(scope="module")
def reduced(raw, tmp_path_factory):
    """The same, reduced."""
    root = tmp_path_factory.mktemp("faults") / "reduced"
    shutil.copytree(raw, root)
    assert run("pipeline", root, "--quiet", "--no-pictures").code == 0
    return root


@contextlib.contextmanager
def largest_file(*, bytes_):
    """Let no process that is started here write a larger file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def products(root):
    """Return what the database says of its products: path and digest of the file of that name."""
    with open_state(open_context(str(root)).repository, readonly=True) as state:
        paths = [product.path for product in state.products()]
    return {path: hashlib.sha256((root / path).read_bytes()).hexdigest() for path in sorted(paths)}


@pytest.fixture
def frames(raw, tmp_path):
    """A folder with the raw frames under names of their own."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, path in enumerate(sorted((raw / "raw").glob("frame-*.fits"))):
        shutil.copy(path, folder / f"{number}.fits")
    return folder


@pytest.fixture
def taken_in(tmp_path):
    """Return a function that enters files into a new repository."""
    root = tmp_path / "new"
    assert run("init", root, "--instrument", "simulated").code == 0

    def enter(*arguments, copy=False):
        context = open_context(str(root))
        with open_state(context.repository) as state, Pool() as pool:
            report = ingest(
                context.repository, context.config, state, expand(map(str, arguments)), pool=pool, copy=copy
            )
            return report, state.frames(), sorted(path.name for path in (root / "raw").glob("*"))

    return enter


def test_a_frame_with_other_content_under_a_known_name_is_rejected_alone(frames, taken_in):
    with fits.open(frames / "0.fits") as hdus:
        hdus[0].data = hdus[0].data + np.uint16(1)
        hdus.writeto(frames / "00-other.fits")
    report, found, files = taken_in(frames)
    assert (report.new, report.known, len(found)) == (2, 0, 2)
    ((path, reason),) = report.rejected
    assert path == str(frames / "00-other.fits") or path == str(frames / "0.fits")
    assert "exposure 1001, detector 0, band 'r' is there already with other content, from raw/0" in reason
    assert len(files) == 2


def test_a_copied_frame_is_copied_once(frames, taken_in):
    shutil.copy(frames / "0.fits", frames / "2.fits")
    assert [taken_in(frames, copy=True)[::2] for _ in range(2)][1][1] == ["0.fits", "1.fits"]
    report, found, _ = taken_in(frames, copy=True)
    assert (report.new, report.known, len(found)) == (0, 3, 2)


def test_what_a_killed_ingest_has_copied_is_found_again(frames, taken_in, tmp_path):
    folder = tmp_path / "new" / "raw"
    folder.mkdir()
    shutil.copy(frames / "0.fits", folder / "0.fits")
    (folder / "1.fits").write_bytes(b"something else")
    _, found, files = taken_in(frames, copy=True)
    assert files == ["0.fits", "1-1.fits", "1.fits"]
    assert [frame.path for frame in found] == ["raw/0.fits", "raw/1-1.fits"]


def test_the_maps_of_a_frame_come_into_the_repository_with_it(frames, taken_in, tmp_path):
    config = tmp_path / "new" / "survey.toml"
    config.write_text(config.read_text().replace("weight = []", 'weight = [".fits", ".weight.fits"]', 1))
    with fits.open(frames / "0.fits") as hdus:
        hdus[0].data = np.ones(hdus[0].data.shape, dtype=np.float32)
        hdus.writeto(frames / "0.weight.fits")
    report, found, files = taken_in(frames / "0.fits", copy=True)
    assert (report.new, [frame.weight_path for frame in found]) == (1, ["raw/0.weight.fits"])
    assert files == ["0.fits", "0.weight.fits"]


def test_a_rejected_file_is_named_once_with_what_each_table_says(raw, frames, taken_in, tmp_path):
    shutil.copy(raw / "survey.toml", tmp_path / "new" / "survey.toml")
    with fits.open(frames / "0.fits") as hdus:
        del hdus[0].header["CTYPE1"], hdus[0].header["CTYPE2"]
        hdus.writeto(frames / "nowhere.fits")
    (frames / "empty.fits").touch()
    (frames / os.fsdecode(b"latin-\xfc.fits")).touch()
    report, _, _ = taken_in(frames)
    assert dict(report.rejected)[str(frames / "empty.fits")] == "the file is empty, expected FITS"
    assert any("not UTF-8" in reason for _, reason in report.rejected)
    reason = dict(report.rejected)[str(frames / "nowhere.fits")]
    assert reason.startswith("by [instrument]: [0]: no celestial coordinates")
    assert "by [polarimeter]: [0]: expected a STOKES axis" in reason
    assert str(frames) not in reason


def test_a_missing_list_of_files_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"@.*absent: cannot be read as a list of files"):
        expand([f"@{tmp_path}/absent"])


def test_debug_stops_where_a_quantum_raises_and_exits_with_1(raw, tmp_path):
    root = tmp_path / "repo"
    shutil.copytree(raw, root)
    min((root / "raw").glob("frame-*.fits")).unlink()
    command = [sys.executable, "-m", "mpidriver", "debug", root, "single_frame{exposure=1001, detector=0, band=r}"]
    ended = subprocess.run(command, input="p type(error)\nq\n", capture_output=True, text=True, check=False)
    assert (ended.returncode, "(Pdb) " in ended.stdout) == (1, True)
    assert "no such file" in ended.stderr


def test_a_selection_without_a_frame_names_what_there_is(raw):
    ended = run("pipeline", raw, "--exposure", "7")
    assert ended.code == 2
    assert "none of its 2 frames is selected; there are exposures 1001..1002, bands r" in ended.text


def test_a_driver_without_anything_to_do_says_so(raw):
    ended = run("faraday", raw)
    assert ended.code == 0
    assert "nothing to do for faraday" in ended.text


def test_a_full_disk_stops_the_run_leaves_nothing_half_done_and_the_same_command_goes_on(raw, reduced, tmp_path):
    root = tmp_path / "repo"
    shutil.copytree(raw, root)
    with largest_file(bytes_=400_000):  # the database fits, a frame of three planes does not
        ended = run("pipeline", root, "--no-pictures")
    assert ended.code == 3, ended.text
    assert "not written, File too large; raise the file size limit" in ended.text
    assert "Traceback" not in ended.text
    assert products(root) == digests(root)
    ended = run("pipeline", root, "--no-pictures")
    assert ended.code == 0, ended.text
    assert digests(root) == digests(reduced)


@pytest.fixture
def holder(raw, tmp_path, monkeypatch):
    """A repository and another program's connection to its database; nobody waits long for the other."""
    monkeypatch.setattr("mpidriver.store._sqlite._connection.BUSY_SECONDS", 0.05)
    root = tmp_path / "repo"
    shutil.copytree(raw, root)
    connection = sqlite3.connect(root / "state.sqlite", isolation_level=None, check_same_thread=False)
    yield root, connection
    connection.close()


def test_a_database_that_another_program_holds_is_named_and_nothing_is_lost(holder, capsys):
    root, other = holder
    other.execute("BEGIN EXCLUSIVE")
    assert main(["single-frame", str(root), "--quiet"]) == 3
    assert "another process held it" in capsys.readouterr().err
    other.execute("ROLLBACK")
    assert main(["single-frame", str(root), "--quiet"]) == 0


def test_what_was_done_while_another_program_held_the_database_is_not_done_again(holder, capsys, monkeypatch):
    root, other = holder
    stage = STAGES["single_frame"]

    def held(context, quantum, **arguments):
        if not other.in_transaction:
            other.execute("BEGIN EXCLUSIVE")
        return stage.run(context, quantum, **arguments)

    monkeypatch.setitem(STAGES, "single_frame", dataclasses.replace(stage, run=held))
    assert main(["single-frame", str(root), "--quiet"]) == 3
    assert "another process held it" in capsys.readouterr().err
    other.execute("ROLLBACK")
    assert len((root / "unrecorded.jsonl").read_text().splitlines()) >= 1
    monkeypatch.setitem(STAGES, "single_frame", stage)
    assert main(["single-frame", str(root), "--quiet"]) == 0
    with open_state(open_context(str(root)).repository, readonly=True) as state:
        assert [(record.status, record.attempt) for record in state.quanta()] == [("done", 1)] * 2


def test_a_damaged_database_is_named(raw, tmp_path, capsys):
    root = tmp_path / "repo"
    shutil.copytree(raw, root)
    with open(root / "state.sqlite", "r+b") as file:
        file.seek(1024)
        file.write(b"no database" * 1000)
    assert main(["single-frame", str(root), "--quiet"]) == 3
    assert "state.sqlite: database disk image is malformed; it is damaged: restore it" in capsys.readouterr().err


def test_a_simulation_that_was_ended_goes_on_with_the_same_command(raw, tmp_path):
    root = tmp_path / "repo"
    shutil.copytree(raw, root)
    (root / "state.sqlite").unlink()
    min((root / "raw").glob("frame-*.fits")).unlink()
    assert run("simulate", root, *SMALL, "--seed", "3").code == 3  # another simulation is not mixed with it
    ended = run("simulate", root, *SMALL)
    assert ended.code == 0, ended.text
    assert digests(root, ["raw", "calib", "truth"]) == digests(raw, ["raw", "calib", "truth"])
    assert run("simulate", root, *SMALL).code == 3


def test_a_locale_without_the_letters_of_a_path_is_enough(raw, tmp_path):
    root = tmp_path / "Ünï coded"
    shutil.copytree(raw, root)
    ended = run("single-frame", root, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert ended.code == 0, ended.text
    assert "all done" in ended.text


def test_a_damaged_product_is_made_again(reduced, tmp_path):
    root = tmp_path / "repo"
    shutil.copytree(reduced, root)
    coadd = next((root / "coadds").rglob("*.fits"))
    coadd.write_bytes(coadd.read_bytes()[:10_000])
    assert run("pipeline", root, "--quiet", "--no-pictures").code == 0
    assert digests(root) == digests(reduced)


def test_a_new_calibration_frame_makes_new_frames(reduced, tmp_path):
    root = tmp_path / "repo"
    shutil.copytree(reduced, root)
    flat = root / "calib" / "flat-r-000.fits"
    with fits.open(flat, mode="update") as hdus:
        hdus[0].data[:] = 1.0
    assert run("pipeline", root, "--quiet", "--no-pictures").code == 0
    changed = {path for path, digest in digests(root).items() if digest != digests(reduced)[path]}
    assert {path for path in digests(root) if path.startswith(("frames", "coadds"))} <= changed
    flat.unlink()
    ended = run("single-frame", root)
    assert ended.code == 1
    assert "flat-r-000.fits" in ended.text


def test_a_template_of_calibrations_that_cannot_be_filled_is_named(raw, tmp_path):
    root = tmp_path / "repo"
    shutil.copytree(raw, root)
    config = root / "survey.toml"
    config.write_text(config.read_text(encoding="utf-8").replace("bias-{detector:03d}", "bias-{ccd}"), encoding="utf-8")
    ended = run("single-frame", root)
    assert ended.code == 1
    assert "survey.toml [calibrations]: bias = 'calib/bias-{ccd}.fits': expected a path with {detector}" in ended.text


CRASHING = """
import dataclasses, os, signal, sys
from mpidriver.cli import main
from mpidriver.drivers._stages import STAGES

stage = STAGES["single_frame"]

def run(context, quantum, **arguments):
    if "exposure=1001" in quantum.key:
        os.kill(os.getpid(), signal.SIGKILL)
    return stage.run(context, quantum, **arguments)

STAGES["single_frame"] = dataclasses.replace(stage, run=run)
sys.exit(main())
"""


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.mpi)])
def test_a_quantum_whose_process_dies_is_named_and_everything_else_is_finished(raw, tmp_path, ranks):
    root = tmp_path / "repo"
    shutil.copytree(raw, root)
    arguments = [sys.executable, "-c", CRASHING, "single-frame", str(root), "--isolate"]
    start = "import sys; from mpidriver.batch import run_ranks; sys.exit(run_ranks(int(sys.argv[1]), sys.argv[2:]))"
    command = arguments if ranks == 1 else [sys.executable, "-c", start, str(ranks), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert "its process was killed by SIGKILL (tried 2 times)" in ended.stdout, ended.stderr
    assert ended.returncode != 0
    with open_state(open_context(str(root)).repository, readonly=True) as state:
        assert [record.key for record in state.quanta(status="failed")] == [
            "single_frame{exposure=1001, detector=0, band=r}"
        ]
        assert len(state.quanta(status="done")) == 1


def test_a_frame_that_points_two_minutes_of_arc_off_is_found(tmp_path):
    root = tmp_path / "repo"
    wide = ["400" if text == "200" else text for text in SMALL]  # stars enough to tell
    assert run("simulate", root, *wide, "--quiet").code == 0
    path = sorted((root / "raw").glob("frame-*.fits"))[0]
    fits.setval(path, "CRVAL2", value=fits.getval(path, "CRVAL2") + 120 / 3600)
    assert run("ingest", root, root / "raw", "--quiet").code == 0
    ended = run("single-frame", root)
    assert ended.code == 0, ended.text
    with open_state(open_context(str(root)).repository, readonly=True) as state:
        wrong, right = sorted((frame for frame in state.frames()), key=lambda frame: frame.exposure)
    assert min(wrong.quality["n_matched"], right.quality["n_matched"]) > 15
    assert (wrong.corners - wrong.solved_corners)[:, 1] * 3600 == pytest.approx(120, abs=10)
    assert (right.corners - right.solved_corners)[:, 1] * 3600 == pytest.approx(0, abs=10)
