"""Fixtures of the whole suite."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # helpers of the tests, as `survey`

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def data():
    """The folder of real frames, wherever it is on this machine."""
    folder = Path(os.environ.get("MPIDRIVER_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real frames: {folder} is absent; set MPIDRIVER_DATA to the folder that holds them")
    return folder


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
