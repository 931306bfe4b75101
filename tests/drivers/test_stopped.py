"""A run that a signal or the time limit stops: it ends in good order, and the same command goes on."""

import re
import shutil
import signal
import subprocess
import sys

import pytest
from survey import PRODUCTS, digests, run

from mpidriver.drivers.pipeline import open_context
from mpidriver.store import open_state

SMALL = ["--bands", "r", "--exposures", "3", "--detectors", "1x1", "--detector-size", "200", "--channels", "0"]


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """A tiny simulated repository, not reduced."""
    root = tmp_path_factory.mktemp("stopped") / "raw"
    assert run("simulate", root, *SMALL, "--quiet").code == 0
    return root


@pytest.fixture(scope="module")
def whole(raw, tmp_path_factory):
    """The same, reduced in one go."""
    root = tmp_path_factory.mktemp("stopped") / "whole"
    shutil.copytree(raw, root)
    assert run("pipeline", root, "--quiet", "--no-pictures").code == 0
    return root


def stop_at_the_first_quantum(root, number, *arguments):
    """Run the pipeline and send it a signal as soon as it has begun something; return exit code and later lines."""
    command = [sys.executable, "-m", "mpidriver", *arguments, str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout:
            if "begins" in line:
                process.send_signal(number)
                break
        text = process.communicate()[0]
    return process.returncode, text


@pytest.mark.parametrize(
    ("ranks", "verb", "number"),
    [
        (1, "single-frame", signal.SIGTERM),
        (1, "single-frame", signal.SIGINT),
        pytest.param(2, "pipeline", signal.SIGINT, marks=pytest.mark.mpi),
    ],
)
def test_a_signal_stops_in_good_order_and_the_same_command_goes_on(raw, whole, tmp_path, ranks, verb, number):
    root = tmp_path / "repo"
    shutil.copytree(raw, root)
    pictures = ["--no-pictures"] if verb == "pipeline" else []
    code, text = stop_at_the_first_quantum(root, number, "-n", str(ranks), verb, "--log-level", "DEBUG", *pictures)
    assert code == 75, text
    assert re.search(r"mpidriver: stopped by SIG\w+; what is done is recorded, run the same command to go on", text)
    assert "Traceback" not in text
    with open_state(open_context(str(root)).repository, readonly=True) as state:
        assert state.runs()[-1].status == "stopped"
        done = len(state.quanta(status="done"))
    if ranks == 1:
        assert ("begins" in text, done) == (False, 1)
    ended = run(verb, root, *pictures)
    assert ended.code == 0, ended.text
    folders = ["frames"] if verb == "single-frame" else PRODUCTS
    assert digests(root, folders) == digests(whole, folders)


def test_the_time_limit_is_read_as_slurm_s_and_stops_too(raw, tmp_path):
    root = tmp_path / "repo"
    shutil.copytree(raw, root)
    ended = run("single-frame", root, "--walltime", "0:01")
    assert ended.code == 75, ended.text
    assert "stopped by the walltime of 1 s" in ended.text
    ended = run("pipeline", root, "--walltime", "soon")
    assert ended.code == 2
    assert "walltime must be a number of seconds above 0, or a text as '1:30:00', got 'soon'" in ended.text
