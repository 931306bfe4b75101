"""Turning functions, items and results into bytes and back.

Pickle protocol 5 with large buffers out of band, so that arrays are never copied into a pickle. cloudpickle takes
over what pickle cannot do (lambdas, closures) and whatever belongs to ``__main__``: another rank's ``__main__`` is
another module, and one class must not arrive as two.
"""

import functools
import pickle
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple, TypeAlias

from mpidriver.errors import PoolStopped

__all__ = [
    "UNDONE",
    "Broken",
    "Failure",
    "Packed",
    "PackedMany",
    "Parcel",
    "WithKeywords",
    "Wrapped",
    "are_plain",
    "describe",
    "is_importable",
    "pack",
    "pack_each",
    "pack_or_fail",
    "size_of",
    "unpack",
    "unpack_each",
    "unpack_or_fail",
]

OUT_OF_BAND_BYTES = 32 * 1024
"""Buffers from this size on travel beside the pickle."""

UNDONE = "undone"
"""Kind of failure of an item that met the end of the run: it was begun, but what it scattered was not; the cause is the
reason of the stop."""

_PLAIN = frozenset({int, float, complex, bool, str, bytes, type(None)})
_NUMBERS = frozenset({int, float, complex, bool, type(None)})
_HOLDERS = frozenset({tuple, list})
_PLAIN_OR_HOLDERS = _PLAIN | _HOLDERS
_FEW = 16
"""So many numbers are sooner pickled with the message that carries them than by themselves."""
_DEEPEST = 3
"""How deep lists and tuples of numbers are looked into."""


class Packed(NamedTuple):
    """A pickle and its out-of-band buffers."""

    data: Any
    buffers: list[Any]


class Parcel(NamedTuple):
    """A pickle that nobody unpacks but who expects it, not even where what it travels in is unpacked."""

    content: Packed


class Failure(NamedTuple):
    """An exception as text: exceptions themselves need not survive the journey."""

    cause: str
    remote_traceback: str
    exception: BaseException | None = None
    """The exception itself, only where it was raised in this very process."""
    kind: str = "raised"
    """What `TaskError.kind` says, or `UNDONE`."""


PackedMany: TypeAlias = tuple[Any] | bytes | Packed | list[Packed | Failure]
"""One item of numbers as it is, one pickle of what is plain, or each by itself."""


class Broken:
    """Stands for arguments, or for a function, that could not travel: using it as such fails."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure

    def __iter__(self) -> Iterator[Any]:
        raise TypeError(self.failure.cause)

    def __call__(self, *args: Any) -> Any:
        """Fail."""
        raise TypeError(self.failure.cause)


class Wrapped:
    """A function called in some other way; it can be imported where the function can."""

    is_frozen = False
    """Whether it will not notice what happens to the function, because it is packed already."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function: Any = function

    def pack(self) -> Packed:
        """Pickle it."""
        return pack(self)


class WithKeywords(Wrapped):
    """A function called with one tuple and one dictionary."""

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the function."""
        return self.function(*args, **kwargs)


def pack(thing: Any, *, out_of_band_bytes: int = OUT_OF_BAND_BYTES) -> Packed:
    """Pickle anything.

    Parameters
    ----------
    out_of_band_bytes
        Buffers from this size on are kept beside the pickle.

    Raises
    ------
    Exception
        Whatever the object's own pickling raises.
    """
    try:
        packed = _dump(pickle.dumps, thing, out_of_band_bytes)
        if b"__main__" not in packed.data or _is_packed(thing):
            return _detached(packed)
    except Exception:
        pass
    import cloudpickle

    return _detached(_dump(cloudpickle.dumps, thing, out_of_band_bytes))


def _is_packed(thing: Any) -> bool:
    """Whether nothing is left to pickle, alone or as the only argument of a task."""
    if type(thing) is tuple and len(thing) == 1:
        thing = thing[0]
    return type(thing) is Parcel or (isinstance(thing, Wrapped) and thing.is_frozen)


def _dump(dumps: Callable[..., bytes], thing: Any, out_of_band_bytes: int) -> Packed:
    buffers: list[Any] = []

    def keep(buffer: pickle.PickleBuffer) -> bool:
        try:
            size = buffer.raw().nbytes
        except BufferError:  # not contiguous: only the pickler can take it
            return True
        if size < out_of_band_bytes:
            return True
        buffers.append(buffer)
        return False

    return Packed(dumps(thing, protocol=5, buffer_callback=keep), buffers)


def _detached(packed: Packed) -> Packed:
    """Let a long pickle travel as a buffer itself."""
    if len(packed.data) < OUT_OF_BAND_BYTES:
        return packed
    return Packed(pickle.PickleBuffer(packed.data), packed.buffers)


def unpack(packed: Packed) -> Any:
    """Undo `pack`."""
    return pickle.loads(packed.data, buffers=packed.buffers)


def pack_each(things: Sequence[Any]) -> PackedMany:
    """Pickle many things so that one that fails does not take the others with it.

    What is plain goes into one pickle; anything else is pickled alone. A `Failure` stays one. A single item that is a
    number, or a tuple of few, is not pickled here: what carries it will be.
    """
    if len(things) == 1 and _is_tiny(things[0]):
        return (things[0],)
    if are_plain(things):
        data = pickle.dumps(things, protocol=5)
        return data if len(data) < OUT_OF_BAND_BYTES else _detached(Packed(data, []))
    return [pack_or_fail(thing) for thing in things]


def _is_tiny(thing: Any) -> bool:
    return type(thing) in _NUMBERS or (
        type(thing) is tuple and len(thing) <= _FEW and _NUMBERS.issuperset(map(type, thing))
    )


def are_plain(things: Sequence[Any], depth: int = _DEEPEST) -> bool:
    """Whether all are numbers and strings, which cannot fail to travel, or tuples and lists of such."""
    if isinstance(things, range):
        return True
    kinds = set(map(type, things))
    if _PLAIN.issuperset(kinds):
        return True
    if not depth or not kinds <= _PLAIN_OR_HOLDERS:
        return False
    if len(things) == 1:
        return are_plain(things[0], depth - 1)
    holders = things if kinds <= _HOLDERS else [thing for thing in things if type(thing) in _HOLDERS]
    return are_plain(list(chain.from_iterable(holders)), depth - 1)


def pack_or_fail(thing: Any) -> Packed | Failure:
    """Pickle one thing, unless it is a `Failure` or pickled already; what cannot be pickled is a `Failure`."""
    if isinstance(thing, Packed):
        return thing
    if isinstance(thing, Failure):
        return thing._replace(exception=None)
    try:
        return pack(thing)
    except BaseException as error:
        return describe(error, prefix="cannot be pickled: ")


def unpack_each(packed: PackedMany) -> Sequence[Any]:
    """Undo `pack_each`; what could not be pickled or cannot be read is a `Failure`."""
    if isinstance(packed, bytes):
        return pickle.loads(packed)  # type: ignore[no-any-return]
    if isinstance(packed, Packed):
        return unpack(packed)  # type: ignore[no-any-return]
    if isinstance(packed, tuple):
        return packed
    return [one if isinstance(one, Failure) else unpack_or_fail(one) for one in packed]


def size_of(packed: PackedMany) -> int:
    """Return how many bytes of what `pack_each` has packed travel beside the message."""
    if type(packed) is list:
        return sum(memoryview(buffer).nbytes for one in packed if type(one) is Packed for buffer in _buffers_of(one))
    return sum(memoryview(buffer).nbytes for buffer in _buffers_of(packed)) if type(packed) is Packed else 0


def _buffers_of(packed: Packed) -> list[Any]:
    return packed.buffers if isinstance(packed.data, bytes) else [packed.data, *packed.buffers]


def unpack_or_fail(packed: Packed) -> Any:
    """Undo `pack`; what cannot be read is a `Failure`."""
    try:
        return unpack(packed)
    except BaseException as error:
        return describe(error, prefix="cannot be unpickled: ")


def describe(error: BaseException, *, prefix: str = "", skip: int = 0, keep: bool = False) -> Failure:
    """Return an exception as text.

    Parameters
    ----------
    prefix
        Put before the cause.
    skip
        Frames to leave out at the outer end of the traceback.
    keep
        Whether to keep the exception itself too.
    """
    if isinstance(error, PoolStopped):
        return Failure(error.reason, "", kind=UNDONE)
    frames = error.__traceback__
    for _ in range(skip):
        frames = frames.tb_next if frames is not None else None
    try:
        cause = traceback.format_exception_only(error)[-1].strip()
        text = "".join(traceback.format_exception(type(error), error, frames))
    except Exception:  # its __str__ or __repr__ raises too
        cause = text = type(error).__name__
    return Failure(prefix + cause, text, error if keep else None)


def is_importable(function: Any) -> bool:
    """Whether another process finds the very same function by its module and name."""
    if isinstance(function, Wrapped):
        return is_importable(function.function)
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not module or not name or module == "__main__" or module not in sys.modules:
        return False
    try:
        return functools.reduce(getattr, name.split("."), sys.modules[module]) is function
    except AttributeError:
        return False
