"""Options of the polarised sources."""

from dataclasses import dataclass

from mpidriver.options import option

__all__ = ["SourceOptions"]


@dataclass(frozen=True)
class SourceOptions:
    """How catalogued sources are read."""

    columns: dict[str, str] = option({}, "our column = the table's, for catalogues of unknown origin")
