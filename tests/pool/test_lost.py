"""Ranks that die, one by one and several at once, and what the others make of it."""

from pathlib import Path

import dying_program
import pytest
from test_contract import run_on_ranks

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


@pytest.mark.mpi
def test_if_all_are_killed_the_exit_code_says_so(tmp_path):
    """Although the launcher then returns 0."""
    finished = run_on_ranks(5, PROGRAM, "everybody", tmp_path, seconds=60)
    assert finished.returncode != 0


@pytest.mark.mpi
@pytest.mark.parametrize("program", ["root", "root_of_long_tasks"])
def test_without_its_root_the_run_ends(program, tmp_path):
    """In the middle of maps and of long tasks: with one clear line and an exit code that tells."""
    finished = run_on_ranks(5, PROGRAM, program, tmp_path, seconds=60)
    assert finished.returncode != 0
    assert "rank 0 of" in finished.stderr
    assert "ends the run" in finished.stderr
    assert "Traceback" not in finished.stderr
