"""Tables as Parquet files, read back by pyarrow."""

import numpy as np
import pytest
from pyarrow import parquet

from mpidriver.errors import DataError
from mpidriver.store import file_digest, stamped, write_parquet

TABLE = np.array(
    [(1, 2.5, True, "r", [1.0, 2.0]), (2, np.nan, False, "", [np.nan, 4.0])],
    dtype=[("id", "i8"), ("flux", "f4"), ("star", "?"), ("band", "U4"), ("apertures", "f8", (2,))],
)


def test_columns_types_units_and_nan_come_back(tmp_path):
    written = write_parquet(tmp_path / "a.parquet", TABLE, units={"flux": "nJy"}, descriptions={"id": "number"})
    read = parquet.read_table(written.path)
    assert read["id"].to_pylist() == [1, 2]
    assert np.array_equal(read["flux"].to_numpy(), TABLE["flux"], equal_nan=True)
    assert read["star"].to_pylist() == [True, False]
    assert read["band"].to_pylist() == ["r", ""]
    assert np.array_equal(np.array(read["apertures"].to_pylist()), TABLE["apertures"], equal_nan=True)
    assert read.schema.field("flux").metadata == {b"unit": b"nJy"}
    assert read.schema.field("id").metadata == {b"description": b"number"}


def test_equal_tables_give_equal_bytes_and_the_digest_is_theirs(tmp_path):
    written = [write_parquet(tmp_path / name, TABLE) for name in ("a.parquet", "b.parquet")]
    assert written[0].digest == written[1].digest == file_digest(written[0].path)
    assert written[0].size == written[0].path.stat().st_size


def test_an_empty_table_keeps_its_columns(tmp_path):
    read = parquet.read_table(write_parquet(tmp_path / "a.parquet", TABLE[:0]).path)
    assert read.column_names == list(TABLE.dtype.names)
    assert read.num_rows == 0


@pytest.mark.parametrize("table", [np.zeros(3), np.zeros(2, [("cube", "f4", (2, 2))])])
def test_what_is_no_table_is_refused(tmp_path, table):
    with pytest.raises(DataError):
        write_parquet(tmp_path / "a.parquet", table)
    assert not list(tmp_path.iterdir())


def test_the_file_says_where_it_comes_from(tmp_path):
    provenance = {"version": "1.2", "code": "c0de", "options": "0p71", "inputs": [("a/b.fits", "d16e57")]}
    with stamped("survey_catalogue{}", provenance):
        written = write_parquet(tmp_path / "a.parquet", TABLE)
    metadata = parquet.read_schema(written.path).metadata
    assert metadata[b"MPD_TASK"] == b"survey_catalogue{}"
    assert metadata[b"INP00001"] == b"a/b.fits d16e57"
