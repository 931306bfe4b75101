"""Where it runs: ranks on this machine, jobs in a batch system; and what is brought in and out.

`_local` starts ranks, `_supervision` watches over whatever starts them. A job is a record (`_job`) in a folder of small
files (`_records`), a script (`_script`) and a place in a batch system (`_schedulers`, `_slurm`, `_pbs`, `_detached`).
`_runner` is what the script runs, `_launching` how it starts ranks, `_deadline` when it ends them.
`_standing` says how jobs stand. `_staging` brings files in from remotes and out to them, by `_rclone`.
"""

from typing import TYPE_CHECKING

from mpidriver.batch._local import rank_environment, run_ranks
from mpidriver.lazy import loaded_on_use

if TYPE_CHECKING:
    from mpidriver.batch._job import ARRAY_PLACE, Job
    from mpidriver.batch._launching import default_launcher, protocol_of_mpi
    from mpidriver.batch._rclone import Remote, remote_variables
    from mpidriver.batch._records import JobFolder, all_jobs, dead_runs, find_job, note_run
    from mpidriver.batch._schedulers import find_scheduler
    from mpidriver.batch._slurm import partition_of_slurm, srun_speaks
    from mpidriver.batch._staging import Staged, check_names, files_of_folders, stage_in, stage_out
    from mpidriver.batch._standing import ENDED, Standing
    from mpidriver.batch._submission import (
        Dependencies,
        cancel_job,
        dependencies,
        job_standings,
        preview,
        read_options,
        submit_job,
    )

_HOMES = {
    "_job": ("ARRAY_PLACE", "Job"),
    "_launching": ("default_launcher", "protocol_of_mpi"),
    "_rclone": ("Remote", "remote_variables"),
    "_records": ("JobFolder", "all_jobs", "dead_runs", "find_job", "note_run"),
    "_schedulers": ("find_scheduler",),
    "_slurm": ("partition_of_slurm", "srun_speaks"),
    "_staging": ("Staged", "check_names", "files_of_folders", "stage_in", "stage_out"),
    "_standing": ("ENDED", "Standing"),
    "_submission": (
        "Dependencies",
        "cancel_job",
        "dependencies",
        "job_standings",
        "preview",
        "read_options",
        "submit_job",
    ),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "ARRAY_PLACE",
    "ENDED",
    "Dependencies",
    "Job",
    "JobFolder",
    "Remote",
    "Staged",
    "Standing",
    "all_jobs",
    "cancel_job",
    "check_names",
    "dead_runs",
    "default_launcher",
    "dependencies",
    "files_of_folders",
    "find_job",
    "find_scheduler",
    "job_standings",
    "note_run",
    "partition_of_slurm",
    "preview",
    "protocol_of_mpi",
    "rank_environment",
    "read_options",
    "remote_variables",
    "run_ranks",
    "srun_speaks",
    "stage_in",
    "stage_out",
    "submit_job",
]

__getattr__, __dir__ = loaded_on_use(__name__, _HOME)
