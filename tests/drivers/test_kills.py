"""kill -9 of the whole job at fixed moments, resumed each time: the same products, nothing torn, nothing unknown."""

import subprocess
import sys
from pathlib import Path

import pytest

KILLS = Path(__file__).parents[2] / "benchmarks" / "kills.py"


@pytest.mark.mpi
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_job_that_is_killed_five_times_leaves_what_an_undisturbed_one_does():
    command = [sys.executable, KILLS, "--kills", "5", "--ranks", "2", "--seed", "9615", "--tiny"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=890)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("5 kills of 2 ranks in ")
    assert done.stdout.endswith("nothing torn, no row without file, no file without row\n")
