"""What the script of a job does, without a batch system: real jobs on this machine."""

import dataclasses
import os
import time

import pytest
from survey import run

from mpidriver.batch import Job, submit_job
from mpidriver.batch._launching import check_allocation, launch_command, launch_environment
from mpidriver.batch._records import JobFolder, all_jobs
from mpidriver.batch._runner import run_job
from mpidriver.batch._standing import ENDED, standings
from mpidriver.batch._submission import Dependencies
from mpidriver.errors import LaunchError
from mpidriver.site import BatchOptions
from mpidriver.store import write_text

JOB = Job(0, "test", "local", "", (), "/tmp")


def program(folder, text):
    """Return a launcher that runs a script in place of ranks; {words} are those of the ranks' command."""
    path = folder / "launcher"
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)
    return str(path)


def prepared(tmp_path, **changes):
    """Make the records of a job that is about to run."""
    folder = JobFolder(tmp_path / "jobs" / "0001")
    folder.path.mkdir(parents=True)
    job = dataclasses.replace(JOB, number=1, repository=str(tmp_path), command=("coadd", str(tmp_path)), **changes)
    write_text(folder.path / "job.json", job.to_json())
    folder.note_submitted("1")
    return folder


def test_the_exit_code_of_the_ranks_is_the_job_s(tmp_path):
    folder = prepared(tmp_path, launcher=program(tmp_path, "exit 1"))
    assert run_job(folder) == 1
    (attempt,) = folder.attempts()
    assert (attempt.code, attempt.requeued) == (1, False)
    assert attempt.ended >= attempt.alive >= attempt.started - 1


def test_what_is_stopped_before_the_time_limit_goes_on_in_the_next_attempt(tmp_path):
    text = f'[ -e {tmp_path}/once ] && exit 0; touch {tmp_path}/once; trap "exit 75" USR1; sleep 60 & wait $!'
    folder = prepared(tmp_path, launcher=program(tmp_path, text), time_limit_seconds=2, drain_seconds=1)
    assert run_job(folder) == 0
    assert [(one.code, one.requeued) for one in folder.attempts()] == [(75, True), (0, False)]


def test_what_does_not_end_in_time_is_killed_and_tried_as_often_as_allowed(tmp_path, monkeypatch):
    monkeypatch.setattr("mpidriver.batch._deadline.GRACE_SECONDS", 0.1)
    text = "trap '' USR1 TERM; sleep 60"
    folder = prepared(tmp_path, launcher=program(tmp_path, text), time_limit_seconds=2, drain_seconds=1, requeues=1)
    assert run_job(folder) == 75
    assert [one.requeued for one in folder.attempts()] == [True, False]
    assert "was killed; not put back into the queue after 1 times" in folder.attempts()[-1].why


def test_after_the_death_of_a_rank_each_quantum_runs_in_a_child_process(tmp_path):
    """The launcher says that the main program began, and never that it ended."""
    text = '[[ "$*" = *--isolate* ]] && exit 1; printf began > "$MPIDRIVER_WITNESS"; exit 9'
    launcher = program(tmp_path, f'echo "$@" >> {tmp_path}/calls; {text}')
    folder = prepared(tmp_path, launcher=launcher, isolates=True, memory_bytes=8 << 30, ranks_per_node=4)
    assert run_job(folder) == 1
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == 2
    assert calls[1].endswith(f"--isolate --memory {2 << 30}B")
    assert "code 137), so each quantum ran in a child process" in folder.attempts()[0].why


def test_a_rank_that_dies_twice_ends_the_job(tmp_path):
    text = f'echo x >> {tmp_path}/calls; printf began > "$MPIDRIVER_WITNESS"; exit 0'
    folder = prepared(tmp_path, launcher=program(tmp_path, text), isolates=True)
    assert run_job(folder) == 137
    assert (tmp_path / "calls").read_text().count("x") == 2
    assert "killed again" in folder.attempts()[0].why


def test_a_missing_launcher_is_named(tmp_path, capfd):
    folder = prepared(tmp_path, launcher="/nowhere/srun")
    assert run_job(folder) == 4
    assert "/nowhere/srun: No such file" in folder.attempts()[0].why


def test_elements_of_an_array_run_one_after_the_other(tmp_path):
    launcher = program(tmp_path, f'echo "$@" >> {tmp_path}/calls; [[ "$*" != *"tract 5"* ]]')
    folder = prepared(tmp_path, launcher=launcher, array=(3, 5))
    job = folder.job()
    command = (*job.command, "--tract", "{array}")
    write_text(folder.path / "job.json", dataclasses.replace(job, command=command).to_json())
    assert run_job(folder) == 1
    assert [line.split()[-1] for line in (tmp_path / "calls").read_text().splitlines()] == ["3", "5"]
    assert [one.state for one in standings([folder])] == ["done", "incomplete"]


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"SLURM_NTASKS": "3"}, "promised 3 tasks, the job wants 8"),
        ({"SLURM_NTASKS": "8", "SLURM_CPUS_ON_NODE": "4"}, "4 ranks of 2 cores do not fit the 4 cores"),
        ({"PBS_NUM_PPN": "2"}, "do not fit the 2 cores"),
    ],
)
def test_an_allocation_that_does_not_fit_is_refused(environment, words):
    job = dataclasses.replace(JOB, system="slurm", nodes=2, ranks_per_node=4, threads=2)
    with pytest.raises(LaunchError, match=words):
        check_allocation(job, environment)
    check_allocation(job, {"SLURM_NTASKS": "8", "SLURM_CPUS_ON_NODE": "8"})


def test_ranks_are_told_how_many_they_are_and_how_many_threads_they_have():
    job = dataclasses.replace(JOB, system="slurm", launcher="srun -n {ranks}", ranks_per_node=4, threads=2)
    told = launch_environment(job, {"SLURM_EXPORT_ENV": "PATH", "OMP_NUM_THREADS": "64"})
    assert (told["MPIDRIVER_RANKS"], told["OMP_NUM_THREADS"], told["NUMBA_NUM_THREADS"]) == ("4", "2", "2")
    assert told["SLURM_EXPORT_ENV"] == "ALL"


def test_a_launcher_of_the_site_s_own_is_given_the_numbers():
    job = dataclasses.replace(JOB, launcher="jsrun -n {ranks} -r {ranks_per_node}", nodes=3, ranks_per_node=4)
    assert launch_command(job, ["x"], {}) == ["jsrun", "-n", "12", "-r", "4", "x"]
    with pytest.raises(LaunchError, match="rank"):
        launch_command(dataclasses.replace(job, launcher="jsrun {rank}"), ["x"], {})


@pytest.mark.slow
@pytest.mark.mpi
def test_local_jobs_wait_for_each_other_and_are_reduced_on_their_ranks(tmp_path):
    """submit, one that waits for it, and one after a failure: by the command line, with real ranks."""
    root = tmp_path / "repo"
    small = ["--bands", "r", "--exposures", "1", "--detectors", "1x1", "--detector-size", "200", "--channels", "0"]
    assert run("simulate", root, *small, "--quiet").code == 0
    size = ["--system", "local", "--ranks-per-node", "2", "--time", "10", "--memory", "4GiB"]
    assert run("submit", *size, "--", "single-frame", root, "--quiet").code == 0
    assert run("submit", *size, "--after", "1", "--", "coadd", root, "--quiet").code == 0  # without a mosaic
    assert run("submit", *size, "--after", "2", "--", "multiband", root, "--quiet").code == 0
    ends = time.monotonic() + 120
    while any(one.state not in ENDED for one in standings(all_jobs(root))):
        assert time.monotonic() < ends
        time.sleep(0.2)
    first, second, third = standings(all_jobs(root))
    assert (first.state, first.attempts[0].runs) == ("done", (1,)), (root / "logs" / "job-0001.log").read_text()
    assert (second.state, second.attempts[0].code) == ("incomplete", 1)
    assert (third.state, third.attempts) == ("cancelled", ())
    assert "job 2 (coadd) is incomplete" in third.why


def test_only_named_variables_reach_a_local_job(tmp_path, monkeypatch):
    monkeypatch.setenv("HARMLESS", "1")
    monkeypatch.setenv("PASSWORD", "secret")
    launcher = program(tmp_path, f"env > {tmp_path}/seen")
    job = dataclasses.replace(JOB, repository=str(tmp_path), command=("coadd", str(tmp_path)), launcher=launcher)
    options = BatchOptions(export=("PATH", "HOME", "HARMLESS"))
    folder = submit_job(job, options, Dependencies())
    while not folder.attempts() or folder.attempts()[0].ended is None:
        time.sleep(0.05)
    seen = (tmp_path / "seen").read_text()
    assert "HARMLESS=1" in seen
    assert "secret" not in seen
    assert os.environ["PASSWORD"] == "secret"
