"""What the README shows runs as it stands, in one process and on ranks."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mpidriver.batch import rank_environment

ROOT = Path(__file__).parent.parent


def output(script, ranks, tmp_path):
    """Run a script on so many ranks and return what it prints."""
    command = [sys.executable, str(script)]
    if ranks > 1:
        command = [str(Path(sys.executable).parent / "mpirun"), "-n", str(ranks), *command]
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=rank_environment(os.environ),
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [1, 3])
def test_the_driver_script_of_the_readme_runs(tmp_path, ranks):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    scripts = [block for block in blocks if "launch(main)" in block]
    assert len(scripts) == 1
    assert len([line for line in scripts[0].splitlines() if line.strip()]) <= 15
    path = tmp_path / "driver.py"
    path.write_text(scripts[0])
    assert output(path, ranks, tmp_path) == f"{ranks} ranks: [5, 332833500, 2470]\n"


@pytest.mark.mpi
def test_the_example_prints_the_same_on_any_number_of_ranks(tmp_path):
    script = ROOT / "examples" / "sky_correction.py"
    alone = output(script, 1, tmp_path)
    assert alone.count("sky residual") == 6
    assert output(script, 3, tmp_path) == alone


def test_the_verbs_of_the_readme_are_those_of_the_command_line():
    from mpidriver.cli._parser import build_parser

    table = set(re.findall(r"^\| `([a-z-]+)", (ROOT / "README.md").read_text(), flags=re.MULTILINE))
    known = next(action.choices for action in build_parser()._actions if action.dest == "verb")
    assert table == set(known)
