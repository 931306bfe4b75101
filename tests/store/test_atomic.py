"""Files appear whole or not at all."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from mpidriver.errors import RepositoryError
from mpidriver.store import all_or_none, atomic_path, is_partial, remove_partials, write_text


def test_a_file_appears_when_the_block_ends_and_parents_are_made(tmp_path):
    path = tmp_path / "a" / "b" / "file.png"
    with atomic_path(path) as partial:
        partial.write_bytes(b"new")
        assert not path.exists()
        assert partial.suffix == ".png"
        assert is_partial(partial)
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


def test_an_error_leaves_the_old_file_and_no_partial(tmp_path):
    path = tmp_path / "file"
    write_text(path, "old")
    with pytest.raises(IsADirectoryError), atomic_path(path) as partial:
        partial.write_bytes(b"half") and tmp_path.read_bytes()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(RepositoryError, match="nothing was written"), atomic_path(tmp_path / "file"):
        pass


KILLED = """
import os, signal, sys
import numpy as np
from mpidriver.store import MaskedImageWriter
rows = np.ones((10, 30), dtype="f4")
with MaskedImageWriter(sys.argv[1], (40, 30), mask_planes={"BAD": 0}) as writer:
    writer.write(0, rows, rows, rows.astype("i4"))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_writer_killed_in_the_middle_leaves_no_product(tmp_path):
    path = tmp_path / "coadd.fits"
    path.write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], cwd=os.getcwd(), check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    (left,) = [other for other in tmp_path.iterdir() if other != path]
    assert is_partial(left)
    assert remove_partials(tmp_path) == [left]
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_a_clear_error_and_keeps_the_old_product(tmp_path, full_disk):
    path = tmp_path / "product"
    write_text(path, "old")
    with pytest.raises(RepositoryError, match="product: not written, File too large; raise the file size") as raised:
        write_text(path, "x" * (1 << 17))
    assert raised.value.errno == errno.EFBIG
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_parent_that_is_a_file_is_a_clear_error(tmp_path):
    (tmp_path / "folder").write_text("")
    with pytest.raises(RepositoryError, match="remove the file that stands where a directory is needed"):
        write_text(tmp_path / "folder" / "x" / "file", "")


def test_a_place_where_no_directory_can_be_made_is_named():
    with pytest.raises(RepositoryError, match="/proc/products: no directory can be made there"):
        write_text("/proc/products/summary", "")


def test_files_of_one_piece_of_work_appear_together_or_not_at_all(tmp_path):
    def fail_halfway():
        with all_or_none():
            write_text(tmp_path / "image", "1")
            raise KeyError

    with pytest.raises(KeyError):
        fail_halfway()
    assert list(tmp_path.iterdir()) == []
    with all_or_none():
        write_text(tmp_path / "image", "1")
    write_text(tmp_path / "another", "2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["another", "image"]
