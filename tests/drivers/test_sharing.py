"""Several runs at one database, runs that are killed, and a database that goes away: over a real socket."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from mongo import emptied, nx_server, wait_until
from survey import digests, run

from mpidriver.cli import main
from mpidriver.drivers.pipeline import open_context
from mpidriver.store import StateOptions, open_state

FRAMES = ["--bands", "r", "--exposures", "6", "--detectors", "1x1", "--detector-size", "200", "--channels", "0"]

#: A driver whose frames begin, say so by a file, and end when another file is there.
GATED = """
import dataclasses, os, sys, time
from pathlib import Path
from mpidriver.cli import main
from mpidriver.drivers._stages import STAGES

stage, gate = STAGES["single_frame"], Path(os.environ["GATE"])

def run(context, quantum, **arguments):
    record = stage.run(context, quantum, **arguments)
    (gate / os.environ["BEGUN"]).touch()
    while not (gate / os.environ["WAITS_FOR"]).exists():
        time.sleep(0.01)
    return record

STAGES["single_frame"] = dataclasses.replace(stage, run=run)
sys.exit(main())
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with nx_server(tmp_path_factory.mktemp("nx")) as server:
        yield server


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """A tiny simulated repository, not reduced."""
    root = tmp_path_factory.mktemp("sharing") / "raw"
    assert run("simulate", root, *FRAMES, "--quiet").code == 0
    return root


@pytest.fixture(scope="module")
def reduced(raw, tmp_path_factory):
    """The same, reduced by one undisturbed run with SQLite."""
    root = tmp_path_factory.mktemp("sharing") / "reduced"
    shutil.copytree(raw, root)
    assert run("pipeline", root, "--quiet", "--no-pictures").code == 0
    return root


@pytest.fixture
def shared(raw, server, tmp_path):
    """The same, not reduced, with its state on the server; patience for two seconds."""
    root = tmp_path / "repo"
    shutil.copytree(raw, root, ignore=shutil.ignore_patterns("state.sqlite*"))
    emptied(StateOptions(url=server.url))
    config = root / "survey.toml"
    text = config.read_text(encoding="utf-8").replace('\nurl = ""', f'\nurl = "{server.impatient_url}"')
    config.write_text(re.sub(r"\npatience_s = .*", "\npatience_s = 2.0", text), encoding="utf-8")
    assert main(["ingest", str(root), str(root / "raw"), "--quiet"]) == 0
    return root


@pytest.fixture
def gated(shared, tmp_path):
    """Return a function that starts a driver whose frames wait for a file."""
    processes = []

    def start(verb, begun, waits_for):
        names = {"GATE": str(tmp_path), "BEGUN": begun, "WAITS_FOR": waits_for, "NO_COLOR": "1", "COLUMNS": "200"}
        command = [sys.executable, "-c", GATED, verb, shared, *(["--no-pictures"] if verb == "pipeline" else [])]
        with open(tmp_path / f"{begun}.out", "wb") as output:
            processes.append(subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **names}))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


def known(root):
    """Return what the database has of the quanta."""
    with open_state(open_context(str(root)).repository, readonly=True) as state:
        return state.quanta()


def test_two_runs_share_the_work_and_nothing_is_done_twice(shared, gated, reduced, tmp_path):
    first = gated("pipeline", "first", "second")  # neither goes on before the other has begun a frame
    wait_until((tmp_path / "first").exists)
    second = gated("pipeline", "second", "first")
    assert [process.wait(120) for process in (first, second)] == [0, 0], (tmp_path / "second.out").read_text()
    records = known(shared)
    assert {record.status for record in records} == {"done"}
    assert {record.attempt for record in records} <= {0, 1}  # 0: there was nothing to do
    assert digests(shared) == digests(reduced)


def test_a_run_takes_over_what_a_killed_one_held(shared, gated, reduced, tmp_path):
    killed = gated("single-frame", "first", "never")
    wait_until((tmp_path / "first").exists)
    survivor = gated("single-frame", "second", "first")
    wait_until((tmp_path / "second").exists)
    killed.kill()
    assert survivor.wait(120) == 0, (tmp_path / "second.out").read_text()
    assert [record.status for record in known(shared)] == ["done"] * 6
    assert digests(shared, ["frames"]) == digests(reduced, ["frames"])


def test_a_run_waits_for_a_database_that_is_away_and_loses_nothing(shared, gated, reduced, tmp_path, server):
    config = shared / "survey.toml"  # on a busy machine a server takes longer than two seconds to start
    config.write_text(config.read_text(encoding="utf-8").replace("patience_s = 2.0", "patience_s = 60.0"), "utf-8")
    waiting = gated("single-frame", "begun", "go")
    wait_until((tmp_path / "begun").exists)
    server.kill()
    (tmp_path / "go").touch()
    wait_until(lambda: "does not answer" in (tmp_path / "begun.out").read_text())
    server.start()
    text = (tmp_path / "begun.out").read_text
    assert waiting.wait(120) == 0, text()
    assert "waiting for it up to 60 s" in text()
    assert "the database answers again after" in text()
    assert [record.status for record in known(shared) if record.task == "single_frame"] == ["done"] * 6
    assert digests(shared, ["frames"]) == digests(reduced, ["frames"])


@pytest.mark.slow
def test_what_a_database_that_stays_away_cannot_take_is_kept_for_the_next_run(shared, gated, reduced, tmp_path, server):
    left = gated("single-frame", "begun", "go")
    wait_until((tmp_path / "begun").exists)
    server.kill()
    (tmp_path / "go").touch()
    text = (tmp_path / "begun.out").read_text
    assert left.wait(120) == 3, text()
    assert "does not answer" in text()
    assert "outcomes are kept in" in text()
    assert "Traceback" not in text()
    server.start()
    kept = len((shared / "unrecorded.jsonl").read_text().splitlines())
    assert 1 <= kept <= 4
    ended = run("single-frame", shared, "--quiet")
    assert ended.code == 0, ended.text
    assert [record.attempt for record in known(shared) if record.task == "single_frame"] == [1] * 6
    assert not (shared / "unrecorded.jsonl").exists()
    assert digests(shared, ["frames"]) == digests(reduced, ["frames"])


def test_the_verbs_that_look_work_on_a_shared_repository(shared, server, capsys):
    assert main(["status", str(shared)]) == 0
    assert main(["pipeline", str(shared), "--dry-run"]) == 0
    assert capsys.readouterr().out.count("single_frame{") == 6
    server.kill()
    try:
        assert main(["status", str(shared)]) == 3
    finally:
        server.start()
    away = f"mongodb://127.0.0.1:{server.port}/test: the database does not answer"
    assert away in capsys.readouterr().err
