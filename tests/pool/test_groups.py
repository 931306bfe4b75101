"""Communicators of some ranks, before and after others have died."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mpidriver.batch import rank_environment
from mpidriver.pool._transport._groups import outlives_deaths

PROGRAM = """
import os, signal, sys
from mpi4py import MPI
from mpidriver.pool._transport._groups import break_group_comm, free_group_comm, make_group_comm

comm = MPI.COMM_WORLD.Dup()

def meet(ranks, tag):
    if comm.rank not in ranks:
        return None
    made = make_group_comm(comm, ranks, tag)
    assert made.rank == ranks.index(comm.rank)
    assert made.allgather(comm.rank) == ranks
    return made

def until_noticed():
    while True:
        try:
            comm.Iprobe(MPI.ANY_SOURCE, 5)
        except MPI.Exception as error:
            assert error.Get_error_class() == MPI.ERR_PROC_FAILED
            return

for tag, ranks in enumerate([[0, 1], [4, 2, 3], [3], [0, 1, 2, 3, 4]]):
    made = meet(ranks, tag)
    if made is not None:
        free_group_comm(made)
if sys.argv[1] == "dies":
    whole, half = meet([3, 1, 0, 2, 4], 7), meet([0, 2, 4], 8)
    if comm.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    until_noticed()
    break_group_comm(whole)
    try:
        whole.allgather(1)
        raise SystemExit("a broken communicator works")
    except MPI.Exception:
        free_group_comm(whole, is_broken=True)
    if half is not None:
        assert half.allgather(comm.rank) == [0, 2, 4]
        free_group_comm(half)
    for tag, ranks in enumerate([[0, 2], [4, 3], [3, 0, 4, 2], [4]]):
        made = meet(ranks, tag)
        if made is not None:
            free_group_comm(made)
    meet([0, 2, 3, 4], 9).Barrier()
print("done", flush=True)
if sys.argv[1] == "dies":
    os._exit(0)  # MPI cannot be ended in order any more
"""


def run(*how):
    mpirun = Path(sys.executable).with_name("mpirun")
    command = [mpirun, *how[:-1], "-n", "5", sys.executable, "-c", PROGRAM, how[-1]]
    environment = rank_environment(os.environ)
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.mpi
@pytest.mark.parametrize("how", ["stays", "--with-ft ulfm stays", "--with-ft ulfm dies"])
def test_members_alone_make_a_communicator(how):
    """In the order asked for, several at a time; after a death too, though not of those who have died."""
    finished = run(*how.split())
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert finished.stdout.count("done") == (4 if "dies" in how else 5)


def test_who_outlives_a_death():
    assert outlives_deaths({"OMPI_MCA_mpi_ft_enable": "1"})
    assert not outlives_deaths({"OMPI_MCA_mpi_ft_enable": "0"})
    assert not outlives_deaths({})
