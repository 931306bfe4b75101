"""What the command line says, and where: logging, quiet runs, errors, pipes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from survey import run

from mpidriver.batch import rank_environment
from mpidriver.batch._local import find_mpirun
from mpidriver.cli import _main
from mpidriver.cli._rank_log import name_of_run
from mpidriver.errors import TaskError

SMALL = ["--bands", "r", "--exposures", "2", "--detectors", "1x1", "--detector-size", "200", "--channels", "0"]


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """A tiny simulated repository of which one frame is cut short."""
    root = tmp_path_factory.mktemp("talk") / "repo"
    assert run("simulate", root, *SMALL, "--quiet").code == 0
    frame = min((root / "raw").glob("frame-*.fits"))
    frame.write_bytes(frame.read_bytes()[:20_000])
    return root


@pytest.mark.mpi
def test_verbose_logs_each_quantum_with_the_rank_that_ran_it(raw):
    ended = run("-n", 2, "single-frame", raw, "--verbose", "--clobber")
    lines = re.findall(r"^\d\d:\d\d:\d\d rank ([01]) INFO \S+: (\S+{.*?}) (done|failed)", ended.text, re.MULTILINE)
    assert sorted(line[1:] for line in lines) == [
        ("single_frame{exposure=1001, detector=0, band=r}", "failed"),
        ("single_frame{exposure=1002, detector=0, band=r}", "done"),
    ]
    assert "DEBUG" not in ended.text


@pytest.mark.mpi
def test_each_rank_logs_json_lines_into_a_file_of_its_own_and_a_trace_names_the_quanta(raw, tmp_path):
    trace, folder = tmp_path / "trace.json", tmp_path / "logs"
    ended = run("-n", 2, "single-frame", raw, "--clobber", "--log-dir", folder, "--trace", trace)
    assert ended.code == 1
    assert "INFO" not in ended.text
    assert re.search(r"on 2 ranks, \d+ % efficient; idle: \d+ % ", ended.text)
    (of_run,) = folder.iterdir()
    lines = [json.loads(line) for path in of_run.glob("rank-[01].jsonl") for line in path.read_text().splitlines()]
    assert {(line["rank"], line["level"]) for line in lines} <= {(0, "INFO"), (1, "INFO")}
    done = [line for line in lines if " done in " in line["message"]]
    assert [line["quantum"] for line in done] == ["single_frame{exposure=1002, detector=0, band=r}"]
    assert [line["task"] for line in done] == ["single_frame"]
    events = [
        event["args"] for event in json.loads(trace.read_text())["traceEvents"] if event["name"] == "single_frame"
    ]
    assert sorted((event["item"], "error" in event) for event in events) == [
        ("single_frame{exposure=1001, detector=0, band=r}", True),
        ("single_frame{exposure=1002, detector=0, band=r}", False),
    ]


def test_runs_of_all_launchers_have_a_name_that_their_ranks_agree_on():
    assert name_of_run({"MPIDRIVER_RUN": "a", "PMIX_NAMESPACE": "b"}) == "a"
    assert name_of_run({"SLURM_PROCID": "3", "SLURM_JOB_ID": "17", "SLURM_STEP_ID": "0"}) == "slurm-17.0"
    assert name_of_run({"PMIX_NAMESPACE": "prterun-host-12@1"}) == "prterun-host-12-1"
    assert name_of_run({"PMI_RANK": "1"}) == name_of_run({"PMI_RANK": "0"})


def test_the_log_level_is_heard_also_in_a_quiet_run_and_warnings_are_the_default(raw):
    debug = run("single-frame", raw, "--quiet", "--log-level", "DEBUG").text
    assert re.search(r"rank 0 DEBUG .*exposure=1002.* is unchanged", debug)
    assert "INFO" not in run("single-frame", raw, "--clobber").text


def test_a_quiet_run_still_says_that_something_failed(raw):
    ended = run("single-frame", raw, "--quiet")
    assert ended.code == 1
    assert re.fullmatch(
        r"mpidriver: failed: single_frame{exposure=1001,.*`mpidriver status .*` names all\n", ended.text
    )


def test_an_unexpected_error_is_told_from_a_failed_quantum(monkeypatch, capsys):
    monkeypatch.setattr(_main, "_dispatch", lambda *_: {}["nothing"])
    assert _main.main(["status", "repo"]) == 70
    assert "KeyError" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("cause", "code", "shown"),
    [
        ("mpidriver.errors.RepositoryError: disk full", 3, "mpidriver: disk full\n"),
        ("mpidriver.errors.DataError: no pixels", 2, "mpidriver: no pixels\n"),
        ("ValueError: oops", 70, "an error in mpidriver itself: task on 1, rank 2 of host: ValueError: oops"),
    ],
)
def test_what_a_task_could_not_do_is_told_as_if_the_root_had_tried(monkeypatch, capsys, cause, code, shown):
    def fail(*_):
        raise TaskError(1, 2, "host", cause, "Traceback ...")

    monkeypatch.setattr(_main, "_dispatch", fail)
    assert _main.main(["status", "repo"]) == code
    assert shown in capsys.readouterr().err


def test_nothing_but_text_goes_to_a_pipe(raw):
    text = run("pipeline", raw, "--no-pictures", NO_COLOR="").text
    assert re.findall(r"[\x00-\x09\x0b-\x1f\x7f]", text) == []


@pytest.mark.mpi
def test_ranks_import_what_is_installed_and_not_what_lies_about(raw, tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONSAFEPATH")
    monkeypatch.chdir(tmp_path)
    for name in ("mpidriver", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('this is another file')")
    command = [Path(sys.executable).with_name("mpidriver"), "-n", "2", "single-frame", raw, "--dry-run"]
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert (ended.returncode, "another file" in ended.stdout) == (0, False), ended.stdout


@pytest.mark.mpi
def test_under_mpirun_too_and_it_is_an_error_if_the_launcher_starts_fewer_ranks_than_asked_for(raw):
    def under_mpirun(*arguments):
        command = ["-n", "2", sys.executable, "-m", "mpidriver", *map(str, arguments)]
        environment = rank_environment({**os.environ, "NO_COLOR": ""})
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "check": False}
        return subprocess.run([find_mpirun(), *command], env=environment, **pipes)

    ended = under_mpirun("single-frame", raw, "--exposure", "1002")
    assert ended.returncode == 0, ended.stdout
    assert re.findall(r"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f]", ended.stdout) == []
    ended = under_mpirun("-n", "3", "single-frame", raw, "--exposure", "1002")
    assert ended.returncode == 4
    assert "started only 2" in ended.stdout
