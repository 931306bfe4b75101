"""What a repository holds: the files of a dataset with their data ids, read off the layout."""

import functools
import re
from typing import TYPE_CHECKING, Any

from mpidriver.store import DATASETS, is_partial

if TYPE_CHECKING:
    from pathlib import Path

    from mpidriver.store import Repository

__all__ = ["stored", "stored_by_tract"]

_FIELD = re.compile(r"\{(\w+)(?::\w+)?\}")
_WHOLE_NUMBERS = {"tract", "exposure", "detector"}


def stored(repo: "Repository", dataset: str, **known: Any) -> "list[tuple[dict[str, Any], Path]]":
    """Return data id and path of each file of a dataset, in the order of their paths.

    Parameters
    ----------
    repo
        The repository.
    dataset
        A key of `mpidriver.store.DATASETS`.
    **known
        Text of fields that are given, as ``name="FDF_maxPI"`` for ``faraday``.
    """
    template = DATASETS[dataset]
    for name, value in known.items():
        template = template.replace(f"{{{name}}}", value)
    pattern = _pattern(template)
    found = []
    for path in sorted(repo.root.glob(_FIELD.sub("*", template))):
        match = pattern.fullmatch(path.relative_to(repo.root).as_posix())
        if match and not is_partial(path):
            data_id = {name: int(text) if name in _WHOLE_NUMBERS else text for name, text in match.groupdict().items()}
            found.append((data_id, path))
    return found


@functools.cache
def _pattern(template: str) -> re.Pattern[str]:
    """Return the regular expression of a template, a named group a field."""
    parts = []
    end = 0
    for field in _FIELD.finditer(template):
        name = field.group(1)
        parts += [
            re.escape(template[end : field.start()]),
            rf"(?P<{name}>{'[0-9]+' if name in _WHOLE_NUMBERS else '[^/]+'})",
        ]
        end = field.end()
    return re.compile("".join([*parts, re.escape(template[end:])]))


def stored_by_tract(repo: "Repository", dataset: str, **known: Any) -> "dict[int, list[tuple[dict[str, Any], Path]]]":
    """Return what `stored` does, by tract."""
    by_tract: dict[int, list[tuple[dict[str, Any], Path]]] = {}
    for data_id, path in stored(repo, dataset, **known):
        by_tract.setdefault(data_id["tract"], []).append((data_id, path))
    return dict(sorted(by_tract.items()))
