"""Option records: frozen dataclasses whose fields carry default, help and unit, read from and written to TOML.

Every option of survey.toml is one field of such a record, so that reading, checking, `mpidriver config` and the
digest that decides whether a result is still valid all come from one place.
"""

import dataclasses
import difflib
import hashlib
import json
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mpidriver.errors import ConfigError, RepositoryError

__all__ = ["digest", "from_mapping", "option", "read_toml", "to_toml"]


def option(default: Any, help: str, *, unit: str = "", choices: tuple[Any, ...] = (), minimum: Any = None) -> Any:
    """Return a dataclass field for one option.

    Parameters
    ----------
    default
        Value when survey.toml does not set it; it also gives the type where the annotation leaves one open.
    help
        One sentence for `mpidriver config`.
    unit
        Unit of the value, empty for a pure number or a name.
    choices
        The allowed values, if they can be listed.
    minimum
        Smallest allowed value.
    """
    metadata = {"help": help, "unit": unit, "choices": choices, "minimum": minimum}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def read_toml(path: Path) -> dict[str, Any]:
    """Return the tables of a survey.toml.

    Raises
    ------
    RepositoryError
        If the file cannot be read.
    ConfigError
        If it is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RepositoryError(f"{path}: {error.strerror}; make a repository with `mpidriver init`") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None


def from_mapping(record_type: type, values: Mapping[str, Any], where: str) -> Any:
    """Build an option record from a TOML table; nested records are nested tables.

    Parameters
    ----------
    record_type
        Frozen dataclass whose fields were made by `option` or are records themselves.
    values
        The TOML table.
    where
        File and table for messages, as ``survey.toml [warp]``.

    Raises
    ------
    ConfigError
        For an unknown key, a value of the wrong type, one that is not among the choices or is below the minimum.
    """
    hints = typing.get_type_hints(record_type)
    fields = {field.name: field for field in dataclasses.fields(record_type)}
    for key in values:
        if key not in fields:
            raise ConfigError(f"{where}: unknown key {key!r}{_suggestion(key, fields)}")
    made = {}
    for name, value in values.items():
        if dataclasses.is_dataclass(hints[name]):
            made[name] = _nested(hints[name], value, where, name)
        else:
            made[name] = _checked(hints[name], value, fields[name], f"{where}: {name}")
    try:
        return record_type(**made)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _nested(record_type: Any, value: object, where: str, name: str) -> Any:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: {name} must be a table, got {value!r}")
    head, bracket, table = where.rpartition("[")
    inner = f"{head}[{table.rstrip(']')}.{name}]" if bracket else f"{where} [{name}]"
    return from_mapping(record_type, value, inner)


def _suggestion(key: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known keys: {', '.join(sorted(known))}"


def _checked(hint: Any, value: Any, field: "dataclasses.Field[Any]", where: str) -> Any:
    converted = _convert(hint, value, where)
    metadata = field.metadata
    if metadata.get("choices") and converted not in metadata["choices"]:
        raise ConfigError(f"{where} must be one of {', '.join(map(repr, metadata['choices']))}, got {value!r}")
    minimum = metadata.get("minimum")
    if minimum is not None and converted is not None and converted < minimum:
        raise ConfigError(f"{where} must be at least {minimum}, got {value!r}")
    return converted


def _convert(hint: Any, value: Any, where: str) -> Any:
    """Return `value` as the type that `hint` names; TOML arrays become tuples."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(hint, value, where)
    if origin is tuple:
        return _convert_tuple(hint, value, where)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} must be a table, got {value!r}")
        inner = typing.get_args(hint)[1]
        return {key: _convert(inner, item, f"{where}.{key}") for key, item in value.items()}
    if hint is Any:
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ConfigError(f"{where} must be {_type_name(hint)}, got {value!r}")
    return value


def _convert_union(hint: Any, value: Any, where: str) -> Any:
    members = [member for member in typing.get_args(hint) if member is not type(None)]
    for member in members:
        try:
            return _convert(member, value, where)
        except ConfigError:
            continue
    raise ConfigError(f"{where} must be {' or '.join(map(_type_name, members))}, got {value!r}")


def _convert_tuple(hint: Any, value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"{where} must be an array, got {value!r}")
    inner = typing.get_args(hint)
    if len(inner) == 2 and inner[1] is Ellipsis:
        return tuple(_convert(inner[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if len(inner) != len(value):
        raise ConfigError(f"{where} must be an array of {len(inner)} values, got {value!r}")
    return tuple(_convert(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(inner, value, strict=True)))


def _type_name(hint: Any) -> str:
    names = {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}
    return names.get(hint, "an array" if typing.get_origin(hint) is tuple else str(getattr(hint, "__name__", hint)))


def digest(*records: Any) -> str:
    """Return a short hexadecimal digest of option records, plain values or bytes, equal for equal content."""

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return dataclasses.asdict(value)
        return hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else str(value)

    text = json.dumps(records, sort_keys=True, default=plain)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def to_toml(record: Any, table: str = "", *, comments: bool = True) -> str:
    """Return an option record as TOML text; each key stands under its help and unit.

    Parameters
    ----------
    record
        An option record; nested records become nested tables.
    table
        Name of the record's own table, empty for the root.
    comments
        Whether to write help, unit, choices and default above each key.
    """
    lines: list[str] = [f"[{table}]"] if table else []
    nested: list[tuple[str, Any]] = []
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if dataclasses.is_dataclass(value):
            nested.append((f"{table}.{field.name}" if table else field.name, value))
            continue
        if comments:
            lines += _comment(field)
        lines.append(f"# {field.name} =" if value is None else f"{field.name} = {_toml_value(value)}")
    text = "\n".join(lines)
    parts = ([text] if lines and (not table or len(lines) > 1) else []) + [
        to_toml(value, name, comments=comments).rstrip("\n") for name, value in nested
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _comment(field: "dataclasses.Field[Any]") -> list[str]:
    unit = field.metadata.get("unit")
    choices = field.metadata.get("choices")
    notes = ([f"unit: {unit}"] if unit else []) + ([f"one of: {', '.join(map(str, choices))}"] if choices else [])
    text = field.metadata.get("help", "") + (f" ({'; '.join(notes)})" if notes else "")
    return [f"# {text}"] if text else []


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        return (
            "{" + ", ".join(f"{json.dumps(k, ensure_ascii=False)} = {_toml_value(v)}" for k, v in value.items()) + "}"
        )
    return "[" + ", ".join(map(_toml_value, value)) + "]"
