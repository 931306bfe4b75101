"""What a site says of itself: option records that the drivers read from survey.toml and the batch room acts on.

They stand on the ground floor because neither of the two may know the other.
"""

from dataclasses import dataclass

from mpidriver.options import option

__all__ = ["BatchOptions", "StorageOptions"]


@dataclass(frozen=True)
class BatchOptions:
    """Table [batch]: how jobs are submitted here; `mpidriver submit` has an option for what changes from job to job."""

    system: str = option(
        "", "batch system; empty: the one whose command is found", choices=("", "slurm", "pbs", "local")
    )
    queue: str = option("", "partition or queue; empty: the system's own default")
    account: str = option("", "who pays; empty: the system's own default")
    launcher: str = option("", "command that starts ranks, with {ranks} and {ranks_per_node}; empty: by system and MPI")
    python: str = option("", "Python that runs the job; empty: the one that submits it")
    preamble: tuple[str, ...] = option((), "shell lines at the head of the script, as 'module load openmpi'")
    export: tuple[str, ...] = option(
        ("PATH", "HOME", "USER", "LANG", "LD_LIBRARY_PATH"), "environment variables that reach the job; no others do"
    )
    umask: str = option("", "umask of the job as 0027; empty: that of who submits")
    templates: str = option("", "folder of slurm.sh.j2, pbs.sh.j2 or local.sh.j2, relative to the repository")
    cores_per_node: int | None = option(None, "cores of a node; none: as Slurm says", minimum=1)
    memory_per_node: str = option("", "memory of a node as 192GiB; empty: as Slurm says")
    time: str = option("60", "time limit of verbs that nothing is known of yet, as Slurm's --time")
    memory_margin: float = option(0.3, "memory that is asked for beyond the predicted, as a share", minimum=0.0)
    time_margin: float = option(0.25, "time that is asked for beyond the predicted, as a share", minimum=0.0)
    drain: int = option(
        120, "how long before the time limit nothing more is begun; longer than a quantum takes", unit="s", minimum=1
    )
    requeues: int = option(20, "how often a job may go back into the queue", minimum=0)


@dataclass(frozen=True)
class StorageOptions:
    """Table [storage]: where raw files come from and products go to, through rclone.

    Remotes are written as rclone does, ``ceph:bucket/folder``; the environment defines them as RCLONE_CONFIG_CEPH_….
    """

    source: str = option("", "remote that raw files are staged in from, as ceph:bucket/raw")
    target: str = option("", "remote that products are staged out to, as ceph:bucket/products")
    folders: tuple[str, ...] = option(
        ("coadds", "catalogues", "faraday", "cutouts", "reports"), "folders of the repository that are staged out"
    )
    transfers: int = option(8, "files that are copied at a time", minimum=1)
