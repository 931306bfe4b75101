"""Tables as VOTable, for the tools of the Virtual Observatory."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mpidriver.store._atomic import atomic_path
from mpidriver.store._digest import WrittenFile, file_digest

__all__ = ["write_votable"]


def write_votable(
    path: str | os.PathLike[str],
    table: "np.ndarray[Any, Any]",
    *,
    units: Mapping[str, str] | None = None,
    words: Mapping[str, tuple[str, str]] | None = None,
    name: str = "TABLE",
) -> WrittenFile:
    """Write a structured array as a VOTable of one table, atomically.

    Parameters
    ----------
    path
        The file.
    table : structured ndarray, shape (row,)
    units
        Column to unit.
    words
        Column to UCD and description, either may be empty.
    name
        Name of the table.
    """
    from astropy.io.votable import from_table
    from astropy.table import Table

    converted = Table({column: table[column] for column in table.dtype.names or ()})
    file = from_table(converted, table_id=name)
    for field in file.get_first_table().fields:
        unit, (ucd, description) = (units or {}).get(field.name), (words or {}).get(field.name, ("", ""))
        if unit:
            field.unit = unit
        if ucd:
            field.ucd = ucd
        if description:
            field.description = description
    with atomic_path(path) as partial:
        file.to_xml(str(partial))
    return WrittenFile(Path(path), file_digest(path), os.path.getsize(path))
