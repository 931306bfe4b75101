"""The command line: its verbs without ranks, its errors and exit codes."""

import json
import os
import shutil
import subprocess
import sys
import tomllib

import pytest
from survey import run

from mpidriver.drivers.config import SurveyConfig, load_config
from mpidriver.options import from_mapping
from mpidriver.store import QuantumUpdate, Repository, open_state

SMALL = ["--bands", "r", "--exposures", "1", "--detectors", "1x1", "--detector-size", "200", "--channels", "0"]


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    """A tiny simulated repository, reduced."""
    root = tmp_path_factory.mktemp("cli") / "repo"
    assert run("simulate", root, *SMALL, "--quiet").code == 0
    assert run("pipeline", root, "--quiet", "--no-pictures").code == 0
    return root


def test_config_prints_every_option_as_toml_that_reads_back():
    ended = run("config")
    assert ended.code == 0
    assert from_mapping(SurveyConfig, tomllib.loads(ended.text), "output") == SurveyConfig()
    lines = ended.text.splitlines()
    keys = [number for number, line in enumerate(lines) if " = " in line and not line.startswith("#")]
    assert len(keys) > 60
    assert [lines[number] for number in keys if not lines[number - 1].startswith("#")] == []


def test_init_writes_a_survey_toml_with_what_was_said(tmp_path):
    root = tmp_path / "new"
    ended = run(
        "init", root, "--instrument", "saao", "--centre", "273.9,-25.3", "--radius", "0.1", "--pixel-scale", "0.3"
    )
    assert ended.code == 0, ended.text
    config = load_config(root / "survey.toml")
    assert config.skymap.centres == ((273.9, -25.3),)
    assert config.skymap.pixel_scale_arcsec == 0.3
    assert config.instrument.table == "derived_wcs.ecsv"


def test_status_shows_stages_and_states(survey):
    ended = run("status", survey)
    assert ended.code == 0
    assert "single_frame" in ended.text
    assert "done" in ended.text


def test_status_and_show_print_json_and_load_neither_numpy_nor_astropy(survey):
    stages = json.loads(run("status", survey, "--json").text)
    assert stages == {"stages": stages["stages"], "run": None}
    assert stages["stages"]["coadd"] == {"done": 1}
    assert json.loads(run("status", survey, "--failed", "--json").text) == []
    script = "import sys; from mpidriver.cli import main; main(sys.argv[1:]); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script, "status", survey], check=True, capture_output=True, text=True)
    assert "'sqlite3'" in done.stdout
    assert "'numpy'" not in done.stdout
    assert "'astropy'" not in done.stdout


def test_status_tells_the_pace_of_a_run_in_another_process(survey, tmp_path):
    root = tmp_path / "repo"
    shutil.copytree(survey, root)
    with open_state(Repository.open(root)) as state:
        state.begin_run("pipeline there", 3, "1.0")
        state.record([QuantumUpdate(record.key, "done", started=1.0, seconds=2.0) for record in state.quanta("detect")])
        pace = json.loads(run("status", root, "--json").text)["run"]
        assert (pace["command"], pace["ranks"], pace["ended"]) == ("pipeline there", 3, 1)
        assert pace["remaining_seconds"] == 0.0
        assert "pipeline there: 1 quanta on 3 ranks of " in run("status", root).text
    assert json.loads(run("status", root, "--json").text)["run"] is None


def test_show_tells_run_inputs_and_outputs_of_a_quantum(survey):
    with open_state(Repository.open(survey), readonly=True) as state:
        (record,) = state.quanta("coadd")
        (product,) = state.products(record.key)
        warps = state.quanta("warp")
    shown = json.loads(run("show", survey, record.key, "--json").text)
    assert shown["earlier"] == []
    assert shown["record"]["seconds"] == record.seconds
    assert shown["outputs"] == [{**vars(product)}]
    assert [source["key"] for source in shown["inputs"]] == [warp.key for warp in warps]
    assert (shown["blocked_by"], shown["blocks"]) == ([], [])
    text = run("show", survey, record.key).text
    assert f"{record.key}: done" in text
    assert f"{product.path}  {product.size:,} bytes  {product.digest}" in text
    assert f"rank 0 of {record.host}" in text


def test_advise_predicts_what_a_survey_takes_from_its_records(survey):
    """All is done: the whole survey again, on one rank as long as its quanta took."""
    ended = run("advise", survey, "--ranks", "1,2,4", "--json")
    assert ended.code == 0, ended.text
    advice = json.loads(ended.text)
    with open_state(Repository.open(survey), readonly=True) as state:
        timed = [record for record in state.quanta(status="done") if record.seconds is not None]
    alone = advice["predictions"][0]
    assert alone["wall_seconds"] >= sum(record.seconds for record in timed)
    assert alone["wall_seconds"] < 1.5 * sum(record.seconds for record in timed) + 1
    assert alone["node_memory_bytes"] > 1 << 20
    assert "nothing is left to run" in advice["notes"][0]
    shown = run("advise", survey, "--ranks", "1,2", "--ranks-per-node", "2", "--memory-per-node", "1TiB")
    assert "Recommended" in shown.text
    assert "1 node" in shown.text


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["advise"], 2, ["REPO, --table FILE and --trace FILE"]),
        (["advise", "{absent}"], 3, ["absent"]),
        (["advise", "--table", "{absent}"], 2, ["absent"]),
        (["advise", "{survey}", "--ranks", "some"], 2, ["--ranks", "some"]),
        (["advise", "{survey}", "--memory-per-node", "much"], 2, ["--memory-per-node", "much"]),
        (["pipeline", "{absent}"], 3, ["absent", "mpidriver init"]),
        (["init", "{survey}"], 3, ["{survey}"]),
        (["pipeline", "{survey}", "--exposure", "x"], 2, ["--exposure", "'x'", "1..9^12"]),
        (["init", "{absent}", "--instrument", "kodak"], 2, ["kodak", "decam-legacy"]),
        (["init", "{absent}", "--centre", "here"], 2, ["--centre", "RA,DEC"]),
        (["ingest", "{survey}", "/nowhere/*.fits"], 2, ["/nowhere/*.fits"]),
        (["show", "{survey}", "warp{{tract=7}}"], 2, ["no quantum warp{{tract=7}}", "as warp{{tract=0"]),
        (["debug", "{survey}", "warp"], 2, ["warp", "task{{name=value"]),
        (["simulate", "{absent}", "--detectors", "2by2"], 2, ["--detectors", "2x2"]),
        (["pipeline"], 2, ["REPO"]),
        (["pipeline", "--retry", "{survey}"], 2, ["{survey} is a repository: write it before this option"]),
        (["pipeline", "{survey}", "--clobber", "warpp"], 2, ["no task 'warpp'", "did you mean 'warp'"]),
        (["-n", "0", "pipeline", "{survey}"], 2, ["at least 1"]),
        (["fly"], 2, ["fly"]),
    ],
)
def test_a_wrong_command_says_what_was_got_and_what_would_do(survey, tmp_path, arguments, code, words):
    places = {"absent": tmp_path / "absent", "survey": survey}
    ended = run(*(argument.format(**places) for argument in arguments))
    assert ended.code == code, ended.text
    assert [word for word in words if word.format(**places) not in ended.text] == []
    assert "Traceback" not in ended.text


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("[warp]\nkernle = 'x'", ["[warp]", "kernle", "did you mean 'kernel'"]),
        ("[skymap]\nrings = -3", ["[skymap]", "rings", "at least 1"]),
        ("[skymap\n", ["not TOML"]),
    ],
)
def test_a_wrong_survey_toml_is_named_with_table_and_key(tmp_path, line, words):
    root = tmp_path / "repo"
    assert run("init", root).code == 0
    (root / "survey.toml").write_text(line)
    ended = run("pipeline", root)
    assert ended.code == 2
    assert [word for word in [str(root / "survey.toml"), *words] if word not in ended.text] == []


def test_a_repository_without_frames_says_how_to_enter_some(tmp_path):
    root = tmp_path / "repo"
    assert run("init", root).code == 0
    ended = run("pipeline", root)
    assert ended.code == 2
    assert "mpidriver ingest" in ended.text


def test_ingest_names_unreadable_files_and_a_second_time_changes_nothing(survey, tmp_path):
    root, files = tmp_path / "repo", tmp_path / "files"
    files.mkdir()
    frame = next((survey / "raw").glob("frame-*.fits"))
    (files / "good.fits").write_bytes(frame.read_bytes())
    (files / "garbage.fits").write_bytes(b"not FITS at all")
    (files / "nothing.fits").touch()
    assert run("init", root, "--instrument", "simulated").code == 0
    first = run("ingest", root, files)
    assert first.code == 1
    assert "1 frames entered, 0 known already" in first.text
    assert "garbage.fits" in first.text
    assert "nothing.fits" in first.text
    second = run("ingest", root, files / "good.fits")
    assert (second.code, "0 frames entered, 1 known already" in second.text) == (0, True)


def test_a_frame_that_raises_ends_a_fail_fast_run_early(survey, tmp_path):
    root = tmp_path / "repo"
    assert run("simulate", root, *SMALL, "--exposures", "6", "--quiet").code == 0
    for path in (root / "raw").glob("frame-*.fits"):
        path.write_bytes(path.read_bytes()[:20_000])
    ended = run("pipeline", root, "--fail-fast", "--no-pictures")
    assert ended.code == 1, ended.text
    state = open_state(Repository.open(root), readonly=True)
    assert 1 <= len(state.quanta("single_frame", "failed")) <= 2  # one may have begun beside the first
    assert len(state.quanta("single_frame", "ready")) >= 4


def test_the_console_script_is_installed_and_prints_its_version():
    script = os.path.join(os.path.dirname(sys.executable), "mpidriver")
    done = subprocess.run([script, "--version"], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()[0]) == (0, "mpidriver")
