"""Jobs under a real Slurm, which is started on this machine where its packages are installed."""

import contextlib
import shutil
import sqlite3
import time

import pytest
from local_slurm import needs_slurm
from survey import digests, run

from mpidriver.batch import all_jobs, find_job, job_standings
from mpidriver.batch._standing import ENDED

pytestmark = [pytest.mark.mpi, pytest.mark.slow, needs_slurm]

FRAMES = ["--bands", "r", "--exposures", "6", "--detectors", "1x1", "--detector-size", "400", "--channels", "0"]
SIZE = ["--system", "slurm", "--time", "10", "--memory", "2GiB"]
PATIENCE_SECONDS = 120

HOLD = """
import pathlib, re, sys, time

def wait_for_the_gate(event, arguments):
    if event == "open" and re.search(r"frame-00100[3-9]-", str(arguments[0])):
        while not pathlib.Path({gate!r}).exists():
            time.sleep(0.05)

sys.addaudithook(wait_for_the_gate)
"""


@pytest.fixture(scope="module")
def surveys(tmp_path_factory):
    """A function that makes repositories of the same raw frames, and the digests of what becomes of them."""
    raw = tmp_path_factory.mktemp("slurm") / "repo"
    assert run("simulate", raw, *FRAMES, "--quiet").code == 0

    def make():
        return shutil.copytree(raw, tmp_path_factory.mktemp("slurm") / "repo")

    serial = make()
    assert run("single-frame", serial, "--quiet").code == 0
    return make, digests(serial)


def submit(*arguments):
    ended = run("submit", *SIZE, *arguments)
    assert ended.code == 0, ended.text


def wait_until(condition, explain):
    ends = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < ends, explain()
        time.sleep(0.1)


def wait_for_jobs(root):
    """Wait until all jobs have ended and return how they stand."""
    wait_until(lambda: all(one.state in ENDED for one in standings(root)), lambda: told(root))
    return standings(root)


def standings(root):
    return job_standings(root)[0]


def told(root):
    return run("jobs", root).text + "".join(path.read_text() for path in sorted((root / "logs").glob("*.log")))


def outcomes(root):
    """Return status, start and attempts of each quantum; none before the first run has made the database."""
    with contextlib.closing(sqlite3.connect(f"file:{root}/state.sqlite?mode=ro", uri=True)) as state:
        query = "SELECT key, status, started, attempt FROM quanta"
        return {key: (status, started, attempt) for key, status, started, attempt in state.execute(query)}


def wait_for_the_first_quantum(root):
    wait_until(lambda: any(one[0] == "done" for one in outcomes(root).values()), lambda: told(root))


@pytest.fixture
def held_exposures(tmp_path, monkeypatch):
    """Exposures from the third on wait where they are read; the returned function lets them go."""
    gate = tmp_path / "go"
    (tmp_path / "sitecustomize.py").write_text(HOLD.format(gate=str(gate)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return gate.touch


def test_jobs_wait_for_each_other_and_say_why_they_never_run(slurm, surveys):
    """Ranks that speak the wrong protocol would be so many worlds of one rank."""
    root = surveys[0]()
    wrong = "srun --mpi=pmi2 --ntasks={ranks}"
    submit("--name", "wrong", "--nodes", "2", "--ranks-per-node", "2", "--launcher", wrong, "--", "single-frame", root)
    submit("--name", "never", "--after", "wrong", "--ranks-per-node", "2", "--", "coadd", root)
    element = ["single-frame", root, "--exposure", "100{array}", "--quiet"]
    submit("--name", "each", "--after-any", "wrong", "--array", "1..2", "--", *element)
    submit("--name", "last", "--after", "each", "--", "single-frame", root, "--quiet")
    found = {(one.job.name, one.element): one for one in wait_for_jobs(root)}
    assert {key: one.state for key, one in found.items()} == {
        ("wrong", None): "failed",
        ("never", None): "cancelled",
        ("each", 1): "done",
        ("each", 2): "done",
        ("last", None): "done",
    }, told(root)
    assert "`srun --mpi=pmix` or the mpirun of this MPI would do" in found["wrong", None].why
    assert found["never", None].why.startswith("job 1 (wrong) is failed: code 4: the launcher started 4 ranks")
    said = [line for line in find_job(root, "wrong").log.read_text().splitlines() if "mpidriver: the launcher" in line]
    assert len(said) == 1
    assert digests(root) == surveys[1]


def test_a_job_drains_before_its_time_limit_goes_on_and_does_nothing_twice(slurm, surveys, held_exposures):
    """Slurm sends the signal a minute before the limit, or up to half a minute earlier."""
    root = surveys[0]()
    size = ["--nodes", "2", "--ranks-per-node", "1", "--time", "2", "--export", "PYTHONPATH"]
    submit(*size, "--", "single-frame", root, "--quiet")
    wait_until(lambda: "stopped by SIGUSR1" in told(root), lambda: told(root))
    held_exposures()
    wait_until(lambda: standings(root)[0].state == "waiting", lambda: told(root))
    before = outcomes(root)
    (one,) = wait_for_jobs(root)
    assert [(attempt.code, attempt.requeued) for attempt in one.attempts] == [(75, True), (0, False)], told(root)
    after = outcomes(root)
    assert {status for status, _, _ in before.values()} == {"done", "ready"}
    assert {(status, attempt) for status, _, attempt in after.values()} == {("done", 1)}
    assert all(after[key] == outcome for key, outcome in before.items() if outcome[0] == "done")
    assert digests(root) == surveys[1]


def test_a_job_goes_on_after_its_node_has_died(slurm, surveys, held_exposures):
    root = surveys[0]()
    submit("--nodes", "2", "--ranks-per-node", "1", "--export", "PYTHONPATH", "--", "single-frame", root, "--quiet")
    wait_for_the_first_quantum(root)
    node = standings(root)[0].attempts[0].host
    slurm.kill_node(node)
    before = {key: outcome for key, outcome in outcomes(root).items() if outcome[0] == "done"}
    slurm("scontrol", "update", f"NodeName={node}", "State=down", "Reason=test")  # or Slurm takes a while to see it
    held_exposures()
    (one,) = wait_for_jobs(root)
    slurm.start_node(node)
    assert [attempt.code for attempt in one.attempts] == [None, 0], told(root)
    assert one.attempts[1].host != node
    after = outcomes(root)
    assert {status for status, _, _ in after.values()} == {"done"}
    assert before.items() <= after.items()
    assert digests(root) == surveys[1]


def test_the_quantum_that_kills_its_rank_costs_itself_alone(slurm, surveys, tmp_path, monkeypatch):
    """Under srun the death of a rank ends the step; the job goes on in child processes."""
    root = surveys[0]()
    hook = 'lambda event, args: event == "open" and "frame-001003-" in str(args[0]) and os.kill(os.getpid(), 9)'
    (tmp_path / "sitecustomize.py").write_text(f"import os, sys\nsys.addaudithook({hook})\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    submit("--nodes", "1", "--ranks-per-node", "2", "--export", "PYTHONPATH", "--", "single-frame", root, "--quiet")
    (one,) = wait_for_jobs(root)
    assert (one.state, len(one.attempts)) == ("incomplete", 1), told(root)
    assert "each quantum ran in a child process; failed: single_frame{exposure=1003" in one.why
    found = outcomes(root)
    assert sorted(key for key, (status, _, _) in found.items() if status == "failed") == [
        key for key in found if "exposure=1003" in key
    ]
    assert len([status for status, _, _ in found.values() if status == "done"]) == len(found) - 1


def test_a_job_that_outgrows_its_memory_says_so(slurm, surveys):
    root = surveys[0]()
    submit("--nodes", "1", "--ranks-per-node", "2", "--memory", "100MiB", "--", "single-frame", root, "--quiet")
    (one,) = wait_for_jobs(root)
    assert one.state in ("failed", "lost"), told(root)
    assert "--memory" in one.why
    assert len(all_jobs(root)) == 1
