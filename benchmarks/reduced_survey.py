"""A survey whose truth is known: the reduced one that is named, or the default one, simulated and reduced here."""

import contextlib
import subprocess
import sys
import tempfile
from pathlib import Path

from mpidriver.store import Repository

__all__ = ["reduced_survey"]


@contextlib.contextmanager
def reduced_survey(root):
    """Open the repository in a folder; without a folder a new one, which is removed afterwards."""
    with tempfile.TemporaryDirectory() as scratch:
        if root is None:
            root = str(Path(scratch) / "survey")
            for verb in ("simulate", "pipeline"):
                subprocess.run([sys.executable, "-m", "mpidriver", "-n", "2", verb, root], check=True)
        yield Repository.open(root)
