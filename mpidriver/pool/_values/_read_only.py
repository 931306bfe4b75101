"""Values that several may look at and nobody may change: their arrays are read-only."""

import sys
from typing import Any

__all__ = ["read_only"]


def read_only(value: Any) -> Any:
    """Return a value with read-only views in place of its arrays.

    Looks into lists, tuples and dictionaries, of which it makes new ones where they have arrays; other objects stay
    what they are.
    """
    numpy = sys.modules.get("numpy")
    return value if numpy is None else _looked_into(value, numpy.ndarray)


def _looked_into(value: Any, array_type: type) -> Any:
    if isinstance(value, array_type):
        return _view(value)
    if type(value) is dict:
        values = {key: _looked_into(one, array_type) for key, one in value.items()}
        return values if any(values[key] is not value[key] for key in value) else value
    if not isinstance(value, list | tuple) or not (type(value) in (list, tuple) or hasattr(value, "_make")):
        return value
    parts = [_looked_into(one, array_type) for one in value]
    if all(new is old for new, old in zip(parts, value, strict=True)):
        return value
    return value._make(parts) if hasattr(value, "_make") else type(value)(parts)


def _view(array: Any) -> Any:
    if not array.flags.writeable:
        return array
    view = array.view()
    view.flags.writeable = False
    return view
