"""The compiler of kernels: where it caches and when it does not."""

import importlib
import os
import subprocess
import sys

import numba
import pytest

from mpidriver.tasks._jit import _sources_digest, cache_directory, kernel


@pytest.fixture
def fresh_cache(monkeypatch):
    cache_directory.cache_clear()
    yield monkeypatch
    cache_directory.cache_clear()


def double(x):
    return 2 * x


def test_the_cache_is_the_folder_that_was_asked_for_and_private(fresh_cache, tmp_path):
    fresh_cache.setenv("MPIDRIVER_CACHE", str(tmp_path / "a" / "b"))
    assert cache_directory() == tmp_path / "a" / "b"
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    assert kernel(double)(21) == 42
    assert list((tmp_path / "a" / "b").rglob("*.nbi"))


def test_a_change_in_what_a_kernel_calls_is_seen(fresh_cache, tmp_path):
    """Even in another file, which numba does not look at."""
    fresh_cache.setenv("MPIDRIVER_CACHE", str(tmp_path / "cache"))
    fresh_cache.setattr("sys.dont_write_bytecode", True)  # that of a file of the same size and second would be taken
    fresh_cache.syspath_prepend(tmp_path)
    package = tmp_path / "kernel_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "kernels.py").write_text(
        "from mpidriver.tasks._jit import kernel\n"
        "from kernel_package.called import number\n"
        "@kernel\n"
        "def run():\n"
        "    return number()\n"
    )
    results = []
    for value in (1, 1, 2):
        (package / "called.py").write_text(f"import numba\nnumber = numba.njit(lambda: {value})\n")
        (package / "other.py").write_text(f"value = {len(results)}\n")
        importlib.invalidate_caches()
        for name in ("kernel_package.called", "kernel_package.kernels"):
            fresh_cache.delitem(sys.modules, name, raising=False)
        _sources_digest.cache_clear()
        run = importlib.import_module("kernel_package.kernels").run
        results.append((run(), sum(run.stats.cache_hits.values())))
    assert results == [(1, 0), (1, 1), (2, 0)]


def test_the_default_cache_is_named_by_the_user(fresh_cache, tmp_path):
    fresh_cache.delenv("MPIDRIVER_CACHE", raising=False)
    fresh_cache.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    assert cache_directory() == tmp_path / f"mpidriver-{os.getuid()}"


def test_a_folder_that_others_may_write_to_is_not_trusted(fresh_cache, tmp_path):
    tmp_path.chmod(0o777)
    fresh_cache.setenv("MPIDRIVER_CACHE", str(tmp_path))
    assert cache_directory() is None
    assert kernel(double)(21) == 42
    assert not list(tmp_path.rglob("*.nbi"))


def test_a_link_to_a_folder_is_not_trusted(fresh_cache, tmp_path):
    (tmp_path / "target").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "target")
    fresh_cache.setenv("MPIDRIVER_CACHE", str(tmp_path / "link"))
    assert cache_directory() is None


def test_a_file_in_the_way_leaves_kernels_without_cache(fresh_cache, tmp_path):
    (tmp_path / "file").write_text("")
    fresh_cache.setenv("MPIDRIVER_CACHE", str(tmp_path / "file"))
    assert cache_directory() is None
    assert kernel(double)(21) == 42


def test_a_folder_of_another_user_is_not_trusted(fresh_cache, tmp_path):
    tmp_path.chmod(0o700)
    fresh_cache.setenv("MPIDRIVER_CACHE", str(tmp_path))
    fresh_cache.setattr("os.getuid", lambda: tmp_path.stat().st_uid + 1)
    assert cache_directory() is None


def test_the_cache_of_other_numba_functions_is_left_alone(fresh_cache, tmp_path):
    fresh_cache.setenv("MPIDRIVER_CACHE", str(tmp_path / "ours"))
    before = numba.config.CACHE_DIR
    kernel(double)
    assert before == numba.config.CACHE_DIR


def test_options_reach_numba():
    compiled = kernel(fastmath={"contract"})(double)
    assert compiled.targetoptions["nogil"]
    assert compiled.targetoptions["fastmath"] == {"contract"}


def test_disabled_compilation_leaves_plain_python():
    code = "from mpidriver.tasks._jit import kernel; f = abs; assert kernel(f) is f and kernel(error_model=1)(f) is f"
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=120)
