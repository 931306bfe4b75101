"""Executors under libraries and tests that were written for others."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from test_contract import run_on_ranks

from mpidriver.pool import Pool

HERE = Path(__file__).parent
WITHOUT_CASES = "this interpreter does not have test.test_concurrent_futures in the form of Python 3.13"

OPTIMISER = """
import numpy as np
from scipy.optimize import differential_evolution, rosen
from mpidriver.pool import launch

def main(pool):
    how = dict(updating="deferred", maxiter=3, popsize=4, rng=1, polish=False)
    with pool.executor() as executor:
        found = differential_evolution(rosen, [(0, 2)] * 3, workers=executor.map, **how)
    expected = differential_evolution(rosen, [(0, 2)] * 3, **how)
    assert np.array_equal(found.x, expected.x) and found.nfev == expected.nfev
    print("all done")

launch(main)
"""


def has_cases():
    try:
        return importlib.util.find_spec("test.test_concurrent_futures.executor") is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.mpi
@pytest.mark.skipif(not has_cases(), reason=WITHOUT_CASES)
@pytest.mark.parametrize("ranks", [1, 4])
def test_cases_of_the_standard_library(ranks):
    finished = run_on_ranks(ranks, HERE / "stdlib_executor.py", "quick")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert finished.stdout.count("all done") == 1


@pytest.mark.mpi
def test_scipy_optimises_on_ranks(tmp_path):
    script = tmp_path / "optimise.py"
    script.write_text(OPTIMISER)
    finished = run_on_ranks(3, script)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.count("all done") == 1


def test_the_thread_of_one_process_ends_with_its_tasks():
    """So a program that forgets its executor ends, and what was submitted is done first."""
    program = "import time; from mpidriver.pool import Pool; Pool().executor().submit(lambda: print('done'))"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60, check=True)
    assert finished.stdout.strip() == b"done"


def test_an_executor_ends_with_its_pool():
    with Pool() as pool:
        executor = pool.executor()
        future = executor.submit(abs, -1)
    assert future.result(timeout=0) == 1
    with pytest.raises(RuntimeError, match="is closed"):
        executor.submit(abs, -1)


def test_tasks_may_wait_for_tasks_of_their_executor():
    with Pool() as pool, pool.executor() as executor:
        assert executor.submit(lambda: executor.submit(abs, -3).result()).result() == 3


STOPPED = """
import concurrent.futures, time
from mpidriver.errors import PoolStopped
from mpidriver.pool import launch

def main(pool):
    with pool.executor({max_workers}) as executor:
        futures = [executor.submit(time.sleep, 0.02) for _ in range(100)]
        futures[0].result()
        pool.stop("hand")
        concurrent.futures.wait(futures)
        assert sum(future.cancelled() for future in futures) > 50
        assert futures[0].result() is None
        try:
            futures[-1].result()
        except PoolStopped as stopped:
            print(stopped)
        executor.submit(abs, 1)

launch(main)
"""


@pytest.mark.mpi
@pytest.mark.parametrize(("ranks", "max_workers"), [(1, None), (3, None), (3, 2)])
def test_a_stop_leaves_tasks_undone(tmp_path, ranks, max_workers):
    script = tmp_path / "stopped.py"
    script.write_text(STOPPED.format(max_workers=max_workers))
    finished = run_on_ranks(ranks, script)
    assert finished.returncode == 75, finished.stderr
    assert finished.stdout.count("stopped by hand") == 1
