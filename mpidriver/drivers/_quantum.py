"""A quantum: one task on one data id."""

import functools
import re
from dataclasses import dataclass, fields
from typing import Any

from mpidriver.errors import ConfigError

__all__ = ["DataId", "Quantum", "parse_quantum"]


@dataclass(frozen=True)
class DataId:
    """What a task works on; `None` where a dimension plays no part."""

    tract: int | None = None
    """Tract of the sky map."""
    patch: tuple[int, int] | None = None
    """Patch of the tract, (column, row)."""
    exposure: int | None = None
    """Exposure (visit)."""
    detector: int | None = None
    """Detector, or beam of a radio telescope."""
    band: str | None = None
    """Filter, or frequency channel."""
    cell: int | None = None
    """Cell of the sky whose catalogued sources are worked on together."""
    source: str | None = None
    """Component of the catalogue of sources."""

    def items(self) -> list[tuple[str, str]]:
        """Return the names and texts of the dimensions that are set, in their fixed order."""
        return [(name, _text(value)) for name, value in vars(self).items() if value is not None]

    def arguments(self) -> dict[str, int | str]:
        """Return the set dimensions as keyword arguments of `Repository.path`; a patch is ``"x,y"``."""
        values = {name: value for name, value in vars(self).items() if value is not None}
        if self.patch is not None:
            values["patch"] = _text(self.patch)
        return values

    def __str__(self) -> str:
        return "{" + ", ".join(f"{name}={text}" for name, text in self.items()) + "}"


@dataclass(frozen=True)
class Quantum:
    """One task on one data id: the unit that is run, recorded, retried and skipped."""

    task: str
    """Name of the task, as ``warp``."""
    data_id: DataId = DataId()
    """What it works on."""

    @functools.cached_property
    def key(self) -> str:
        """Name in the state database and on the command line, as ``warp{tract=3, patch=2,5, exposure=1204}``."""
        return f"{self.task}{self.data_id}"

    def __hash__(self) -> int:
        return hash(self.key)  # made once: a plan looks each of its quanta up many times

    def __reduce__(self) -> tuple[Any, ...]:
        return Quantum, (self.task, self.data_id)

    def __str__(self) -> str:
        return self.key


def _text(value: object) -> str:
    return f"{value[0]},{value[1]}" if isinstance(value, tuple) else str(value)


_KEY = re.compile(r"\s*(\w+)\s*\{(.*)\}\s*")
_PAIR = re.compile(r"(\w+)\s*=\s*(\d+,\d+|[^,\s=]+)\s*(?:,\s*|$)")


def parse_quantum(text: str) -> Quantum:
    """Return the quantum that a key names.

    Raises
    ------
    ConfigError
        If the text is not of the form ``task{name=value, …}`` or names an unknown dimension.
    """
    match = _KEY.fullmatch(text)
    if match is None or _PAIR.sub("", match[2]).strip():
        raise ConfigError(f"quantum {text!r}: expected task{{name=value, …}}, as 'coadd{{tract=0, patch=1,0, band=r}}'")
    values: dict[str, object] = {}
    for name, value in _PAIR.findall(match[2]):
        values[name] = _value(name, value, text)
    return Quantum(match[1], DataId(**values))


def _value(name: str, value: str, text: str) -> object:
    try:
        if name in {"band", "source"}:
            return value
        if name == "patch":
            column, row = map(int, value.split(","))
            return (column, row)
        if name in {"tract", "exposure", "detector", "cell"}:
            return int(value)
    except ValueError:
        raise ConfigError(f"quantum {text!r}: {name} must be a whole number (patch: x,y), got {value!r}") from None
    known = ", ".join(field.name for field in fields(DataId))
    raise ConfigError(f"quantum {text!r}: unknown dimension {name!r}; known: {known}")
