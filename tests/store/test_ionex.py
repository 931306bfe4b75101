"""IONEX files: maps in, whatever the order of their axes, and what is no IONEX."""

import gzip

import numpy as np
import pytest
from ionex_text import ionex

from mpidriver.errors import DataError
from mpidriver.store import read_ionex


@pytest.mark.parametrize("compressed", [False, True])
def test_maps_are_read_in_ascending_order_in_tecu(tmp_path, compressed):
    rng = np.random.default_rng(0)
    maps = rng.integers(0, 900, (2, 71, 73))
    maps[1, 3, 70] = 9999
    content = ionex(maps).encode()
    path = tmp_path / "jplg1530.20i"
    path.write_bytes(gzip.compress(content) if compressed else content)
    found = read_ionex(path)
    np.testing.assert_allclose(found.mjd, 59001 + np.array([0.5, 2.5]) / 24)
    np.testing.assert_allclose(found.latitude_deg, np.arange(-87.5, 88.0, 2.5))
    np.testing.assert_allclose(found.longitude_deg, np.arange(-180.0, 181.0, 5.0))
    assert found.height_km == 450.0
    expected = np.where(maps == 9999, np.nan, maps * 0.1)[:, ::-1]
    np.testing.assert_allclose(found.tecu, expected)


def test_the_exponent_of_the_header_counts(tmp_path):
    path = tmp_path / "a.i"
    path.write_text(ionex(np.full((2, 71, 73), 12), exponent=0))
    np.testing.assert_allclose(read_ionex(path).tecu, 12.0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: "", "not an IONEX file"),
        (lambda text: text[:4000], "not readable as IONEX|at least two maps"),
        (lambda text: text.replace("   12", "  1x ", 1), "not readable as IONEX"),
        (lambda text: text.split("     2  ")[0] + "\n", "at least two maps"),
        (lambda text: text.replace("LAT1 / LAT2", "NO1 / NO2"), "not readable as IONEX: KeyError"),
    ],
)
def test_what_is_no_ionex_is_named(tmp_path, change, said):
    path = tmp_path / "bad.i"
    path.write_text(change(ionex(np.full((2, 71, 73), 12))))
    with pytest.raises(DataError, match=said):
        read_ionex(path)


def test_a_missing_or_unix_compressed_file_says_so(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_ionex(tmp_path / "none.i")
    (tmp_path / "old.Z").write_bytes(b"\x1f\x9d\x90abc")
    with pytest.raises(DataError, match="uncompress it first"):
        read_ionex(tmp_path / "old.Z")
