"""Selections of data ids, as lists and ranges ``1..9:2^12``, and of the quanta that are to run."""

import re
from collections.abc import Callable
from dataclasses import dataclass, fields

from mpidriver.drivers._campaign._graph import Graph
from mpidriver.drivers._quantum import DataId, Quantum
from mpidriver.errors import ConfigError

__all__ = ["Selection", "parse_selection", "selected_quanta"]

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


def selected_quanta(graph: Graph, selection: Selection) -> set[Quantum]:
    """Return the quanta that a selection lets run: made of selected ones, and on the way to selected ones.

    A coadd is selected by ``--exposure`` if one of its warps is, a frame by ``--patch`` if it plays a part in that
    patch. What is joined is not restricted: other inputs are taken as earlier runs left them.

    Parameters
    ----------
    graph
        The whole survey.
    selection
        Which data ids take part.
    """
    if selection == Selection():
        return set(graph)
    selected = selection.compiled()
    reached: set[Quantum] = set()
    for quantum in graph:
        node = graph[quantum]
        sources = (*node.needs, *node.uses)
        if selected(quantum.data_id) and (not sources or not reached.isdisjoint(sources)):
            reached.add(quantum)
    wanted: set[Quantum] = set()
    by_place = bool(selection.tract or selection.patch)
    for quantum in reversed(graph):
        node = graph[quantum]
        leads_nowhere = by_place and not (node.needs or node.uses)  # a frame outside every tract
        is_end = not node.users and not leads_nowhere
        if quantum in reached and (is_end or not wanted.isdisjoint(node.users)):
            wanted.add(quantum)
    return wanted


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
