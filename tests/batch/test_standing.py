"""How a job stands: its own word first, then what the batch system says."""

import dataclasses
import json

import pytest

from mpidriver.batch import Job
from mpidriver.batch._records import ATTEMPT_VARIABLE, all_jobs, dead_runs, find_job, new_job_folder, note_run
from mpidriver.batch._standing import Hint, standings
from mpidriver.errors import ConfigError, RepositoryError
from mpidriver.store import write_text

NOW = 1e9


def make(repository, scheduler_id="100", **changes):
    """Make a job that the batch system has taken."""
    folder = new_job_folder(repository)
    job = Job(folder.number, "coadd", "slurm", str(repository), ("coadd", str(repository)), "/home/ann")
    write_text(folder.path / "job.json", dataclasses.replace(job, **changes).to_json())
    if scheduler_id:
        folder.note_submitted(scheduler_id)
    return folder


def state(folder, hint=None, *, now=None):
    """Return state and reason of a job."""
    hints = None if hint is None else {folder.submitted()[0]: hint}
    one = standings(all_jobs(folder.path.parent.parent), hints, now=now)[folder.number - 1]
    return one.state, one.why


@pytest.mark.parametrize(
    ("code", "requeued", "expected"),
    [
        (0, False, "done"),
        (1, False, "incomplete"),
        (3, False, "failed"),
        (75, False, "stopped"),
        (75, True, "waiting"),
        (137, False, "failed"),
    ],
)
def test_what_a_job_says_of_its_end_counts_whatever_the_batch_system_says(tmp_path, code, requeued, expected):
    folder = make(tmp_path)
    attempt = folder.begin("n1", "100")
    folder.end(attempt, code, "its own words", requeued=requeued)
    found, why = state(folder, Hint("running", "RUNNING"))
    assert found == expected
    assert "its own words" in why


@pytest.mark.parametrize(
    ("hint", "expected", "words"),
    [
        (None, "running", "n1"),
        (Hint("running"), "running", "n1"),
        (Hint("waiting"), "waiting", "n1 was lost"),
        (Hint("ended", "Slurm: NODE_FAIL"), "lost", "NODE_FAIL"),
        (Hint("ended", "Slurm: FAILED, exit code 0:9"), "lost", "--memory"),
        (Hint("unknown"), "lost", "unknown"),
    ],
)
def test_of_a_job_that_says_nothing_more_the_batch_system_knows(tmp_path, hint, expected, words):
    folder = make(tmp_path)
    folder.begin("n1", "100")
    found, why = state(folder, hint)
    assert found == expected
    assert words in why


def test_a_job_without_a_sign_of_life_is_lost(tmp_path):
    folder = make(tmp_path)
    attempt = folder.begin("n1", "100")
    folder.beat(attempt)
    alive = folder.attempts()[0].alive
    assert state(folder, now=alive + 100)[0] == "running"
    assert state(folder, now=alive + 200)[0] == "lost"


def test_a_job_that_was_not_taken_is_rejected_and_one_that_was_dropped_is_cancelled(tmp_path):
    assert state(make(tmp_path, scheduler_id="")) == ("rejected", "the batch system did not take it")
    folder = make(tmp_path)
    assert state(folder, Hint("waiting", "PENDING, Resources")) == ("waiting", "PENDING, Resources")
    assert state(folder, Hint("ended", "CANCELLED"))[0] == "cancelled"
    submitted = folder.submitted()[1]
    assert state(folder, Hint("unknown"), now=submitted + 5)[0] == "waiting"  # it may not have heard of it yet
    assert state(folder, Hint("unknown"), now=submitted + 60)[0] == "cancelled"


def test_what_waits_for_a_failed_job_is_cancelled_and_says_why(tmp_path):
    first = make(tmp_path)
    second = make(tmp_path, after=(1,))
    third = make(tmp_path, after=(2,))
    patient = make(tmp_path, after_any=(1,))
    assert state(second)[0] == "waiting"
    first.end(first.begin("n1", "100"), 4, "no ranks", requeued=False)
    assert state(second) == ("cancelled", "job 1 (coadd) is failed: code 4: no ranks")
    assert state(third)[1].startswith("job 2 (coadd) is cancelled: job 1 (coadd) is failed")
    assert state(patient)[0] == "waiting"


def test_a_cancelled_job_says_who_did_it(tmp_path):
    folder = make(tmp_path)
    folder.note_cancelled("by hand")
    assert state(folder) == ("cancelled", "by hand")
    attempt = folder.begin("n1", "100")
    assert state(folder)[0] == "running"
    folder.end(attempt, 75, "stopped by a signal", requeued=False)
    assert state(folder) == ("cancelled", "by hand")


def test_elements_of_an_array_stand_each_by_itself(tmp_path):
    folder = make(tmp_path, array=(3, 5))
    one = folder.elements()[1]
    one.end(one.begin("n1", "100"), 0, "", requeued=False)
    hints = {"100_3": Hint("waiting", "PENDING"), "100_5": Hint("ended")}
    found = [(one.element, one.state) for one in standings(all_jobs(tmp_path), hints)]
    assert found == [(3, "waiting"), (5, "done")]


def test_jobs_are_found_by_number_name_and_the_batch_system_s_number(tmp_path):
    make(tmp_path)
    make(tmp_path, scheduler_id="777", name="night")
    assert [find_job(tmp_path, name).number for name in ("1", "night", "777", "coadd")] == [1, 2, 2, 1]
    with pytest.raises(ConfigError, match=r"no job 'day'.*2 \(night\)"):
        find_job(tmp_path, "day")


def test_two_that_submit_at_once_get_two_numbers(tmp_path, monkeypatch):
    (tmp_path / "jobs" / "0001").mkdir(parents=True)
    monkeypatch.setattr("mpidriver.batch._records.all_jobs", lambda _: [])  # as if the other one had come just now
    assert new_job_folder(tmp_path).number == 2


def test_a_job_knows_its_runs_and_that_they_are_over(tmp_path):
    folder = make(tmp_path)
    for run in (4, 9):
        attempt = folder.begin("n1", "100")
        told = {ATTEMPT_VARIABLE: str(folder.attempt_path(attempt.number, ".json"))}
        assert dead_runs(told) == ([] if run == 4 else [4])
        note_run(told, run)
    assert [attempt.runs for attempt in folder.attempts()] == [(4,), (9,)]
    note_run({}, 10)
    assert dead_runs({}) == []


def test_a_damaged_record_is_named(tmp_path):
    folder = make(tmp_path)
    (folder.path / "submitted.json").write_text("{")
    with pytest.raises(RepositoryError, match=r"submitted\.json"):
        folder.submitted()
    (folder.path / "job.json").write_text(json.dumps({"number": 1}))
    with pytest.raises(RepositoryError, match=r"job\.json"):
        folder.job()
