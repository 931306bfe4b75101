"""What only the pool of one process does."""

import contextvars
import os
import pdb
import signal
import subprocess
import sys
import threading

import pytest

from mpidriver.errors import LaunchError, PoolClosedError, TaskError
from mpidriver.pool import Pool, current_pool, launch
from mpidriver.pool._launch import Launcher, _check_promise, find_launcher


@pytest.fixture(autouse=True)
def interruptible():
    """Handle Ctrl-C as Python does by itself: a job in the background starts with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt(_):
    os.kill(os.getpid(), signal.SIGINT)
    return "not reached"


def test_a_real_ctrl_c_stops_the_program():
    with pytest.raises(KeyboardInterrupt), Pool() as pool:
        pool.map(interrupt, range(3))


def test_ctrl_c_works_as_before_afterwards():
    with Pool() as pool:
        pool.map(abs, range(3))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_debugger_can_be_left():
    def quit_debugger(_):
        raise pdb.bdb.BdbQuit

    with pytest.raises(pdb.bdb.BdbQuit), Pool() as pool:
        pool.map(quit_debugger, range(3))


def test_the_cause_is_the_exception_itself():
    error = ValueError("mine")

    def fail(_):
        raise error

    with Pool() as pool, pytest.raises(TaskError) as caught:
        pool.map(fail, [1])
    assert caught.value.__cause__ is error


def test_tasks_run_in_the_calling_thread_and_process():
    """So breakpoint() works in them."""
    with Pool() as pool:
        assert set(pool.map(lambda _: (os.getpid(), threading.get_ident()), range(4))) == {
            (os.getpid(), threading.get_ident())
        }


def test_current_pool_is_the_running_task_s():
    assert current_pool().size == 1

    def main(pool):
        assert current_pool()._context is pool._context
        return pool.map(lambda x: current_pool()._context is pool._context, [1])

    assert launch(main) == [False]


def test_a_closed_pool_says_so():
    with Pool() as pool:
        inner = pool.map(lambda _: current_pool(), [1])[0]
    for closed in (pool, inner):
        with pytest.raises(PoolClosedError, match="closed"):
            closed.map(abs, [1])
    pool.close()


def test_closing_finishes_what_was_submitted():
    with Pool() as pool:
        future = pool.submit(abs, -1)
        assert not future.done()
    assert future.result() == 1


def test_leaving_by_an_exception_cancels_what_was_submitted():
    futures = []

    def main(pool):
        futures.append(pool.submit(abs, -1))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        launch(main)
    assert futures[0].cancelled()


def test_launch_passes_arguments_and_the_value():
    assert launch(lambda pool, a, b: (pool.size, a, b), 1, 2, ranks=1) == (1, 1, 2)


@pytest.mark.parametrize("ranks", [0, 3])
def test_launch_refuses_what_it_cannot_do(ranks):
    with pytest.raises(LaunchError, match=f"ranks={ranks}"):
        launch(lambda pool: None, ranks=ranks)


@pytest.mark.parametrize(
    ("environment", "launcher"),
    [
        ({}, None),
        ({"SLURM_NTASKS": "4", "SLURM_JOB_ID": "7"}, None),
        ({"OMPI_COMM_WORLD_SIZE": "3", "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, ("mpirun of Open MPI", 3)),
        ({"PMI_SIZE": "5", "PMI_RANK": "0", "MPI_LOCALNRANKS": "2"}, ("mpiexec of MPICH", 5)),
        ({"SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "1", "PMIX_RANK": "1"}, ("srun", 8)),
        ({"PMIX_RANK": "1"}, ("a PMI launcher", None)),
    ],
)
def test_the_launcher_is_known_from_the_environment(environment, launcher):
    assert find_launcher(environment) == (launcher and Launcher(*launcher))


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"MPIDRIVER_RANKS": "8"}, "has 8 ranks, but no launcher started 1"),
        ({"MPIDRIVER_RANKS": "8", "OMPI_COMM_WORLD_SIZE": "4"}, "has 8 ranks, but mpirun of Open MPI started 4"),
        ({"MPIDRIVER_RANKS": "1", "PMI_SIZE": "4"}, "has 1 ranks, but mpiexec of MPICH started 4"),
    ],
)
def test_other_ranks_than_a_job_was_promised_are_refused(environment, words):
    with pytest.raises(LaunchError, match=words):
        _check_promise(environment, find_launcher(environment))


def test_a_scheduler_s_ranks_that_are_not_used_are_named(capsys):
    _check_promise({"SLURM_NTASKS": "16"}, None)
    assert "16 tasks, and one rank runs; `srun --mpi=pmix`" in capsys.readouterr().err
    used = {"SLURM_NTASKS": "16", "SLURM_STEP_NUM_TASKS": "16", "SLURM_PROCID": "3", "MPIDRIVER_RANKS": "16"}
    _check_promise(used, find_launcher(used))
    _check_promise({"SLURM_NTASKS": "1"}, None)
    assert capsys.readouterr().err == ""


def test_a_pool_without_a_launcher_does_not_load_mpi():
    """A child process of a rank that loads MPI becomes a second rank, or ends the run."""
    program = (
        "import sys; from mpidriver.pool import launch; launch(lambda pool: pool.map(abs, [1]));"
        "sys.exit(bool({'mpi4py', 'numpy', 'cloudpickle'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


SETTING = contextvars.ContextVar("SETTING", default="unset")


def look_below(_):
    SETTING.set("set by the task above")
    return [SETTING.get(), *current_pool().map(look, range(2))]


def look(_):
    return SETTING.get()


def test_what_a_task_sets_in_its_context_is_not_seen_by_tasks_that_run_while_it_waits():
    with Pool() as pool:
        assert pool.map(look_below, range(2)) == [["set by the task above", "unset", "unset"]] * 2
        assert SETTING.get() == "unset"
