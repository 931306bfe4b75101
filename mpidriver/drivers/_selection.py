"""Selections of data ids: lists and ranges as ``1..9:2^12``."""

import re
from collections.abc import Callable
from dataclasses import dataclass, fields

from mpidriver.drivers._quantum import DataId
from mpidriver.errors import ConfigError

__all__ = ["Selection", "parse_selection"]

_RANGE = re.compile(r"(\d+)\.\.(\d+)(?::(\d+))?")


@dataclass(frozen=True)
class Selection:
    """Which data ids a driver works on; an empty text selects all. A dimension that a data id lacks always passes."""

    tract: str = ""
    """Tracts, as ``9813^9812``."""
    patch: str = ""
    """Patches, as ``2,5^3,5``."""
    exposure: str = ""
    """Exposures, as ``1204..1210:2``."""
    detector: str = ""
    """Detectors, as ``0..49^62``."""
    band: str = ""
    """Bands, as ``g^r^i``."""

    def compiled(self) -> Callable[[DataId], bool]:
        """Return the predicate that tells whether a data id is selected.

        Raises
        ------
        ConfigError
            If a text cannot be read.
        """
        tests = {
            field.name: parse_selection(field.name, getattr(self, field.name))
            for field in fields(self)
            if getattr(self, field.name)
        }

        def selected(data_id: DataId) -> bool:
            values = ((test, getattr(data_id, name)) for name, test in tests.items())
            return all(value is None or test(value) for test, value in values)

        return selected


def parse_selection(name: str, text: str) -> Callable[[object], bool]:
    """Return the test that one dimension's text describes.

    Parameters
    ----------
    name
        Dimension, for messages and for how values are read.
    text
        Items joined by ``^``; a number, a name, a patch ``x,y``, or for numbers a range ``first..last`` (both
        included) with an optional step ``:step``.

    Raises
    ------
    ConfigError
        If an item cannot be read.
    """
    chosen: set[object] = set()
    ranges: list[range] = []
    for item in text.split("^"):
        match = _RANGE.fullmatch(item.strip())
        if match is not None and name not in {"band", "patch"}:
            ranges.append(range(int(match[1]), int(match[2]) + 1, int(match[3] or 1)))
        else:
            chosen.add(_item(name, item.strip()))
    return lambda value: value in chosen or any(value in span for span in ranges)


def _item(name: str, item: str) -> object:
    try:
        if name == "patch":
            column, row = map(int, item.split(","))
            return (column, row)
        if name != "band":
            return int(item)
    except ValueError:
        example = "2,5^3,5" if name == "patch" else "1..9^12"
        raise ConfigError(f"--{name}: cannot read {item!r}; write it as {example}") from None
    if not item:
        raise ConfigError("--band: an item is empty; write it as g^r")
    return item
