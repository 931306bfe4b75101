"""Fixtures of the whole suite."""

import contextlib
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # helpers of the tests, as `survey`

os.environ["PYTHONSAFEPATH"] = "1"  # the package that processes import is the installed one, not that of the directory

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def data():
    """The folder of real frames, wherever it is on this machine."""
    folder = Path(os.environ.get("MPIDRIVER_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real frames: {folder} is absent; set MPIDRIVER_DATA to the folder that holds them")
    return folder


@pytest.fixture(scope="session")
def slurm_cluster():
    """A local Slurm for the whole session; tests that ask for it are marked `needs_slurm`."""
    from local_slurm import LocalSlurm

    with contextlib.closing(LocalSlurm()) as cluster:
        yield cluster


@pytest.fixture
def slurm(slurm_cluster, monkeypatch):
    """The local Slurm, as the batch system of this process."""
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, slurm_cluster.environment[name])
    return slurm_cluster


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory):
    """A local S3 server for the whole session."""
    from object_store import ObjectStore

    server = ObjectStore(tmp_path_factory.mktemp("s3"))
    yield server
    server.stop()


@pytest.fixture
def s3(s3_server, monkeypatch):
    """The local S3 server, empty, as the remote `ceph` of this process."""
    s3_server.reset()
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server
