"""The contract of every pool, in one process and on ranks."""

import os
import subprocess
import sys
from pathlib import Path

import pool_contract
import pytest
from local_slurm import needs_slurm

from mpidriver.batch import rank_environment
from mpidriver.pool import Pool

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
START_RANKS = "import sys; from mpidriver.batch import run_ranks; sys.exit(run_ranks(int(sys.argv[1]), sys.argv[2:]))"


def environment_of_programs():
    """Return an environment in which programs find what lies beside these tests."""
    path = [str(HERE), str(ROOT / "examples"), *filter(None, [os.environ.get("PYTHONPATH")])]  # an empty one is "here"
    return os.environ | {"PYTHONPATH": os.pathsep.join(path)}


def run_on_ranks(ranks, *arguments, seconds=120):
    """Run a Python script on ranks of this machine; return the finished process."""
    environment = environment_of_programs()
    command = [sys.executable, "-c", START_RANKS, str(ranks), sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds, check=False)


def run_on_mpich(ranks, *arguments, seconds=120):
    """Run a Python script on ranks of the other MPI; return the finished process."""
    place = Path(sys.prefix) / "mpich"
    if not place.is_dir():
        pytest.skip(f"no MPICH: {place} is absent; `make test` puts it there")
    environment = rank_environment(environment_of_programs()) | {
        "LD_LIBRARY_PATH": str(place / "lib"),
        "MPI4PY_MPIABI": "mpich",
    }
    command = [str(place / "bin" / "mpiexec"), "-n", str(ranks), sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds, check=False)


@pytest.mark.parametrize("check", pool_contract.CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_one_process(check):
    with Pool() as pool:
        check(pool)


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [1, 2, 3, 5, pytest.param(8, marks=pytest.mark.slow)])
def test_ranks(ranks):
    """All checks in one world; on three ranks as a script, whose functions travel by value."""
    how = [HERE / "pool_contract.py"] if ranks == 3 else ["-c", "import pool_contract; pool_contract.run()"]
    finished = run_on_ranks(ranks, *how)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert finished.stdout.count("all done") == 1


@pytest.mark.mpi
@pytest.mark.slow
@needs_slurm
def test_ranks_of_slurm_on_three_nodes(slurm):
    """The nodes share one machine: ranks speak by sockets all the same, and let each other run while they wait."""
    machine = {"OMPI_MCA_btl": "self,tcp", "OMPI_MCA_mpi_yield_when_idle": "1"}
    environment = slurm.environment | environment_of_programs() | machine
    place = ["srun", "--mpi=pmix", "--nodes=3", "--ntasks=5", "--mem-per-cpu=900", "--time=5"]
    command = [*place, sys.executable, "-c", "import pool_contract; pool_contract.run()"]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert finished.stdout.count("all done") == 1


@pytest.mark.mpi
@pytest.mark.parametrize(
    "ranks", [2, pytest.param(3, marks=pytest.mark.slow), 5, pytest.param(8, marks=pytest.mark.slow)]
)
def test_ranks_of_mpich(ranks):
    """All checks with the other MPI; one rank needs none."""
    finished = run_on_mpich(ranks, "-c", "import pool_contract; pool_contract.run()")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert finished.stdout.count("all done") == 1


FAILING = {
    "main": ("def main(pool):\n    assert pool.size == 0, 'wrong in main'", "wrong in main"),
    "task": ("def main(pool):\n    pool.map(lambda x: 1 // x, [1, 0, 1])", "ZeroDivisionError"),
    "main, while others still work": (
        "import time\ndef main(pool):\n"
        "    [pool.submit(time.sleep, 600) for _ in range(9)]\n    raise RuntimeError('gave up')",
        "gave up",
    ),
    "engine of a worker": (
        "import mpidriver.pool._rank._worker as worker\n"
        "def broken(*args):\n    raise RuntimeError('a bug of the pool')\n"
        "worker.Worker.run = broken\n"
        "def main(pool):\n    pool.map(abs, range(9))",
        "a bug of the pool",
    ),
    "engine, on top of a task that waits and forgives": (
        "import mpidriver.pool._rank._worker as worker\n"
        "from mpidriver.pool import current_pool\n"
        "send = worker.Worker.send_outcome\n"
        "def broken(self, work, *args):\n"
        "    if len(self._main.contexts) > 2:\n        raise RuntimeError('a bug of the pool')\n"
        "    send(self, work, *args)\n"
        "worker.Worker.send_outcome = broken\n"
        "def inner(x):\n    return current_pool().map(abs, range(x))\n"
        "def outer(x):\n    return current_pool().map(inner, [x] * 9, on_error='return')\n"
        "def main(pool):\n    pool.map(outer, range(9), on_error='return')",
        "a bug of the pool",
    ),
}


@pytest.mark.mpi
@pytest.mark.parametrize("name", FAILING)
def test_a_failure_ends_all_ranks_with_its_traceback(name, tmp_path):
    program, message = FAILING[name]
    script = tmp_path / "failing.py"
    script.write_text(f"from mpidriver.pool import launch\n{program}\nlaunch(main)\n")
    finished = run_on_ranks(2, script, seconds=30)
    assert finished.returncode != 0
    assert message in finished.stderr
    assert "Traceback" in finished.stderr


@pytest.mark.mpi
def test_a_missing_library_of_mpi_is_named_with_what_would_do(monkeypatch):
    monkeypatch.setenv("MPI4PY_LIBMPI", "/nowhere/libmpi.so")
    finished = run_on_ranks(2, HERE / "pool_contract.py")
    assert finished.returncode != 0
    assert "LaunchError: cannot load MPI library, /nowhere/libmpi.so: cannot open" in finished.stderr
    assert "MPI4PY_LIBMPI" in finished.stderr


def test_worlds_that_do_not_see_each_other_are_refused():
    """As srun gives them with the wrong --mpi: here it is only the environment of srun, without the rest."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMPI", "PMI", "PRTE"))}
    environment |= {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "0"}
    program = "from mpidriver.pool import launch; launch(lambda pool: 1)"
    command = [sys.executable, "-c", program]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert finished.returncode != 0
    assert "LaunchError: the launcher started 2 ranks" in finished.stderr
    assert "srun --mpi=pm" in finished.stderr


MAIN_SCRIPT = """
from dataclasses import dataclass
from mpidriver.pool import current_pool, launch

@dataclass
class Point:
    x: int

SCALE = 1

def move(point):
    assert isinstance(point, Point)
    return Point(point.x + SCALE)

def main(pool, scale):
    global SCALE
    SCALE = scale
    moved = pool.map(move, [Point(i) for i in range(20)])
    assert moved == [Point(i + scale) for i in range(20)]
    return len(moved)

print("value", launch(main, 10))
print("value", launch(lambda pool: pool.size, ranks=2))
"""


@pytest.mark.mpi
def test_classes_and_functions_of_the_script_itself(tmp_path):
    """They are sent by value, globals too, and one class stays one class; a script may launch twice."""
    script = tmp_path / "script.py"
    script.write_text(MAIN_SCRIPT)
    finished = run_on_ranks(3, script)
    assert finished.returncode == 0, finished.stderr
    assert sorted(finished.stdout.split("\n")[:-1]) == ["value 2", "value 20", *["value None"] * 4]
