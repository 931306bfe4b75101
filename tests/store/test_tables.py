"""Binary tables: what goes in comes out, and astropy reads the same."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mpidriver.errors import DataError
from mpidriver.store import file_digest, read_table, read_table_header, read_table_units, write_table

KINDS = ["?", "u1", "i1", "i2", "u2", "i4", "u4", "i8", "f4", "f8", "c8", "c16"]


def columns():
    names = st.lists(st.from_regex(r"[a-z][a-z0-9_]{0,12}", fullmatch=True), min_size=1, max_size=4, unique=True)
    kind = st.tuples(st.sampled_from(KINDS), st.sampled_from([(), (1,), (3,), (2, 3)]))
    return names.flatmap(lambda some: st.tuples(*(st.tuples(st.just(name), kind) for name in some)))


def tables():
    return columns().flatmap(
        lambda cols: hnp.arrays(np.dtype([(name, *kind) for name, kind in cols]), st.integers(0, 4))
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(table=tables())
def test_numbers_come_back_as_they_were(tmp_path_factory, table):
    path = tmp_path_factory.mktemp("tables") / "t.fits"
    written = write_table(path, table)
    read = read_table(path)
    assert read.dtype == table.dtype
    assert read.tobytes() == table.tobytes()
    assert written.digest == file_digest(path)
    with fits.open(path) as hdus:
        for name in table.dtype.names:
            np.testing.assert_array_equal(np.squeeze(hdus[1].data[name]), np.squeeze(table[name]))


def test_texts_units_descriptions_and_values(tmp_path):
    table = np.array([("a", "µas", 1.0), ("longer", "", 2.0)], dtype=[("id", "U8"), ("note", "U3"), ("x", "f8")])
    path = tmp_path / "t.fits"
    write_table(path, table, units={"x": "deg"}, descriptions={"x": "position"}, header={"TRACT": 3}, name="STARS")
    read = read_table(path, hdu="STARS")
    assert read["id"].tolist() == ["a", "longer"]
    assert read["note"].tolist() == ["\\xb5as", ""]
    assert read_table_header(path)["TRACT"] == 3
    assert read_table_units(path) == {"x": "deg"}
    seen = Table.read(path)
    assert seen["x"].unit == "deg"
    assert list(seen["id"]) == ["a", "longer"]


def test_large_tables_are_written_in_pieces(tmp_path):
    table = np.zeros(300_000, dtype=[("id", "i8"), ("flux", "f4", (3,))])
    table["id"] = np.arange(len(table))
    write_table(tmp_path / "t.fits", table)
    assert np.array_equal(read_table(tmp_path / "t.fits"), table)


def test_errors_name_the_column_and_the_file(tmp_path):
    with pytest.raises(DataError, match=r"t\.fits: column 'x' has type object"):
        write_table(tmp_path / "t.fits", np.zeros(2, dtype=[("x", "O")]))
    with pytest.raises(DataError, match="structured array"):
        write_table(tmp_path / "t.fits", np.zeros(2))
    fits.PrimaryHDU(np.zeros((2, 2))).writeto(tmp_path / "i.fits")
    with pytest.raises(DataError, match=r"i\.fits: no HDU 1"):
        read_table(tmp_path / "i.fits")
    with pytest.raises(DataError, match="expected a binary table"):
        read_table(tmp_path / "i.fits", hdu=0)
