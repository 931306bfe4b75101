"""Ranks that die, one by one and several at once, and what the others make of it."""

import re
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import dying_program
import pytest
from test_contract import environment_of_programs, run_on_mpich, run_on_ranks

from mpidriver.batch import rank_environment

PROGRAM = Path(__file__).with_name("dying_program.py")
CHECKS = [name for name in vars(dying_program) if name.startswith("check_")]


@pytest.mark.mpi
@pytest.mark.parametrize("check", CHECKS)
def test_the_others_do_the_rest(check, tmp_path):
    """Whoever dies: every other item has its result, and the run ends well."""
    finished = run_on_ranks(5, PROGRAM, check, tmp_path, seconds=60)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert finished.stdout.count("done") >= 1, finished.stderr
    assert "has died" in finished.stderr or check == "check_close"
    assert "OrphanedError" not in finished.stderr


@pytest.mark.mpi
def test_if_all_are_killed_the_exit_code_says_so(tmp_path):
    """Although the launcher then returns 0."""
    finished = run_on_ranks(5, PROGRAM, "everybody", tmp_path, seconds=60)
    assert finished.returncode != 0


@pytest.mark.mpi
@pytest.mark.parametrize("program", ["root", "root_of_long_tasks", "failing"])
def test_without_its_main_program_the_run_ends(program, tmp_path):
    """In the middle of maps and of long tasks: with one clear line, a code that tells, and nobody left."""
    finished = run_on_ranks(5, PROGRAM, program, tmp_path, seconds=60)
    assert finished.returncode != 0
    assert "rank 0 of" in finished.stderr
    assert "ends the run" in finished.stderr
    assert ("gave up" in finished.stderr) == ("Traceback" in finished.stderr) == (program == "failing")
    for pid in [int(path.name.removeprefix("pid-")) for path in tmp_path.glob("pid-*")]:
        assert ends(pid)


def ends(pid):
    """Return whether a process ends, soon if it has not yet."""
    for _ in range(200):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return True
        if b"dying_program" not in command:  # ended, but not waited for yet, or another one
            return True
        time.sleep(0.05)
    return False


def without_ulfm(*arguments):
    command = [Path(sys.executable).with_name("mpirun"), "-n", "5", sys.executable, *map(str, arguments)]
    environment = rank_environment(environment_of_programs())
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.mpi
@pytest.mark.parametrize("run", [without_ulfm, partial(run_on_mpich, 5)], ids=["Open MPI", "MPICH"])
@pytest.mark.parametrize("program", ["check_map", "root_of_long_tasks"])
def test_where_ranks_do_not_outlive_each_other_the_launcher_ends_the_run(run, program, tmp_path):
    """Nobody hangs, and the launcher says what has happened."""
    finished = run(PROGRAM, program, tmp_path)
    assert finished.returncode != 0
    assert re.search("signal[: ]*9", finished.stdout + finished.stderr, re.IGNORECASE)
