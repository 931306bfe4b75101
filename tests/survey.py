"""How tests run the command line and look at a repository."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

#: Products of a repository: what must not depend on ranks, order or time.
PRODUCTS = ("frames", "mosaic", "warps", "coadds", "catalogues", "faraday")


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    text: str


def run(*arguments, timeout=240, **environment):
    """Run the command line in a process of its own and return how it ended."""
    return _ended([sys.executable, "-m", "mpidriver", *map(str, arguments)], timeout, environment)


def run_in_turn(*commands, timeout=240, **environment):
    """Run command lines one after the other in one process, up to the first that fails, and return how that ended."""
    script = "import json, sys; from mpidriver.cli import main; "
    script += "sys.exit(next((code for command in json.loads(sys.argv[1]) if (code := main(command))), 0))"
    commands = json.dumps([[*map(str, command)] for command in commands])
    return _ended([sys.executable, "-c", script, commands], timeout, environment)


def _ended(command, timeout, environment):
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "200", **environment},
    )
    return Ended(done.returncode, done.stdout)


def digests(root, folders=PRODUCTS):
    """Return the digest of every product below the given folders, by its path in the repository."""
    files = sorted(path for folder in folders for path in (Path(root) / folder).rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
