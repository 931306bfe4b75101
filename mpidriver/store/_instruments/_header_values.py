"""The value that an instrument table asks for, from headers, the path or a table of files."""

import datetime
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpidriver.errors import DataError
from mpidriver.store._instruments._translated import Translation

__all__ = ["Sources"]

_MJD_EPOCH = datetime.datetime(1858, 11, 17)


@dataclass(frozen=True)
class Sources:
    """Where the values of one HDU can stand."""

    path: Path
    """The file."""
    hdu: int
    """Number of the HDU."""
    headers: tuple[Any, ...]
    """Header of the HDU and of the primary, in the order in which they are asked."""
    row: Mapping[str, Any] | None
    """The file's row of the table of files."""

    def integer(self, name: str, source: Any) -> int:
        """Return a value as a whole number; of a text only the digits count."""
        value = self.value(name, source)
        if isinstance(value, str):
            digits = re.sub(r"\D", "", value)
            if not digits:
                raise DataError(f"{self._where(name)}: no digits in {value!r}")
            value = int(digits)
        if value is None or not 0 <= value < 2**63 or value != int(value):
            raise DataError(f"{self._where(name)}: expected a whole number from 0 to 2^63 - 1, got {value!r}")
        return int(value)

    def number(self, name: str, source: Any) -> float | None:
        """Return a value as a finite number, or none where a table says so."""
        value = self.value(name, source)
        if value is None:
            return None
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise DataError(f"{self._where(name)}: expected a number, got {value!r}") from None
        if not abs(number) < float("inf"):
            raise DataError(f"{self._where(name)}: expected a finite number, got {value!r}")
        return number

    def text(self, name: str, source: Any) -> str:
        """Return a value as text."""
        value = self.value(name, source)
        if value is None or not str(value).strip():
            raise DataError(f"{self._where(name)}: there is no value")
        return str(value).strip()

    def date(self, name: str, source: Any) -> float | None:
        """Return a modified Julian date; text is read as ISO 8601 or by the table's format."""
        value = self.value(name, source)
        if not isinstance(value, str) or re.fullmatch(r"\s*[\d.]+([eEdD][+-]?\d+)?\s*", value):
            if isinstance(source, Mapping) and "format" in source:
                return self._parsed_date(name, str(value), source["format"])
            return self.number(name, source)
        layout = source.get("format") if isinstance(source, Mapping) else None
        return self._parsed_date(name, value, layout)

    def optional(self, name: str, source: Any) -> Any:
        """Return a value as it stands, none where there is nothing."""
        try:
            return self.value(name, source)
        except DataError:
            return None

    def value(self, name: str, source: Any) -> Any:
        """Return the value that a source describes, after pattern, template, scale and offset."""
        if isinstance(source, str):
            source = {"keyword": source}
        elif not isinstance(source, Mapping):
            return source
        try:
            found = self._found(name, source)
        except DataError:
            if "default" in source or source.get("optional"):
                return source.get("default")
            raise
        return self._worked_out(name, found, source)

    def _found(self, name: str, source: Mapping[str, Any]) -> Any:
        if "value" in source:
            return source["value"]
        if "path" in source:
            return self._matched(name, source["path"], self.path.as_posix())
        if "column" in source:
            if self.row is None or source["column"] not in self.row:
                raise DataError(f"{self._where(name)}: no column {source['column']!r} in a row of this file")
            return self.row[source["column"]]
        if "translated" in source:
            return self._translation.value(source["translated"])
        keywords = source["keyword"]
        if isinstance(keywords, str):
            return self._keyword(name, keywords)
        values = [float(self._keyword(name, keyword)) for keyword in keywords]
        return sum(values) / len(values)

    @functools.cached_property
    def _translation(self) -> Translation:
        return Translation(self.headers, self.path)

    def _keyword(self, name: str, keyword: str) -> Any:
        for header in self.headers:
            value = header.get(keyword)
            if value is not None and value.__class__.__name__ != "Undefined":
                return value
        raise DataError(f"{self._where(name)}: no keyword {keyword!r} in the header; say where it stands")

    def _worked_out(self, name: str, value: Any, source: Mapping[str, Any]) -> Any:
        if value is None:
            return None
        if "pattern" in source:
            value = self._matched(name, source["pattern"], str(value))
        if "scale" in source or "offset" in source:
            value = float(value) * float(source.get("scale", 1.0)) + float(source.get("offset", 0.0))
        if "template" in source and (not isinstance(value, str) or value.strip().isdigit()):
            value = source["template"].format(int(value))
        return value

    def _matched(self, name: str, pattern: str, text: str) -> str:
        match = re.search(pattern, text)
        if match is None:
            raise DataError(f"{self._where(name)}: {text!r} does not match {pattern!r}")
        return "".join(group or "" for group in match.groups()) if match.re.groups else match[0]

    def _parsed_date(self, name: str, text: str, layout: str | None) -> float:
        try:
            if layout is None:
                date = datetime.datetime.fromisoformat(text.strip())
            else:
                date = datetime.datetime.strptime(text.strip(), layout)
        except ValueError:
            raise DataError(f"{self._where(name)}: not a date in {layout or 'ISO 8601'}: {text!r}") from None
        if date.tzinfo is not None:
            date = date.astimezone(datetime.UTC).replace(tzinfo=None)
        return (date - _MJD_EPOCH) / datetime.timedelta(days=1)

    def _where(self, name: str) -> str:
        return f"{self.path}[{self.hdu}]: {name}"
