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
