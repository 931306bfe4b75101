"""How the ranks of a job are started, and whether they fit what the batch system has given."""

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence

from mpidriver.batch._job import Job
from mpidriver.batch._local import find_mpirun, outliving_options, rank_environment
from mpidriver.errors import LaunchError

__all__ = [
    "PROMISE_VARIABLE",
    "check_allocation",
    "default_launcher",
    "launch_command",
    "launch_environment",
    "protocol_of_mpi",
]

#: Environment variable in which a job tells its ranks how many they must be.
PROMISE_VARIABLE = "MPIDRIVER_RANKS"

MPIRUN = "mpirun"
"""The launcher of this Python's MPI, whatever its options are."""

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
#: Where batch systems tell how many cores of the node they have given.
_CORES = ("SLURM_CPUS_ON_NODE", "PBS_NUM_PPN", "NCPUS")


def default_launcher(system: str, protocol: str) -> str:
    """Return the command that starts ranks.

    Parameters
    ----------
    system
        The batch system.
    protocol
        By which the ranks of this MPI find each other under srun: ``pmix`` (Open MPI) or ``pmi2`` (MPICH).
    """
    if system == "slurm":
        return f"srun --mpi={protocol} --kill-on-bad-exit=1 --ntasks={{ranks}} --ntasks-per-node={{ranks_per_node}}"
    return MPIRUN


def protocol_of_mpi() -> str:
    """Return by which protocol the ranks of this Python's MPI find each other under srun."""
    asked = subprocess.run([find_mpirun(), "--version"], capture_output=True, text=True, check=False)
    return "pmix" if "Open MPI" in asked.stdout or "OpenRTE" in asked.stdout else "pmi2"


def launch_command(job: Job, argv: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Return the command that runs `argv` on all ranks of a job; itself if nothing has to be started."""
    if not job.launcher:
        return list(argv)
    if job.launcher != MPIRUN:
        places = {"ranks": job.ranks, "ranks_per_node": job.ranks_per_node, "threads": job.threads}
        try:
            return [*shlex.split(job.launcher.format(**places)), *argv]
        except (KeyError, ValueError, IndexError) as error:
            raise LaunchError(
                f"--launcher {job.launcher!r}: {error}; its places are {{ranks}}, {{ranks_per_node}} and {{threads}}"
            ) from None
    mpirun = find_mpirun()
    outliving = outliving_options(mpirun)
    hosts = []
    if job.nodes > 1:
        hosts = ["--map-by", f"ppr:{job.ranks_per_node}:node"] if outliving else ["-ppn", str(job.ranks_per_node)]
        if environment.get("PBS_NODEFILE"):
            hosts += ["--hostfile", environment["PBS_NODEFILE"]]
    return [str(mpirun), *outliving, "-n", str(job.ranks), *hosts, *argv]


def launch_environment(job: Job, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a job's launcher."""
    made = dict(environment)
    if job.launcher == MPIRUN and job.nodes == 1:
        made = rank_environment(environment)
    elif job.launcher == MPIRUN:
        made |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    made |= dict.fromkeys(_THREADS, str(job.threads))
    made["PYTHONUNBUFFERED"] = "1"
    if job.launcher:
        made[PROMISE_VARIABLE] = str(job.ranks)
    if "SLURM_EXPORT_ENV" in made:  # what sbatch was told to let through; srun would let no more through
        made["SLURM_EXPORT_ENV"] = "ALL"
    return made


def check_allocation(job: Job, environment: Mapping[str, str]) -> None:
    """Refuse to start in an allocation that does not fit the job.

    Raises
    ------
    LaunchError
        If there are fewer tasks, or fewer cores on this node, than the job wants.
    """
    tasks = environment.get("SLURM_NTASKS", "")
    if tasks.isdigit() and int(tasks) != job.ranks:
        raise LaunchError(
            f"Slurm has promised {tasks} tasks, the job wants {job.ranks} ranks; the template of the script must say "
            f"--ntasks={job.ranks}"
        )
    given = next((int(environment[name]) for name in _CORES if environment.get(name, "").isdigit()), None)
    if given is not None and given < job.cores_per_node:
        raise LaunchError(
            f"{job.ranks_per_node} ranks of {job.threads} cores do not fit the {given} cores that were given on this "
            f"node; ask for fewer with --ranks-per-node, or for {job.cores_per_node} cores in the template"
        )
    if given is None and job.system == "local" and job.cores_per_node > len(os.sched_getaffinity(0)):
        cores = len(os.sched_getaffinity(0))
        print(f"mpidriver: {job.cores_per_node} cores are wanted, there are {cores}: ranks share them", flush=True)
