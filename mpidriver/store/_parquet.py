"""Tables as Parquet files, which data frames and databases read by columns."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mpidriver.errors import DataError
from mpidriver.store._atomic import atomic_path
from mpidriver.store._digest import WrittenFile, file_digest
from mpidriver.store._provenance import provenance_values

__all__ = ["write_parquet"]

Array = np.ndarray[Any, Any]


def write_parquet(
    path: str | os.PathLike[str],
    table: Array,
    *,
    units: Mapping[str, str] | None = None,
    descriptions: Mapping[str, str] | None = None,
) -> WrittenFile:
    """Write a structured array as a Parquet file, atomically.

    Parameters
    ----------
    path
        The file.
    table : structured ndarray, shape (row,)
        Booleans, integers, floats and text; a column with one further axis becomes a list of fixed size. NaN stays NaN.
    units, descriptions
        Kept as metadata ``unit`` and ``description`` of their columns; where the file comes from is the table's.

    Raises
    ------
    DataError
        If the array is no table, or a column has more than one further axis.
    """
    import pyarrow
    from pyarrow import parquet

    if table.dtype.names is None or table.ndim != 1:
        raise DataError(f"{path}: a table is a one-dimensional structured array, got {table.dtype}, {table.ndim}-d")
    columns = [_column(table[name], f"{path}: column {name}") for name in table.dtype.names]
    about = {"unit": units or {}, "description": descriptions or {}}
    fields = [
        pyarrow.field(name, column.type, metadata={key: said[name] for key, said in about.items() if said.get(name)})
        for name, column in zip(table.dtype.names, columns, strict=True)
    ]
    final = Path(path)
    with atomic_path(final) as partial:
        schema = pyarrow.schema(fields, metadata=_provenance())
        parquet.write_table(pyarrow.Table.from_arrays(columns, schema=schema), partial)
        digest, size = file_digest(partial), partial.stat().st_size
    return WrittenFile(final, digest, size)


def _provenance() -> dict[str, str]:
    """Return where the file comes from, as headers of FITS files say it."""
    said = provenance_values().items()
    return {name: str(value[0] if isinstance(value, tuple) else value) for name, value in said}


def _column(values: Array, where: str) -> Any:
    import pyarrow

    if values.ndim > 2:
        raise DataError(f"{where}: Parquet takes one axis beside the rows, got the shape {values.shape[1:]}")
    if values.ndim == 2:
        flat = pyarrow.array(np.ascontiguousarray(values).reshape(-1))
        return pyarrow.FixedSizeListArray.from_arrays(flat, values.shape[1])
    if values.dtype.kind == "S":
        values = values.astype("U")
    return pyarrow.array(values.tolist() if values.dtype.kind == "U" else np.ascontiguousarray(values))
