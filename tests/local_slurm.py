"""A Slurm of this machine for tests: munged, slurmctld and a few slurmd as nodes n1, n2, …, all in one folder."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "unshare")
#: What Slurm loads for `srun --mpi=pmix`, by exactly this name.
PMIX = ("/usr/lib/x86_64-linux-gnu/pmix2/lib/libpmix.so", "/usr/lib/aarch64-linux-gnu/pmix2/lib/libpmix.so")
PATIENCE_SECONDS = 20

CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=cred_expire=5,socket={folder}/munge.socket
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
ReturnToService=2
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldPort={port}
SlurmdSpoolDir={folder}/spool-%n
StateSaveLocation={folder}/state
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,sched_min_interval=100000,batch_sched_delay=0
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
TmpFS={folder}/tmp-%n
SlurmdTimeout=10
SlurmctldTimeout=10
InactiveLimit=0
KillWait=3
MinJobAge=3600
JobRequeue=1
DefMemPerCPU=200
MaxArraySize=1001
NodeName=n[1-{nodes}] NodeHostname={host} NodeAddr=127.0.0.1 Port={ports} CPUs={cores} Boards=1 SocketsPerBoard=1 \
CoresPerSocket={cores} ThreadsPerCore=1 RealMemory=4000 State=UNKNOWN
PartitionName=debug Nodes=n[1-{nodes}] Default=YES MaxTime=1:00:00 DefaultTime=5 State=UP OverSubscribe=NO
"""


def why_not() -> str:
    """Return why no Slurm can be started here, empty if one can."""
    if os.geteuid() != 0:
        return "a Slurm of one's own needs root"
    missing = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if missing:
        return f"no {', '.join(missing)}: apt-get install slurmctld slurmd slurm-client munge libpmix2"
    if not any(map(os.path.exists, PMIX)):
        return f"no {PMIX[0]}: link it to libpmix.so.2 beside it"
    return ""


class LocalSlurm:
    """A running Slurm; end it with `close`.

    Parameters
    ----------
    nodes, cores
        How many nodes with how many cores each; they may be more than this machine has.
    """

    def __init__(self, nodes: int = 4, cores: int = 4) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.nodes = [f"n{number}" for number in range(1, nodes + 1)]
        self.environment = {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": _path()}
        self._write_config(cores)
        try:
            self._start_munge()
            self._start("slurmctld", "-i")
            for node in self.nodes:
                self.start_node(node)
            self._wait_for_nodes()
        except BaseException:
            self.close()
            raise

    def __call__(self, *command: str) -> str:
        """Run a command of Slurm and return what it prints."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def start_node(self, node: str) -> None:
        """Start a node that calls itself by its own name."""
        (self.folder / f"spool-{node}").mkdir(exist_ok=True)
        (self.folder / f"tmp-{node}").mkdir(exist_ok=True)
        self._start("unshare", "--uts", "sh", "-c", f"hostname {node}; exec slurmd -N {node}")

    def kill_node(self, node: str) -> None:
        """Let a node die with all that runs on it, all at once, as when its power fails."""
        pids = self._processes_of(node)
        for number in (signal.SIGSTOP, signal.SIGKILL):
            _send(pids, number)

    def close(self) -> None:
        """End everything."""
        for name in ("slurmctld", "munged"):
            path = self.folder / f"{name}.pid"
            if path.exists() and path.read_text().strip():
                _send([int(path.read_text())], signal.SIGKILL)
        for node in self.nodes:
            self.kill_node(node)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _processes_of(self, node: str) -> list[int]:
        """Return the processes of a node: those that call the machine by its name."""
        path = self.folder / f"slurmd-{node}.pid"
        daemon = path.read_text().strip() if path.exists() else ""
        name = _name_space(daemon) if daemon else ""
        return [int(one.name) for one in Path("/proc").glob("[0-9]*") if name and _name_space(one.name) == name]

    def _write_config(self, cores: int) -> None:
        (self.folder / "state").mkdir()
        port, first = _free_ports(len(self.nodes))
        ports = f"{first}-{first + len(self.nodes) - 1}" if len(self.nodes) > 1 else str(first)
        host = socket.gethostname().partition(".")[0]
        text = CONFIG.format(host=host, folder=self.folder, port=port, ports=ports, nodes=len(self.nodes), cores=cores)
        (self.folder / "slurm.conf").write_text(text)
        (self.folder / "mpi.conf").write_text("PMIxEnv=PMIX_MCA_psec=native\n")

    def _start_munge(self) -> None:
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        places = {"key-file": key, "socket": self.folder / "munge.socket", "pid-file": self.folder / "munged.pid"}
        places |= {"log-file": self.folder / "munged.log", "seed-file": self.folder / "munged.seed"}
        self._start("munged", "--force", *(f"--{name}={path}" for name, path in places.items()))

    def _start(self, *command: str) -> None:
        subprocess.run(
            command, env=self.environment, check=True, timeout=60, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    def _wait_for_nodes(self) -> None:
        ends = time.monotonic() + PATIENCE_SECONDS
        while len(self("sinfo", "-h", "-N", "-t", "idle", "-o", "%N").split()) < len(self.nodes):
            assert time.monotonic() < ends, self("sinfo", "-N", "-l")
            time.sleep(0.1)


def _name_space(pid: str) -> str:
    """Return what tells the host names apart that processes see; empty if the process is gone."""
    try:
        return os.readlink(f"/proc/{pid}/ns/uts")
    except OSError:
        return ""


def _send(pids: list[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _free_ports(count: int) -> tuple[int, int]:
    """Return one free port, and the first of `count` free ones in a row."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    for first in range(17000 + os.getpid() % 1000, 30000, count):
        with contextlib.ExitStack() as opened:
            try:
                for number in range(first, first + count):
                    opened.enter_context(socket.socket()).bind(("127.0.0.1", number))
            except OSError:
                continue
            return port, first
    raise AssertionError("no ports are free")


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


needs_slurm = pytest.mark.skipif(bool(why_not()), reason=why_not())
